"""Each write, commit, fsync and send of a few sessions fails in its turn; and a disk that is full.

After every single failure the same process goes on, or the next one does, and the journal ends in
the head of a run in which nothing failed.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from runtime.errors import VenueUnknownOutcome
from tests.fakes.fault_world import WatchedVenue, acknowledge, open_world
from tests.faults.killer import finished, look
from tests.faults.test_kill_points import unbroken, url_of

SESSIONS = 2
_MEMORY = Path("/dev/shm")
WRITES = ("INSERT", "UPDATE", "DELETE")


@pytest.fixture
def folder() -> Iterator[Path]:
    fast = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=fast, prefix="sluice-failing-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def expected():
    with tempfile.TemporaryDirectory(prefix="sluice-failing-") as name:
        return unbroken(Path(name) / "whole", SESSIONS)


class Nth:
    """Counts calls and fails the n-th, once."""

    def __init__(self, number: int, fail: Callable[[], BaseException]) -> None:
        self.number, self.fail, self.calls = number, fail, 0

    def __call__(self, *_: object) -> None:
        self.calls += 1
        if self.calls == self.number:
            raise self.fail()


def full() -> OperationalError:
    return OperationalError("INSERT", {}, OSError("disk I/O error"))


def failing_writes(world, count: Nth):
    """The n-th statement that writes fails."""

    def before(_connection, _cursor, statement, *_):
        if statement.startswith(WRITES):
            count()

    event.listen(world.journal.engine, "before_cursor_execute", before)


def failing_commits(world, count: Nth):
    """The n-th commit fails, and has no effect."""
    event.listen(world.journal.engine, "commit", count)


def commits_without_answer(world, count: Nth):
    """The n-th commit takes effect, and its answer is lost."""

    def commit(connection) -> None:
        if count.calls + 1 == count.number:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("BEGIN")
        count()

    event.listen(world.journal.engine, "commit", commit)


def unknown() -> VenueUnknownOutcome:
    return VenueUnknownOutcome("no answer")


def sends_lost_before(world, count: Nth):
    """The n-th order is lost on its way to the venue."""
    watch(world, before=count)


def sends_lost_after(world, count: Nth):
    """The venue's answer to the n-th order is lost."""
    watch(world, after=count)


def watch(world, *, before=lambda: None, after=lambda: None) -> None:
    for venue in world.bench.desk.brokers:
        assert isinstance(venue, WatchedVenue)
        venue.reached = lambda point: {
            "before an order is sent": before,
            "after an order is sent": after,
        }.get(point, lambda: None)()


KINDS = [
    (failing_writes, full),
    (failing_commits, full),
    (commits_without_answer, full),
    (sends_lost_before, unknown),
    (sends_lost_after, unknown),
]


def run_with(folder: Path, arm, fail, number: int) -> Nth:
    """Trade while the n-th call fails; every fourth time another process goes on after it."""
    folder.mkdir(parents=True, exist_ok=True)
    count, told = Nth(number, fail), acknowledge(folder / "acknowledged")
    world = open_world(folder, url_of(folder))
    arm(world, count)
    world.run(SESSIONS, told)
    world.close()
    if number % 4 == 1:
        again = open_world(folder, url_of(folder))
        again.run(SESSIONS, told)
        again.close()
    return count


@pytest.mark.parametrize(("arm", "fail"), KINDS, ids=lambda one: getattr(one, "__name__", ""))
def test_every_call_of_a_kind_may_fail_in_its_turn(folder, expected, arm, fail):
    number, calls = 1, 1
    while number <= calls:
        place = folder / f"{number}"
        count = run_with(place, arm, fail, number)
        calls = max(calls, min(count.calls, count.number + 1))
        assert finished(place, url_of(place)) == expected, f"call {number} of {arm.__name__}"
        number += 1
    assert number > 4  # it has failed at several places


def test_an_fsync_that_fails_is_told_and_loses_nothing(folder, expected, monkeypatch):
    """Of the file that remembers heads; the databases' own lie below us (see the full disk)."""
    real, failed = os.fsync, []

    def fsync(descriptor: int) -> None:
        if len(failed) < SESSIONS:
            failed.append(descriptor)
            raise OSError(5, "Input/output error")
        real(descriptor)

    told = acknowledge(folder / "acknowledged")
    world = open_world(folder, url_of(folder))
    monkeypatch.setattr(os, "fsync", fsync)
    world.run(SESSIONS, told)
    world.close()
    assert len(failed) == SESSIONS
    assert finished(folder, url_of(folder)) == expected


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """A file system of its own that is soon full; skips where none may be mounted."""
    with tempfile.TemporaryDirectory(prefix="sluice-disk-") as name:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", name]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


def test_on_a_full_disk_nothing_is_lost_and_with_room_it_goes_on(folder, expected):
    """The disk fills up between any two writes; each size stops it somewhere else."""
    failed = 0
    with small_disk("4m") as disk:
        ballast, place = disk / "ballast", disk / "world"
        url = url_of(place)
        open_world(place, url).close()  # bundle and tables fit
        told = acknowledge(folder / "acknowledged")
        (place / "acknowledged").symlink_to(folder / "acknowledged")
        for free in range(0, 64, 16):  # KiB left for journal and venues
            world = open_world(place, url)
            fill(ballast, disk, free)
            failed += world.run(SESSIONS, told, tries=2)
            ballast.unlink()
            world.close()
            assert look(place, url).clean
        world = open_world(place, url)
        assert world.run(SESSIONS, told) == 0
        world.close()
        assert finished(place, url) == expected
    assert failed > 1


def fill(ballast: Path, disk: Path, free: int) -> None:
    """Leave `free` KiB of a disk."""
    there = os.statvfs(disk)
    spare = there.f_bavail * there.f_frsize - free * 1024
    ballast.write_bytes(bytes(max(0, spare)))


def test_a_database_that_may_not_grow_refuses_and_then_goes_on(folder, expected):
    """SQLite's own limit: every commit that needs another page fails."""
    told, url = acknowledge(folder / "acknowledged"), url_of(folder)
    open_world(folder, url).close()
    failed = 0
    for more in range(4):
        world = open_world(folder, url)
        event.listen(world.journal.engine, "begin", limit_pages(more))
        failed += world.run(SESSIONS, told, tries=2)
        world.close()
        assert look(folder, url).clean
    world = open_world(folder, url)
    assert world.run(SESSIONS, told) == 0
    world.close()
    assert finished(folder, url) == expected
    assert failed > 1


def limit_pages(more: int) -> Callable[..., None]:
    limits: list[int] = []

    def begin(connection) -> None:
        if not limits:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            limits.append(pages + more)
        connection.exec_driver_sql(f"PRAGMA max_page_count={limits[0]}")

    return begin
