"""What an optimisation ends in: weights, or a failure that has a name. Never the last weights."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import AllocationInvalid, OptimisationFailed

Array = NDArray[np.float64]
Why: TypeAlias = Literal["infeasible", "unbounded", "not converged", "solver error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why there are no weights."""

    why: Why
    reason: str  # one sentence a user can act on


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Allocation:
    """The end of one optimisation: exactly one of weights and failure is there."""

    method: str
    weights: Array | None = None  # (n,), fractions of equity
    failure: Failure | None = None

    def __post_init__(self) -> None:
        if (self.weights is None) == (self.failure is None):
            raise AllocationInvalid(f"{self.method}: an allocation has weights or a failure")
        if self.weights is not None and not np.isfinite(self.weights).all():
            raise AllocationInvalid(f"{self.method}: weights are not finite")

    @property
    def solved(self) -> bool:
        """Say whether there are weights."""
        return self.weights is not None

    def require(self) -> Array:
        """Return the weights; OptimisationFailed with the failure's name if there are none."""
        if self.weights is None:
            assert self.failure is not None
            raise OptimisationFailed(f"{self.method}, {self.failure.why}: {self.failure.reason}")
        return self.weights


def failed(method: str, why: Why, reason: str) -> Allocation:
    """Return an allocation without weights."""
    return Allocation(method=method, failure=Failure(why=why, reason=reason))


def checked_covariance(covariance: ArrayLike) -> Array:
    """Return a covariance as (n, n) float64, or refuse it.

    Raises:
        AllocationInvalid: not square, not finite, not symmetric, a variance that is not positive,
            or clearly indefinite.
    """
    values = np.asarray(covariance, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not values.size:
        raise AllocationInvalid(f"a covariance is square, was {values.shape}")
    if not np.isfinite(values).all() or not (np.diag(values) > 0).all():
        raise AllocationInvalid("a covariance is finite with positive variances")
    scale = float(np.abs(values).max())
    if np.abs(values - values.T).max() > 1e-9 * scale:
        raise AllocationInvalid("a covariance is symmetric")
    if np.linalg.eigvalsh(values).min() < -1e-9 * scale:
        raise AllocationInvalid("the covariance is not positive semidefinite; shrink it first")
    return np.asarray((values + values.T) / 2)
