"""Windows of several sources on one row of bars, each value in the revision known at an instant.

1. The first source of a formula sets the clock: its last sessions, or its own last observations.
2. Every other source is read on those bars: the same session, or for observations at times of their
   own the newest one about that day.
3. Nothing known after the instant is returned; what is not there is NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np

from featurestore.actions import adjustment
from featurestore.contract import micros_of
from featurestore.errors import ContractBroken, HistoryMissing
from featurestore.features.declaration import Source
from featurestore.grid import NEVER, Array, Index, Micros, SessionGrid
from featurestore.series import OwnTimes
from featurestore.times import instant
from featurestore.views import FeatureView

# A figure stamped at the end of its day belongs to the session that closed earlier that day.
END_OF_DAY = 12 * 3_600_000_000  # microseconds


class Reader(Protocol):
    """What evaluation asks of a reader."""

    def view(self, name: str) -> FeatureView:
        """Return a view's contract."""
        ...

    def table(self, view: str) -> SessionGrid | OwnTimes:
        """Return a view's observations."""
        ...

    def place(
        self, feature: str, symbols: Sequence[str]
    ) -> tuple[SessionGrid | OwnTimes, str, Index]:
        """Return table, field and row numbers; HistoryMissing for an unknown symbol."""
        ...

    def opened(self, at: datetime) -> int:
        """Return an instant in microseconds; HoldoutSealed behind the seal."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Values on some bars, oldest first."""

    values: Array  # (n, L); NaN where nothing was known
    known: Micros  # (n, L); NEVER where nothing was known
    closes: Micros  # (L,), what the bars are about


def clock(
    reader: Reader, source: Source, symbol: str, *, length: int, lag: int, at: int, wanted_by: str
) -> Micros:
    """Return what the `length` bars that end `lag` bars before the newest one at `at` are about.

    Raises:
        HistoryMissing: fewer bars are there; names the first session at which there are enough.
    """
    table, _, rows = reader.place(source.feature, [source.entity or symbol])
    bars = length + lag
    if isinstance(table, OwnTimes):
        series = table.series[rows[0]]
        events = series.events[series.visible(at)]
        if events.size < bars:
            raise HistoryMissing(
                f"{wanted_by} needs {bars} observations of {source.name}, {events.size} are known "
                f"at {instant(at).isoformat()}; decide later or shorten its window"
            )
        return np.asarray(events[events.size - bars : events.size - lag])
    last = int(np.searchsorted(table.due, at, side="right")) - 1
    held = table.known.shape[1]
    if last - bars + 1 < 0:
        first = f"first possible at {table.days[bars - 1]}" if bars <= held else f"{held} are held"
        raise HistoryMissing(
            f"{wanted_by} needs {bars} bars of {source.name}, {last + 1} are due at "
            f"{instant(at).isoformat()} ({first}); decide later or shorten its window"
        )
    if last >= held:
        ends = table.days[held - 1] if held else "nowhere"
        raise HistoryMissing(
            f"{wanted_by}: the bar of {source.name} of session {table.days[last]} is due at "
            f"{instant(at).isoformat()} but the history ends {ends}; ingest what is newer or "
            "decide earlier"
        )
    return table.closes[last - bars + 1 : last - lag + 1]


def read(
    reader: Reader, source: Source, symbols: Sequence[str], *, closes: Micros, at: int, daily: bool
) -> Bars:
    """Read a source on given bars as known at `at`.

    Args:
        reader: a snapshot.
        source: what to read.
        symbols: row order; one row only where the source names its entity.
        closes: (L,), ascending.
        at: microseconds; nothing known later is seen.
        daily: whether the bars are sessions, so that a figure of the day's end counts for them.
    """
    names = symbols if source.entity is None else [source.entity]
    table, field, rows = reader.place(source.feature, names)
    if isinstance(table, SessionGrid):
        bars = _on_grid(table, field, rows, closes, at)
    else:
        lag = micros_of(reader.view(source.view))
        reach = END_OF_DAY if daily else 0
        bars = _as_of(table, field, rows, closes, at, reach=reach, lag=lag if daily else 0)
    if source.actions is None:
        return bars
    try:
        actions = reader.table(source.actions)
    except HistoryMissing:  # declared, and nothing has happened yet
        return bars
    if not isinstance(actions, OwnTimes):
        raise ContractBroken(
            f"view {source.actions} lies on sessions; declare it with featurestore.actions"
        )
    factors, learned = adjustment(actions, names, bars.values, closes, at)
    known = np.where(bars.known == NEVER, NEVER, np.maximum(bars.known, learned))
    return Bars(values=bars.values * factors, known=known, closes=closes)


