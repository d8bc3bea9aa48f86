"""What a backtest held at every close, derived from its orders alone."""

import numpy as np

from pipelines.backtest import Backtest
from runtime.bundles.inputs import Array


def held_units(result: Backtest) -> Array:
    """Return units held after each close, shape (T, n)."""
    units = np.zeros(result.prices.shape)
    units[result.fill_rows] = result.books.orders
    return np.cumsum(units, axis=0, dtype=np.float64)


def held_weights(result: Backtest) -> Array:
    """Return what each name was of equity after each close, shape (T, n); the rest is cash."""
    return held_units(result) * result.prices / result.books.equity[1:, None]


def name_returns(result: Backtest) -> Array:
    """Return every name's daily returns from the second day on, shape (T - 1, n)."""
    return np.asarray(result.prices[1:] / result.prices[:-1] - 1.0, dtype=np.float64)
