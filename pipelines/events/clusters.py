"""Least squares with cluster-robust covariance, one way or two ways."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from pipelines.errors import EventStudyInvalid

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clustered:
    """Coefficients and how sure of them one can be; p regressors."""

    coefficients: Array  # (p,)
    covariance: Array  # (p, p)
    clusters: int  # of the smaller grouping
    observations: int

    def linear(self, weights: ArrayLike) -> tuple[float, float, float]:
        """Return (estimate, standard error, two-sided p-value) of weights @ coefficients.

        The null is that the combination is zero; Student's t with clusters - 1 degrees of freedom.
        """
        w = np.asarray(weights, dtype=np.float64)
        estimate = float(w @ self.coefficients)
        variance = float(w @ self.covariance @ w)
        if not variance > 0:
            raise EventStudyInvalid(
                f"the clustered variance is {variance:.3g}: too few clusters ({self.clusters}) for "
                f"this combination"
            )
        error = float(np.sqrt(variance))
        p_value = float(2 * stats.t.sf(abs(estimate / error), self.clusters - 1))
        return estimate, error, max(p_value, float(np.finfo(np.float64).tiny))


def clustered_ols(y: ArrayLike, X: ArrayLike, *clusters: ArrayLike) -> Clustered:
    """Regress y on X and estimate the covariance by one or two groupings of the rows.

    Args:
        y: shape (N,).
        X: shape (N, p), with a constant if one is wanted.
        clusters: one or two groupings, shape (N,) each; rows of one group may depend on each other.

    Returns:
        Coefficients with Liang and Zeger's covariance, times G / (G - 1) * (N - 1) / (N - p) as
        statsmodels and Stata scale it. Two ways: V1 + V2 - V12, each with its own factor.

    Raises:
        EventStudyInvalid: shapes that differ, X not of full rank, fewer than two clusters.

    Source: Cameron, Gelbach & Miller (2011), "Robust Inference with Multiway Clustering",
        Journal of Business & Economic Statistics 29(2), 238-249.
    """
    target, design = np.asarray(y, dtype=np.float64), np.asarray(X, dtype=np.float64)
    rows, width = design.shape if design.ndim == 2 else (0, 0)
    if target.shape != (rows,) or not np.isfinite(target).all() or not np.isfinite(design).all():
        raise EventStudyInvalid(f"y of {target.shape} and X of {design.shape} must fit and finite")
    if len(clusters) not in (1, 2):
        raise EventStudyInvalid(f"one or two groupings are possible, {len(clusters)} were given")
    if rows <= width or width == 0:
        raise EventStudyInvalid(f"{rows} rows cannot tell {width} regressors apart")
    q, r = np.linalg.qr(design)
    pivots = np.abs(np.diag(r))
    if pivots.min() <= 1e-12 * pivots.max():
        raise EventStudyInvalid(f"the {width} regressors depend on each other; leave one out")
    coefficients = np.linalg.solve(r, q.T @ target)
    inverse = np.linalg.inv(r)
    bread = inverse @ inverse.T
    scores = design * (target - design @ coefficients)[:, None]
    codes = [_codes(grouping, rows) for grouping in clusters]
    counts = [int(code.max()) + 1 for code in codes]
    if min(counts) < 2:
        raise EventStudyInvalid("all rows are in one cluster; two or more are needed")
    covariance = sum(_sandwich(scores, bread, code, rows, width) for code in codes)
    if len(codes) == 2:
        both = _codes(codes[0].astype(np.int64) * counts[1] + codes[1], rows)
        covariance = covariance - _sandwich(scores, bread, both, rows, width)
    return Clustered(
        coefficients=coefficients,
        covariance=np.asarray(covariance),
        clusters=min(counts),
        observations=rows,
    )


def clustered_mean(values: ArrayLike, *clusters: ArrayLike) -> Clustered:
    """Return the mean of values, shape (N,), with its cluster-robust variance."""
    sample = np.asarray(values, dtype=np.float64)
    return clustered_ols(sample, np.ones((sample.size, 1)), *clusters)


def _codes(grouping: ArrayLike, rows: int) -> NDArray[np.intp]:
    labels = np.asarray(grouping)
    if labels.shape != (rows,):
        raise EventStudyInvalid(f"a grouping has shape {labels.shape}, the data {rows} rows")
    return np.unique(labels, return_inverse=True)[1]


def _sandwich(scores: Array, bread: Array, codes: NDArray[np.intp], rows: int, width: int) -> Array:
    groups = int(codes.max()) + 1
    sums = np.zeros((groups, width))
    np.add.at(sums, codes, scores)
    factor = groups / (groups - 1) * (rows - 1) / (rows - width)
    return np.asarray(factor * bread @ (sums.T @ sums) @ bread)
