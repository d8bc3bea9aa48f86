"""Confidence that happens as often as it says: a monotone map from scores to probabilities.

It is piecewise linear, so it is traced into a decision's graph like any other arithmetic.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import ModelInvalid

Array = NDArray[np.float64]
GAP = 0.02  # smallest distance of two knots, as a fraction of the distance of the outer ones


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """A monotone, piecewise linear map from a score to a probability; works under `xp` too."""

    knots: Array  # (q,), ascending scores
    levels: Array  # (q,), probabilities, not descending

    def __call__(self, xp: Any, score: Any) -> Any:
        """Return probabilities: constant beyond the outer knots, linear between."""
        result = xp.zeros_like(score) + float(self.levels[0])
        for low, high, down, up in zip(
            self.knots[:-1], self.knots[1:], self.levels[:-1], self.levels[1:], strict=True
        ):
            share = xp.clip((score - float(low)) / float(high - low), min=0.0, max=1.0)
            result = result + share * float(up - down)
        return xp.clip(result, min=0.0, max=1.0)  # a sum may round past its last level


def calibrate(score: ArrayLike, happened: ArrayLike, *, bins: int = 10) -> Calibration:
    """Map out-of-fold scores to probabilities: isotonic regression, thinned to a few knots.

    Bins whose means lie closer than `GAP` of the span are one: trees give level scores, and between
    knots that nearly touch a rounding in float32 would be a jump of the probability.

    Args:
        score: shape (E,), from models that did not see the row.
        happened: 0 or 1, shape (E,).
        bins: equally filled bins whose means become the knots.

    Source: Zadrozny & Elkan (2002), "Transforming classifier scores into accurate multiclass
        probability estimates", KDD 2002, 694-699.
    """
    from sklearn.isotonic import IsotonicRegression

    x, y = np.asarray(score, dtype=np.float64), np.asarray(happened, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or not np.isin(y, (0.0, 1.0)).all():
        raise ModelInvalid(f"scores of {x.shape} and outcomes of {y.shape} must fit; 0 or 1")
    if bins < 2 or np.unique(x).size < bins:
        raise ModelInvalid(f"{bins} bins need as many distinct scores, had {np.unique(x).size}")
    order = np.argsort(x, kind="stable")
    parts = np.array_split(order, bins)
    least = GAP * (x[parts[-1]].mean() - x[parts[0]].mean())
    kept: list[NDArray[np.intp]] = []
    for part in parts:
        if kept and x[part].mean() - x[kept[-1]].mean() < least:
            kept[-1] = np.concatenate((kept[-1], part))
        else:
            kept.append(part)
    knots, means, weights = (
        np.array([of(part) for part in kept])
        for of in (lambda p: x[p].mean(), lambda p: y[p].mean(), lambda p: float(p.size))
    )
    if len(kept) < 2:
        raise ModelInvalid("the scores are level but for a few rows; nothing can be calibrated")
    levels = IsotonicRegression().fit_transform(knots, means, sample_weight=weights)
    return Calibration(knots=knots, levels=np.asarray(levels, dtype=np.float64))
