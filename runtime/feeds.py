"""Bars out of the lake: the feed of replays and paper trading."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from math import isfinite

from runtime.bundles.inputs import LatestReader
from runtime.domain import Bar
from runtime.errors import FeedInvalid

_PLACES = Decimal("0.000001")  # scale of prices in the books, USD


@dataclass(frozen=True, slots=True)
class LakeFeed:
    """Publishes the closes of one feature; implements `runtime.ports.Feed`."""

    reader: LatestReader
    feature: str  # "view.field", USD per unit

    def bars(self, symbols: Sequence[str], at: datetime) -> list[Bar]:
        """Return the newest bar known at `at` for each symbol, in the order of `symbols`.

        Raises:
            HistoryMissing: nothing of a symbol was ever known.
            FeedInvalid: a close is not a positive, finite number.
        """
        latest = self.reader.latest(self.feature, symbols, at=at)
        bars = []
        for symbol, close, event_time, known_at in zip(
            symbols, latest.values.tolist(), latest.event_times, latest.known_at, strict=True
        ):
            price = price_of(close) if isfinite(close) else Decimal(0)
            if price <= 0:
                raise FeedInvalid(f"{self.feature}: {symbol} closed at {close} on {event_time}")
            bars.append(Bar(symbol=symbol, close=price, event_time=event_time, known_at=known_at))
        return bars


def price_of(value: float) -> Decimal:
    """Return a float price at the books' scale of 6 places, half to even."""
    return Decimal(value).quantize(_PLACES, rounding=ROUND_HALF_EVEN)
