"""Observations on a session grid: dense matrices in memory, read by knowledge time.

1. The first print of every bar lies in one float64 matrix per field, its knowledge time in another.
2. Later revisions are few; they lie beside it, ordered by session, and are laid over what is read.
3. A bar is due at its session's close plus the view's availability. Where every bar of a window was
   known when due, no knowledge time needs looking at: the window is a plain copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from featurestore.calendars import load_calendar
from featurestore.contract import micros_of, session_closes
from featurestore.errors import HistoryMissing
from featurestore.order import by_identity
from featurestore.times import instant
from featurestore.views import FeatureView

Array = NDArray[np.float64]
Micros = NDArray[np.int64]  # microseconds since 1970, UTC
Index = NDArray[np.intp]

NEVER = np.iinfo(np.int64).max  # knowledge time of a bar that is not there


@dataclass(frozen=True, slots=True, kw_only=True)
class Revisions:
    """Rows after the first print of their bar, sorted by session, then row, then revision."""

    column: Index  # (R,) session
    row: Index  # (R,) entity
    known: Micros  # (R,)
    values: dict[str, Array]  # field -> (R,)

    def keep(self, mask: NDArray[np.bool_]) -> "Revisions":
        """Return the revisions where `mask` holds."""
        return Revisions(
            column=self.column[mask],
            row=self.row[mask],
            known=self.known[mask],
            values={name: values[mask] for name, values in self.values.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionGrid:
    """One view's observations, n entities by S sessions."""

    view: str
    rows: dict[str, int]  # entity -> row
    days: tuple[date, ...]  # sessions from the first one held to the end of the calendar
    closes: Micros  # (C,), C >= S: their closes
    due: Micros  # (C,): closes plus availability
    values: dict[str, Array]  # field -> (n, S); NaN where absent
    known: Micros  # (n, S); NEVER where absent
    late: NDArray[np.int32]  # (n, S + 1): bars before a session absent or known after they were due
    revisions: Revisions

    @property
    def entities(self) -> tuple[str, ...]:
        """Return the entities in row order."""
        return tuple(self.rows)

    def window(self, field: str, rows: Index, length: int, at: int) -> Array:
        """Return the last `length` bars due at `at`, shape (len(rows), length), NaN where absent.

        Raises:
            HistoryMissing: the grid begins after, or ends before, the window.
        """
        last = int(np.searchsorted(self.due, at, side="right")) - 1
        first = last - length + 1
        if first < 0 or last >= self.known.shape[1]:
            raise self._off_grid(field, length, first, last, at)
        out = np.take(self.values[field][:, first : last + 1], rows, axis=0)
        if (self.late[rows, last + 1] != self.late[rows, first]).any():
            out[np.take(self.known[:, first : last + 1], rows, axis=0) > at] = np.nan
        self._revise(out, field, rows, first, last, at)
        return out

    def latest(self, field: str, rows: Index, at: int) -> tuple[Array, Micros, Micros]:
        """Return value, event time and knowledge time of each row's newest bar known at `at`.

        Rows without any carry NaN and NEVER.
        """
        last = min(int(np.searchsorted(self.due, at, side="right")), self.known.shape[1]) - 1
        if last < 0:
            nothing = np.full(rows.size, NEVER)
            return np.full(rows.size, np.nan), nothing, nothing.copy()
        columns: Index = np.full(rows.size, last, dtype=np.intp)
        for i in np.flatnonzero(self.known[rows, last] > at):
            seen = np.flatnonzero(self.known[rows[i], : last + 1] <= at)
            columns[i] = int(seen[-1]) if seen.size else -1
        found = columns >= 0
        values = np.where(found, self.values[field][rows, columns], np.nan)
        known = np.where(found, self.known[rows, columns], NEVER)
        events = np.where(found, self.closes[columns], NEVER)
        span = [int(columns.min()), int(columns.max()) + 1]
        low, high = np.searchsorted(self.revisions.column, span)
        if high > low:
            place = {(int(row), int(columns[i])): i for i, row in enumerate(rows)}
            for r in range(low, high):
                cell = place.get((int(self.revisions.row[r]), int(self.revisions.column[r])))
                if cell is not None and self.revisions.known[r] <= at:
                    values[cell] = self.revisions.values[field][r]
                    known[cell] = self.revisions.known[r]
        return values, events, known

    def truncated(self, at: int) -> "SessionGrid":
        """Return a grid that holds nothing known after `at`; no value is shared with this one."""
        keep = min(int(np.searchsorted(self.closes, at, side="right")), self.known.shape[1])
        known, late = self.known[:, :keep], self.late[:, : keep + 1]
        values = {name: matrix[:, :keep].copy() for name, matrix in self.values.items()}
        hidden = known > at
        if hidden.any():  # late bars, and bars that never came
            known = np.where(hidden, NEVER, known)
            for matrix in values.values():
                matrix[hidden] = np.nan
            late = _late(known, self.due)
        return SessionGrid(
            view=self.view,
            rows=self.rows,
            days=self.days,
            closes=self.closes,
            due=self.due,
            values=values,
            known=known,
            late=late,
            revisions=self.revisions.keep(self.revisions.known <= at),
        )

    def explain(self, field: str, symbols: Sequence[str], out: Array, at: int) -> HistoryMissing:
        """Name the first bar missing from a window that `window` returned."""
        i, j = np.argwhere(np.isnan(out))[0]
        last = int(np.searchsorted(self.due, at, side="right")) - 1
        column = last - out.shape[1] + 1 + int(j)
        held = np.flatnonzero(self.known[self.rows[symbols[i]]] <= at)
        has = (
            f"known then are {held.size} bars from {self.days[held[0]]} to {self.days[held[-1]]}"
            if held.size
            else "none of its bars was known then"
        )
        return HistoryMissing(
            f"{self.view}.{field}: {symbols[i]} has no bar of session {self.days[column]} known at "
            f"{instant(at).isoformat()} ({has}); ingest it, shorten the window of {out.shape[1]} "
            "bars, or leave the symbol out"
        )

    def _revise(self, out: Array, field: str, rows: Index, first: int, last: int, at: int) -> None:
        """Lay the revisions known at `at` over a window; the last assignment of a bar stays."""
        revisions = self.revisions
        low, high = np.searchsorted(revisions.column, [first, last + 1])
        if low == high:
            return
        place = np.full(len(self.rows), -1, dtype=np.intp)
        place[rows] = np.arange(rows.size)
        where = place[revisions.row[low:high]]
        seen = (where >= 0) & (revisions.known[low:high] <= at)
        columns = revisions.column[low:high][seen] - first
        out[where[seen], columns] = revisions.values[field][low:high][seen]

    def _off_grid(self, field: str, length: int, first: int, last: int, at: int) -> HistoryMissing:
        name, held = f"{self.view}.{field}", self.known.shape[1]
        span = f"{self.days[0]} to {self.days[held - 1]}" if held else "nothing"
        if first < 0:
            return HistoryMissing(
                f"{name}: a window of {length} bars at {instant(at).isoformat()} starts "
                f"{-first} sessions before the history, which is {span}; "
                "decide later or shorten the window"
            )
        return HistoryMissing(
            f"{name}: the bar of session {self.days[last]} is due at {instant(at).isoformat()} but "
            f"the history is {span}; ingest what is newer or decide earlier"
        )


