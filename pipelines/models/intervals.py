"""Intervals that cover what they say: split conformal, and an adaptive one for drifting series."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import ModelInvalid

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conformal:
    """A radius learnt from out-of-sample residuals."""

    level: float  # wanted coverage, in (0, 1)
    radius: float  # in units of the residuals' scale; infinite if there were too few

    def interval(self, predicted: ArrayLike, scale: ArrayLike = 1.0) -> tuple[Array, Array]:
        """Return lower and upper ends, shape of `predicted`."""
        centre = np.asarray(predicted, dtype=np.float64)
        width = self.radius * np.asarray(scale, dtype=np.float64)
        return centre - width, centre + width


def split_conformal(
    y: ArrayLike, predicted: ArrayLike, *, level: float, scale: ArrayLike = 1.0
) -> Conformal:
    """Calibrate intervals on rows the model did not see.

    Args:
        y, predicted: shape (E,), out of fold.
        level: wanted coverage.
        scale: expected size of each error, scalar or (E,), known beforehand; volatility, say.

    Returns:
        The ceil((E + 1) level)-th smallest scaled residual. Coverage of a new exchangeable row is
        at least `level`, and at most `level + 1 / (E + 1)` without ties.

    Source: Lei, G'Sell, Rinaldo, Tibshirani & Wasserman (2018), "Distribution-Free Predictive
        Inference for Regression", Journal of the American Statistical Association 113, 1094-1111.
    """
    residuals = _residuals(y, predicted, scale)
    if not 0 < level < 1:
        raise ModelInvalid(f"level must be in (0, 1), was {level}")
    place = int(np.ceil((residuals.size + 1) * level - 1e-12))
    radius = float(np.sort(residuals)[place - 1]) if place <= residuals.size else np.inf
    return Conformal(level=level, radius=radius)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdaptiveIntervals:
    """Intervals of a series, each made before its outcome was known."""

    lower: Array  # (T,)
    upper: Array  # (T,)
    covered: NDArray[np.bool_]  # (T,)
    levels: Array  # (T,), the level each interval was made at


def adaptive_conformal(
    y: ArrayLike,
    predicted: ArrayLike,
    *,
    level: float,
    rate: float = 0.02,
    window: int = 250,
    scale: ArrayLike = 1.0,
) -> AdaptiveIntervals:
    """Follow a series whose errors drift: widen after a miss, narrow after a hit.

    Args:
        y, predicted: shape (T,), in time order; interval t uses residuals before t only.
        level: wanted long-run coverage.
        rate: step of the level, > 0; coverage over T steps is off by at most
            (max(level, 1 - level) + rate) / (rate T), whatever the series does.
        window: recent residuals that are looked at.
        scale: as for `split_conformal`.

    Source: Gibbs & Candes (2021), "Adaptive Conformal Inference Under Distribution Shift",
        Advances in Neural Information Processing Systems 34.
    """
    residuals = _residuals(y, predicted, scale)
    if not 0 < level < 1 or rate <= 0 or window < 1:
        raise ModelInvalid(f"level in (0, 1), rate > 0, window >= 1; had {level}, {rate}, {window}")
    radius, covered = np.empty(residuals.size), np.empty(residuals.size, dtype=np.bool_)
    levels, now = np.empty(residuals.size), level
    for t in range(residuals.size):
        levels[t] = now
        radius[t] = _quantile(residuals[max(0, t - window) : t], now)
        covered[t] = residuals[t] <= radius[t]
        now += rate * ((0.0 if covered[t] else 1.0) - (1.0 - level))
    centre = np.asarray(predicted, dtype=np.float64)
    width = radius * np.asarray(scale, dtype=np.float64)
    return AdaptiveIntervals(
        lower=centre - width, upper=centre + width, covered=covered, levels=levels
    )


def _quantile(residuals: Array, level: float) -> float:
    place = int(np.ceil((residuals.size + 1) * level - 1e-12))
    if level >= 1 or place > residuals.size:
        return float("inf")
    return float(np.sort(residuals)[place - 1]) if place >= 1 else -1.0


def _residuals(y: ArrayLike, predicted: ArrayLike, scale: ArrayLike) -> Array:
    truth, guess = (np.asarray(part, dtype=np.float64) for part in (y, predicted))
    size = np.broadcast_to(np.asarray(scale, dtype=np.float64), truth.shape)
    if truth.shape != guess.shape or truth.ndim != 1 or not truth.size:
        raise ModelInvalid(f"outcomes of {truth.shape} do not fit predictions of {guess.shape}")
    if not (np.isfinite(truth).all() and np.isfinite(guess).all() and (size > 0).all()):
        raise ModelInvalid("outcomes and predictions must be finite, scales positive")
    return np.asarray(np.abs(truth - guess) / size)
