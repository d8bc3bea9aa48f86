"""How long bootstrap blocks must be: as long as returns remember, and no longer.

Blocks that are longer than that leave so few of them in a sample that long-run deviations become
noisy, and the best of many trials looks better than it is.
"""

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from pipelines.gates.checks import flat_columns, returns_matrix

Array = NDArray[np.float64]


def block_lengths(returns: ArrayLike) -> Array:
    """Optimal mean block of the stationary bootstrap for each column, not rounded.

    Args:
        returns: shape (T, N), per period, T >= 10.

    Returns:
        Shape (N,), periods, at most min(3 sqrt(T), T / 3) rounded up; NaN for a constant column.

    Source: Politis & White (2004), "Automatic Block-Length Selection for the Dependent Bootstrap",
        Econometric Reviews 23(1), 53-70, with the correction of Patton, Politis & White (2009),
        Econometric Reviews 28(4), 372-375; lags are cut off as the implementation in `arch` does.
    """
    values = returns_matrix(returns, "returns")
    centred = np.ascontiguousarray((values - values.mean(axis=0)).T)
    lengths = _optimal(centred)
    lengths[flat_columns(values)] = np.nan
    return lengths


def shared_block(returns: ArrayLike) -> int:
    """Return one mean block for all trials: the median of their own, in whole periods, at least 1.

    Trials share their resampled days, so they must share the block; a trial that never moves has
    no say.

    Args:
        returns: shape (T, N), per period.
    """
    lengths = block_lengths(returns)
    known = lengths[np.isfinite(lengths)]
    return max(1, round(float(np.median(known)))) if known.size else 1


@njit(cache=True)
def _optimal(centred: Array) -> Array:  # pragma: no cover - compiled
    """Block length of each row of demeaned values, shape (N, T) to (N,)."""
    columns, periods = centred.shape
    longest = np.ceil(min(3 * np.sqrt(periods), periods / 3))
    quiet = max(5, int(np.log10(periods)))  # lags in a row that must be insignificant
    most = min(int(np.ceil(np.sqrt(periods))) + quiet, periods - 2)
    bound = 2 * np.sqrt(np.log10(periods) / periods)
    out = np.empty(columns)
    covariances = np.empty(most + 1)
    for column in range(columns):
        x = centred[column]
        last, run = most, 0
        lag = 0
        while lag <= last:
            cross = np.dot(x[lag:], x[: periods - lag])
            covariances[lag] = cross / periods
            if last == most:  # how far returns remember is not known yet
                scale = np.dot(x[lag + 1 :], x[lag + 1 :]) * np.dot(
                    x[: periods - lag - 1], x[: periods - lag - 1]
                )
                run = run + 1 if abs(cross) < bound * np.sqrt(scale) else 0
                if run == quiet and lag < most:
                    last = min(2 * max(lag + 1 - quiet, 1), most)
            lag += 1
        spread, variance = 0.0, covariances[0]
        for k in range(1, last + 1):
            taper = 1.0 if 2 * k <= last else 2 * (1 - k / last)
            spread += 2 * taper * k * covariances[k]
            variance += 2 * taper * covariances[k]
        ratio = (spread / variance) ** 2 if variance != 0 else np.inf
        out[column] = min((ratio * periods) ** (1 / 3), longest)
    return out
