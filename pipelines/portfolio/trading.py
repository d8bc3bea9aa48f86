"""What a change of weights costs: turnover now, borrow while it is held."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pipelines.errors import AllocationInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingCosts:
    """Costs as fractions of equity."""

    turnover: float  # sum of |change of weight|
    trade: float  # paid once, for the turnover
    borrow: float  # paid over the days held, for what is short

    @property
    def total(self) -> float:
        """Return both together."""
        return self.trade + self.borrow


def trading_costs(
    current: ArrayLike,
    target: ArrayLike,
    *,
    rate: float,
    borrow_rate: ArrayLike = 0.0,
    days: int = 1,
    year: int = 360,
) -> TradingCosts:
    """Cost a change of weights.

    Args:
        current, target: shape (n,), fractions of equity; negative = short.
        rate: fraction of traded notional, all in.
        borrow_rate: yearly fee on short notional, scalar or (n,).
        days: calendar days until the next change.
        year: days of a year in the lender's convention; 360 for US stock loans.

    Raises:
        AllocationInvalid: shapes that differ, or a negative rate.
    """
    before, after = (np.asarray(w, dtype=np.float64) for w in (current, target))
    fee = np.broadcast_to(np.asarray(borrow_rate, dtype=np.float64), after.shape)
    if before.shape != after.shape or before.ndim != 1:
        raise AllocationInvalid(f"weights of {before.shape} and {after.shape} do not compare")
    if rate < 0 or (fee < 0).any() or days < 0:
        raise AllocationInvalid("rates and days must not be negative")
    turnover = float(np.abs(after - before).sum())
    short = np.maximum(-after, 0.0)
    return TradingCosts(
        turnover=turnover, trade=rate * turnover, borrow=float(short @ fee) * days / year
    )
