"""A two-symbol world that trades through `LiveDriver`, claims and fence, and can die at any point.

The product carries no hooks: the points are its seams, watched from outside. A journal, venues, a
slot book and an anchor that announce each call before and after it; and the database's own events,
which announce a commit while it is still to come.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from sqlalchemy import event

from featurestore.calendars import Session
from runtime.brokers.paper import ALTERNATE, PRIMARY, PaperVenue
from runtime.brokers.remote import RemoteVenue
from runtime.brokers.server import Floor, VenueServer
from runtime.brokers.wire import address_of
from runtime.chain import HeadAnchor
from runtime.clock import ReplayClock
from runtime.database import ANSWER, open_database
from runtime.engine import Engine, SessionOutcome, fund
from runtime.errors import VenueUnknownOutcome
from runtime.journal.store import Journal
from runtime.scheduling.fence import Epochs, Fence, log_on
from runtime.scheduling.live import DELAY, LiveDriver
from runtime.scheduling.slots import Slots
from tests.fakes.graphs import tilt_manifest
from tests.fakes.market import CAPITAL, XNYS, Bench, SyntheticMarket, open_bench

ACCOUNT = "paper"
TOKEN = "a token of the tests"
VENUE_ANSWER = 10.0  # seconds; a venue on a busy machine is slow, and in no doubt
JOB = "session XNYS"
FIRST = date(2017, 1, 3)
SYMBOLS = ("AAA", "BBB")
POINTS = (
    "before the epoch is committed",
    "after the epoch is committed",
    "before the claim is committed",
    "after the claim is committed",
    "before the venue sees the bars",
    "after the venue has executed",
    "before the fills are committed",
    "after the fills are committed",
    "before the decision is committed",
    "after the decision is committed",
    "before an order is sent",
    "after an order is sent",
    "before the acknowledgements are committed",
    "after the acknowledgements are committed",
    "before the session is committed",
    "after the session is committed",
    "before the head is anchored",
    "after the head is anchored",
    "before the slot's end is committed",
    "after the slot's end is committed",
)
# What stands between a stopped process and the world, by name, so that tests may take it away.
PROTECTIONS = ("fence", "standing", "logon", "claims", "intent")
Reached = Callable[[str], None]


@dataclass(slots=True)
class At:
    """Does something when a named point is reached for the n-th time."""

    point: str
    times: int
    act: Callable[[], None]
    seen: Counter[str] = field(default_factory=Counter)

    def __call__(self, point: str) -> None:
        self.seen[point] += 1
        if point == self.point and self.seen[point] == self.times:
            self.act()


class WatchedJournal(Journal):
    """Announces what it commits."""

    reached: Reached = staticmethod(lambda point: None)

    def _told(self, name: str, call, *arguments):
        self.committing = name
        done = call(*arguments)
        self.committing = ""
        if done:
            self.reached(f"after {name} {_are(name)} committed")
        return done

    sent_first: Callable[[object], object] | None = None  # the mistake of sending before writing

    def record_decision(self, record, orders, *beside):
        for order in orders if self.sent_first is not None else ():
            self.sent_first(order)
        return self._told("the decision", super().record_decision, record, orders, *beside)

    def record_order_states(self, events):
        return self._told("the acknowledgements", super().record_order_states, events)

    def record_fills(self, fills):
        return self._told("the fills", super().record_fills, fills)

    def close_session(self, record):
        return self._told("the session", super().close_session, record)


def _are(name: str) -> str:
    return "are" if name in ("the fills", "the acknowledgements") else "is"


class WatchedAnchor(HeadAnchor):
    """Announces the head it remembers."""

    reached: Reached = staticmethod(lambda point: None)

    def record(self, head) -> None:
        self.reached("before the head is anchored")
        super().record(head)
        self.reached("after the head is anchored")


class WatchedVenue(PaperVenue):
    """Announces what it is told."""

    reached: Reached = staticmethod(lambda point: None)

    def submit(self, order):
        self.reached("before an order is sent")
        state = super().submit(order)
        self.reached("after an order is sent")
        return state

    def on_bars(self, bars, at):
        self.reached("before the venue sees the bars")
        made = super().on_bars(bars, at)
        self.reached("after the venue has executed")
        return made


class WatchedRemote(RemoteVenue):
    """Announces what the venue of another process is told."""

    reached: Reached = staticmethod(lambda point: None)

    def submit(self, order):
        type(self).reached("before an order is sent")
        state = super().submit(order)
        type(self).reached("after an order is sent")
        return state

    def on_bars(self, bars, at):
        type(self).reached("before the venue sees the bars")
        made = super().on_bars(bars, at)
        type(self).reached("after the venue has executed")
        return made


def remote_venues(
    url: str, names: list[str], reached: Reached, answer: float = VENUE_ANSWER
) -> list[WatchedRemote]:
    """Venues of another process; `answer` seconds without one and nobody waits any more."""
    WatchedRemote.reached = staticmethod(reached)
    return [
        WatchedRemote(
            address=address_of(url),
            token=TOKEN,
            account=ACCOUNT,
            name=name,
            connect=answer,
            answer=answer,
        )
        for name in names
    ]


def serve_venues(folder: Path, url: str) -> VenueServer:
    """Serve the venues whose records lie where those of a world without such a process do."""
    (folder / "venues").mkdir(parents=True, exist_ok=True)
    if not (folder / ACCOUNT).exists():
        (folder / ACCOUNT).symlink_to("venues")
    server = VenueServer(Floor(folder=folder, terms=(PRIMARY, ALTERNATE)), address_of(url), TOKEN)
    server.start()
    return server


class WatchedSlots(Slots):
    """Announces claims and ends."""

    reached: Reached = staticmethod(lambda point: None)

    def claim(self, slot, at):
        Commits.name = "the claim"
        claimed = super().claim(slot, at)
        type(self).reached("after the claim is committed")
        return claimed

    def end_all(self, slots, outcome, at, reason=""):
        Commits.name = "the slot's end"
        ended = super().end_all(slots, outcome, at, reason)
        type(self).reached("after the slot's end is committed")
        return ended


class Commits:
    """Which commit comes next, as the database's own events cannot know."""

    name = ""


