"""Online cells in this process: an immutable matrix and its index, replaced as a whole.

A reader takes the reference once and sees one moment, without a lock; a writer builds the next
state beside it and swaps the reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from featurestore.errors import HistoryMissing
from featurestore.online.cells import (
    ABSENT,
    EVENT,
    KNOWN,
    Applied,
    Micros,
    Packed,
    Update,
    Window,
    absent,
    extended,
    merged,
    replaces,
)
from featurestore.online.layout import Column, Layout
from featurestore.online.port import Cells, Plans


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything an embedded online store holds at one moment; never changed."""

    layout: Layout = field(default_factory=Layout)
    index: dict[str, int] = field(default_factory=dict)  # symbol -> row
    packed: Packed = field(default_factory=lambda: absent(0, 0))  # (n, 3, k)
    written_at: Micros = field(default_factory=lambda: np.empty(0, dtype=np.int64))  # (n,)
    windows: dict[tuple[str, str], Window] = field(default_factory=dict)  # column key, symbol
    plans: Plans = field(init=False, repr=False, compare=False)
    settled: int = field(init=False, compare=False)
    deadline: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plans", Plans(self.layout))
        served = list(self.layout.current.values())
        events = self.packed[:, EVENT, served]
        freshness = np.array([self.layout.columns[i].freshness for i in served], dtype=np.int64)
        whole = events.size > 0 and not (events == ABSENT).any()
        deadline = int((events + freshness).min()) if whole else ABSENT
        settled = int(self.packed[:, KNOWN, served].max()) if whole else ABSENT
        object.__setattr__(self, "deadline", deadline)
        object.__setattr__(self, "settled", settled)

    def read(self, features: Sequence[str], symbols: Sequence[str]) -> Cells:
        """Return cells; see `OnlineBackend.read`."""
        plan = self.plans.of(features)
        try:
            rows = [self.index[symbol] for symbol in symbols]
        except KeyError as missing:
            raise HistoryMissing(
                f"{missing.args[0]} was not materialized; there are: {', '.join(self.index)}"
            ) from None
        packed = plan.of(self.packed.take(rows, axis=0))
        return Cells(packed, plan, self.settled, self.deadline)

    def updated(self, update: Update) -> tuple["State", Applied]:
        """Return the state after an update, and what became of it."""
        layout = self.layout.with_columns(update.columns)
        index = dict(self.index)
        for symbol in update.symbols:
            index.setdefault(symbol, len(index))
        packed = absent(len(index), len(layout.columns))
        n, _, k = self.packed.shape
        packed[:n, :, :k] = self.packed
        written_at = np.full(len(index), ABSENT, dtype=np.int64)
        written_at[:n] = self.written_at
        rows = np.array([index[symbol] for symbol in update.symbols], dtype=np.intp)
        places = np.array([layout.current[column.feature] for column in update.columns], np.intp)
        cells = np.ix_(rows, np.arange(3), places)
        packed[cells], written_at[rows], written = merged(
            packed[cells], written_at[rows], update.packed, update.at
        )
        windows, applied = updated_windows(self.windows, update)
        given = int((update.packed[:, EVENT] != ABSENT).sum())
        state = State(
            layout=layout, index=index, packed=packed, written_at=written_at, windows=windows
        )
        return state, Applied(
            written=written + applied.written,
            kept=given - written + applied.kept,
            late=applied.late,
        )


def updated_windows(
    held: dict[tuple[str, str], Window], update: Update
) -> tuple[dict[tuple[str, str], Window], Applied]:
    """Return the windows after an update: whole windows first, then pushed bars in time order.

    Raises:
        HistoryMissing: a bar does not follow its window.
    """
    windows = dict(held)
    written = kept = late = 0
    for name, window in update.windows.items():
        if replaces(window, windows.get(name)):
            windows[name] = window
            written += 1
        else:
            kept += 1
    for bar in sorted(update.bars, key=lambda bar: (bar.event, bar.known)):
        name = (bar.column.key, bar.symbol)
        if name not in windows:
            continue
        longer = extended(windows[name], bar, update.at)
        if longer is None:
            late += 1
        elif longer is windows[name]:
            kept += 1
        else:
            windows[name] = longer
            written += 1
    return windows, Applied(written=written, kept=kept, late=late)


class MemoryOnline:
    """Online cells of this process alone; gone when it ends."""

    def __init__(self) -> None:
        self._state = State()
        self._writing = Lock()

    def apply(self, update: Update) -> Applied:
        """Lay an update over what is held; see the port."""
        with self._writing:
            self._state, applied = self._state.updated(update)
        return applied

    def read(self, features: Sequence[str], symbols: Sequence[str]) -> Cells:
        """Return cells; see the port."""
        return self._state.read(features, symbols)

    def windows(
        self, feature: str, symbols: Sequence[str]
    ) -> tuple[Column, tuple[Window | None, ...]]:
        """Return a feature's windows; see the port."""
        return windows_of(self._state, feature, symbols)

    def layout(self) -> Layout:
        """Return the columns held now."""
        return self._state.layout

    def symbols(self) -> tuple[str, ...]:
        """Return the symbols held now, sorted."""
        return tuple(sorted(self._state.index))


def windows_of(
    state: State, feature: str, symbols: Sequence[str]
) -> tuple[Column, tuple[Window | None, ...]]:
    """Return a feature's column and each symbol's window; None where there is none."""
    column = state.layout.columns[state.layout.place(feature)]
    return column, tuple(state.windows.get((column.key, symbol)) for symbol in symbols)
