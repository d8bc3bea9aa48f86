"""A broker that loses replies and sends executions twice and shuffled; what it did holds."""

from collections.abc import Sequence
from datetime import date, datetime
from random import Random

from runtime.domain import Fill, Order, OrderReport, OrderState, Quote
from runtime.errors import VenueUnknownOutcome
from runtime.ports import Broker, Statement


class MisbehavingBroker:
    """Wraps a broker; a share of its answers to `submit` and `cancel` never arrives.

    Half of the lost calls took effect and half did not, and the caller cannot tell which.
    """

    def __init__(self, broker: Broker, random: Random, *, loses: float = 0.2) -> None:
        self._broker, self._random, self._loses = broker, random, loses
        self.lost = 0
        self.submitted: list[str] = []  # every order id that was sent, repeats included

    @property
    def name(self) -> str:
        return self._broker.name

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
        state = self._broker.submit(order)
        self._maybe_lost(order.order_id, before=False)
        return state

    def find(self, order_id: str) -> OrderState | None:
        return self._broker.find(order_id)

    def report(self, order_id: str) -> OrderReport | None:
        return self._broker.report(order_id)

    def cancel(self, order_id: str) -> OrderState:
        self._maybe_lost(order_id, before=True)
        state = self._broker.cancel(order_id)
        self._maybe_lost(order_id, before=False)
        return state

    def executions(self, after: int) -> Sequence[tuple[int, Fill]]:
        """Every execution twice and shuffled, whatever was asked for."""
        everything = [*self._broker.executions(0), *self._broker.executions(0)]
        self._random.shuffle(everything)
        return everything

    def statement(self, day: date) -> Statement:
        return self._broker.statement(day)
