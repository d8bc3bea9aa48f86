"""Arithmetic on windows: every value a fixed sequence of float64 operations on its own row.

NumPy adds a contiguous last axis in an order that depends on its length alone, whatever stands in
the other rows. Sums over another axis, BLAS products and running updates do not have that property
and are not used here.
"""

import numpy as np

from featurestore.features.declaration import Array


def total(values: Array) -> Array:
    """Sum the last axis in NumPy's pairwise order for a contiguous row."""
    return np.asarray(np.add.reduce(np.ascontiguousarray(values), axis=-1))


def mean(values: Array) -> Array:
    """Return the arithmetic mean over the last axis."""
    return np.asarray(total(values) / values.shape[-1])


def centred(values: Array) -> Array:
    """Return the deviations from the mean of the last axis."""
    return values - mean(values)[..., None]


def deviation(values: Array) -> Array:
    """Return the sample standard deviation (n - 1) over the last axis."""
    away = centred(values)
    return np.asarray(np.sqrt(total(away * away) / (values.shape[-1] - 1)))


def weighted(values: Array, weights: Array) -> Array:
    """Return the sum over the last axis of values times weights, weights as they are."""
    return total(values * weights)


def log_returns(prices: Array) -> Array:
    """Return ln(P[j] / P[j-1]) along the last axis, one shorter."""
    return np.asarray(np.log(prices[..., 1:] / prices[..., :-1]))


def wilder(values: Array, period: int) -> Array:
    """Return Wilder's moving average at the newest bar.

    Seeded with the plain mean of the oldest `period` values of the window, then
    A <- (A (period - 1) + x) / period for each later one, oldest first.
    """
    average = mean(values[..., :period])
    for j in range(period, values.shape[-1]):
        average = (average * (period - 1) + values[..., j]) / period
    return average


def memory(decay: float) -> int:
    """Return after how many bars a weight that shrinks by `decay` per bar is below a millionth."""
    return max(1, int(np.ceil(np.log(1e-6) / np.log(decay)))) if decay > 0 else 1


def ema_weights(span: int) -> Array:
    """Return normalised weights (1 - 2/(span+1))^k, oldest first, cut below a millionth."""
    decay = 1.0 - 2.0 / (span + 1)
    raw = decay ** np.arange(memory(decay) - 1, -1, -1, dtype=np.float64)
    return np.asarray(raw / total(raw))


def ema_bars(span: int) -> int:
    """Return how many bars an exponential average of that span looks at."""
    return memory(1.0 - 2.0 / (span + 1))


def wilder_bars(period: int) -> int:
    """Return how many values Wilder's average of that period looks at, seed included."""
    return period + memory(1.0 - 1.0 / period)
