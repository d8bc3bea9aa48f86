"""skfolio's optimisers behind our result type: hierarchical risk parity and mean-variance."""

import warnings
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import AllocationInvalid
from pipelines.portfolio.allocation import Allocation, failed

Array = NDArray[np.float64]
Shrinkage: TypeAlias = Literal["ledoit_wolf", "oas", "none"]


def hierarchical(returns: ArrayLike) -> Allocation:
    """Hierarchical risk parity of the sample covariance, long only, fully invested.

    Args:
        returns: shape (T, n), T > 1, n > 1.

    Source: Lopez de Prado (2016), "Building Diversified Portfolios that Outperform Out of Sample",
        Journal of Portfolio Management 42(4), 59-69; skfolio's HierarchicalRiskParity.
    """
    from skfolio.optimization import HierarchicalRiskParity

    return _fitted("hierarchical risk parity", HierarchicalRiskParity, _returns(returns), {})


def mean_variance(
    returns: ArrayLike,
    *,
    risk_aversion: float,
    shrinkage: Shrinkage = "ledoit_wolf",
    shrink_mean: bool = True,
    lowest: float = 0.0,
    highest: float = 1.0,
    invested: float = 1.0,
    current: ArrayLike | None = None,
    trade_cost: float = 0.0,
) -> Allocation:
    """Maximise mean minus `risk_aversion` times variance, with shrunk estimates.

    Args:
        returns: shape (T, n), per session.
        risk_aversion: of variance per session, > 0.
        shrinkage: of the covariance.
        shrink_mean: Bayes-Stein means instead of sample means.
        lowest, highest: bounds of every weight.
        invested: what weights add up to.
        current: weights held now, shape (n,); with `trade_cost`, what is given up to change them.
        trade_cost: fraction of traded notional, spread over the sessions the weights are held.

    Source: Ledoit & Wolf (2004), "A well-conditioned estimator for large-dimensional covariance
        matrices", Journal of Multivariate Analysis 88(2), 365-411; Jorion (1986), "Bayes-Stein
        Estimation for Portfolio Analysis", Journal of Financial and Quantitative Analysis 21(3).
    """
    from skfolio.optimization import MeanRisk, ObjectiveFunction

    if not risk_aversion > 0:
        raise AllocationInvalid(f"risk_aversion must be positive, was {risk_aversion}")
    values = _returns(returns)
    options: dict[str, Any] = {
        "objective_function": ObjectiveFunction.MAXIMIZE_UTILITY,
        "risk_aversion": risk_aversion,
        "prior_estimator": _prior(shrinkage, shrink_mean=shrink_mean),
    }
    if current is not None:
        held = np.asarray(current, dtype=np.float64)
        if held.shape != (values.shape[1],) or not trade_cost >= 0:
            raise AllocationInvalid(f"current weights of {held.shape}, trade_cost {trade_cost}")
        options |= {"previous_weights": held, "transaction_costs": trade_cost}
    bounds = _bounds(values.shape[1], lowest, highest, invested)
    if isinstance(bounds, str):
        return failed("mean-variance", "infeasible", bounds)
    return _fitted("mean-variance", MeanRisk, values, options | bounds)


def minimum_variance(
    returns: ArrayLike,
    *,
    shrinkage: Shrinkage = "ledoit_wolf",
    lowest: float = 0.0,
    highest: float = 1.0,
    invested: float = 1.0,
) -> Allocation:
    """Minimise the variance of the shrunk covariance; arguments as for `mean_variance`."""
    from skfolio.optimization import MeanRisk

    values = _returns(returns)
    bounds = _bounds(values.shape[1], lowest, highest, invested)
    if isinstance(bounds, str):
        return failed("minimum variance", "infeasible", bounds)
    options = {"prior_estimator": _prior(shrinkage, shrink_mean=False)}
    return _fitted("minimum variance", MeanRisk, values, options | bounds)


def _returns(returns: ArrayLike) -> Array:
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 2 or min(values.shape) < 2 or not np.isfinite(values).all():
        raise AllocationInvalid(f"returns must be finite, (T, n) with both > 1, {values.shape}")
    if not (values.std(axis=0) > 0).all():
        name = int(np.argmin(values.std(axis=0)))
        raise AllocationInvalid(f"column {name} never moves; leave it out")
    return values


def _bounds(n: int, lowest: float, highest: float, invested: float) -> dict[str, Any] | str:
    if not n * lowest - 1e-12 <= invested <= n * highest + 1e-12:
        return (
            f"{n} weights between {lowest} and {highest} add up to {n * lowest:g} to "
            f"{n * highest:g}, never to {invested:g}; widen the bounds"
        )
    return {"min_weights": lowest, "max_weights": highest, "budget": invested}


def _prior(shrinkage: Shrinkage, *, shrink_mean: bool) -> Any:
    from skfolio.moments import OAS, EmpiricalCovariance, EmpiricalMu, LedoitWolf, ShrunkMu
    from skfolio.prior import EmpiricalPrior

    covariance = {"ledoit_wolf": LedoitWolf, "oas": OAS, "none": EmpiricalCovariance}
    if shrinkage not in covariance:
        raise AllocationInvalid(f"no shrinkage {shrinkage!r}; there are: {', '.join(covariance)}")
    mean = ShrunkMu() if shrink_mean else EmpiricalMu()
    return EmpiricalPrior(mu_estimator=mean, covariance_estimator=covariance[shrinkage]())


def _fitted(method: str, maker: Any, returns: Array, options: dict[str, Any]) -> Allocation:
    """Fit one of skfolio's estimators; whatever its solver says becomes a named failure."""
    import cvxpy
    from skfolio.exceptions import OptimizationError, SolverError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = maker(**options).fit(returns)
        except (SolverError, OptimizationError, cvxpy.error.SolverError) as error:
            first = " ".join(str(error).split())[:200]
            return failed(method, "solver error", f"the solver found nothing: {first}")
        except ValueError as error:
            raise AllocationInvalid(f"{method}: {error}") from error
    weights = getattr(model, "weights_", None)
    if weights is None or not np.isfinite(weights).all():
        return failed(method, "not converged", "the solver left no finite weights")
    return Allocation(method=method, weights=np.asarray(weights, dtype=np.float64))
