"""Several replicas, missed ticks, both daylight-saving nights, and the hand-over of a tick."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate, pairwise
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import create_engine

from featurestore.calendars import Calendar, Session, load_calendar
from runtime.brokers.paper import PaperVenue
from runtime.brokers.terms import PRIMARY
from runtime.clock import ReplayClock, WallClock
from runtime.database import open_database
from runtime.domain import OrderState
from runtime.engine import SessionOutcome, fund
from runtime.errors import DatabaseUnavailable, HandedOver, Superseded, VenueUnknownOutcome
from runtime.journal.store import Journal
from runtime.scheduling.fence import Epochs
from runtime.scheduling.lead import FileLead
from runtime.scheduling.live import DELAY, LATE, LiveDriver, Replica, SessionJob, Stopping
from runtime.scheduling.slots import Slots
from tests.fakes.market import CAPITAL, XNYS, open_bench
from tests.runtime.journal.trading import make_order

FRIDAY = XNYS.session(date(2017, 1, 6))
MONDAY = XNYS.session(date(2017, 1, 9))
WEDNESDAY = XNYS.session(date(2017, 1, 11))


class Counted:
    """Stands for an engine: remembers the sessions that were run, and closes them."""

    def __init__(self, *, unpriced: tuple[str, ...] = ()) -> None:
        self.ran: list[date] = []
        self.unpriced = unpriced
        policy = SimpleNamespace(authority=SimpleNamespace(submit_after_close=3600.0))
        journal = SimpleNamespace(engine=create_engine("sqlite://"))
        self.desk = SimpleNamespace(policy_at=lambda _at: policy, journal=journal)
        self.history = SimpleNamespace(last_day=None)

    def run_session(self, session, *, final: bool) -> SessionOutcome:
        self.ran.append(session.day)
        return SessionOutcome(
            day=session.day,
            decision=None,
            orders=0,
            fills=0,
            equity=None,
            benchmark_return=None,
            breaks=(),
            unpriced=self.unpriced,
        )


@pytest.fixture
def database(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'slots.db'}")
    yield engine
    engine.dispose()


def claiming(database, engine, clock, *, calendar=XNYS, holder="a", **options) -> LiveDriver:
    """A driver that claims its slots under an epoch of its own."""
    fence = Epochs(database).take("live", holder=holder, at=clock.now())
    return LiveDriver(
        open_engine=lambda: engine,
        calendar=calendar,
        clock=clock,
        slots=Slots.open(database, fence, f"session {calendar.name}"),
        **options,
    )


def outcomes(driver) -> list[tuple[date, str]]:
    return [(note.slot, note.outcome) for note in driver.slots.notes()]


NIGHTS = [  # the session before and the one after the clocks change; some exchanges trade on Sunday
    ("XNYS", "America/New_York", (16, 0), date(2021, 3, 12), date(2021, 3, 15)),
    ("XNYS", "America/New_York", (16, 0), date(2021, 11, 5), date(2021, 11, 8)),
    ("XNYS", "America/New_York", (16, 0), date(2026, 3, 6), date(2026, 3, 9)),
    ("XNYS", "America/New_York", (16, 0), date(2026, 10, 30), date(2026, 11, 2)),
    ("daily", "Europe/London", (16, 30), date(2026, 3, 28), date(2026, 3, 29)),
    ("daily", "Europe/London", (16, 30), date(2026, 10, 24), date(2026, 10, 25)),
    ("daily", "America/New_York", (2, 30), date(2026, 3, 7), date(2026, 3, 8)),  # 2:30 is skipped
    ("daily", "America/New_York", (1, 30), date(2026, 10, 31), date(2026, 11, 1)),  # twice 1:30
    ("daily", "Asia/Kolkata", (15, 30), date(2026, 3, 28), date(2026, 3, 29)),  # never changes
]


def daily(zone: ZoneInfo, close: tuple[int, int]) -> Calendar:
    """A market that closes every day of 2026 at one local time."""
    days = [date(2026, 1, 1) + timedelta(days=n) for n in range(365)]
    closes = [datetime(d.year, d.month, d.day, *close, tzinfo=zone).astimezone(UTC) for d in days]
    sessions = tuple(
        Session(day=day, open=at - timedelta(hours=6), close=at)
        for day, at in zip(days, closes, strict=True)
    )
    return Calendar("daily", days[0], days[-1], sessions)


@pytest.mark.parametrize(("name", "place", "close", "before", "after"), NIGHTS)
def test_over_the_night_the_clocks_change_each_session_runs_once_at_its_local_time(
    database, name, place, close, before, after
):
    """The clock walks from close to close in steps of five minutes, fired at every step."""
    zone = ZoneInfo(place)
    calendar = load_calendar(name) if name == "XNYS" else daily(zone, close)
    first = datetime(before.year, before.month, before.day, *close, tzinfo=zone)
    last = datetime(after.year, after.month, after.day, *close, tzinfo=zone)
    clock, engine = ReplayClock(first.astimezone(UTC)), Counted()
    driver = claiming(database, engine, clock, calendar=calendar)
    driver.slots.end(calendar.previous(before).day, "done", clock.now())
    ran_at = {}
    while clock.now() <= last.astimezone(UTC) + timedelta(hours=3):
        if driver.run_due() is not None:
            ran_at[engine.ran[-1]] = clock.now()
        clock.advance(clock.now() + timedelta(minutes=5))
    assert engine.ran == [before, after]
    assert ran_at == {  # as people there read the time
        before: first.astimezone(UTC) + DELAY,
        after: last.astimezone(UTC) + DELAY,
    }


def test_however_often_and_by_whom_a_slot_is_fired_it_runs_once(database):
    clock, engine = ReplayClock(FRIDAY.close + DELAY), Counted()
    for holder in "abc":
        driver = claiming(database, engine, clock, holder=holder)
        for _ in range(3):
            driver.run_due()
    assert engine.ran == [FRIDAY.day]


def test_a_replica_that_was_superseded_runs_nothing_and_says_so(database, caplog):
    clock, engine = ReplayClock(FRIDAY.close + DELAY), Counted()
    old = claiming(database, engine, clock, holder="old")
    new = claiming(database, engine, clock, holder="new")
    assert old.run_due() is None
    assert old.superseded.is_set()
    assert "session 2017-01-06 is left to another process" in caplog.text
    assert engine.ran == []
    assert new.run_due() is not None
    assert engine.ran == [FRIDAY.day]


def test_sessions_passed_over_are_on_record_as_skipped_and_the_newest_runs_late(database):
    clock, engine = ReplayClock(FRIDAY.close + DELAY), Counted()
    claiming(database, engine, clock).run_due()
    clock.advance(WEDNESDAY.close + timedelta(hours=10))
    driver = claiming(database, engine, clock, holder="b")
    driver.run_due()
    assert engine.ran == [FRIDAY.day, WEDNESDAY.day]
    assert outcomes(driver) == [
        (FRIDAY.day, "claimed"),
        (FRIDAY.day, "done"),
        (MONDAY.day, "skipped"),
        (date(2017, 1, 10), "skipped"),
        (WEDNESDAY.day, "claimed"),
        (WEDNESDAY.day, "late"),
    ]
    assert driver.slots.notes()[-1].reason == "begun 9:55:00 after time"


@pytest.mark.parametrize(
    ("allowed", "found", "ran"),
    [
        (timedelta(hours=2), timedelta(hours=2), True),
        (timedelta(hours=2), timedelta(hours=2, seconds=1), False),
        (timedelta(0), timedelta(0), True),
        (timedelta(0), timedelta(seconds=1), False),
        (LATE, timedelta(hours=40), True),
    ],
)
def test_a_slot_found_too_late_is_skipped_on_record(database, allowed, found, ran):
    clock, engine = ReplayClock(FRIDAY.close + DELAY + found), Counted()
    driver = claiming(database, engine, clock, late=allowed)
    assert (driver.run_due() is not None) is ran
    assert (engine.ran == [FRIDAY.day]) is ran
    if not ran:
        assert outcomes(driver) == [(FRIDAY.day, "skipped")]
        assert f"allowed {allowed}" in driver.slots.notes()[0].reason
        assert driver.run_due() is None
        assert len(driver.slots.notes()) == 1


def test_the_longest_usual_way_between_two_closes_is_not_too_late():
    """Good Friday's weekend: what is newest is run whenever a process starts before the next."""
    sessions = XNYS.sessions(date(2015, 1, 1), date(2026, 12, 31))
    assert max(after.close - before.close for before, after in pairwise(sessions)) < LATE


