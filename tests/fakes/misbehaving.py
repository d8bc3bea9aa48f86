"""A broker that misbehaves in every way a network and a venue can; what it did holds.

Calls are lost before or after they took effect, or answered too late; executions come twice,
shuffled, some of them only later; a cancel is answered before the fill that beat it is told.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from random import Random

from runtime.domain import Bar, Fill, Order, OrderReport, OrderState, Quote
from runtime.errors import VenueUnknownOutcome
from runtime.ports import Broker, Statement


class MisbehavingBroker:
    """Wraps a broker; a share of its answers to `submit` and `cancel` never arrives.

    Half of the lost calls took effect and half did not, and the caller cannot tell which.

    Args:
        broker: what really happens.
        random: decides all.
        loses: share of calls to `submit` and `cancel` that are not answered.
        deaf: share of calls to `find` that are not answered.
        late: share of submitted orders that reach the venue only with the next call to it; the
            caller is told nothing. A venue that is asked meanwhile does not know the order.
        withholds: share of executions that are told only when they are asked for again.
    """

    def __init__(
        self,
        broker: Broker,
        random: Random,
        *,
        loses: float = 0.2,
        deaf: float = 0.0,
        late: float = 0.0,
        withholds: float = 0.0,
    ) -> None:
        self._broker, self._random, self._loses = broker, random, loses
        self._deaf, self._late, self._withholds = deaf, late, withholds
        self._queued: list[Order] = []  # sent, and not there yet
        self.lost = 0
        self.delayed = 0
        self.withheld = 0
        self.submitted: list[str] = []  # every order id that was sent, repeats included

    @property
    def name(self) -> str:
        return self._broker.name

    def _arrives(self) -> None:
        """Let what is still on its way reach the venue, before anything else does."""
        queued, self._queued = self._queued, []
        for order in queued:
            self._broker.submit(order)

    def _maybe_lost(self, order_id: str, *, before: bool) -> None:
        if self._random.random() < self._loses / 2:
            self.lost += 1
            when = "before it arrived" if before else "after it arrived"
            raise VenueUnknownOutcome(f"{self.name}: no answer about {order_id}, lost {when}")

    def quote(self, symbol: str, at: datetime) -> Quote:
        return self._broker.quote(symbol, at)

    def submit(self, order: Order) -> OrderState:
        self.submitted.append(order.order_id)
        self._maybe_lost(order.order_id, before=True)
        if self._late and self._random.random() < self._late:
            self.delayed += 1
            self._queued.append(order)
            raise VenueUnknownOutcome(f"{self.name}: no answer about {order.order_id} in time")
        self._arrives()
        state = self._broker.submit(order)
        self._maybe_lost(order.order_id, before=False)
        return state

    def find(self, order_id: str) -> OrderState | None:
        if self._deaf and self._random.random() < self._deaf:
            self.lost += 1
            raise VenueUnknownOutcome(f"{self.name}: no answer about {order_id}")
        found = self._broker.find(order_id)
        self._arrives()  # after the answer: what was on its way when it was asked comes now
        return found

    def report(self, order_id: str) -> OrderReport | None:
        return self._broker.report(order_id)

    def cancel(self, order_id: str) -> OrderState:
        self._arrives()
        self._maybe_lost(order_id, before=True)
        state = self._broker.cancel(order_id)
        self._maybe_lost(order_id, before=False)
        return state

    def executions(self, after: int) -> Sequence[tuple[int, Fill]]:
        """Every execution twice and shuffled, whatever was asked for; some of them later."""
        known = []
        for one in self._broker.executions(0):
            if self._withholds and self._random.random() < self._withholds:
                self.withheld += 1
            else:
                known.append(one)
        everything = [*known, *known]
        self._random.shuffle(everything)
        return everything

    def statement(self, day: date) -> Statement:
        return self._broker.statement(day)


class MisbehavingVenue(MisbehavingBroker):
    """The misbehaving broker for an engine: it still hears bars, by the hand it is given."""

    def __init__(
        self,
        broker: Broker,
        random: Random,
        *,
        publish: Callable[[Sequence[Bar], datetime], int],
        new_session: Callable[[datetime], None],
        **faults: float,
    ) -> None:
        super().__init__(broker, random, **faults)
        self._publish, self._new_session = publish, new_session

    def behaves(self) -> None:
        """Misbehave no longer."""
        self._loses = self._deaf = self._late = self._withholds = 0.0

    def expire_before(self, opened: datetime) -> None:
        self._arrives()
        self._new_session(opened)

    def on_bars(self, bars: Sequence[Bar], at: datetime) -> int:
        self._arrives()
        return self._publish(bars, at)
