"""One session of the runtime, step by step; the same code under a wall clock and in a replay.

 1. cancel what the kill switch stops           6. decide, if due, once; commit before sending
 2. splits and dividends in effect; the         7. send what no venue has acknowledged
    session's bars; paper venues execute        8. close the session in the journal
    what was working
 3. executions are polled and booked
 4. orders of earlier ticks: ask, settle
 5. mark, and compare our record with the venues'

Every step is idempotent: a session that was interrupted anywhere is simply run again.

Without a bar of that very session for all of the universe and all that is held, nothing is marked,
decided or closed: no equity is made up from old prices. The session may be run again while its
bars can still come (`final=False`); after that a decision that was due is a refusal on record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import numpy as np

from featurestore.calendars import Session
from runtime.bundles.contract import SizingPolicy
from runtime.bundles.inputs import SharedReads
from runtime.desk import Desk, SimulatedVenue
from runtime.domain import Bar, Order, TimeInForce
from runtime.errors import BundleStopped
from runtime.execution.entitlements import Entitlements
from runtime.execution.venues import Venues
from runtime.history import History
from runtime.joint.together import decide_together
from runtime.journal.breaks import POSITIONS, Breaks, break_id
from runtime.journal.mode import bind
from runtime.journal.reconcile import Break
from runtime.journal.records import CashFlow, DecisionRecord, SessionRecord
from runtime.journal.store import Journal
from runtime.proof.recording import Recorder
from runtime.registry import CHAMPION
from runtime.tick import Moment, decide


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOutcome:
    """What one session brought, for progress bars and logs; the journal is the record."""

    day: date
    decision: DecisionRecord | None  # decided now; None if not due or decided before
    orders: int  # children committed now
    fills: int  # booked now
    equity: Decimal | None  # USD; None if the session could not be valued, and is not closed
    benchmark_return: float | None
    breaks: tuple[Break, ...]
    unpriced: tuple[str, ...] = ()  # symbols without a bar of this session
    doubts: tuple[str, ...] = ()  # of splits and dividends: what is wrong, and what to run

    @property
    def denied(self) -> int:
        """Return how many planned orders a check refused."""
        return sum(line.denied for line in self.decision.plan) if self.decision else 0

    @property
    def refusal(self) -> str | None:
        """Return why the tick decided nothing, None if it decided or was not due."""
        notes = self.decision.notes if self.decision else ()
        return next((note for note in notes if note.startswith("refused: ")), None)


class Engine:
    """Trades one bundle, or several together, for one account, session by session."""

    def __init__(self, desk: Desk) -> None:
        """Take up where the journal stands.

        Raises:
            AccountMode: the account trades with money and this desk on paper, or the other way.
        """
        bind(desk.journal, simulated=desk.simulated)
        self.desk = desk
        self._recorder = Recorder(desk)
        self.history = History.of(desk.bundle.manifest, desk.calendar, desk.journal, desk.actions)
        self.venues = Venues(desk)
        self.breaks = Breaks(desk.journal)
        self.entitled = Entitlements(desk.journal, desk.brokers, desk.actions)
        self._compared: tuple[tuple[date, ...], tuple[Break, ...]] = (), ()

    def run_session(self, session: Session, *, final: bool = True) -> SessionOutcome:
        """Run one session at the clock's time; a session that is closed already changes nothing.

        Args:
            session: the one to run.
            final: False if it is run again should bars be missing; then they are waited for.
        """
        desk, history, venues = self.desk, self.history, self.venues
        at, day = desk.clock.now(), session.day

        # 1. cancel what the kill switch stops, with or without bars
        venues.cancel_stopped(at, day)

        # 2. splits and dividends in effect; the session's bars; paper venues execute
        disputed = self._entitle(session, at)
        bars = desk.feed.bars(self._symbols(), at)
        complete = all(bar.event_time >= session.open for bar in bars)
        if final or complete:
            self._publish(bars, at, day)

        # 3. executions are polled and booked
        fills = venues.book_executions()
        if desk.shares is not None:
            desk.shares.follow()  # each bundle's share of them

        # 4. orders of earlier ticks: ask, settle
        venues.settle(at, day)

        # 5. mark, and compare our record with the venues'
        breaks, unresolved = self._reconcile(day)
        moment = self._moment(session, at, bars, unresolved, disputed)
        valued = self._open(day) and complete
        benchmark_return = history.mark(day, moment.marks) if valued else None

        # 6. whoever left his stop bands is out; decide, if due, once; commit before sending
        if valued:
            self._stop_breached(moment, benchmark_return, final=final)
        record, orders = self._decide(moment) if final or complete else (None, ())

        # 7. send what no venue has acknowledged; then remember what was decided
        try:
            venues.send(orders, at, day)
        finally:
            if record is not None:
                history.decided(record)

        # 8. close the session in the journal
        if valued:
            self._close(moment, breaks, benchmark_return)
            self._shadow(moment, record)
        return SessionOutcome(
            day=day,
            decision=record,
            orders=len(orders),
            fills=fills,
            equity=moment.equity if complete else None,
            benchmark_return=benchmark_return,
            breaks=breaks,
            unpriced=moment.unpriced,
            doubts=disputed,
        )

    def _publish(self, bars: Sequence[Bar], at: datetime, day: date) -> None:
        """Let paper venues end what is over and execute what works."""
        for broker in self.desk.brokers:
            if isinstance(broker, SimulatedVenue):
                broker.expire_before(self._last_opening(day))
                broker.on_bars(bars, at)

    def _open(self, day: date) -> bool:
        """Say whether a session has not been closed yet."""
        return self.history.last_day is None or day > self.history.last_day

    def _last_opening(self, day: date) -> datetime:
        """Return when the session before a day opened; what is older is not for this session."""
        calendar = self.desk.calendar
        before = calendar.previous(day) if day > calendar.first else calendar.session(day)
        return before.open

    def _entitle(self, session: Session, at: datetime) -> tuple[str, ...]:
        """Take the splits and dividends in effect; return in words what is in doubt about them."""
        if self.desk.actions is None:
            return ()
        last, calendar = self.history.last_day, self.desk.calendar
        before = calendar.session(last).open if last else self._last_opening(session.day)
        symbols = self._symbols()
        return self.entitled.take(symbols, before=before, opened=session.open, at=at)

    def _symbols(self) -> tuple[str, ...]:
        """Return the universe, and what is held beside it."""
        universe = self.desk.bundle.manifest.symbols
        held = self.desk.journal.book().quantities()
        return (*universe, *(symbol for symbol in held if symbol not in universe))

    def _reconcile(self, day: date) -> tuple[tuple[Break, ...], tuple[Break, ...]]:
        """Return today's breaks, and all that nobody has resolved."""
        doubted = {*self.history.broken_days, *self.breaks.corrected_days(day)}
        days = (*sorted(doubted), day)
        compared = self.venues.reconcile(days)
        self.history.broken_days = tuple(d for d in days[:-1] if compared[d])
        found = tuple(one for breaks in compared.values() for one in breaks)
        self._compared = days, found
        if not found:
            return (), ()
        explained, account = self.breaks.explained(), self.desk.journal.account
        left = tuple(one for one in found if break_id(account, one) not in explained)
        return compared[day], left

    def _moment(
        self,
        session: Session,
        at: datetime,
        bars: Sequence[Bar],
        unresolved: tuple[Break, ...],
        disputed: tuple[str, ...],
    ) -> Moment:
        return Moment(
            session=session,
            at=at,
            bars=bars,
            book=self.desk.journal.book(),
            breaks=(*disputed, *(one.words() for one in unresolved)),
            broken=frozenset(one.symbol for one in unresolved if one.kind in POSITIONS),
        )

    def _decide(self, moment: Moment) -> tuple[DecisionRecord | None, tuple[Order, ...]]:
        """Decide this tick unless it is not due or was decided; return what is new."""
        desk, day = self.desk, moment.session.day
        if not self._open(day) or not desk.due(day, invested=bool(moment.positions)):
            return None, ()
        if desk.journal.find_decision(desk.bundle.hash, moment.tick) is not None:
            return None, ()
        if not desk.members and _rests(desk.bundle.manifest.sizing):
            self.venues.withdraw(moment.at, day)
        if desk.joint is not None and desk.shares is not None:
            desk.shares.joints.record(desk.joint, moment.at)
        together = decide_together if desk.members else decide
        with self._recorder.listening() as told:
            record, orders = together(told, moment, self.history)
        record, beside = self._recorder.sealed(record, moment)
        if not desk.journal.record_decision(record, orders, beside):
            return None, ()  # another process was first; what it committed is asked about
        desk.committed()
        return record, orders

    def _stop_breached(
        self, moment: Moment, benchmark_return: float | None, *, final: bool
    ) -> None:
        """Let whoever left his stop bands be taken out before he decides again.

        Raises:
            BundleStopped: somebody was; the session is run again with who took over. If it cannot
                be run again, it goes on, and check 1 refuses the orders of who was taken out.
        """
        watch = self.desk.watch
        if watch is not None:
            why = watch(moment.session.day, moment.equity, benchmark_return, moment.marks)
            if why and not final:
                raise BundleStopped(why)

    def _shadow(self, moment: Moment, record: DecisionRecord | None) -> None:
        """Let challengers decide in shadow, after everything the account itself does."""
        shadows = self.desk.shadows
        if shadows is None:
            return
        decided = None
        if record is not None and record.symbols:
            decided = record.inputs.get(f"weight {CHAMPION}")
            if not self.desk.members:
                decided = np.array(record.weights)
        shadows.run(
            SharedReads(self.desk.reader, moment.at),
            at=moment.at,
            day=moment.session.day,
            marks=moment.marks,
            decided=decided,
        )

    def _close(
        self, moment: Moment, breaks: tuple[Break, ...], benchmark_return: float | None
    ) -> None:
        book, marks = moment.book, moment.marks
        days, found = self._compared
        if found or len(days) > 1 or self.history.disputed:
            self.breaks.settle(found, days, moment.at, marks)
            self.history.disputed = bool(found)
        record = SessionRecord(
            account=self.desk.journal.account,
            day=moment.session.day,
            closed_at=moment.at,
            marks=marks,
            positions=moment.positions,
            cash=book.cash,
            equity=moment.equity,
            realised=book.realised,
            unrealised=book.unrealised(marks),
            fees=book.fees_paid,
            benchmark=self.history.benchmark.name,
            benchmark_return=benchmark_return,
            breaks=breaks,
        )
        if self.desk.journal.close_session(record):
            self.history.close(record)


def _rests(sizing: SizingPolicy) -> bool:
    """Say whether orders may outlive the session they were for."""
    return sizing.asks.time_in_force is TimeInForce.GTC


def fund(journal: Journal, capital: Decimal, at: datetime) -> None:
    """Pay in the account's starting capital, once for ever."""
    journal.record_flow(CashFlow(flow_id="opening", amount=capital, at=at, note="starting capital"))
