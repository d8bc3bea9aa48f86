"""Protective stops that know of announced events, and of nothing that was not announced yet.

A stop rests at the venue from one close to the next: its level is set from what was known at the
earlier close, and the later close wakes it or does not (`brokers.matching`). While an event that is
already announced lies ahead, it stands further away, so that the event itself is not sold into.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from runtime.domain import Side
from runtime.errors import OrderInvalid
from runtime.execution.fills import stop_distance

_PRICE = Decimal("0.000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """An event that will move a name, and when the market was told its date."""

    symbol: str
    at: datetime  # UTC, when it happens
    known_at: datetime  # UTC, when its date was announced


@dataclass(frozen=True, slots=True, kw_only=True)
class Stops:
    """How far from its entry a position is let go."""

    multiple: float  # of the daily volatility, > 0
    horizon: timedelta = timedelta(days=5)  # how far ahead an announced event widens a stop
    events: Sequence[Announced] = ()

    def __post_init__(self) -> None:
        if not (self.multiple > 0.0 and self.horizon >= timedelta(0)):
            raise OrderInvalid("a stop needs a multiple above zero and a horizon of at least zero")

    def level(
        self, symbol: str, closing: Side, entry: float, volatility: float, *, now: datetime
    ) -> Decimal | None:
        """Return the price that wakes the stop of a position, as known now.

        Args:
            symbol: the name.
            closing: side of the order that lets the position go: SELL for a long one.
            entry: average price of the position, quote currency per unit.
            volatility: standard deviation of daily returns known now, a fraction.
            now: UTC; events announced later are not seen.

        Returns:
            Quote currency per unit, 6 places; None where no volatility is known, or where the
            distance is the whole price.
        """
        distance = stop_distance(
            volatility,
            self.multiple,
            announced=[
                (one.at.timestamp(), one.known_at.timestamp())
                for one in self.events
                if one.symbol == symbol
            ],
            known_at=now.timestamp(),
            now=now.timestamp(),
            horizon=self.horizon.total_seconds(),
        )
        if not 0.0 < distance < 1.0:
            return None
        price = Decimal(repr(entry * (1.0 + closing.sign * distance)))
        return price.quantize(_PRICE, rounding=ROUND_HALF_EVEN)