def _on_grid(table: SessionGrid, field: str, rows: Index, closes: Micros, at: int) -> Bars:
    columns = np.searchsorted(table.closes, closes, side="right") - 1
    absent = (columns < 0) | (columns >= table.known.shape[1])
    inside = np.clip(columns, 0, table.known.shape[1] - 1)
    cells = rows[:, None], inside[None, :]
    values, known = table.values[field][cells], table.known[cells]
    hidden = absent[None, :] | (known > at)
    values[hidden], known[hidden] = np.nan, NEVER
    later = table.revisions
    low, high = np.searchsorted(later.column, [inside[0], inside[-1] + 1])
    if low < high:
        place = {int(row): i for i, row in enumerate(rows)}
        for r in range(low, high):
            i = place.get(int(later.row[r]))
            if i is not None and later.known[r] <= at:
                where = columns == later.column[r]
                values[i, where], known[i, where] = later.values[field][r], later.known[r]
    return Bars(values=values, known=known, closes=closes)


def clocks(table: SessionGrid, *, length: int, lag: int, ats: Micros) -> tuple[Micros, Micros]:
    """Return `clock` of many instants at once, (D, length), and the instants it refuses, (k,).

    Rows of refused instants hold zeros.
    """
    last = np.searchsorted(table.due, ats, side="right") - 1
    good = (last - length - lag + 1 >= 0) & (last < table.known.shape[1])
    out = np.zeros((ats.size, length), dtype=np.int64)
    ends = last[good] - lag
    out[good] = table.closes[ends[:, None] + np.arange(1 - length, 1)]
    return out, np.flatnonzero(~good)


def read_many(
    table: SessionGrid, field: str, rows: Index, closes: Micros, ats: Micros
) -> tuple[Array, Micros] | None:
    """Read runs of sessions for many instants at once: what `read` returns one by one.

    Args:
        table: a grid.
        field: its field.
        rows: row numbers, (n,).
        closes: (D, L); each row consecutive sessions of one calendar.
        ats: (D,), microseconds.

    Returns:
        Values and knowledge times, (D, n, L); None if the grid keeps other sessions.
    """
    length = closes.shape[1]
    first = np.searchsorted(table.closes, closes[:, 0])
    columns = first[:, None] + np.arange(length)
    if columns.max() >= table.closes.size or (table.closes[columns] != closes).any():
        return None
    held = table.known.shape[1]
    inside = np.minimum(columns, held - 1)
    cells = rows[None, :, None], inside[:, None, :]
    values, known = table.values[field][cells], table.known[cells]
    hidden = (known > ats[:, None, None]) | (columns >= held)[:, None, :]
    values[hidden], known[hidden] = np.nan, NEVER
    later = table.revisions
    low, high = np.searchsorted(later.column, [first.min(), columns.max() + 1])
    place = {int(row): i for i, row in enumerate(rows)}
    for r in range(low, high):
        i = place.get(int(later.row[r]))
        if i is None:
            continue
        at = later.column[r] - first
        seen = np.flatnonzero((at >= 0) & (at < length) & (later.known[r] <= ats))
        values[seen, i, at[seen]] = later.values[field][r]
        known[seen, i, at[seen]] = later.known[r]
    return values, known


def _as_of(
    table: OwnTimes, field: str, rows: Index, closes: Micros, at: int, *, reach: int, lag: int
) -> Bars:
    values = np.full((rows.size, closes.size), np.nan)
    known = np.full(values.shape, NEVER)
    for i, row in enumerate(rows):
        series = table.series[row]
        visible = series.visible(at)
        place = np.searchsorted(series.events[visible], closes + reach, side="right") - 1
        # A bar whose own figure cannot be out yet has none: an older one would pass for it.
        found = (place >= 0) & (closes + reach + lag <= at) if lag else place >= 0
        chosen = visible[place[found]]
        values[i, found], known[i, found] = series.values[field][chosen], series.known[chosen]
    return Bars(values=values, known=known, closes=closes)


def first_prints(reader: Reader, source: Source, symbol: str, *, events: Micros) -> Micros:
    """Return when each observation was first printed, for a source at times of its own."""
    table, _, rows = reader.place(source.feature, [source.entity or symbol])
    if not isinstance(table, OwnTimes):
        raise ContractBroken(
            f"{source.name} lies on sessions; a release is read from a view without a calendar"
        )
    series = table.series[rows[0]]
    return np.asarray(series.known[np.searchsorted(series.events, events, side="left")])


def missing(
    source: Source, symbols: Sequence[str], bars: Bars, at: int, wanted_by: str
) -> HistoryMissing:
    """Name the first value that `read` did not find."""
    i, j = (int(each) for each in np.argwhere(np.isnan(bars.values))[0])
    about = instant(int(bars.closes[j]))
    name = source.entity or symbols[i]
    return HistoryMissing(
        f"{wanted_by}: {source.name} of {name} about {about.date()} is not held, or not known at "
        f"{instant(at).isoformat()}; ingest it, leave the newest bars out with a larger lag, "
        "shorten the window or leave the symbol out"
    )
