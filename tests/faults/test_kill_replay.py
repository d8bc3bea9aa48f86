"""kill -9 of a running replay at random points: nothing lost, nothing doubled."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from runtime.database import open_database
from runtime.domain import OrderState
from runtime.journal.store import Journal
from tests.fakes.replay_child import END, run
from tests.faults.killer import PATIENCE, until
from tests.runtime.journal.trading import trial_balance

KILLS = 4  # of whole processes; test_kill_points.py kills more often, and live trading
ROOT = Path(__file__).parents[2]
_MEMORY = Path("/dev/shm")  # killing a process loses no page, so the test need not wait for disks


@pytest.fixture
def folder() -> Iterator[Path]:
    fast = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=fast, prefix="sluice-kill-") as name:
        yield Path(name)


def sequence(database: Path) -> int:
    """Last sequence number of the journal in a file, 0 if there is none yet."""
    if not database.exists():
        return 0
    connection = sqlite3.connect(database, timeout=5)
    try:
        return connection.execute("SELECT coalesce(max(seq), 0) FROM journal").fetchone()[0]
    except sqlite3.OperationalError:
        return 0  # the table is not there yet
    finally:
        connection.close()


def start(folder: Path, *urls: str, lingers: bool = True) -> subprocess.Popen[bytes]:
    """Start a replay; one that is to be killed lingers, so that nobody can come too late."""
    words = ["--linger"] if lingers else []
    command = [sys.executable, "-m", "tests.fakes.replay_child", *words, str(folder), *urls]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def kill_past(child: subprocess.Popen[bytes], database: Path, target: int, delay: float) -> int:
    """Kill the child a moment after its journal passes `target`; return where it stood then."""

    def moved() -> bool:
        assert child.poll() is None, child.communicate()[1].decode()
        return sequence(database) >= target

    until(moved, "the replay has moved", 0.001)
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL, "the replay had ended before it was killed"
    return sequence(database)


def test_a_replay_killed_again_and_again_ends_as_if_it_had_never_been(folder):
    whole, broken = folder / "whole", folder / "broken"
    whole_url, broken_url = (f"sqlite:///{path / 'runtime.db'}" for path in (whole, broken))
    expected = run(whole, whole_url)
    entries = sequence(whole / "runtime.db")

    seeded = random.Random(25)
    targets = sorted(seeded.sample(range(2, entries - 60), KILLS))
    stood = []
    for target in targets:
        past = min(max(target, stood[-1] + 1 if stood else 1), entries)
        child = start(broken, broken_url)
        stood.append(kill_past(child, broken / "runtime.db", past, seeded.uniform(0, 0.004)))
    child = start(broken, broken_url, lingers=False)
    out, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, err.decode()

    assert len(stood) == KILLS
    assert f"journal_head='{expected.journal_head}'" in out.decode()
    ours, theirs = (Journal(open_database(url)) for url in (whole_url, broken_url))
    assert theirs.verify() == ours.verify()
    assert theirs.counts() == ours.counts()
    assert [r.order for r in theirs.orders()] == [r.order for r in ours.orders()]
    assert [r.fill for r in theirs.fills()] == [r.fill for r in ours.fills()]
    assert_whole(theirs, broken)


def assert_whole(journal: Journal, folder: Path) -> None:
    """Every tick decided once, every order explained and ended, every venue execution booked."""
    manifest_days = [record.day for record in journal.sessions()]
    decided = Counter(one.record.tick for one in journal.decisions(limit=10_000))
    assert decided == Counter(day.isoformat() for day in manifest_days)
    orders = {record.order.order_id: record for record in journal.orders()}
    committed = [name for one in journal.decisions(limit=10_000) for name in one.order_ids]
    assert Counter(committed) == Counter(orders.keys())
    last = manifest_days[-1].isoformat()
    for record in orders.values():
        working = record.order.tick == last and record.state is OrderState.WORKING
        assert working or record.state is OrderState.FILLED
    booked = Counter((r.fill.venue, r.fill.execution_id) for r in journal.fills())
    executed: Counter[tuple[str, str]] = Counter()
    sent: Counter[str] = Counter()
    for venue in sorted((folder / "venues").glob("*.db")):
        with sqlite3.connect(venue) as connection:
            rows = connection.execute("SELECT execution_id FROM executions").fetchall()
            executed.update((venue.stem, row[0]) for row in rows)
            sent.update(row[0] for row in connection.execute("SELECT order_id FROM orders"))
    assert booked == executed
    assert sent == Counter(orders.keys())
    assert all(record.breaks == () for record in journal.sessions())
    assert sum(trial_balance(journal).values()) == Decimal(0)


def test_the_accounts_of_an_interrupted_replay_equal_the_venues_to_the_cent(folder):
    """A cheap independent look: positions and cash added up from the venues' own files."""
    url = f"sqlite:///{folder / 'runtime.db'}"
    child = start(folder, url)
    kill_past(child, folder / "runtime.db", 300, 0.002)
    run(folder, url)
    cash, held = Decimal("1000000.00"), Counter[str]()
    for venue in (folder / "venues").glob("*.db"):
        with sqlite3.connect(venue) as connection:
            for symbol, side, quantity, amount in connection.execute(
                "SELECT symbol, side, quantity, cash FROM executions"
            ):
                cash += Decimal(amount)
                held[symbol] += int(quantity) * (1 if side == "buy" else -1)
    last = Journal(open_database(url)).last_session()
    assert last is not None
    assert last.day == END
    assert last.cash == cash
    assert {s: int(units) for s, units in last.positions.items()} == {
        symbol: units for symbol, units in held.items() if units
    }
