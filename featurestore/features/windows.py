"""Arithmetic on windows: every value a fixed sequence of float64 operations on its own row.

NumPy adds a contiguous last axis in an order that depends on its length alone, whatever stands in
the other rows. Sums over another axis, BLAS products and running updates do not have that property
and are not used here. Neither are NumPy's logarithms and powers, whose last bits depend on the
processor; sums, products, quotients and square roots are rounded alike everywhere.
"""

from decimal import Decimal, localcontext
from functools import lru_cache

import numpy as np

from featurestore.features.declaration import Array

NEGLIGIBLE = 1e-6  # a weight below this is cut off
LN2 = 0.6931471805599453

# Constants of FDLIBM's logarithm.
_ROOT_HALF = 0.7071067811865476
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LG = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)


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


def ln(values: Array) -> Array:
    """Return the natural logarithm, the same bits on every processor.

    NumPy and the C library compute logarithms by instructions that differ between processors, and
    so do their last bits. This one uses only operations that IEEE 754 rounds in one way.

    Args:
        values: finite; 0 gives -inf, negative ones NaN.

    Returns:
        ln(values), within one unit in the last place.

    Source: Sun Microsystems (1993), FDLIBM, e_log.c: ln(2^k (1 + f)) by an odd series in f/(2+f).
    """
    share, power = np.frexp(values)
    small = share < _ROOT_HALF
    f = np.where(small, share + share, share) - 1.0
    k = power - small.astype(np.float64)
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = w * (_LG[1] + w * (_LG[3] + w * _LG[5]))
    odd = z * (_LG[0] + w * (_LG[2] + w * (_LG[4] + w * _LG[6])))
    half = 0.5 * f * f
    out = k * _LN2_HIGH - ((half - (s * (half + (even + odd)) + k * _LN2_LOW)) - f)
    return np.where(values > 0.0, out, np.where(values == 0.0, -np.inf, np.nan))


def log_returns(prices: Array) -> Array:
    """Return ln(P[j] / P[j-1]) along the last axis, one shorter."""
    return ln(prices[..., 1:] / prices[..., :-1])


def wilder(values: Array, period: int) -> Array:
    """Return Wilder's moving average at the newest bar.

    Seeded with the plain mean of the oldest `period` values of the window, then
    A <- (A (period - 1) + x) / period for each later one, oldest first.
    """
    average = mean(values[..., :period])
    for j in range(period, values.shape[-1]):
        average = (average * (period - 1) + values[..., j]) / period
    return average


@lru_cache(maxsize=1024)
def memory(decay: float) -> int:
    """Return after how many bars a weight that shrinks by `decay` per bar is below a millionth."""
    bars, weight = 1, decay
    while weight >= NEGLIGIBLE:
        bars, weight = bars + 1, weight * decay
    return bars


def shrinking(decay: float, bars: int) -> Array:
    """Return decay^(bars-1), ..., decay, 1 by repeated multiplication, oldest first."""
    factors = np.full(bars, decay)
    factors[0] = 1.0
    return np.ascontiguousarray(np.multiply.accumulate(factors)[::-1])


def halving(halflife: int) -> float:
    """Return 2^(-1/halflife), rounded once from exact decimals."""
    with localcontext() as context:
        context.prec = 40
        return float(Decimal(2) ** (Decimal(-1) / halflife))


def ema_weights(span: int) -> Array:
    """Return normalised weights (1 - 2/(span+1))^k, oldest first, cut below a millionth."""
    raw = shrinking(1.0 - 2.0 / (span + 1), ema_bars(span))
    return np.asarray(raw / total(raw))


def ema_bars(span: int) -> int:
    """Return how many bars an exponential average of that span looks at."""
    return memory(1.0 - 2.0 / (span + 1))


def wilder_bars(period: int) -> int:
    """Return how many values Wilder's average of that period looks at, seed included."""
    return period + memory(1.0 - 1.0 / period)