def test_a_session_without_bars_is_given_up_on_record_and_may_be_taken_up_again(database):
    clock, engine = ReplayClock(FRIDAY.close + timedelta(hours=1)), Counted(unpriced=("AAA",))
    driver = claiming(database, engine, clock)
    driver.run_due()
    assert outcomes(driver) == [(FRIDAY.day, "claimed"), (FRIDAY.day, "gave up")]
    assert driver.slots.notes()[-1].reason == "no bar of it for AAA"
    engine.unpriced = ()
    heir = claiming(database, engine, clock, holder="b")
    heir.run_due()
    assert outcomes(heir)[2:] == [(FRIDAY.day, "resumed"), (FRIDAY.day, "late")]


def test_a_session_that_fails_to_its_end_is_given_up_on_record(database):
    clock = ReplayClock(FRIDAY.close + DELAY)
    engine = Counted()

    def fails(_session, *, final):
        raise VenueUnknownOutcome("no venue answers")

    engine.run_session = fails
    driver = claiming(database, engine, clock, wait=lambda _s: clock.advance(MONDAY.open) or False)
    with pytest.raises(VenueUnknownOutcome):
        driver.run_due()
    notes = [(note.outcome, note.reason) for note in driver.slots.notes()]
    assert notes == [("claimed", ""), ("gave up", "no venue answers")]