def watch_commits(engine, journal_of: Callable[[], WatchedJournal | None], reached: Reached):
    """Announce each commit of the order path a moment before the database makes it."""

    def commit(_connection) -> None:
        journal = journal_of()
        name = Commits.name or getattr(journal, "committing", "")
        Commits.name = ""
        if journal is not None:
            journal.committing = ""
        if name:
            reached(f"before {name} {_are(name)} committed")

    event.listen(engine, "commit", commit)


def trade_on(
    folder: Path,
    url: str,
    sessions: int,
    *,
    reached: Reached = lambda point: None,
    told: Callable[[SessionOutcome], None] = lambda outcome: None,
    holder: str = "one",
    without: frozenset[str] = frozenset(),
    begun: Callable[[], None] = lambda: None,
    skip: int = 0,
    venue: str = "",
    venue_answer: float = VENUE_ANSWER,
) -> World:
    """Trade from where the journal stands until `sessions` are closed; return the open world.

    Args:
        folder: of bundle, venues and anchor.
        url: of the database.
        sessions: how many from `FIRST` on.
        reached: told every named point.
        told: acknowledges a session: called once it is closed.
        holder: name of this process.
        without: protections that are taken away, of `PROTECTIONS`.
        begun: called when everything is open and trading begins.
        skip: how many sessions to leave out, as a process does that starts too late for them.
        venue: where the venues' own process listens; "" = they are part of this one.
        venue_answer: seconds after which a venue that says nothing is in doubt.
    """
    world = open_world(
        folder,
        url,
        reached=reached,
        holder=holder,
        without=without,
        venue=venue,
        venue_answer=venue_answer,
    )
    begun()
    if venue:
        world.run(sessions, told, skip, tries=3000, pause=0.01)
    else:
        world.run(sessions, told, skip)
    return world


