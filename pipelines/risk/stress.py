"""Stress windows: how a strategy came through the market's known bad weeks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from runtime.bundles.inputs import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class StressWindow:
    """A span of days with a name; both ends included."""

    name: str
    start: date
    end: date


# Peaks and troughs of the S&P 500's closes around each event.
STRESS_WINDOWS: tuple[StressWindow, ...] = (
    StressWindow(name="Russia and LTCM", start=date(1998, 7, 17), end=date(1998, 8, 31)),
    StressWindow(name="Dot-com decline", start=date(2000, 3, 24), end=date(2002, 10, 9)),
    StressWindow(name="September 2001", start=date(2001, 9, 10), end=date(2001, 9, 21)),
    StressWindow(name="Financial crisis", start=date(2007, 10, 9), end=date(2009, 3, 9)),
    StressWindow(name="Autumn 2008", start=date(2008, 9, 12), end=date(2008, 11, 20)),
    StressWindow(name="Rebound 2009", start=date(2009, 3, 9), end=date(2009, 6, 12)),
    StressWindow(name="August 2011", start=date(2011, 7, 22), end=date(2011, 8, 8)),
    StressWindow(name="August 2015", start=date(2015, 8, 17), end=date(2015, 8, 25)),
    StressWindow(name="Pandemic 2020", start=date(2020, 2, 19), end=date(2020, 3, 23)),
    StressWindow(name="Inflation 2022", start=date(2022, 1, 3), end=date(2022, 10, 12)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stressed:
    """What a strategy and its benchmark did in one window."""

    window: StressWindow
    strategy: float  # compound return, fraction
    benchmark: float  # compound return, fraction
    worst_day: float  # of the strategy, fraction


def stressed(
    days: Sequence[date],
    returns: Array,
    benchmark: Array,
    windows: Sequence[StressWindow] = STRESS_WINDOWS,
) -> tuple[Stressed, ...]:
    """Return one row per window that lies wholly inside the days; the first day is the base.

    A window starts at a close, so the return of its first day is not part of it.
    """
    when = np.array(days, dtype="datetime64[D]")
    found = []
    for window in windows:
        start, end = np.datetime64(window.start, "D"), np.datetime64(window.end, "D")
        if start < when[0] or end > when[-1]:
            continue
        inside = (when > start) & (when <= end)
        found.append(
            Stressed(
                window=window,
                strategy=float(np.prod(1.0 + returns[inside]) - 1.0),
                benchmark=float(np.prod(1.0 + benchmark[inside]) - 1.0),
                worst_day=float(returns[inside].min()),
            )
        )
    return tuple(found)