def test_a_clock_an_hour_ahead_decides_nothing_on_bars_that_are_not_there(tmp_path):
    """Its own session is not over yet: it waits for bars, and trades them when they come."""
    bench = open_bench(tmp_path)
    fund(bench.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    real = ReplayClock(FRIDAY.close - timedelta(minutes=30))

    class Ahead:
        def now(self) -> datetime:
            return real.now() + timedelta(hours=1)

    class TrueFeed:
        def bars(self, symbols, at):
            return bench_feed.bars(symbols, real.now())

    bench_feed = bench.desk.feed
    waited = []

    def wait(seconds: float) -> bool:
        assert bench.desk.journal.counts()["decisions"] == 0
        waited.append(seconds)
        real.advance(real.now() + timedelta(seconds=seconds))
        return False

    desk = replace(bench.desk, clock=Ahead(), feed=TrueFeed())
    bench.desk = desk
    driver = LiveDriver(
        open_engine=bench.engine,
        calendar=XNYS,
        clock=desk.clock,
        wait=wait,
        patience=timedelta(hours=1),
    )
    outcome = driver.run_due()
    assert len(waited) == 30
    assert outcome is not None
    assert outcome.day == FRIDAY.day
    bench.close()


def test_a_process_told_to_stop_goes_on_sending_for_its_grace_and_no_longer(tmp_path):
    """What was committed and not sent is asked about and sent by the next process."""
    bench = open_bench(tmp_path)
    fund(bench.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    bench.desk.clock.advance(FRIDAY.close + DELAY)
    engine = bench.desk.journal.engine
    fence = Epochs(engine).take("paper", holder="a", at=bench.desk.clock.now())
    ticks = iter([0.0, 1.0, 4.9, 5.1, 5.2, 5.3])
    stopping = Stopping(monotonic=lambda: next(ticks), grace=5.0)
    stopping.stop()
    desk = replace(bench.desk, standing=stopping.standing(fence))
    driver = LiveDriver(
        open_engine=lambda: type(bench.engine())(desk),
        calendar=XNYS,
        clock=bench.desk.clock,
        patience=timedelta(hours=1),
    )
    assert driver.run_due() is None
    orders = bench.desk.journal.orders()
    assert len(orders) > 2
    sent = [bench.desk.broker(one.order.venue).find(one.order.order_id) for one in orders]
    assert sent.count(OrderState.WORKING) == 2
    assert {one.state for one in orders} == {OrderState.PENDING}

    heir = LiveDriver(open_engine=bench.engine, calendar=XNYS, clock=bench.desk.clock)
    heir.run_due()
    after = bench.desk.journal.orders()
    assert [one.order for one in after] == [one.order for one in orders]
    assert {one.state for one in after} == {OrderState.WORKING}
    bench.close()


def test_no_call_that_changes_something_at_a_venue_is_made_under_an_older_epoch(database):
    epochs, made = Epochs(database), []
    standing = Stopping().standing(epochs.take("live", holder="a", at=datetime.now(UTC)))
    with standing():
        made.append("ours")
    epochs.take("live", holder="b", at=datetime.now(UTC))
    with pytest.raises(Superseded), standing():
        made.append("late")
    assert made == ["ours"]


def test_the_grace_begins_with_the_first_signal():
    now = [0.0]
    stopping = Stopping(monotonic=lambda: now[0], grace=5.0)
    stopping.check()
    stopping.stop()
    now[0] = 4.0
    stopping.stop()
    stopping.check()
    now[0] = 5.5
    with pytest.raises(HandedOver, match="the next process asks the venue about each"):
        stopping.check()


def today(count: int, gap: float, growth: float = 1.0) -> Calendar:
    """Sessions of the last `count` days that all close from now on.

    Args:
        count: how many sessions.
        gap: seconds to the first close.
        growth: how many times as long each next one takes.
    """
    now = datetime.now(UTC)
    closes = accumulate(gap * growth**n for n in range(count))
    sessions = tuple(
        Session(
            day=now.date() - timedelta(days=count - 1 - n),
            open=now,
            close=now + timedelta(seconds=close),
        )
        for n, close in enumerate(closes)
    )
    return Calendar("SOON", sessions[0].day, sessions[-1].day, sessions)


def replica_of(database, tmp_path, calendar, ran, name, **options) -> tuple[Replica, Stopping]:
    def open_driver(fence, _stopping) -> LiveDriver:
        engine = Counted()
        run = engine.run_session

        def remembering(session, *, final):
            ran.append((session.day, name, fence.epoch))
            return run(session, final=final)

        engine.run_session = remembering
        return LiveDriver(
            open_engine=lambda: engine,
            calendar=calendar,
            clock=WallClock(),
            delay=timedelta(0),
            slots=Slots.open(database, fence, "session SOON"),
        )

    replica = Replica(
        lead=FileLead(tmp_path / "trade.lead"),
        epochs=Epochs(database),
        account="live",
        holder=name,
        clock=WallClock(),
        open_driver=open_driver,
        beat=0.02,
        **options,
    )
    return replica, Stopping()


def test_three_replicas_run_every_slot_once_while_the_leader_is_stopped_again_and_again(
    database, tmp_path
):
    # As many as a driver looks back at; the last ones are there for a busy machine alone.
    calendar, ran = today(14, 0.5, growth=1.35), []
    running = {}

    def begin(name: str) -> None:
        replica, stopping = replica_of(database, tmp_path, calendar, ran, name)
        job = SessionJob(calendar="SOON", delay=timedelta(0))
        thread = threading.Thread(target=replica.serve, args=(job, stopping))
        thread.start()
        running[name] = (thread, stopping)

    def end(name: str) -> None:
        thread, stopping = running.pop(name)
        stopping.stop()
        thread.join(60)
        assert not thread.is_alive()

    for name in "abc":
        begin(name)
    deadline = time.monotonic() + 120
    while running and time.monotonic() < deadline:
        if ran and ran[-1][1] in running:  # it leads and has worked: stop it
            end(ran[-1][1])
        time.sleep(0.01)
    assert not running
    days = [day for day, _, _ in ran]
    assert len(days) == len(set(days))  # none twice
    assert len({name for _, name, _ in ran}) == 3
    assert [epoch for _, _, epoch in ran] == sorted(epoch for _, _, epoch in ran)
    heir = Epochs(database).take("live", holder="z", at=datetime.now(UTC))
    notes = Slots.open(database, heir, "session SOON").notes()
    ended = [note.slot for note in notes if note.outcome in ("done", "late", "skipped")]
    every = [session.day for session in calendar.sessions(days[0], days[-1])]
    assert sorted(ended) == every  # none is missing, and none ended twice


def test_a_replica_stands_by_until_the_database_answers(database, tmp_path):
    calendar, ran, told = today(2, 0.1), [], []
    replica, stopping = replica_of(
        database, tmp_path, calendar, ran, "a", on_standby=lambda: told.append("standing by")
    )
    taken, left = replica.epochs.take, [DatabaseUnavailable("it does not answer")] * 3

    class Epoch:
        def take(self, account, **named):
            if left:
                raise left.pop()
            return taken(account, **named)

    replica.epochs = Epoch()
    replica.on_lead = lambda fence: (told.append("leads"), stopping.stop())
    replica.serve(SessionJob(calendar="SOON", delay=timedelta(0)), stopping)
    assert told == ["standing by", "leads"]


def test_a_replica_that_loses_the_lead_lets_go_and_takes_another_epoch(database, tmp_path):
    told: list[str] = []
    replica, stopping = replica_of(database, tmp_path, today(2, 0.1), [], "a")

    class Ended:
        """A lead whose session the server ends as soon as it is had."""

        def take(self) -> bool:
            return True

        def holds(self) -> bool:
            return False

        def release(self) -> None:
            told.append("lets go")

    def leads(fence) -> None:
        told.append(f"leads as {fence.epoch}")
        if fence.epoch == 2:
            stopping.stop()

    replica.lead, replica.on_lead = Ended(), leads
    late = threading.Timer(60, stopping.stop)  # ends a replica that would hold on for ever
    late.start()
    replica.serve(SessionJob(calendar="SOON", delay=timedelta(0)), stopping)
    late.cancel()
    assert told == ["leads as 1", "lets go", "leads as 2", "lets go"]


def test_a_replica_that_was_superseded_while_it_leads_does_not_sit_on_the_lead(database, tmp_path):
    told: list[int] = []
    replica, stopping = replica_of(database, tmp_path, today(2, 0.1), [], "a")

    def leads(fence) -> None:
        told.append(fence.epoch)
        if len(told) == 2:
            stopping.stop()
        else:  # somebody who never asked for the lead, as after a file of it was removed
            Epochs(database).take("live", holder="b", at=datetime.now(UTC))

    replica.on_lead = leads
    late = threading.Timer(60, stopping.stop)
    late.start()
    replica.serve(SessionJob(calendar="SOON", delay=timedelta(0)), stopping)
    late.cancel()
    assert told == [1, 3]


def test_two_journals_of_one_account_commit_one_decision_whoever_claims_it(tmp_path):
    """Without any claim, the journal itself keeps a tick to one decision: the last line."""
    one, other = open_bench(tmp_path), open_bench(tmp_path)
    fund(one.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    for bench in (one, other):
        bench.desk.clock.advance(FRIDAY.close + DELAY)
    threads = [
        threading.Thread(target=bench.engine().run_session, args=(FRIDAY,))
        for bench in (one, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal: Journal = one.desk.journal
    assert journal.counts()["decisions"] == 1
    sent = [len(broker.working()) for broker in one.desk.brokers]
    assert sum(sent) == len(journal.orders()) > 0
    for bench in (one, other):
        bench.close()


def test_a_venue_serves_the_newest_session_alone_and_takes_cancels_from_anybody(tmp_path):
    bench = open_bench(tmp_path)
    fund(bench.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    bench.desk.clock.advance(FRIDAY.close + DELAY)
    old, new, kill = (PaperVenue(tmp_path / "venues" / "x.db", PRIMARY) for _ in range(3))
    order = make_order(10)
    kill.submit(order)  # nobody has logged on: a replay's venue
    old.log_on(1)
    new.log_on(2)
    with pytest.raises(Superseded, match="primary serves epoch 2 now, not 1"):
        old.log_on(1)
    for stale in (old, kill):
        with pytest.raises(Superseded):
            stale.submit(make_order(10, leg=1))
        with pytest.raises(Superseded):
            stale.expire_before(FRIDAY.close)
    assert new.submit(order) is OrderState.WORKING
    assert [one.order_id for one in new.working()] == [order.order_id]
    assert kill.cancel(order.order_id) is OrderState.CANCELLED
    for venue in (old, new, kill):
        venue.close()
    bench.close()


class Silent:
    """A venue that answers quotes and then nothing; counts how often it is called."""

    def __init__(self, venue) -> None:
        self.venue, self.calls = venue, 0
        self.name = venue.name

    def __getattr__(self, name: str):
        return getattr(self.venue, name)

    def submit(self, order):
        self.calls += 1
        raise VenueUnknownOutcome("no answer")

    def find(self, order_id):
        self.calls += 1
        raise VenueUnknownOutcome("no answer")


def test_a_silent_venue_is_left_alone_after_some_calls_and_heard_again_at_the_next_attempt(
    tmp_path, monkeypatch
):
    """Without that, every order would wait for every one of its calls to time out."""
    monkeypatch.setattr("runtime.execution.venues.SILENCE", 10)
    bench = open_bench(tmp_path)
    fund(bench.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    bench.desk.clock.advance(FRIDAY.close + DELAY)
    brokers = bench.desk.brokers
    silent = tuple(Silent(venue) for venue in brokers)
    bench.changed(brokers=silent).run_session(FRIDAY)
    orders = bench.desk.journal.orders()
    used = {one.order.venue for one in orders}
    assert len(orders) > 2
    assert {one.state for one in orders} == {OrderState.UNKNOWN}
    assert {venue.calls for venue in silent if venue.name in used} == {10}

    bench.changed(brokers=brokers).run_session(FRIDAY)
    assert {one.state for one in bench.desk.journal.orders()} == {OrderState.WORKING}
    assert sum(len(venue.working()) for venue in brokers) == len(orders)
    bench.close()


class Killing:
    """A venue during whose first order somebody engages the kill switch."""

    def __init__(self, venue, kill) -> None:
        self.venue, self.kill, self.name = venue, kill, venue.name

    def __getattr__(self, name: str):
        return getattr(self.venue, name)

    def submit(self, order):
        state = self.venue.submit(order)
        self.kill.engage("all", "drill")
        return state


def test_a_kill_switch_that_is_engaged_while_orders_leave_stops_the_rest(tmp_path):
    bench = open_bench(tmp_path)
    fund(bench.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    bench.desk.clock.advance(FRIDAY.close + DELAY)
    brokers = tuple(Killing(venue, bench.desk.kill) for venue in bench.desk.brokers)
    bench.changed(brokers=brokers).run_session(FRIDAY)
    states = [one.state for one in bench.desk.journal.orders()]
    assert states.count(OrderState.WORKING) == 1
    assert states.count(OrderState.DENIED) == len(states) - 1 > 0
    assert sum(len(venue.working()) for venue in brokers) == 1
    bench.close()
