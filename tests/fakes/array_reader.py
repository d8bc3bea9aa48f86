"""A point-in-time reader over plain arrays: one field, one bar per session, known at its close."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

import numpy as np

from featurestore.calendars import Session, load_calendar
from featurestore.errors import HistoryMissing, ViewUnknown
from runtime.bundles.inputs import Array


@dataclass(frozen=True)
class ArrayReader:
    """Answers `window` bar by bar, with no cleverness that could hide a mistake."""

    feature: str
    symbols: tuple[str, ...]
    sessions: tuple[Session, ...]
    values: Array  # (sessions, symbols)

    def window(self, feature: str, symbols: Sequence[str], *, length: int, at: datetime) -> Array:
        if feature != self.feature:
            raise ViewUnknown(f"no feature {feature!r}; there is: {self.feature}")
        known = [row for row, session in enumerate(self.sessions) if session.close <= at]
        if len(known) < length:
            raise HistoryMissing(f"{feature}: {len(known)} bars known at {at}, {length} asked for")
        columns = [self.symbols.index(symbol) for symbol in symbols]
        return np.array([[self.values[r, c] for r in known[-length:]] for c in columns])

    def windows(
        self, feature: str, symbols: Sequence[str], *, length: int, at: Sequence[datetime]
    ) -> Array:
        return np.stack([self.window(feature, symbols, length=length, at=t) for t in at])

    def with_values(self, values: Array) -> "ArrayReader":
        return replace(self, values=values)


def random_reader(
    symbols: tuple[str, ...], start: date, end: date, *, seed: int, feature: str
) -> ArrayReader:
    """Geometric random walks, one per symbol."""
    sessions = load_calendar("XNYS").sessions(start, end)
    steps = np.random.default_rng(seed).normal(0.0003, 0.015, (len(sessions), len(symbols)))
    values = 50.0 * np.exp(np.cumsum(steps, axis=0))
    return ArrayReader(feature=feature, symbols=symbols, sessions=sessions, values=values)
