"""Scales, and the ticks on them: round figures, powers, years."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.bundles.inputs import Array

_STEPS = (1.0, 2.0, 5.0)  # of a power of ten
_MONTHS = (1, 2, 3, 6, 12, 24, 48, 60, 120, 240)  # between two ticks of a calendar
_MARGIN = 0.05  # of the range of values, left free at either end


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """From values to a fraction of an axis."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def of(cls, *values: Array, log: bool = False, margin: float = _MARGIN) -> "Scale":
        """Return the scale that all finite values fit on, with room at both ends."""
        flat = np.concatenate([np.ravel(v) for v in values]).astype(np.float64)
        flat = flat[np.isfinite(flat) & ((flat > 0.0) | (not log))]
        if flat.size == 0:  # nothing to see; the frame is drawn all the same
            return cls(low=1.0, high=10.0, log=log)
        low, high = float(flat.min()), float(flat.max())
        if log:
            room = (high / low) ** margin if high > low else 1.1
            return cls(low=low / room, high=high * room, log=True)
        room = (high - low) * margin if high > low else max(abs(high) * margin, 1e-9)
        return cls(low=low - room, high=high + room)

    def fraction(self, values: Array | float) -> Array:
        """Return where values stand: 0 at the low end, 1 at the high one."""
        given = np.asarray(values, dtype=np.float64)
        part: Array = (given - self.low) / (self.high - self.low)
        if self.log:
            part = np.log(given / self.low) / np.log(self.high / self.low)
        return part


@dataclass(frozen=True, slots=True)
class Ticks:
    """Where a scale is marked, and what is written there."""

    at: Array
    labels: Sequence[str]


def percent(value: float) -> str:
    """Write a fraction in percent, with as many digits as it needs up to one."""
    return f"{value:.1%}".replace(".0%", "%").replace("-0%", "0%")


def evenly(scale: Scale, most: int, write: Callable[[float], str]) -> Ticks:
    """Mark at most so many round figures, evenly spaced."""
    least = (scale.high - scale.low) / most
    power = 10.0 ** np.floor(np.log10(least))
    step = next(s * power for s in (*_STEPS, 10.0) if s * power >= least * (1.0 - 1e-9))
    first, last = np.ceil(scale.low / step - 1e-9), np.floor(scale.high / step + 1e-9)
    at = np.arange(first, last + 1) * step
    return Ticks(at, [write(float(value)) for value in at])


def steps(scale: Scale) -> Ticks:
    """Mark 1, 2, 5, 10 ... on a scale of powers; only the powers of ten when it spans many."""
    powers = range(int(np.floor(np.log10(scale.low))), int(np.ceil(np.log10(scale.high))) + 1)
    shown = _STEPS if len(powers) <= 6 else (1.0,)
    at = np.array([m * 10.0**power for power in powers for m in shown])
    at = at[(at >= scale.low * (1 - 1e-9)) & (at <= scale.high * (1 + 1e-9))]
    return Ticks(at, [f"{value:g}x" for value in at])


def days(dates: NDArray[np.datetime64]) -> Array:
    """Return dates as days since 1970, what scales of time are made of."""
    return dates.astype("datetime64[D]").astype(np.float64)


def years(scale: Scale, most: int) -> Ticks:
    """Mark at most so many starts of years, or of months where a scale is short."""
    ends = np.array([scale.low, scale.high]).astype("datetime64[D]").astype("datetime64[M]")
    first, last = (int(month) for month in ends.astype(np.int64))  # months since 1970
    step = next((s for s in _MONTHS if (last - first) / s <= most), _MONTHS[-1])
    # counted from the year 0, so that every fourth year is one that 4 divides
    months = np.arange(-(-(first + 1970 * 12) // step) * step, last + 1970 * 12 + 1, step)
    starts = (months - 1970 * 12).astype("datetime64[M]")
    at = days(starts)
    inside = (at >= scale.low) & (at <= scale.high)
    labels = [str(start)[:4] if step >= 12 else str(start) for start in starts[inside]]
    return Ticks(at[inside], labels)
