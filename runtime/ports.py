"""What the engine needs from outside: a venue that executes and a feed that publishes bars."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol

from runtime.domain import Bar, Fill, Order, OrderReport, OrderState, Quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One side's record of a day at one venue; compared with the other side's, never netted."""

    venue: str
    day: date
    positions: Mapping[str, Decimal]  # symbol -> units held at the day's end, zeros left out
    cash_flow: Decimal  # USD, sum over the day's fills, each posted to the cent
    fills: tuple[Fill, ...]  # executed on that day, in the order of execution
    taken_back: frozenset[str] = frozenset()  # execution ids that were busted or replaced
    split: frozenset[str] = frozenset()  # symbols whose split took effect on that day


class Broker(Protocol):
    """One venue. Every call either takes effect once and for all, or has no effect."""

    @property
    def name(self) -> str:
        """The venue's name, as orders and fills carry it."""
        ...

    def quote(self, symbol: str, at: datetime) -> Quote:
        """Return what the venue shows at `at`; OrderInvalid if it has published nothing for it."""
        ...

    def submit(self, order: Order) -> OrderState:
        """Place an order, idempotent by its order id, and return where it stands.

        Raises:
            VenueUnknownOutcome: no answer came; ask with `find`, never place it under a new id.
            OrderInvalid: the order id was used before for another order.
        """
        ...

    def find(self, order_id: str) -> OrderState | None:
        """Return where an order stands, None if the venue never received it."""
        ...

    def report(self, order_id: str) -> OrderReport | None:
        """Return an order's quantities, None as `find`; what fills after a cancel is filled."""
        ...

    def cancel(self, order_id: str) -> OrderState:
        """Cancel what still works, return where the order stands; OrderInvalid if unknown."""
        ...

    def executions(self, after: int) -> Sequence[tuple[int, Fill]]:
        """Return (number, fill) for every execution numbered above `after`, in order; 0 = all."""
        ...

    def statement(self, day: date) -> Statement:
        """Return the venue's own record of a day."""
        ...


class Feed(Protocol):
    """Publishes bars as they become known."""

    def bars(self, symbols: Sequence[str], at: datetime) -> list[Bar]:
        """Return the newest bar known at `at` for each symbol, in the order of `symbols`."""
        ...
