"""The state of a market as venue and backtest see it: price, volatility until then, volume, halts.

Both read the same windows through the same reader, so their states are equal to the bit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from featurestore.errors import HistoryMissing
from runtime.bundles.inputs import Array, PointInTime
from runtime.domain import Bar
from runtime.execution.fills import MarketState
from runtime.market.states import MarketState as TradingState
from runtime.market.states import Published
from runtime.market.volumes import VOLUME_BARS

STOPPED = (TradingState.HALTED, TradingState.PAUSE)


def daily_volatility(closes: Array) -> float:
    """Return the standard deviation of the returns between closes, shape (L,); 0 if L < 3."""
    if len(closes) < 3:
        return 0.0
    return float(np.std(closes[1:] / closes[:-1] - 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeStates:
    """Reads states out of the lake; called with a bar it answers for that bar."""

    reader: PointInTime
    price: str  # "view.field"
    window: int  # sessions behind the volatility
    volume: str | None = None  # "view.field", units a day; None = unknown
    published: Callable[[datetime], Mapping[str, Published]] | None = None  # None = no halts known

    def __call__(self, bar: Bar) -> MarketState:
        """Return the state of a bar's name when that bar was known."""
        at = max(bar.event_time, bar.known_at)
        return self.at(bar.symbol, float(bar.close), at)

    def at(self, symbol: str, mid: float, at: datetime) -> MarketState:
        """Return the state of a name at an instant; without history no volatility is claimed.

        Args:
            symbol: the name.
            mid: its price then.
            at: UTC; nothing known later is looked at.
        """
        closes = self._read(self.price, symbol, self.window + 1, at)
        volumes = None if self.volume is None else self._read(self.volume, symbol, VOLUME_BARS, at)
        line = None if self.published is None else self.published(at).get(symbol)
        return MarketState(
            mid=mid,
            daily_volatility=0.0 if closes is None else daily_volatility(closes),
            daily_volume=None if volumes is None else float(volumes.mean()),
            halted=line is not None and line.state in STOPPED,
            quotes=None if line is None or line.quoted_at is None else (line.bid, line.offer),
            bands=None if line is None else line.bands,
        )

    def _read(self, feature: str, symbol: str, length: int, at: datetime) -> Array | None:
        """Return one window, None where that much history is not known."""
        try:
            row = self.reader.window(feature, (symbol,), length=length, at=at)[0]
        except HistoryMissing:
            return None
        return np.ascontiguousarray(row)
