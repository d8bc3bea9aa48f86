"""Compiled loops of moving-average sweeps; every (pair, name) is accounted for alone.

Arrays are C-contiguous float64 with time last, so that each loop reads memory in order.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@njit(cache=True)
def moving_averages(  # pragma: no cover - compiled
    prices: Array, windows: Indices, out: Array
) -> None:
    """Mean of the last w prices from running sums; NaN before there are as many.

    Args:
        prices: shape (n, T).
        windows: shape (k,), each >= 1.
        out: shape (k, n, T), filled.
    """
    names, days = prices.shape
    running = np.empty(days + 1)
    for name in range(names):
        running[0] = 0.0
        for t in range(days):
            running[t + 1] = running[t] + prices[name, t]
        for k in range(windows.size):
            width = windows[k]
            for t in range(min(width - 1, days)):
                out[k, name, t] = np.nan
            for t in range(width - 1, days):
                out[k, name, t] = (running[t + 1] - running[t + 1 - width]) / width


@njit(cache=True)
def total_returns(  # pragma: no cover - compiled
    prices: Array,
    averages: Array,
    pairs: Indices,
    fee: float,
    delay: int,
    out: Array,
) -> int:
    """All in when the fast average crosses above the slow one, all out when it crosses below.

    Args:
        prices: shape (n, T).
        averages: shape (k, n, T).
        pairs: shape (P, 2), rows of `averages`: fast, slow.
        fee: fraction of traded notional.
        delay: bars from signal to fill, >= 0.
        out: shape (P, n), filled with total returns.

    Returns:
        Number of orders.
    """
    names, days = prices.shape
    orders = 0
    for p in range(pairs.shape[0]):
        for name in range(names):
            fast, slow, price = (
                averages[pairs[p, 0], name],
                averages[pairs[p, 1], name],
                prices[name],
            )
            value, shares = 1.0, 0.0
            armed, holding = False, False
            for t in range(days - delay):
                if fast[t] > slow[t]:
                    if armed and not holding:
                        shares = value / (price[t + delay] * (1.0 + fee))
                        holding = True
                        orders += 1
                elif fast[t] < slow[t]:
                    armed = True
                    if holding:
                        value = shares * price[t + delay] * (1.0 - fee)
                        holding = False
                        orders += 1
            if holding:
                value = shares * price[days - 1]
            out[p, name] = value - 1.0
    return orders


@njit(cache=True)
def daily_values(  # pragma: no cover - compiled
    prices: Array,
    averages: Array,
    pairs: Indices,
    fee: float,
    delay: int,
    out: Array,
) -> None:
    """Value of one unit of capital split equally over the names, at every close.

    Args: as `total_returns`, but out has shape (P, T).
    """
    names, days = prices.shape
    part = 1.0 / names
    for p in range(pairs.shape[0]):
        for t in range(days):
            out[p, t] = 0.0
        for name in range(names):
            fast, slow, price = (
                averages[pairs[p, 0], name],
                averages[pairs[p, 1], name],
                prices[name],
            )
            value, shares = part, 0.0
            armed, holding = False, False
            for t in range(days):
                s = t - delay
                if s >= 0:
                    if fast[s] > slow[s]:
                        if armed and not holding:
                            shares = value / (price[t] * (1.0 + fee))
                            holding = True
                    elif fast[s] < slow[s]:
                        armed = True
                        if holding:
                            value = shares * price[t] * (1.0 - fee)
                            holding = False
                out[p, t] += shares * price[t] if holding else value