@dataclass(slots=True)
class World:
    """One process's view of the world."""

    bench: Bench
    fence: Fence
    slots: Slots | None

    @property
    def journal(self) -> Journal:
        return self.bench.desk.journal

    def run(
        self,
        sessions: int,
        told: Callable[[SessionOutcome], None],
        skip: int = 0,
        tries: int = 50,
        pause: float = 0.0,
    ) -> int:
        """Run every session that is left, each when it is due; give up after failing `tries` times.

        Args:
            sessions: how many from `FIRST` on.
            told: acknowledges a session.
            skip: how many to leave out.
            tries: how many attempts may fail.
            pause: seconds between attempts.

        Returns:
            How many attempts failed.
        """
        days = calendar_of(sessions)[skip:]
        clock = self.bench.desk.clock
        assert isinstance(clock, ReplayClock)
        driver = LiveDriver(
            open_engine=lambda: Engine(self.bench.desk),
            calendar=XNYS,
            clock=clock,
            slots=self.slots,
            on_session=told,
            patience=timedelta(hours=1),
            wait=lambda _seconds: failed(),  # at once again
        )
        attempts: list[None] = []

        def failed() -> bool:
            attempts.append(None)
            time.sleep(pause)
            return driver.superseded.is_set() or len(attempts) >= tries

        for session in days:
            clock.advance(max(clock.now(), session.close + DELAY))
            driver.run_due()
            if driver.superseded.is_set() or len(attempts) >= tries:
                break
        return len(attempts)

    def close(self) -> None:
        self.bench.close()


def calendar_of(sessions: int) -> tuple[Session, ...]:
    """The first sessions of the world."""
    return XNYS.sessions(FIRST, FIRST + timedelta(days=2 * sessions + 10))[:sessions]


def open_world(
    folder: Path,
    url: str,
    *,
    reached: Reached = lambda point: None,
    holder: str = "one",
    without: frozenset[str] = frozenset(),
    answer: float = ANSWER,
    venue: str = "",
    venue_answer: float = VENUE_ANSWER,
) -> World:
    """Open everything anew, as a process that starts does, and take the next epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = open_database(url, answer=answer)
    journals: list[WatchedJournal] = []
    watch_commits(engine, lambda: journals[0] if journals else None, reached)
    clock = ReplayClock(datetime(2017, 1, 1, tzinfo=UTC))
    epochs = Epochs(engine)
    Commits.name = "the epoch"
    fence = epochs.take(ACCOUNT, holder=holder, at=clock.now())
    reached("after the epoch is committed")
    bench = open_bench(
        folder,
        database_url=url,
        market=SyntheticMarket(SYMBOLS, last=date(2020, 12, 31)),
        manifest=tilt_manifest(SYMBOLS, schedule="daily"),
    )
    bench.close()
    anchor = WatchedAnchor(folder / "journal.head")
    WatchedAnchor.reached = staticmethod(reached)
    journal = WatchedJournal(engine, ACCOUNT, anchor, None if "fence" in without else fence)
    journal.reached = reached
    journals.append(journal)
    venues: list = []
    for own in () if venue else bench.desk.brokers:
        assert isinstance(own, PaperVenue)
        watched = WatchedVenue(folder / "venues" / f"{own.name}.db", own.terms)
        watched.reached = reached
        venues.append(watched)
    if venue:
        names = [one.name for one in bench.desk.brokers]
        venues += remote_venues(venue, names, reached, venue_answer)
    if "intent" in without:
        by_name = {one.name: one for one in venues}
        journal.sent_first = lambda order: by_name[order.venue].submit(order)
    if "logon" not in without:
        patiently(lambda: log_on(venues, fence), 60.0 if venue else 0.0)
    standing: Callable[[], AbstractContextManager[None]] = fence.holding
    bench.desk = replace(
        bench.desk,
        journal=journal,
        brokers=tuple(venues),
        clock=clock,
        standing=nullcontext if "standing" in without else standing,
    )
    WatchedSlots.reached = staticmethod(reached)
    slots = WatchedSlots.open(engine, fence, JOB, HeadAnchor(folder / "schedule.head"))
    if journal.book().flows == 0:
        fund(journal, CAPITAL, clock.now())
    return World(bench=bench, fence=fence, slots=None if "claims" in without else slots)


def patiently(act: Callable[[], None], seconds: float) -> None:
    """Do something that takes a venue which may be starting again."""
    until = time.monotonic() + seconds
    while True:
        try:
            return act()
        except VenueUnknownOutcome:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def acknowledge(path: Path) -> Callable[[SessionOutcome], None]:
    """Return what tells the outside of a closed session, by one line that outlives the process."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def told(outcome: SessionOutcome) -> None:
        decided = outcome.decision.decision_id if outcome.decision else "-"
        os.write(descriptor, f"{outcome.day} {decided}\n".encode())

    return told
