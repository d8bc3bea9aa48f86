"""What an analyst asks of daily returns first; information only, the gates judge."""

from collections.abc import Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

from pipelines.backtest import Backtest
from runtime.bundles.inputs import Array

SESSIONS_PER_YEAR = 252
STILL = 1e-10  # daily returns that move by less are rounding: a portfolio that holds its benchmark
_EPOCH = date(1970, 1, 1).toordinal()


def as_days(dates: Sequence[date]) -> NDArray[np.datetime64]:
    """Return dates as datetime64[D], shape (T,); ten times faster than numpy's own conversion."""
    ordinals = np.fromiter((day.toordinal() for day in dates), np.int64, len(dates))
    return (ordinals - _EPOCH).astype("datetime64[D]")


def sharpe(returns: Array) -> float:
    """Return the annualised Sharpe ratio: mean / standard deviation (ddof 1) * sqrt(252).

    Args:
        returns: shape (T,), daily fractions, already in excess of whatever they are held against.

    Returns:
        0.0 if the returns never move, but for rounding.
    """
    if returns.size < 2 or np.ptp(returns) <= STILL:
        return 0.0
    return float(returns.mean() / returns.std(ddof=1) * np.sqrt(SESSIONS_PER_YEAR))


def growth(returns: Array) -> Array:
    """Return the value of 1 put in before the first day, shape (T,)."""
    return np.cumprod(1.0 + returns, dtype=np.float64)


def annual_return(returns: Array) -> float:
    """Return the compound yearly growth rate, a fraction."""
    return float(growth(returns)[-1] ** (SESSIONS_PER_YEAR / returns.size) - 1.0)


def volatility(returns: Array) -> float:
    """Return the annualised standard deviation (ddof 1), a fraction."""
    return float(returns.std(ddof=1) * np.sqrt(SESSIONS_PER_YEAR))


def drawdowns(returns: Array) -> Array:
    """Return the fall from the highest value so far, the start included, shape (T,), <= 0."""
    value = growth(returns)
    return value / np.maximum.accumulate(np.maximum(value, 1.0)) - 1.0


def turnover_per_year(result: Backtest) -> float:
    """Return traded notional per equity and year, both sides counted."""
    return float(result.turnover.sum()) * SESSIONS_PER_YEAR / len(result.dates)


def lowest_cash(result: Backtest) -> float:
    """Return the smallest cash after a fill, per equity then; negative = overdrawn."""
    return float((result.books.cash / result.books.equity[1:][result.fill_rows]).min())


def figures(result: Backtest) -> dict[str, float]:
    """Return the figures a ledger row carries beside its returns."""
    return {
        "sharpe": sharpe(result.net),
        "benchmark_sharpe": sharpe(result.benchmark),
        "excess_sharpe": sharpe(result.excess),
        "annual_return": annual_return(result.net),
        "benchmark_annual_return": annual_return(result.benchmark),
        "volatility": volatility(result.net),
        "max_drawdown": float(drawdowns(result.net).min()),
        "turnover_per_year": turnover_per_year(result),
        "lowest_cash": lowest_cash(result),
    }
