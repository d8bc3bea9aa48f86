"""How sure a Sharpe ratio is: with returns that remember, and by resampling blocks of days."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.gates.bootstrap import Blocks
from pipelines.gates.checks import flat_columns, returns_matrix
from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.kernels import bootstrap_means

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A two-sided interval of a Sharpe ratio."""

    low: float  # per period
    high: float  # per period
    confidence: float  # probability that it covers the true ratio, asymptotically


def autocorrelations(returns: ArrayLike, *, lags: int) -> Array:
    """Sample autocorrelations of one series, shape (lags,), lag 1 first.

    Args:
        returns: shape (T,), per period, T > lags.
        lags: how many, at least 1.

    Raises:
        GateInputInvalid: constant, too short, more than one column, or not finite.
    """
    values = _one_series(returns)
    if not 1 <= lags < values.size:
        raise GateInputInvalid(f"{values.size} days have no autocorrelation at lag {lags}")
    centred = values - values.mean()
    spread = float(centred @ centred)
    return np.array([float(centred[:-lag] @ centred[lag:]) for lag in range(1, lags + 1)]) / spread


def aggregation_factor(correlations: ArrayLike, *, periods: int) -> float:
    """Factor from a one-period Sharpe ratio to that of `periods` periods taken together.

    It is the root of `periods` for independent returns, less where gains follow gains.

    Args:
        correlations: autocorrelations of returns, shape (K,), K >= periods - 1, lag 1 first.
        periods: q, at least 1.

    Raises:
        GateInputInvalid: too few lags, or correlations that no stationary series has.

    Source: Lo (2002), "The Statistics of Sharpe Ratios", Financial Analysts Journal 58(4), 36-52,
        equation 20: eta(q) = q / sqrt(q + 2 sum_(k<q) (q - k) rho_k).
    """
    rho = np.asarray(correlations, dtype=np.float64)
    if periods < 1 or rho.size < periods - 1:
        raise GateInputInvalid(f"{periods} periods need {periods - 1} lags, was given {rho.size}")
    weights = np.arange(periods - 1, 0, -1)
    variance = periods + 2 * float(weights @ rho[: periods - 1])
    if not variance > 0:
        raise GateInputInvalid(
            f"{periods} periods together would have a variance of {variance:.3g}"
        )
    return periods / sqrt(variance)


def adjusted_sharpe(returns: ArrayLike, *, horizon: int, periods: int) -> float:
    """Sharpe ratio of `periods` periods, correct for autocorrelation up to `horizon` periods.

    Returns are taken to remember for less than `horizon` periods: the ratio of a horizon follows
    Lo, that of `periods` grows from there with the root. A year from daily returns would need 251
    sample autocorrelations, whose noise would drown what is looked for.

    Args:
        returns: shape (T,), per period, T > horizon.
        horizon: periods, 1 = as if independent; 21 sessions are a month.
        periods: e.g. 252 sessions for an annual ratio.

    Raises:
        GateInputInvalid: as for `autocorrelations` and `aggregation_factor`.

    Source: Lo (2002), equation 20.
    """
    values = _one_series(returns)
    rho = autocorrelations(values, lags=horizon - 1) if horizon > 1 else np.empty(0)
    single = float(values.mean() / values.std(ddof=1))
    return single * aggregation_factor(rho, periods=horizon) * sqrt(periods / horizon)


def sharpe_interval(returns: ArrayLike, blocks: Blocks, *, confidence: float) -> Interval:
    """Percentile interval of a Sharpe ratio from resampled blocks of days.

    Args:
        returns: shape (T,), per period.
        blocks: resamples of T rows, from `stationary_blocks`; 1000 or more for 95 %.
        confidence: in (0, 1).

    Raises:
        GateInputInvalid: constant, not finite, another length than the resamples, or too few draws.

    Source: Politis & Romano (1994); Efron & Tibshirani (1993), "An Introduction to the Bootstrap",
        section 13.3.
    """
    values = _one_series(returns)
    if not 0 < confidence < 1 or blocks.draws * (1 - confidence) < 2:
        raise GateInputInvalid(f"{blocks.draws} draws give no interval of {confidence:.4g}")
    if values.size != blocks.periods:
        raise GateInputInvalid(f"{values.size} days, but resamples of {blocks.periods}")
    centred = values - values.mean()  # squares of what is left do not lose digits
    both = np.column_stack((centred, centred**2))
    drawn = bootstrap_means(both, both.mean(axis=0), blocks.starts, blocks.lengths, blocks.cuts)
    periods = values.size
    variance = (drawn[:, 1] - drawn[:, 0] ** 2) * periods / (periods - 1)
    moving = variance > 1e-12 * values.var()
    ratios = np.zeros(blocks.draws)
    deviation = np.sqrt(np.where(moving, variance, 1.0))
    np.divide(drawn[:, 0] + values.mean(), deviation, out=ratios, where=moving)
    low, high = np.quantile(ratios, ((1 - confidence) / 2, (1 + confidence) / 2))
    return Interval(low=float(low), high=float(high), confidence=confidence)


def _one_series(returns: ArrayLike) -> Array:
    """Return one series that moves, shape (T,), T >= 2."""
    values = returns_matrix(returns, "returns")
    if values.shape[1] != 1 or values.shape[0] < 2 or flat_columns(values)[0]:
        raise GateInputInvalid(
            f"need one series of two or more days that moves, was given shape {values.shape}"
        )
    return np.ascontiguousarray(values[:, 0])
