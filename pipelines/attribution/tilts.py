"""Did the weights move at the right time, or were they simply right on average."""

from dataclasses import dataclass

import numpy as np

from pipelines.backtest import Backtest
from pipelines.holdings import held_weights, name_returns
from pipelines.performance import SESSIONS_PER_YEAR
from runtime.bundles.inputs import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Tilts:
    """Mean return of the holdings a year, before costs, in two parts that sum to it exactly.

    passive: sum over names of mean weight times mean return; what standing still would earn.
    active: sum over names of the covariance of weight and next return; what moving added.
    """

    symbols: tuple[str, ...]
    passive: Array  # (n,), fractions a year
    active: Array  # (n,), fractions a year

    @property
    def ratio(self) -> float:
        """Return the active part's share of the whole."""
        whole = float(self.passive.sum() + self.active.sum())
        return float(self.active.sum()) / whole if whole else 0.0


def tilts(result: Backtest) -> Tilts:
    """Split the mean return of the holdings into standing weights and their movement.

    Source: Lo (2008), "Where do alphas come from? A measure of the value of active investment
        management", Journal of Investment Management 6(2), 1-29, equation 5.
    """
    weights, returns = held_weights(result)[:-1], name_returns(result)
    mean_weight, mean_return = weights.mean(axis=0), returns.mean(axis=0)
    moved = ((weights - mean_weight) * (returns - mean_return)).mean(axis=0)
    return Tilts(
        symbols=result.symbols,
        passive=np.asarray(mean_weight * mean_return * SESSIONS_PER_YEAR),
        active=np.asarray(moved * SESSIONS_PER_YEAR),
    )
