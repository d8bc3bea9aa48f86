"""Moving-average crossovers over a whole grid of windows: long or flat, name by name.

A name is bought with all its capital when the fast average crosses above the slow one and sold
when it crosses below. A signal of one close is filled at the next (`delay=1`); `delay=0` fills on
the close that made it, as many published examples do, and is there to compare with them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.door import require_record
from pipelines.errors import StrategyInvalid
from pipelines.grid.kernels import daily_values, moving_averages, total_returns
from runtime.bundles.inputs import Array


def window_pairs(windows: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Return every (fast, slow) pair with fast < slow, in order; 99 windows give 4851."""
    return tuple(combinations(sorted(set(windows)), 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossovers:
    """Every pair's result; P pairs, T days, n names."""

    pairs: tuple[tuple[int, int], ...]  # (fast, slow) in bars
    total_return: Array  # (P, n), fractions over the whole span
    orders: int  # executed over all columns
    fee: float  # fraction of traded notional
    delay: int  # bars from signal to fill
    prices: Array  # (n, T), contiguous
    averages: Array  # (k, n, T)
    rows: NDArray[np.int64]  # (P, 2), rows of `averages`

    def returns(self, pairs: slice | None = None) -> Array:
        """Return daily returns of equal capital per name, shape (P', T - 1); P' = P by default."""
        rows = np.ascontiguousarray(self.rows if pairs is None else self.rows[pairs])
        values = np.empty((len(rows), self.prices.shape[1]))
        daily_values(self.prices, self.averages, rows, self.fee, self.delay, values)
        return np.asarray(values[:, 1:] / values[:, :-1] - 1.0, dtype=np.float64)

    @property
    def best(self) -> tuple[int, int]:
        """Return the pair whose names earned most on average; ties go to the first."""
        return self.pairs[int(self.total_return.mean(axis=1).argmax())]

    def __repr__(self) -> str:
        fast, slow = self.best
        return (
            f"{len(self.pairs)} pairs x {self.prices.shape[1]} days x {len(self.prices)} names: "
            f"{self.orders:,} orders; most earned by {fast}/{slow} "
            f"({self.total_return.mean(axis=1).max():.0%})"
        )


def crossovers(
    prices: Any,
    pairs: Iterable[tuple[int, int]],
    *,
    fee: float = 0.0005,
    delay: int = 1,
) -> Crossovers:
    """Backtest every pair of windows on every name.

    Args:
        prices: shape (T, n) or (T,), positive closes, oldest first; anything NumPy reads.
        pairs: (fast, slow) windows in bars, fast < slow.
        fee: fraction of traded notional, paid on each side.
        delay: bars from a signal to its fill; 0 fills on the close that made the signal.

    Raises:
        EvaluationUnrecorded: called in a kernel by anybody but who has recorded every pair.
        StrategyInvalid: prices, pairs, fee or delay that no market could give.
    """
    require_record("crossovers")
    closes = np.asarray(prices, dtype=np.float64)
    closes = np.ascontiguousarray(np.atleast_2d(closes.T))
    wanted = tuple((int(fast), int(slow)) for fast, slow in pairs)
    if not wanted or any(not 1 <= fast < slow for fast, slow in wanted):
        raise StrategyInvalid(
            "each pair needs a fast window of at least 1 bar and a longer slow one"
        )
    if not (np.isfinite(closes).all() and (closes > 0.0).all()):
        raise StrategyInvalid("prices must be finite and positive on every day")
    if not (0.0 <= fee < 1.0 and delay >= 0 and closes.shape[1] > delay):
        raise StrategyInvalid(f"fee {fee} must lie in [0, 1) and delay {delay} within the days")
    windows = np.array(sorted({window for pair in wanted for window in pair}), dtype=np.int64)
    place = {int(window): row for row, window in enumerate(windows)}
    rows = np.array([(place[fast], place[slow]) for fast, slow in wanted], dtype=np.int64)
    averages = np.empty((len(windows), *closes.shape))
    moving_averages(closes, windows, averages)
    totals = np.empty((len(wanted), len(closes)))
    orders = total_returns(closes, averages, rows, fee, delay, totals)
    return Crossovers(
        pairs=wanted,
        total_return=totals,
        orders=int(orders),
        fee=fee,
        delay=delay,
        prices=closes,
        averages=averages,
        rows=rows,
    )
