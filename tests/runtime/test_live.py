"""The live driver: what is due by calendar and clock, what was missed, APScheduler around it."""

from __future__ import annotations

import gc
import shutil
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from featurestore.calendars import Calendar, Session
from runtime.clock import ReplayClock, WallClock
from runtime.domain import OrderState
from runtime.engine import Engine, fund
from runtime.errors import DatabaseUnavailable
from runtime.memory import undisturbed
from runtime.scheduling.live import DELAY, LiveDriver, SessionJob, SessionTrigger, start
from tests.fakes.market import CAPITAL, XNYS, SyntheticMarket, open_bench

FRIDAY = XNYS.session(date(2017, 1, 6))
MONDAY = XNYS.session(date(2017, 1, 9))


@pytest.fixture
def bench(tmp_path):
    opened = open_bench(tmp_path)
    fund(opened.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    yield opened
    opened.close()


def driver_of(bench, **options) -> LiveDriver:
    return LiveDriver(open_engine=bench.engine, calendar=XNYS, clock=bench.desk.clock, **options)


def at(bench, moment: datetime) -> None:
    clock = bench.desk.clock
    assert isinstance(clock, ReplayClock)
    clock.advance(moment)


def test_a_session_is_due_some_minutes_after_its_close(bench):
    driver = driver_of(bench)
    at(bench, FRIDAY.close + DELAY - timedelta(seconds=1))
    assert driver.due() == XNYS.session(date(2017, 1, 5))
    at(bench, FRIDAY.close + DELAY)
    assert driver.due() == FRIDAY
    at(bench, MONDAY.close + DELAY - timedelta(seconds=1))
    assert driver.due() == FRIDAY


def test_each_session_runs_once_however_often_it_is_fired(bench):
    told = []
    driver = driver_of(bench, on_session=told.append)
    at(bench, FRIDAY.close + DELAY)
    assert driver.run_due().orders > 0
    assert driver.run_due() is None
    at(bench, MONDAY.close + DELAY)
    assert driver.run_due().fills > 0
    assert [outcome.day for outcome in told] == [FRIDAY.day, MONDAY.day]


def test_a_session_runs_with_libraries_set_aside_and_without_collecting_garbage(bench, monkeypatch):
    during, run = [], Engine.run_session

    def seen(*args, **more):
        during.append((gc.get_freeze_count(), gc.isenabled()))
        return run(*args, **more)

    monkeypatch.setattr(Engine, "run_session", seen)
    at(bench, FRIDAY.close + DELAY)
    gc.unfreeze()
    driver_of(bench, undisturbed=undisturbed).run_due()
    gc.unfreeze()
    ((frozen, collecting),) = during
    assert frozen > 10_000
    assert not collecting
    assert gc.isenabled()


def test_a_session_begins_with_the_log_of_the_database_emptied(bench, tmp_path, monkeypatch):
    whole, run = [], Engine.run_session

    def seen(engine, *args, **more):
        copy = shutil.copy(bench.folder / "runtime.db", tmp_path / "copy.db")
        with closing(sqlite3.connect(copy)) as alone:
            (there,) = alone.execute("SELECT count(*) FROM journal").fetchone()
        whole.append(there == engine.desk.journal.head().seq)
        return run(engine, *args, **more)

    monkeypatch.setattr(Engine, "run_session", seen)
    driver = driver_of(bench)
    for session in (FRIDAY, MONDAY):
        at(bench, session.close + DELAY)
        driver.run_due()
    assert whole == [True, True]


def test_a_decision_missed_by_an_hour_is_on_record_and_sends_nothing(bench):
    at(bench, FRIDAY.close + timedelta(hours=1, seconds=1))
    outcome = driver_of(bench).run_due()
    assert (outcome.orders, outcome.denied) == (0, 4)
    checks = {v.check for line in outcome.decision.plan for v in line.verdicts if not v.passed}
    assert "1 authority" in checks


class Minutes:
    """Waits by moving the clock of a bench; remembers how long."""

    def __init__(self, bench) -> None:
        self.clock, self.waited = bench.desk.clock, []

    def __call__(self, seconds: float) -> bool:
        self.waited.append(seconds)
        self.clock.advance(self.clock.now() + timedelta(seconds=seconds))
        return False


def failing(bench, times: int):
    """Open engines that cannot be opened the first `times` times."""
    left = [DatabaseUnavailable("runtime.db does not answer")] * times

    def open_engine():
        if left:
            raise left.pop()
        return bench.engine()

    return open_engine


def test_a_session_that_fails_is_run_again_every_minute_until_it_is_done(bench):
    wait, told = Minutes(bench), []
    driver = driver_of(bench, wait=wait, patience=timedelta(hours=1), on_session=told.append)
    driver.open_engine = failing(bench, 3)
    at(bench, FRIDAY.close + DELAY)
    assert driver.run_due().orders > 0
    assert wait.waited == [60.0] * 3
    assert [outcome.day for outcome in told] == [FRIDAY.day]


def test_a_session_is_given_up_loudly_when_its_orders_may_no_longer_leave(bench, caplog):
    wait = Minutes(bench)
    driver = driver_of(bench, wait=wait, patience=timedelta(minutes=30))
    driver.open_engine = failing(bench, 999)
    at(bench, FRIDAY.close + DELAY)
    with pytest.raises(DatabaseUnavailable):
        driver.run_due()
    assert len(wait.waited) == 25  # from 5 to 30 minutes after the close
    assert "session 2017-01-06 is given up: runtime.db does not answer" in caplog.text


def test_bars_that_come_late_are_waited_for_and_those_that_never_come_are_told(bench, caplog):
    wait, told, good = Minutes(bench), [], bench.desk.feed
    dead = replace(good, reader=SyntheticMarket(last=date(2017, 1, 5)))

    def open_engine():
        late = len(wait.waited) < 4
        return bench.changed(feed=dead if late else good)

    driver = driver_of(bench, wait=wait, on_session=told.append, patience=timedelta(hours=1))
    driver.open_engine = open_engine
    at(bench, FRIDAY.close + DELAY)
    assert driver.run_due().orders > 0
    assert len(wait.waited) == 4
    assert [outcome.unpriced for outcome in told] == [()]

    driver.open_engine = lambda: bench.changed(feed=dead)
    at(bench, MONDAY.close + DELAY)
    assert driver.run_due().equity is None
    assert len(wait.waited) == 4 + 55  # the default policy allows an hour
    assert "session 2017-01-09 is not closed" in caplog.text
    assert bench.desk.journal.last_session().day == FRIDAY.day


def test_a_driver_that_is_told_to_stop_does_not_try_again(bench):
    driver = driver_of(bench, wait=lambda _: True, patience=timedelta(hours=1))
    driver.open_engine = failing(bench, 999)
    at(bench, FRIDAY.close + DELAY)
    assert driver.run_due() is None


def test_after_a_standstill_only_the_newest_session_runs(bench):
    told = []
    driver = driver_of(bench, on_session=told.append)
    at(bench, FRIDAY.close + DELAY)
    driver.run_due()
    wednesday = XNYS.session(date(2017, 1, 11))
    at(bench, wednesday.close + DELAY)
    outcome = driver.run_due()
    assert [one.day for one in told] == [FRIDAY.day, wednesday.day]
    assert outcome.fills == 0  # Friday's orders were for Monday, whose bar nobody saw
    states = {order.state for order in bench.desk.journal.orders()}
    assert states == {OrderState.EXPIRED}
    assert outcome.breaks == ()


def test_nothing_is_due_before_the_table_begins():
    clock = ReplayClock(datetime.combine(XNYS.first, datetime.min.time(), UTC))
    driver = LiveDriver(open_engine=lambda: None, calendar=XNYS, clock=clock)
    assert driver.due() is None
    assert driver.run_due() is None


def test_the_trigger_skips_holidays_and_follows_early_closes_and_daylight_saving():
    trigger = SessionTrigger(XNYS, timedelta(minutes=5))

    def after(text: str) -> str:
        return trigger.get_next_fire_time(None, datetime.fromisoformat(text)).isoformat()

    assert after("2021-11-24T22:00:00+00:00") == "2021-11-26T18:05:00+00:00"  # 13:00 New York
    assert after("2021-03-12T22:00:00+00:00") == "2021-03-15T20:05:00+00:00"  # summer time began
    assert after("2021-11-05T21:00:00+00:00") == "2021-11-08T21:05:00+00:00"  # and ended
    first = datetime.fromisoformat("2021-11-26T18:05:00+00:00")
    assert trigger.get_next_fire_time(first, first) == datetime(2021, 11, 29, 21, 5, tzinfo=UTC)


def test_the_trigger_ends_with_its_table():
    end = datetime(2100, 1, 1, tzinfo=UTC)
    assert SessionTrigger(XNYS, DELAY).get_next_fire_time(None, end) is None


def soon(count: int, gap: float) -> Calendar:
    """A calendar whose sessions close `gap` seconds apart from now on, on made-up days."""
    now, day = datetime.now(UTC), date(2030, 1, 1)
    sessions = tuple(
        Session(
            day=day + timedelta(days=n),
            open=now,
            close=now + timedelta(seconds=gap * (n + 1)),
        )
        for n in range(count)
    )
    return Calendar("SOON", sessions[0].day, sessions[-1].day, sessions)


class CountingDriver(LiveDriver):
    """Counts runs; the second one fails."""

    def run_due(self):
        self.on_session(None)


def test_a_session_that_hangs_is_not_begun_a_second_time_beside_itself():
    begun, started, go_on = [], threading.Event(), threading.Event()

    class Hanging(LiveDriver):
        def run_due(self):
            begun.append(datetime.now(UTC))
            started.set()
            go_on.wait(120)

    calendar = soon(4, 0.1)
    driver = Hanging(open_engine=lambda: None, calendar=calendar, clock=WallClock())
    job = SessionJob(calendar="SOON", delay=timedelta(0))
    scheduler = start(driver, job, lambda error: None)
    while scheduler.get_jobs():  # until every close has passed
        go_on.wait(0.02)
    assert started.wait(60)
    assert len(begun) == 1
    go_on.set()
    scheduler.shutdown(wait=True)


def test_apscheduler_fires_after_every_close_and_outlives_an_error():
    fired, errors, enough = [], [], threading.Event()

    def on_session(_outcome) -> None:
        fired.append(datetime.now(UTC))
        if len(fired) == 3:
            raise RuntimeError("venue is down")
        if len(fired) >= 5:
            enough.set()

    calendar = soon(400, 0.15)  # whoever comes late for some has others left
    job = SessionJob(calendar="SOON", delay=timedelta(0))
    driver = CountingDriver(
        open_engine=lambda: None, calendar=calendar, clock=WallClock(), on_session=on_session
    )
    scheduler = start(driver, job, errors.append)
    assert enough.wait(60)
    scheduler.shutdown(wait=True)
    assert [str(error) for error in errors] == ["venue is down"]
    assert scheduler.get_jobs() == []
    closes = [session.close for session in calendar.sessions(calendar.first, calendar.last)]
    assert all(one >= close for one, close in zip(fired[1:], closes, strict=False))
    assert job.id == "session SOON"
