"""Notebooks on a schedule: cron as cron means it, each slot once, nothing made up for silently."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import NotebookInvalid, ScheduleInvalid
from pipelines.schedules.book import Job, ScheduleBook
from pipelines.schedules.cron import cron, next_slot, slots
from pipelines.schedules.worker import ALIVE, Done, Worker, serve
from runtime.clock import ReplayClock, WallClock
from runtime.database import open_database

START = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)  # a Monday


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'research.db'}"


@pytest.fixture
def book(url):
    return ScheduleBook(open_database(url))


def job(name="hourly", expression="0 * * * *", **more):
    more = {"added_at": START, "notebook": "/nowhere/a.ipynb", **more}
    return Job(name=name, cron=expression, **more)


class Runs:
    """Executes nothing; remembers what it was asked."""

    def __init__(self, complete=True):
        self.seen, self.complete = [], complete

    def __call__(self, job, schedule):
        self.seen.append(schedule)
        reason = "" if self.complete else "cell error: ZeroDivisionError"
        return Done(run=f"run-{len(self.seen)}", complete=self.complete, reason=reason)


def worker(book, clock, runs=None, holder="a"):
    return Worker(book=book, clock=clock, holder=holder, execute=runs or Runs())


def outcomes(book):
    return [(f"{slot.slot:%d %H}", slot.outcome) for slot in book.slots()]


# ---- cron


def test_weekdays_count_from_sunday_as_in_cron_not_from_monday():
    found = list(slots(cron("0 7 * * 1-5", "UTC"), at(0), at(24 * 7)))
    assert [due.strftime("%a") for due in found] == ["Mon", "Tue", "Wed", "Thu", "Fri"]
    for sunday in ("0", "7", "sun", "SUN"):
        assert next_slot(cron(f"0 7 * * {sunday}", "UTC"), at(0)).strftime("%a") == "Sun"
    over = list(slots(cron("0 7 * * fri-mon", "UTC"), at(0), at(24 * 7)))
    assert [due.strftime("%a") for due in over] == ["Mon", "Fri", "Sat", "Sun"]


@given(st.integers(0, 59), st.integers(0, 23), st.sets(st.integers(0, 6), min_size=1))
def test_slots_are_those_that_a_walk_over_every_minute_finds(minute, hour, days):
    expression = f"{minute} {hour} * * {','.join(map(str, sorted(days)))}"
    end = at(24 * 8)
    walked = (START + timedelta(minutes=n) for n in range(1, 24 * 8 * 60 + 1))
    expected = [
        moment
        for moment in walked
        if (moment.minute, moment.hour) == (minute, hour) and moment.isoweekday() % 7 in days
    ]
    assert list(slots(cron(expression, "UTC"), START, end)) == expected


def test_the_expression_means_local_time_on_both_sides_of_a_clock_change():
    trigger = cron("0 7 * * *", "America/New_York")
    found = list(slots(trigger, datetime(2026, 3, 7, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC)))
    assert [f"{due:%d %H}" for due in found] == ["07 12", "08 11"]


@pytest.mark.parametrize(
    ("expression", "day", "expected"),
    [
        ("30 2 * * *", datetime(2026, 3, 8, tzinfo=UTC), ["07:30"]),  # 2:30 is skipped
        ("30 1 * * *", datetime(2026, 11, 1, tzinfo=UTC), ["05:30", "06:30"]),  # 1:30 comes twice
    ],
)
def test_local_times_that_a_clock_change_skips_or_repeats(expression, day, expected):
    found = slots(cron(expression, "America/New_York"), day, day + timedelta(hours=22))
    assert [f"{due:%H:%M}" for due in found] == expected


@pytest.mark.parametrize(
    ("expression", "zone", "words"),
    [
        ("0 7 * *", "UTC", "has 4"),
        ("0 25 * * *", "UTC", "does not read"),
        ("0 7 * * 8", "UTC", "names no day of the week"),
        ("0 7 1 * 1", "UTC", "add two jobs"),
        ("0 7 * * *", "Mars/Olympus", "no time zone"),
    ],
)
def test_a_schedule_that_does_not_read_says_what_is_wrong(expression, zone, words):
    with pytest.raises(ScheduleInvalid, match=words):
        cron(expression, zone)


# ---- slots


def test_a_slot_runs_once_and_its_record_names_the_schedule(book):
    book.add(job())
    clock, runs = ReplayClock(at(0.5)), Runs()
    mine = worker(book, clock, runs)
    assert mine.look() == []
    clock.advance(at(1.001))
    (due,) = mine.look()
    assert mine.look() == []
    mine.run(due)
    assert mine.look() == []
    assert runs.seen == ["hourly@2026-03-02T07:00:00Z"]
    (slot,) = book.slots()
    assert (slot.outcome, slot.run, slot.reason, slot.holder) == ("complete", "run-1", "", "a")


def test_many_workers_at_once_run_a_slot_once(url, book):
    book.add(job())
    clock, barrier = ReplayClock(at(1.001)), threading.Barrier(6)
    claimed = []

    def look(number):
        mine = worker(ScheduleBook(open_database(url)), clock, holder=str(number))
        barrier.wait()
        claimed.extend(mine.look())

    threads = [threading.Thread(target=look, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 1
    assert outcomes(book) == [("02 07", "running")]


def test_a_job_never_overlaps_itself_and_the_slot_it_gave_up_is_on_record(book):
    book.add(job())
    clock = ReplayClock(at(1.001))
    mine, other = worker(book, clock), worker(book, clock, holder="b")
    (due,) = mine.look()
    clock.advance(at(2.001))
    mine.beat(clock.now())
    assert other.look() == []
    mine.run(due)
    clock.advance(at(3.001))
    (after,) = other.look()
    assert after.slot == at(3)
    kept = {f"{slot.slot:%H}": (slot.outcome, slot.reason) for slot in book.slots()}
    assert kept["07"] == ("complete", "")
    assert kept["08"] == ("missed", "the run of an earlier slot had not ended")
    assert kept["09"] == ("running", "")


def test_after_a_rest_the_newest_slot_runs_and_the_others_are_missed_on_record(url, book):
    book.add(job())
    clock = ReplayClock(at(1.001))
    first = worker(book, clock)
    first.run(first.look()[0])
    clock.advance(at(6.5))
    again = worker(ScheduleBook(open_database(url)), clock, holder="restarted")
    (due,) = again.look()
    assert due.slot == at(6)
    again.run(due)
    assert outcomes(book) == [("02 07", "complete"), ("02 11", "missed"), ("02 12", "complete")]
    assert book.slots()[1].reason == "no worker ran at its time; so were the 3 before it"


def test_a_slot_that_is_too_late_is_missed_not_run(book):
    book.add(job(expression="0 7 * * *", grace_s=600.0))
    clock = ReplayClock(at(1) + timedelta(seconds=601))
    assert worker(book, clock).look() == []
    (slot,) = book.slots()
    assert (slot.outcome, slot.reason) == ("missed", "no worker ran within 600 s of its time")


def test_a_worker_that_dies_leaves_a_crashed_slot_and_the_next_one_runs(book):
    book.add(job())
    clock = ReplayClock(at(1.001))
    worker(book, clock, holder="dies").look()
    clock.advance(at(1.001) + ALIVE / 2)
    assert worker(book, clock, holder="b").look() == []
    assert outcomes(book) == [("02 07", "running")]
    clock.advance(at(2.001))
    (due,) = worker(book, clock, holder="b").look()
    assert due.slot == at(2)
    assert outcomes(book) == [("02 07", "crashed"), ("02 08", "running")]


def test_a_worker_that_was_given_up_cannot_end_the_slot_later(book):
    book.add(job())
    clock = ReplayClock(at(1.001))
    slow = worker(book, clock)
    (due,) = slow.look()
    clock.advance(at(1.5))
    worker(book, clock, holder="b").look()
    slow.run(due)
    assert outcomes(book) == [("02 07", "crashed")]


def test_a_failed_run_and_one_that_cannot_start_end_as_failed_with_the_reason(book):
    book.add(job())
    clock = ReplayClock(at(1.001))

    def gone(job, schedule):
        raise NotebookInvalid("a.ipynb is not there any more")

    for hour, execute in ((1, Runs(complete=False)), (2, gone)):
        clock.advance(at(hour + 0.001))
        mine = worker(book, clock, execute)
        mine.run(mine.look()[0])
    assert [(slot.outcome, slot.run, slot.reason) for slot in book.slots()] == [
        ("failed", "run-1", "cell error: ZeroDivisionError"),
        ("failed", "", "a.ipynb is not there any more"),
    ]


def test_jobs_have_names_of_their_own_and_a_removed_one_keeps_its_history(book):
    book.add(job())
    with pytest.raises(ScheduleInvalid, match="already"):
        book.add(job())
    clock = ReplayClock(at(1.001))
    mine = worker(book, clock)
    mine.run(mine.look()[0])
    book.remove("hourly")
    assert book.jobs() == ()
    with pytest.raises(ScheduleInvalid, match="jobs are: none"):
        book.remove("hourly")
    book.add(job(added_at=at(5)))
    clock.advance(at(5.5))
    assert mine.look() == [], "slots before it was added again never were"
    assert outcomes(book) == [("02 07", "complete")]


def test_the_worker_fires_by_itself_and_lets_runs_end_before_it_does(book):
    now = datetime.now(UTC)
    book.add(job(expression="* * * * *", added_at=now - timedelta(minutes=2)))
    until, ended = threading.Event(), []

    def execute(job, schedule):
        until.set()  # told to end while it runs
        return Runs()(job, schedule)

    serve(
        Worker(
            book=book,
            clock=WallClock(),
            holder="a",
            execute=execute,
            on_end=lambda due, outcome, reason: ended.append(outcome),
        ),
        workers=2,
        until=until,
    )
    assert ended == ["complete"]
    assert book.slots()[-1].outcome == "complete"
