"""kill -9 of a process that decides and announces: every journalled decision reaches the stream."""

import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from runtime.database import open_database
from runtime.journal.queries import JournalQueries
from runtime.streams import open_stream
from runtime.streams.messages import signals
from tests.fakes.replay_child import run
from tests.faults.test_kill_replay import kill_past, sequence, start
from tests.servers import private_valkey

KILLS, END = 2, date(2017, 2, 28)
_MEMORY = Path("/dev/shm")  # killing a process loses no page, so the test need not wait for disks


@pytest.fixture(params=["embedded", "valkey"])
def streams(request, folder) -> Iterator[str]:
    if request.param == "embedded":
        yield f"sqlite:///{folder / 'streams.db'}"
        return
    with private_valkey("everysec") as server:
        yield server.url


@pytest.fixture
def folder() -> Iterator[Path]:
    fast = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=fast, prefix="sluice-announce-") as name:
        yield Path(name)


def test_no_kill_between_commit_and_announcement_costs_a_decision(folder, streams):
    database, url = folder / "runtime.db", f"sqlite:///{folder / 'runtime.db'}"
    seeded = random.Random(4)
    for _ in range(KILLS):
        target = sequence(database) + seeded.randrange(20, 60)
        kill_past(start(folder, url, streams), database, target, seeded.uniform(0, 0.01))
    run(folder, url, streams, end=END)
    journal = JournalQueries(open_database(url), "paper")
    decided = [one.record.decision_id for one in journal.decisions(limit=1000)]
    stream = open_stream(streams, "signals.tilt")
    stream.subscribe("test")
    found = stream.read("test", "a", count=10_000)
    announced = Counter(each.key for each in found)
    assert set(announced) == set(decided)
    assert len(decided) >= 38
    for each in found:  # a repeat says what was said before
        record = journal.decision(each.key).record
        assert signals(each).weights == record.weights
    stream.close()
