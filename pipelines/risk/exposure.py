"""What a portfolio was exposed to: how many names it really held, and how much market."""

import numpy as np

from pipelines.errors import RiskInvalid
from runtime.bundles.inputs import Array


def effective_names(weights: Array) -> Array:
    """Return the number of equal positions that would be as concentrated, shape (T,).

    The inverse of the Herfindahl index of invested weights; 0 where nothing is held.

    Args:
        weights: shape (T, n), fractions of equity, negative = short.
    """
    gross = np.abs(weights).sum(axis=1)
    squares = (weights**2).sum(axis=1)
    out = np.zeros(len(weights))
    np.divide(gross**2, squares, out=out, where=squares > 0.0)
    return out


def rolling_beta(returns: Array, market: Array, *, window: int = 252) -> Array:
    """Return the slope on the market over the last `window` days, shape (T - window + 1,).

    Raises:
        RiskInvalid: fewer days than the window, or a market that never moves in a window.
    """
    if returns.shape != market.shape or returns.size < window or window < 2:
        raise RiskInvalid(
            f"a rolling slope over {window} days was asked of {returns.size} and {market.size}"
        )
    ours = np.lib.stride_tricks.sliding_window_view(returns, window)
    base = np.lib.stride_tricks.sliding_window_view(market, window)
    centred = base - base.mean(axis=1, keepdims=True)
    spread = (centred**2).sum(axis=1)
    if not (spread > 0.0).all():
        raise RiskInvalid("the market does not move in one of the windows, so there is no slope")
    return np.asarray((centred * ours).sum(axis=1) / spread, dtype=np.float64)
