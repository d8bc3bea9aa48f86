"""From target weights to whole-lot orders: what today's signals ask for, with reasons."""

from runtime.contract import SizingPolicy
from runtime.inputs import Array


def sized(weights: Array, sizing: SizingPolicy) -> Array:
    """Scale target weights to what is really invested; backtest and runtime both use this.

    Args:
        weights: shape (n,), fractions as decided by the graph.
        sizing: `invested` is the fraction of equity that the weights share.

    Returns:
        Shape (n,), fractions of equity.
    """
    return weights * sizing.invested
