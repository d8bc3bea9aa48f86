"""Observations at their own times: one short series per entity, read by knowledge time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from featurestore.errors import HistoryMissing
from featurestore.grid import NEVER, Array, Index, Micros
from featurestore.order import by_identity
from featurestore.times import instant
from featurestore.views import FeatureView


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Every revision of one entity's observations, sorted by event time, then revision."""

    events: Micros  # (m,)
    known: Micros  # (m,)
    values: dict[str, Array]  # field -> (m,)

    def visible(self, at: int) -> NDArray[np.intp]:
        """Return the index of each observation's latest revision known at `at`, oldest first."""
        seen = np.flatnonzero(self.known <= at)
        events = self.events[seen]
        newest = np.ones(seen.size, dtype=np.bool_)
        newest[:-1] = events[1:] != events[:-1]
        return seen[newest]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTimes:
    """One view's observations without a session grid: a window is the last rows of each entity."""

    view: str
    rows: dict[str, int]  # entity -> position in `series`
    series: tuple[Series, ...]

    @property
    def entities(self) -> tuple[str, ...]:
        """Return the entities in row order."""
        return tuple(self.rows)

    def window(self, field: str, rows: Index, length: int, at: int) -> Array:
        """Return the last `length` values known at `at`, shape (len(rows), length).

        NaN stands at the old end where an entity has fewer, and where a value is null.
        """
        out = np.full((rows.size, length), np.nan)
        for i, row in enumerate(rows):
            visible = self.series[row].visible(at)[-length:]
            if visible.size:
                out[i, -visible.size :] = self.series[row].values[field][visible]
        return out

    def latest(self, field: str, rows: Index, at: int) -> tuple[Array, Micros, Micros]:
        """Return value, event time and knowledge time of each row's newest value known at `at`.

        Rows without any carry NaN and NEVER.
        """
        values = np.full(rows.size, np.nan)
        events = np.full(rows.size, NEVER)
        known = np.full(rows.size, NEVER)
        for i, row in enumerate(rows):
            series = self.series[row]
            visible = series.visible(at)
            if visible.size:
                newest = visible[-1]
                values[i] = series.values[field][newest]
                events[i], known[i] = series.events[newest], series.known[newest]
        return values, events, known

    def truncated(self, at: int) -> "OwnTimes":
        """Return the same view with nothing known after `at`; no memory is shared."""
        cut = []
        for series in self.series:
            seen = series.known <= at
            values = {name: observed[seen] for name, observed in series.values.items()}
            cut.append(Series(events=series.events[seen], known=series.known[seen], values=values))
        return OwnTimes(view=self.view, rows=self.rows, series=tuple(cut))

    def explain(self, field: str, symbols: Sequence[str], out: Array, at: int) -> HistoryMissing:
        """Name the first value missing from a window that `window` returned."""
        i, j = np.argwhere(np.isnan(out))[0]
        series = self.series[self.rows[symbols[i]]]
        visible = series.visible(at)
        place = visible.size - out.shape[1] + int(j)
        what = (
            f"value {out.shape[1] - int(j)} from the end"
            if place < 0
            else f"the value of {instant(series.events[visible[place]]).isoformat()}"
        )
        return HistoryMissing(
            f"{self.view}.{field}: {symbols[i]} lacks {what} at {instant(at).isoformat()}; "
            f"known then are {visible.size} observations, the window asks for {out.shape[1]}; "
            "decide later, shorten the window, or leave it out"
        )


def build_series(view: FeatureView, frame: pl.DataFrame) -> OwnTimes:
    """Arrange a view's observations as one series per entity."""
    frame = by_identity(frame)
    series = {}
    for (entity,), rows in frame.group_by("entity", maintain_order=True):
        values = {
            field.name: rows[field.name].cast(pl.Float64).fill_null(np.nan).to_numpy()
            for field in view.fields
        }
        series[str(entity)] = Series(
            events=rows["event_time"].to_physical().to_numpy(),
            known=rows["known_at"].to_physical().to_numpy(),
            values=values,
        )
    return OwnTimes(
        view=view.name,
        rows={entity: i for i, entity in enumerate(series)},
        series=tuple(series.values()),
    )
