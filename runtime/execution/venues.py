"""Everything said to venues: send once, ask when in doubt, book what executed, compare records.

Intent is in the journal before anything is sent. An unknown outcome is asked about by client id;
the same order goes out again, under the same id, only after the venue said it never had it.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime

from runtime.desk import Desk
from runtime.domain import Fill, Order, OrderState
from runtime.errors import EntryConflict, JournalBroken, OrderInvalid, VenueUnknownOutcome
from runtime.journal.reconcile import Break, reconcile
from runtime.journal.records import OrderEvent, OrderRecord
from runtime.ports import Broker

SILENCE = 30  # calls in a row without an answer after which a venue is left alone for this session
ATTEMPTS = 5  # times a venue is asked about one order before it stays UNKNOWN until the next tick


@dataclass(slots=True)
class Venues:
    """The conversation of one desk with its venues."""

    desk: Desk
    _heard: dict[str, int] = field(default_factory=dict)  # venue -> last execution number booked
    _silent: dict[str, int] = field(default_factory=dict)  # venue -> calls in a row unanswered

    def book_executions(self) -> int:
        """Book what executed since the last call and return how many fills were new.

        A fill that contradicts the journal is left out here; reconciliation reports it.
        """
        fresh = 0
        for broker in self.desk.brokers:
            before = self._heard.get(broker.name, 0)
            heard = {n: fill for n, fill in broker.executions(before) if n > before}
            self._silent[broker.name] = 0  # it answers
            if heard:
                fresh += self._book([heard[number] for number in sorted(heard)])
                self._heard[broker.name] = max(heard)
        return fresh

    def _book(self, fills: Sequence[Fill]) -> int:
        journal = self.desk.journal
        try:
            return journal.record_fills(fills)
        except (JournalBroken, EntryConflict, OrderInvalid):
            if len(fills) == 1:
                return 0  # nobody here explains it: a break, not a booking
            return sum(self._book([fill]) for fill in fills)

    def cancel_stopped(self, at: datetime, day: date) -> None:
        """Cancel what works and is stopped by the kill switch, before any bar can execute it."""
        stops, events = self.desk.stops(), list[OrderEvent]()
        for record in self.desk.journal.open_orders() if stops.engaged else ():
            stop = stops.reason(record.order.symbol)
            if stop is not None:
                events += self._settled(record, at, day, stop)
        self.desk.journal.record_order_states(events)

    def withdraw(self, at: datetime, day: date) -> None:
        """Cancel what still rests of earlier ticks: a decision that is due asks for all anew.

        What executes before the cancel arrives is booked as any other; what gives no answer stays
        open, and is counted as if it filled.
        """
        events: list[OrderEvent] = []
        for record in self.desk.journal.open_orders():
            if record.order.tick != day.isoformat():
                events += self._settled(record, at, day, f"replaced by the decision of {day}")
        self.desk.journal.record_order_states(events)

    def settle(self, at: datetime, day: date) -> None:
        """Ask where orders of earlier ticks stand, and cancel what works if trading is stopped."""
        stops = self.desk.stops()
        events: list[OrderEvent] = []
        for record in self.desk.journal.open_orders():
            stop = stops.reason(record.order.symbol)
            if stop is not None or record.order.tick != day.isoformat():
                events += self._settled(record, at, day, stop)
        self.desk.journal.record_order_states(events)

    def _settled(
        self, record: OrderRecord, at: datetime, day: date, stop: str | None
    ) -> Iterable[OrderEvent]:
        order = record.order
        state, note = self._ask(order)
        if stop is not None and state is OrderState.WORKING:
            state, note = self._cancel(order, stop)
        if state is None:
            if order.tick == day.isoformat():
                return  # of this very tick: `send` decides
            acknowledged = record.state is OrderState.WORKING
            note = "the venue no longer knows it" if acknowledged else "it never reached the venue"
            state, note = OrderState.EXPIRED, f"{note}, and its session has passed"
        if state is not record.state and state is not OrderState.FILLED:
            yield OrderEvent(order_id=order.order_id, state=state, at=at, note=note)

    def send(self, fresh: Sequence[Order], at: datetime, day: date) -> None:
        """Send every order of this tick that the journal holds and no venue has acknowledged.

        Args:
            fresh: orders committed a moment ago by this process; all others are asked about first.
            at: UTC, time of the tick; acknowledgements carry the time they came.
            day: session of the tick.
        """
        journal, tick = self.desk.journal, day.isoformat()
        waiting = [
            record.order
            for record in journal.open_orders()
            if record.order.tick == tick and record.state is not OrderState.WORKING
        ]
        if not waiting:
            return
        new = {order.order_id for order in fresh}
        late = at >= self.desk.calendar.next(day).open
        events = []
        for order in waiting:
            state, note = (None, "") if order.order_id in new else self._ask(order)
            stop = self.desk.stops().reason(order.symbol)  # it may be engaged while we send
            if state is None and stop is not None:
                state, note = OrderState.DENIED, f"never sent, {stop}"
            elif state is None and late:
                state, note = OrderState.EXPIRED, "not sent: the session it was for has opened"
            elif state is None:
                state, note = self._submit(order)
            if state is not OrderState.FILLED:  # its fills say so
                heard = self.desk.clock.now()  # from decision to here is the measured latency
                events.append(OrderEvent(order_id=order.order_id, state=state, at=heard, note=note))
        journal.record_order_states(events)

    def _submit(self, order: Order) -> tuple[OrderState, str]:
        broker = self.desk.broker(order.venue)
        if broker is None:
            return OrderState.REJECTED, f"this desk has no venue {order.venue}"
        for _ in range(ATTEMPTS):
            try:
                with self._calling(broker), self.desk.standing():
                    return broker.submit(order), ""
            except OrderInvalid as error:
                return OrderState.REJECTED, str(error)
            except VenueUnknownOutcome:
                state, note = self._ask(order)
                if state is not None:
                    return state, note
        return OrderState.UNKNOWN, f"{order.venue} answered none of {ATTEMPTS} calls"

    def _ask(self, order: Order) -> tuple[OrderState | None, str]:
        """Return where the venue says an order stands; None = it never had it."""
        broker = self.desk.broker(order.venue)
        if broker is None:
            return OrderState.UNKNOWN, f"this desk has no venue {order.venue}"
        for _ in range(ATTEMPTS):
            try:
                with self._calling(broker):
                    return broker.find(order.order_id), ""
            except VenueUnknownOutcome:
                continue
        return OrderState.UNKNOWN, f"{order.venue} answered none of {ATTEMPTS} questions"

    @contextmanager
    def _calling(self, broker: Broker) -> Iterator[None]:
        """Count a call that is not answered; refuse it at once when too many were not.

        Every session begins with the question what has executed: who answers it is heard again.

        Raises:
            VenueUnknownOutcome: this call was not answered, or not made any more.
        """
        name = broker.name
        if self._silent.get(name, 0) >= SILENCE:
            raise VenueUnknownOutcome(f"{name} has not answered {SILENCE} calls in a row")
        try:
            yield
        except VenueUnknownOutcome:
            self._silent[name] = self._silent.get(name, 0) + 1
            raise
        self._silent[name] = 0

    def _cancel(self, order: Order, why: str) -> tuple[OrderState | None, str]:
        broker = self.desk.broker(order.venue)
        if broker is None:
            return OrderState.UNKNOWN, why
        try:
            with self._calling(broker), self.desk.standing():
                state = broker.cancel(order.order_id)
        except (VenueUnknownOutcome, OrderInvalid) as error:
            return OrderState.UNKNOWN, f"cancel without an answer: {error}"
        return state, why

    def reconcile(self, days: Sequence[date]) -> dict[date, tuple[Break, ...]]:
        """Compare our record of each day with every venue's; no statement is a break.

        Of a venue that differs everything is heard anew at the next poll: it may have told a
        later execution before an earlier one.
        """
        found: dict[date, tuple[Break, ...]] = {}
        for day in days:
            breaks: list[Break] = []
            for broker in self.desk.brokers:
                ours = self.desk.journal.statement(broker.name, day)
                differs = reconcile(ours, broker.statement(day))
                if differs:
                    self._heard.pop(broker.name, None)
                breaks += differs
            found[day] = tuple(breaks)
        return found