def _late(known: Micros, due: Micros) -> NDArray[np.int32]:
    """Count, up to each session, the bars that were not known when due."""
    late = np.zeros((known.shape[0], known.shape[1] + 1), dtype=np.int32)
    np.cumsum(known > due[: known.shape[1]], axis=1, out=late[:, 1:])
    return late


def build_grid(view: FeatureView, frame: pl.DataFrame) -> SessionGrid:
    """Arrange a view's observations on the sessions of its calendar.

    Args:
        view: the contract; its calendar names the grid.
        frame: observations in any order, each event time a session close.
    """
    if view.calendar is None:
        raise ValueError(f"view {view.name} has no calendar")
    frame = by_identity(frame)
    names = frame["entity"].unique().sort()
    closes = session_closes(view.calendar)
    table = load_calendar(view.calendar)
    events = frame["event_time"].to_physical().to_numpy()
    start = int(np.searchsorted(closes, events.min())) if events.size else 0
    closes = closes[start:]
    row = frame["entity"].cast(pl.Enum(names)).to_physical().to_numpy().astype(np.intp)
    column = np.searchsorted(closes, events).astype(np.intp)
    known_at = frame["known_at"].to_physical().to_numpy()
    fields = {
        field.name: frame[field.name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        for field in view.fields
    }
    sessions = int(column.max()) + 1 if column.size else 0
    first_print = np.ones(row.size, dtype=np.bool_)
    first_print[1:] = (row[1:] != row[:-1]) | (column[1:] != column[:-1])
    cells = row[first_print], column[first_print]
    known = np.full((names.len(), sessions), NEVER, dtype=np.int64)
    known[cells] = known_at[first_print]
    values = {}
    for name, observed in fields.items():
        values[name] = np.full(known.shape, np.nan)
        values[name][cells] = observed[first_print]
    later = np.flatnonzero(~first_print)
    later = later[np.argsort(column[later], kind="stable")]
    due = closes + micros_of(view)
    return SessionGrid(
        view=view.name,
        rows={name: i for i, name in enumerate(names)},
        days=tuple(s.day for s in table.sessions(table.first, table.last))[start:],
        closes=closes,
        due=due,
        values=values,
        known=known,
        late=_late(known, due),
        revisions=Revisions(
            column=column[later],
            row=row[later],
            known=known_at[later],
            values={name: observed[later] for name, observed in fields.items()},
        ),
    )
