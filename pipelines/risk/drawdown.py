"""Drawdown episodes: from a peak to the lowest point and back to the peak."""

from dataclasses import dataclass

import numpy as np

from pipelines.performance import drawdowns
from runtime.bundles.inputs import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One fall from a peak; rows index the returns, -1 is the start before the first day."""

    peak: int  # row of the last day at the peak
    trough: int  # row of the lowest value
    recovered: int | None  # row of the first day at or above the peak again; None = not yet
    depth: float  # fraction lost at the trough, negative

    @property
    def days(self) -> int | None:
        """Return sessions from peak to recovery; None if it goes on."""
        return None if self.recovered is None else self.recovered - self.peak


def drawdown_episodes(returns: Array) -> tuple[Episode, ...]:
    """Return every fall from a running peak, deepest first; equal depths by date."""
    under = drawdowns(returns)
    episodes = []
    row = 0
    while row < under.size:
        if under[row] >= 0.0:
            row += 1
            continue
        rest = np.flatnonzero(under[row:] >= 0.0)
        end = row + int(rest[0]) if rest.size else under.size
        trough = row + int(np.argmin(under[row:end]))
        episodes.append(
            Episode(
                peak=row - 1,
                trough=trough,
                recovered=end if rest.size else None,
                depth=float(under[trough]),
            )
        )
        row = end
    return tuple(sorted(episodes, key=lambda one: one.depth))
