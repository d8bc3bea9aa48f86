"""Risk budgets: weights whose contributions to volatility stand in given proportions.

The budget b is met by the unique minimum over y > 0 of  y' S y / 2 - sum b_i log y_i,  scaled to
add up to one. Newton's method with a step that keeps y positive; strictly convex, so it converges.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import AllocationInvalid
from pipelines.portfolio.allocation import Allocation, checked_covariance, failed

Array = NDArray[np.float64]

ROUNDS = 200
PRECISE = 1e-12  # largest relative deviation from the budget that counts as met


def risk_contributions(weights: ArrayLike, covariance: ArrayLike) -> Array:
    """Split volatility by name: w_i (S w)_i / sigma, shape (n,), adding up to sigma.

    Source: Maillard, Roncalli & Teiletche (2010), section 2.1.
    """
    w, S = np.asarray(weights, dtype=np.float64), checked_covariance(covariance)
    if w.shape != (len(S),):
        raise AllocationInvalid(f"weights of {w.shape} do not fit a covariance of {S.shape}")
    marginal = S @ w
    sigma = float(np.sqrt(max(float(w @ marginal), 0.0)))
    return np.asarray(w * marginal / sigma) if sigma > 0 else np.zeros(len(w))


def equal_risk(covariance: ArrayLike) -> Allocation:
    """Return the long-only weights from which every name contributes the same volatility.

    Source: Maillard, Roncalli & Teiletche (2010), "The Properties of Equally Weighted Risk
        Contribution Portfolios", Journal of Portfolio Management 36(4), 60-70.
    """
    n = len(np.atleast_2d(np.asarray(covariance)))
    return _budgeted(covariance, np.full(n, 1.0 / n), "equal risk contribution")


def risk_budget(covariance: ArrayLike, budget: ArrayLike) -> Allocation:
    """Return the long-only weights whose shares of volatility are the budget's.

    Args:
        covariance: shape (n, n), of returns.
        budget: shares of risk, shape (n,), positive; scaled to add up to one.

    Raises:
        AllocationInvalid: a share that is not positive (leave the name out), or shapes that differ.

    Source: Spinu (2013), "An Algorithm for Computing Risk Parity Weights", SSRN 2297383.
    """
    return _budgeted(covariance, budget, "risk budget")


def _budgeted(covariance: ArrayLike, budget: ArrayLike, method: str) -> Allocation:
    S, b = checked_covariance(covariance), np.asarray(budget, dtype=np.float64)
    if b.shape != (len(S),) or not np.isfinite(b).all() or not (b > 0).all():
        raise AllocationInvalid(
            f"{method}: a budget needs one positive share per name ({len(S)}), was {b}"
        )
    b = b / b.sum()
    deviation = np.sqrt(np.diag(S))
    C = S / np.outer(deviation, deviation)  # correlations: one scale for every name
    y = np.sqrt(b)  # exact if nothing is correlated
    for _ in range(ROUNDS):
        gradient = C @ y - b / y
        if np.abs(y * gradient).max() <= PRECISE * b.min():
            break
        try:
            step = np.linalg.solve(C + np.diag(b / y**2), gradient)
        except np.linalg.LinAlgError:
            break  # risk can be hedged away altogether; the check below says so
        size = 1.0
        falling = step > 0
        if falling.any():  # stay inside y > 0
            size = min(1.0, 0.9 * float((y[falling] / step[falling]).min()))
        before, slope = _objective(C, b, y), float(gradient @ step)
        while size > 1e-12 and _objective(C, b, y - size * step) > before - 1e-4 * size * slope:
            if slope <= 1e-13 * (1 + abs(before)):  # below what the objective resolves
                break
            size /= 2
        y = y - size * step
    weights = (y / deviation) / (y / deviation).sum()
    shares = weights * (S @ weights)
    total = float(shares.sum())
    tiny = 1e-12 * float((weights * deviation).sum()) ** 2
    worst = float(np.abs(shares / total / b - 1).max()) if total > tiny else np.inf
    if not worst <= 1e-8:
        return failed(
            method,
            "not converged",
            f"after {ROUNDS} rounds a share of risk is off by {worst:.1e} of its budget; the "
            f"covariance is close to singular, shrink it",
        )
    return Allocation(method=method, weights=weights)


def _objective(C: Array, b: Array, y: Array) -> float:
    return float(y @ C @ y / 2 - b @ np.log(y))
