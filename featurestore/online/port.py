"""The port behind the online store: where cells and windows live."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from featurestore.online.cells import Applied, Micros, Packed, Update, Window
from featurestore.online.layout import Column, Layout

Index = NDArray[np.intp]
_PLANS = 256  # feature lists remembered; a service asks the same few again and again


@dataclass(frozen=True, slots=True)
class Plan:
    """How one list of features is taken from rows of one layout."""

    places: Index | None  # columns; None = all of them in their order
    freshness: Micros  # (k,)
    versions: tuple[str, ...]  # (k,)

    def of(self, rows: Packed) -> Packed:
        """Return the asked columns of rows of shape (n, 3, K)."""
        return rows if self.places is None else rows.take(self.places, axis=2)


class Cells(msgspec.Struct, frozen=True, eq=False):
    """One atomic read."""

    packed: Packed  # (n, 3, k)
    plan: Plan
    # Between these two instants every cell is there, known and fresh; no cell needs looking at.
    settled: int  # newest knowledge time
    deadline: int  # first instant at which a cell may be stale; ABSENT if one is missing


class OnlineBackend(Protocol):
    """Where an online store keeps its cells. Every read and every update is atomic."""

    def apply(self, update: Update) -> Applied:
        """Lay an update over what is held by the rule of `cells.merged`; all of it or nothing.

        Raises:
            HistoryMissing: a pushed bar does not follow its window; nothing changes.
            OnlineUnavailable: the storage does not answer or cannot be written.
        """
        ...

    def read(self, features: Sequence[str], symbols: Sequence[str]) -> Cells:
        """Return cells, all of one moment.

        Raises:
            ViewUnknown: a feature was never materialized.
            HistoryMissing: a symbol was never materialized.
        """
        ...

    def windows(
        self, feature: str, symbols: Sequence[str]
    ) -> tuple[Column, tuple[Window | None, ...]]:
        """Return a feature's column and each symbol's window, all of one moment; None = absent."""
        ...

    def layout(self) -> Layout:
        """Return the columns held now."""
        ...

    def symbols(self) -> tuple[str, ...]:
        """Return the symbols held now, sorted."""
        ...


class Plans:
    """Plans of one layout, made once per list of features."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._made: dict[tuple[str, ...], Plan] = {}

    def of(self, features: Sequence[str]) -> Plan:
        """Return the plan of a list of features; ViewUnknown if one was never materialized."""
        asked = tuple(features)
        plan = self._made.get(asked)
        if plan is None:
            if len(self._made) >= _PLANS:
                self._made.clear()
            places = tuple(self.layout.place(feature) for feature in asked)
            columns = [self.layout.columns[place] for place in places]
            whole = places == tuple(range(len(self.layout.columns)))
            plan = self._made[asked] = Plan(
                places=None if whole else np.array(places, dtype=np.intp),
                freshness=np.array([column.freshness for column in columns], dtype=np.int64),
                versions=tuple(column.version_hash for column in columns),
            )
        return plan
