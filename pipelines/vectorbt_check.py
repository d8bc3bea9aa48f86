"""vectorbt beside our books: the same orders must give the same equity; statistics and a plot.

vectorbt (Apache 2.0 with Commons Clause) is a research extra; its import takes seconds, so that
everything here imports it when it is called.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.backtest import Backtest
from pipelines.books import CAPITAL
from pipelines.errors import CrossCheckFailed
from runtime.inputs import Array

TOLERANCE = 1e-9  # relative, on equity at every close
# vectorbt cuts an order that cash does not cover, ours may owe a little when prices gap between
# decision and fill; idle cash is added to its account and taken off its value.
_IDLE_CASH = CAPITAL


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossCheck:
    """How far vectorbt's equity is from ours."""

    worst: float  # largest relative difference over all closes
    orders: int  # orders that vectorbt executed
    equity: Array  # (T,), vectorbt's, quote currency


def portfolio(result: Backtest, cost_rate: float) -> Any:
    """Return vectorbt's Portfolio over the very orders of a backtest.

    Args:
        result: with its orders in units and closes.
        cost_rate: fraction of traded notional.
    """
    import pandas as pd
    import vectorbt as vbt

    index = pd.DatetimeIndex(np.array(result.dates, dtype="datetime64[ns]"))
    size = np.full(result.prices.shape, np.nan)
    size[result.fill_rows] = result.books.orders
    size[size == 0.0] = np.nan
    close = pd.DataFrame(result.prices, index=index, columns=list(result.symbols))
    return vbt.Portfolio.from_orders(
        close,
        size=pd.DataFrame(size, index=index, columns=close.columns),
        size_type="amount",
        price=close,
        fees=cost_rate,
        init_cash=CAPITAL + _IDLE_CASH,
        cash_sharing=True,
        group_by=True,
        call_seq="auto",
        freq="1D",
    )


def cross_check(result: Backtest, cost_rate: float) -> CrossCheck:
    """Compare equity at every close with vectorbt's.

    Raises:
        CrossCheckFailed: the two differ by more than TOLERANCE anywhere.
    """
    book = portfolio(result, cost_rate)
    equity = np.asarray(book.value(), dtype=np.float64).ravel() - _IDLE_CASH
    ours = result.books.equity[1:]
    distance = np.abs(equity / ours - 1.0)
    worst = float(distance.max())
    if not worst <= TOLERANCE:
        at = int(np.argmax(distance))
        raise CrossCheckFailed(
            f"vectorbt's equity differs by {worst:.3g} on {result.dates[at]} (ours {ours[at]:.2f}, "
            f"vectorbt {equity[at]:.2f}); at most {TOLERANCE:g} is rounding"
        )
    return CrossCheck(worst=worst, orders=len(book.orders), equity=equity)
