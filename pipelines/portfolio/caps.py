"""Exposure caps: the weights nearest to the wanted ones that keep every limit.

A quadratic programme: minimise |w - wanted|^2 subject to linear limits, one second-order cone for
concentration, and one norm for turnover. Infeasible limits are a named failure.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import AllocationInvalid
from pipelines.portfolio.allocation import Allocation, failed

Array = NDArray[np.float64]

SLACK = 1e-7  # how far a limit may be missed by the solver's rounding; then scaled away


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a portfolio may look like; None = no limit of that kind. Fractions of equity."""

    invested: float | None = 1.0  # what weights add up to
    lowest: float = 0.0  # of any weight; negative allows shorts
    name: float | None = None  # largest |weight|
    gross: float | None = None  # largest sum of |weights|
    sectors: Mapping[str, float] = field(default_factory=dict)  # sector -> largest sum of |weights|
    beta: tuple[float, float] | None = None  # lowest and highest portfolio beta
    concentration: float | None = None  # largest sum of squared weights (Herfindahl)
    turnover: float | None = None  # largest sum of |w - current|


def capped(
    wanted: ArrayLike,
    limits: Limits,
    *,
    sectors: tuple[str, ...] | None = None,
    betas: ArrayLike | None = None,
    current: ArrayLike | None = None,
) -> Allocation:
    """Return the weights nearest to `wanted` that keep every limit.

    Args:
        wanted: shape (n,).
        limits: what must hold.
        sectors: of each name; needed for sector limits.
        betas: of each name, shape (n,); needed for a beta limit.
        current: weights held now, shape (n,); needed for a turnover limit.

    Returns:
        Weights, or the failure "infeasible" with the limits that were asked for.

    Raises:
        AllocationInvalid: a limit lacks its data, or shapes differ.
    """
    target = np.asarray(wanted, dtype=np.float64)
    if target.ndim != 1 or not np.isfinite(target).all():
        raise AllocationInvalid(f"wanted weights must be finite of shape (n,), were {target.shape}")
    beta = _needed("betas", betas, limits.beta is not None, target.size)
    held = _needed("current", current, limits.turnover is not None, target.size)
    kinds = _sectors(limits, sectors, target.size)
    if _kept(target, limits, kinds, beta, held):
        return Allocation(method="caps", weights=target)
    cvxpy: Any = import_module("cvxpy")  # half typed
    w = cvxpy.Variable(target.size)
    problem = cvxpy.Problem(
        cvxpy.Minimize(cvxpy.sum_squares(w - target)),
        _constraints(w, limits, kinds, beta, held),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            problem.solve(solver=cvxpy.CLARABEL)
        except cvxpy.error.SolverError as error:
            return failed("caps", "solver error", str(error))
    if problem.status in (cvxpy.INFEASIBLE, cvxpy.INFEASIBLE_INACCURATE):
        return failed("caps", "infeasible", f"no weights keep all of {limits}; relax one of them")
    if problem.status != cvxpy.OPTIMAL or w.value is None:
        return failed("caps", "not converged", f"the solver ended with {problem.status}")
    weights = np.asarray(w.value, dtype=np.float64)
    weights[np.abs(weights) < SLACK / 10] = 0.0
    if not _kept(weights, limits, kinds, beta, held):
        return failed(
            "caps", "not converged", "the solver's weights miss a limit by more than 1e-7"
        )
    return Allocation(method="caps", weights=weights)


def _constraints(
    w: Any, limits: Limits, kinds: NDArray[np.str_], beta: Array | None, held: Array | None
) -> list[Any]:
    cvxpy: Any = import_module("cvxpy")
    rules = [w >= limits.lowest]
    if limits.invested is not None:
        rules.append(cvxpy.sum(w) == limits.invested)
    if limits.name is not None:
        rules.append(cvxpy.abs(w) <= limits.name)
    if limits.gross is not None:
        rules.append(cvxpy.norm1(w) <= limits.gross)
    for sector, most in sorted(limits.sectors.items()):
        rules.append(cvxpy.norm1(w[np.flatnonzero(kinds == sector)]) <= most)
    if limits.beta is not None and beta is not None:
        rules += [beta @ w >= limits.beta[0], beta @ w <= limits.beta[1]]
    if limits.concentration is not None:
        rules.append(cvxpy.norm(w, 2) <= float(np.sqrt(limits.concentration)))
    if limits.turnover is not None and held is not None:
        rules.append(cvxpy.norm1(w - held) <= limits.turnover)
    return rules


def _kept(
    w: Array, limits: Limits, kinds: NDArray[np.str_], beta: Array | None, held: Array | None
) -> bool:
    """Check every limit with plain arithmetic: the solver is not believed."""
    size = np.abs(w)
    met = [bool((w >= limits.lowest - SLACK).all())]
    if limits.invested is not None:
        met.append(bool(abs(w.sum() - limits.invested) <= SLACK))
    if limits.name is not None:
        met.append(bool(size.max() <= limits.name + SLACK))
    if limits.gross is not None:
        met.append(bool(size.sum() <= limits.gross + SLACK))
    met += [bool(size[kinds == s].sum() <= most + SLACK) for s, most in limits.sectors.items()]
    if limits.beta is not None and beta is not None:
        met.append(bool(limits.beta[0] - SLACK <= beta @ w <= limits.beta[1] + SLACK))
    if limits.concentration is not None:
        met.append(bool((w**2).sum() <= limits.concentration + SLACK))
    if limits.turnover is not None and held is not None:
        met.append(bool(np.abs(w - held).sum() <= limits.turnover + SLACK))
    return all(met)


def _needed(name: str, given: ArrayLike | None, wanted: bool, n: int) -> Array | None:
    if given is None:
        if wanted:
            raise AllocationInvalid(f"this limit needs {name}, one per name")
        return None
    values = np.asarray(given, dtype=np.float64)
    if values.shape != (n,) or not np.isfinite(values).all():
        raise AllocationInvalid(f"{name} must be finite, one per name ({n}), had {values.shape}")
    return values


def _sectors(limits: Limits, sectors: tuple[str, ...] | None, n: int) -> NDArray[np.str_]:
    if not limits.sectors:
        return np.array([""] * n)
    if sectors is None or len(sectors) != n:
        raise AllocationInvalid(f"sector limits need the sector of each of {n} names")
    unknown = sorted(set(limits.sectors) - set(sectors))
    if unknown:
        raise AllocationInvalid(f"no name is in the limited sectors {unknown}")
    return np.array(sectors)
