"""The dates and prices that all trials of a study share, read once per process.

Windows are gathered for all decision dates at once and kept: a sweep's trials ask for few
distinct ones. Each is bit-equal to what `runtime.bundles.inputs.gather` returns at its date.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import cached_property
from typing import Protocol

import numpy as np

from featurestore.calendars import load_calendar
from featurestore.errors import HistoryMissing
from featurestore.features.expression import bars_of
from featurestore.universes import universe
from pipelines.books import Books, Rows, keep_books
from pipelines.errors import StudyInvalid
from pipelines.study import Period, Study
from runtime.bundles.inputs import Array, CurrentWeights, Input, Latest, PointInTime, Window
from runtime.errors import DecisionInvalid
from runtime.scheduling.schedule import decision_sessions


class BulkReader(PointInTime, Protocol):
    """A point-in-time reader that also answers for many dates at once."""

    def windows(
        self, feature: str, symbols: Sequence[str], *, length: int, at: Sequence[datetime]
    ) -> Array:
        """Return shape (D, n, length); row d is bit-equal to `window(..., at=at[d])`."""
        ...


class Panel:
    """Sessions, prices and decision dates of one study over one period.

    Row 0 is the session of the first decision; the last row is the last session of the period.
    A decision at row d is filled at the close of row d + 1, so a decision on the period's very
    last session is left out.

    Attributes:
        symbols: universe, length n; column order of every array.
        days: session days, length T + 1.
        prices: closes, shape (T + 1, n), quote currency per unit.
        decision_rows: rows at whose close is decided, shape (D,).
        decided_at: closes of those sessions, UTC, length D.
    """

    def __init__(self, reader: BulkReader, study: Study, period: Period) -> None:
        """Read prices of every session; StudyInvalid or HistoryMissing say what is not there."""
        calendar = load_calendar(study.calendar)
        decisions = decision_sessions(study.schedule, calendar, period.start, period.end)
        if not decisions:
            raise StudyInvalid(
                f"study {study.name}: no {study.schedule} decision falls into "
                f"{period.start} to {period.end}"
            )
        sessions = calendar.sessions(decisions[0].day, period.end)
        rows = {session.day: row for row, session in enumerate(sessions)}
        kept = [session for session in decisions if rows[session.day] + 1 < len(sessions)]
        if not kept:
            raise StudyInvalid(
                f"study {study.name}: the only decision, {decisions[0].day}, cannot be filled by "
                f"{period.end}; make the period longer"
            )
        self.study, self.period, self._reader = study, period, reader
        self.symbols: tuple[str, ...] = universe(study.universe).symbols
        self.days: tuple[date, ...] = tuple(session.day for session in sessions)
        self.decision_rows: Rows = np.array([rows[s.day] for s in kept], dtype=np.intp)
        self.decided_at: tuple[datetime, ...] = tuple(session.close for session in kept)
        closes = reader.window(
            study.price_feature, self.symbols, length=len(sessions), at=sessions[-1].close
        )
        self.prices: Array = np.ascontiguousarray(closes.T)
        self._check_warm_up()
        self._windows: dict[tuple[str, int], tuple[Array, tuple[bytes, ...]]] = {}

    @cached_property
    def benchmark(self) -> Books:
        """Return the books of 1/n in every symbol at every decision date."""
        equal = np.full(len(self.symbols), 1.0 / len(self.symbols))
        return keep_books(
            self.prices, self.decision_rows, lambda _index, _current: equal, self.study.sizing
        )

    def bulk(self, inputs: Mapping[str, Input]) -> dict[str, Array]:
        """Gather all declared inputs but current weights for every decision date.

        Returns:
            name -> (D, n, length) for windows, (D, n) for latest values.

        Raises:
            HistoryMissing: a bar is absent or not yet known.
            DecisionInvalid: a value is not finite.
            StudyInvalid: a window is longer than the study's warm-up.
        """
        gathered: dict[str, Array] = {}
        for name, declared in inputs.items():
            match declared:
                case Window(feature=feature, length=length):
                    gathered[name] = self._window(name, feature, length)[0]
                case Latest(feature=feature):
                    gathered[name] = np.ascontiguousarray(
                        self._window(name, feature, 1)[0][:, :, 0]
                    )
                case CurrentWeights():
                    pass
        return gathered

    def digest(self, inputs: Mapping[str, Input], decision: int, current: Array) -> str:
        """Return SHA-256 over everything the decision saw: names, shapes and bits, hex."""
        digest = hashlib.sha256()
        for name in sorted(inputs):
            declared = inputs[name]
            match declared:
                case Window(feature=feature, length=length):
                    part = self._window(name, feature, length)[1][decision]
                case Latest(feature=feature):
                    part = self._window(name, feature, 1)[1][decision]
                case CurrentWeights():
                    part = array_digest(current)
            digest.update(name.encode() + b"\x1f" + part)
        return digest.hexdigest()

    def _window(self, name: str, feature: str, length: int) -> tuple[Array, tuple[bytes, ...]]:
        """Read one window at every decision date, once, with a digest per date."""
        if (feature, length) not in self._windows:
            bars = bars_of(feature, length)
            if bars > self.study.warm_up:
                raise StudyInvalid(
                    f"input {name} reads {bars} bars, study {self.study.name} declares a warm-up "
                    f"of {self.study.warm_up}; all trials must share their dates"
                )
            values = self._reader.windows(
                feature, self.symbols, length=length, at=list(self.decided_at)
            )
            if not np.isfinite(values).all():
                bad = int(np.argmin(np.isfinite(values).all(axis=(1, 2))))
                raise DecisionInvalid(
                    f"input {name} at {self.decided_at[bad].isoformat()} "
                    f"holds a value that is not finite"
                )
            values = np.ascontiguousarray(values, dtype=np.float64)
            self._windows[feature, length] = values, tuple(array_digest(row) for row in values)
        return self._windows[feature, length]

    def _check_warm_up(self) -> None:
        try:
            self._reader.window(
                self.study.price_feature,
                self.symbols,
                length=self.study.warm_up,
                at=self.decided_at[0],
            )
        except HistoryMissing as error:
            raise HistoryMissing(
                f"study {self.study.name}: its first decision, {self.days[0]}, needs "
                f"{self.study.warm_up} bars of history; start the period later ({error})"
            ) from error


def array_digest(values: Array) -> bytes:
    """Return SHA-256 over shape and bits of a float64 array."""
    contiguous = np.ascontiguousarray(values, dtype=np.float64)
    return hashlib.sha256(f"{contiguous.shape}".encode() + contiguous.tobytes()).digest()
