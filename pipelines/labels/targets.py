"""Targets in units of risk: forward returns divided by the volatility known at the event."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import LabelInputInvalid

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """Scaled forward returns; row t is about what came after bar t."""

    values: Array  # (T, n), in standard deviations; NaN where the future or the past is missing
    returns: Array  # (T, n), forward returns, not scaled
    ends: Indices  # (T,), bar at whose end the target is known; T + something beyond the data


def ewm_volatility(closes: Array, *, span: int, warm_up: int | None = None) -> Array:
    """Exponentially weighted volatility of returns per bar, using nothing after each bar.

    Args:
        closes: shape (T, n), positive.
        span: of the weights, alpha = 2 / (span + 1).
        warm_up: returns needed before a value is given; None = span.

    Returns:
        Shape (T, n), per bar; NaN until warmed up. The weighted second moment about zero, since
        a mean over so short a window is noise.
    """
    if span < 1:
        raise LabelInputInvalid(f"span must be at least 1 bar, was {span}")
    values = _positive(closes)
    squares = (values[1:] / values[:-1] - 1.0) ** 2
    decay = 1.0 - 2.0 / (span + 1)
    out = np.full(values.shape, np.nan)
    total, weight = np.zeros(values.shape[1]), 0.0
    needed = span if warm_up is None else warm_up
    for row in range(squares.shape[0]):
        total = decay * total + squares[row]
        weight = decay * weight + 1.0
        if row + 1 >= needed:
            out[row + 1] = np.sqrt(total / weight)
    return out


def scaled_targets(closes: Array, *, horizon: int, span: int, delay: int = 0) -> Targets:
    """Forward returns over `horizon` bars in units of the volatility known at the event.

    Args:
        closes: shape (T, n), positive.
        horizon: bars that are held, at least 1.
        span: of the volatility, in bars.
        delay: bars from decision to fill; the return runs from t + delay to t + delay + horizon.

    Returns:
        Targets; r / (sigma sqrt(horizon)). The last horizon + delay rows are NaN.

    Raises:
        LabelInputInvalid: a price that is not positive and finite, a horizon below one.

    Source: the scaling of Lopez de Prado (2018), section 3.3 (dynamic thresholds).
    """
    values = _positive(closes)
    if horizon < 1 or delay < 0:
        raise LabelInputInvalid(
            f"horizon must be at least 1 and delay at least 0 bars, were {horizon} and {delay}"
        )
    periods = values.shape[0]
    returns = np.full(values.shape, np.nan)
    if periods > horizon + delay:
        returns[: periods - horizon - delay] = (
            values[horizon + delay :] / values[delay : periods - horizon] - 1.0
        )
    sigma = ewm_volatility(values, span=span)
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = returns / (sigma * np.sqrt(horizon))
    scaled[~np.isfinite(scaled)] = np.nan
    ends = np.arange(periods, dtype=np.int64) + horizon + delay
    return Targets(values=scaled, returns=returns, ends=ends)


def _positive(closes: Array) -> Array:
    values = np.asarray(closes, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or not (np.isfinite(values).all() and (values > 0).all()):
        raise LabelInputInvalid("closes must be positive and finite, of shape (T,) or (T, n)")
    return values
