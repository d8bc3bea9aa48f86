"""Figures of an equity curve; pure functions of levels."""

from collections.abc import Sequence
from math import sqrt

from runtime.bundles.inputs import Array
from service.web.answers import CurveSummary

YEAR = 252  # sessions a year
FEWEST = 20  # daily returns below which a ratio says nothing


def returns_of(levels: Sequence[float]) -> Array:
    """Return simple returns, shape (T - 1,), of positive levels, shape (T,)."""
    import numpy as np

    values = np.asarray(levels, dtype=np.float64)
    return np.asarray(values[1:] / values[:-1] - 1.0)


def sharpe(returns: Array) -> float | None:
    """Return mean over sample deviation, annualised by the root of 252; None below 20 days.

    Source: Sharpe (1994), "The Sharpe Ratio", Journal of Portfolio Management 21(1), 49-58.
    """
    if returns.size < FEWEST:
        return None
    deviation = float(returns.std(ddof=1))
    return float(returns.mean()) / deviation * sqrt(YEAR) if deviation > 0 else None


def max_drawdown(levels: Sequence[float]) -> float | None:
    """Return the deepest fall from a running peak, a fraction <= 0; None without levels."""
    if not levels:
        return None
    import numpy as np

    values = np.asarray(levels, dtype=np.float64)
    return float((values / np.maximum.accumulate(values) - 1.0).min())


def summary(levels: Sequence[float]) -> CurveSummary:
    """Return the figures of one curve."""
    returns = returns_of(levels)
    n = returns.size
    total = levels[-1] / levels[0] - 1.0 if levels else None
    enough = n >= FEWEST and total is not None and total > -1
    return CurveSummary(
        total_return=total,
        annual_return=(1.0 + total) ** (YEAR / n) - 1.0 if enough and total is not None else None,
        annual_volatility=float(returns.std(ddof=1)) * sqrt(YEAR) if enough else None,
        sharpe=sharpe(returns),
        max_drawdown=max_drawdown(levels),
    )
