"""kill -9 at random under load and at every named point of the order path: 0 lost, 0 doubled.

A zygote forks trading processes in milliseconds. The journal of a run that was killed again and
again must end in the very head of a run that nobody touched: the same bytes, the same chain.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from pathlib import Path

import pytest

from tests.fakes.fault_world import POINTS, acknowledge, trade_on
from tests.faults.killer import acknowledged as acknowledged_days
from tests.faults.killer import finished, look, until

KILLS = int(os.environ.get("SLUICE_KILLS", "20"))  # `just faults` asks for 200
SENDS = [(f"{when} an order is sent", times) for when in ("before", "after") for times in (3,)]
_MEMORY = Path("/dev/shm")  # killing a process loses no page, so the test need not wait for disks


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'runtime.db'}"


def unbroken(folder: Path, sessions: int):
    """What a run that nobody touched leaves."""
    folder.mkdir()
    trade_on(folder, url_of(folder), sessions, told=acknowledge(folder / "acknowledged")).close()
    return finished(folder, url_of(folder))


def test_killed_at_random_again_and_again_it_ends_as_if_it_had_never_been(killer, folder):
    """Every process is killed while it trades without a pause, and the next one goes on."""
    random_ = random.Random(200)
    sessions = 900  # more than any process lives to see
    broken, ready, spent = folder / "broken", [], []
    died = acknowledged = 0
    while died < KILLS:
        began = time.monotonic()
        name = killer.start(broken, url_of(broken), sessions, cold=True)
        if killer.first(name, "begun", "ended") == "begun":
            ready.append(time.monotonic() - began)
            spent.append(float(killer.wait(name, "begun")))
            moved = len(acknowledged_days(broken)) + random_.choice((0, 1, 1, 2))
            until(lambda moved=moved: len(acknowledged_days(broken)) >= moved, "it trades")
            time.sleep(random_.uniform(0, 0.012))
            killer.signal(name, signal.SIGKILL)
        assert killer.end(name) == -signal.SIGKILL, "it had ended before it was killed"
        died += 1
        found = look(broken, url_of(broken))
        assert found.clean, (died, found)
        assert found.acknowledged >= acknowledged
        acknowledged = found.acknowledged
    sessions = found.closed + 5
    last = killer.start(broken, url_of(broken), sessions)
    assert killer.end(last) == 0
    assert finished(broken, url_of(broken)) == unbroken(folder / "whole", sessions)
    ready.sort()
    print(
        f"\n{died} kills, {acknowledged} sessions acknowledged before the last one, 0 lost, "
        f"0 doubled; ready again in {ready[len(ready) // 2]:.3f} s (median), {ready[-1]:.3f} s "
        f"(worst) of the clock, {max(spent):.3f} s (worst) of CPU"
    )


@pytest.mark.parametrize(("point", "times"), [(point, 2) for point in POINTS] + SENDS)
def test_killed_at_a_named_point_the_next_process_ends_as_if_it_had_never_been(
    killer, folder, expected, point, times
):
    url = url_of(folder)
    if "epoch" in point and times == 2:
        assert killer.end(killer.start(folder, url, 1)) == 0  # each process takes one
    count = 1 if "epoch" in point else times
    killed = killer.start(folder, url, 4, point=point, times=count, act="kill")
    assert killer.end(killed) == -signal.SIGKILL, f"it never came to the point {point}"
    assert look(folder, url).clean
    assert killer.end(killer.start(folder, url, 4)) == 0
    assert finished(folder, url) == expected


@pytest.fixture(scope="module")
def expected():
    fast = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=fast, prefix="sluice-points-") as name:
        return unbroken(Path(name) / "whole", 4)
