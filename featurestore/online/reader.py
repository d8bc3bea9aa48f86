"""Answers what a decision asks from the online store: newest values in one read, windows whole.

A reader of the lake loads a view's table first; this one costs a round trip. It gives the same
bits: a newest value is refused unless it is the one due, as the lake refuses it.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
import numpy as np

from featurestore.online.cells import VALUE, Array, Window
from featurestore.online.layout import Column
from featurestore.online.store import OnlineStore, due_at, require_current
from featurestore.online.values import OnlineValues
from featurestore.times import instant, instants, micros


class NewestValues(msgspec.Struct, frozen=True, eq=False):
    """The newest known value per symbol, as `LakeReader.latest` gives it."""

    values: Array  # (n,)
    event_times: list[datetime]  # UTC; what each value is about
    known_at: list[datetime]  # UTC; when each could first be known


class _Read(msgspec.Struct, frozen=True, eq=False):
    """One moment of the features that are read together; k of them, n symbols."""

    values: Array  # (k, n), so that a feature's values lie together
    answer: OnlineValues
    due: tuple[int | None, ...]  # (k,), event time of the bar due; None without a calendar
    refused: list[bool]  # k, features of which a value is not the one due, or too old
    oldest: list[datetime]  # k, when the oldest value of a feature could first be known, UTC


class OnlineReader:
    """Point-in-time reads of the newest values; see `runtime.bundles.inputs.MarketReader`."""

    def __init__(self, store: OnlineStore, features: Sequence[str]) -> None:
        """Read from a store.

        Args:
            store: what is online.
            features: "view.field", those whose newest values are read together, as a rule all that
                a bundle reads; the others are asked for one by one.
        """
        self._store, self._features = store, tuple(features)
        self._places = {feature: place for place, feature in enumerate(self._features)}
        self._columns: tuple[Column, ...] = ()
        # Of the newest instant asked about; `_last` is what it asked about last.
        self._reads: dict[tuple[str, ...], _Read] = {}
        self._at: datetime | None = None
        self._last: tuple[Sequence[str], _Read] | None = None

    def window(self, feature: str, symbols: Sequence[str], *, length: int, at: datetime) -> Array:
        """Return the newest `length` bars due at `at`, shape (n, length), bit-equal to the lake's.

        Raises:
            ViewUnknown: the feature was not materialized.
            HistoryMissing: something of a symbol is not there, or was not known at `at`.
            FeatureStale: the bar due at `at` is not there, or the newest value is too old.
            OnlineUnavailable: the storage does not answer.
        """
        place = self._places.get(feature)
        if length != 1 or place is None:
            return self._store.window(feature, symbols, length=length, at=at)
        read = self._read(symbols, at)
        if read.refused[place]:
            self._refuse(read, place)
        values: Array = read.values[place]
        return values.reshape(-1, 1)

    def latest(self, feature: str, symbols: Sequence[str], *, at: datetime) -> NewestValues:
        """Return each symbol's newest value known at `at`, however old: judge its event time.

        Raises:
            ViewUnknown, HistoryMissing, OnlineUnavailable: as `window`.
        """
        place = self._places.get(feature)
        if place is None:
            answer = self._store.get_online_features([feature], symbols, now=at, stale="allow")
            return _newest(answer, 0, answer.values[:, 0])
        read = self._read(symbols, at)
        return _newest(read.answer, place, read.values[place])

    def oldest(self, feature: str, symbols: Sequence[str], *, at: datetime) -> datetime:
        """Return when the oldest of the symbols' newest values could first be known, UTC.

        Raises:
            ViewUnknown, HistoryMissing, OnlineUnavailable: as `window`.
        """
        place = self._places.get(feature)
        if place is not None:
            return self._read(symbols, at).oldest[place]
        answer = self._store.get_online_features([feature], symbols, now=at, stale="allow")
        return instant(int(answer.known_at.min()))

    def _read(self, symbols: Sequence[str], at: datetime) -> _Read:
        """Return what is online for these symbols, asked for once per instant."""
        if at != self._at:
            self._reads.clear()
            self._at, self._last = at, None
        if self._last is not None and symbols is self._last[0]:
            return self._last[1]  # the same tuple again, as a bundle asks: no look into it
        asked = tuple(symbols)
        if asked not in self._reads:
            answer = self._store.get_online_features(self._features, asked, now=at, stale="allow")
            now = micros(at)
            due = tuple([due_at(column, now) for column in self._columns_of(answer)])
            first = answer.event_times.min(axis=0)
            refused = first < now - answer.freshness
            if any(each is not None for each in due):
                last = answer.event_times.max(axis=0)
                expected = np.array([0 if each is None else each for each in due])
                timed = np.array([each is not None for each in due])
                refused |= ((first != expected) | (last != expected)) & timed
            self._reads[asked] = _Read(
                values=np.ascontiguousarray(answer.packed[:, VALUE].T).view(np.float64),
                answer=answer,
                due=due,
                refused=refused.tolist(),
                oldest=instants(answer.known_at.min(axis=0).tolist()),
            )
        self._last = asked, self._reads[asked]
        return self._reads[asked]

    def _columns_of(self, answer: OnlineValues) -> tuple[Column, ...]:
        """Return the columns of an answer; looked up again once their declaration has changed."""
        if tuple([column.version_hash for column in self._columns]) != answer.versions:
            layout = self._store.backend.layout()
            self._columns = tuple([layout.columns[layout.place(one)] for one in self._features])
        return self._columns

    def _refuse(self, read: _Read, place: int) -> None:
        """Raise for the first symbol whose value is not the one due, or too old."""
        answer = read.answer
        for row, symbol in enumerate(answer.symbols):
            held = Window(
                values=read.values[place, row : row + 1],
                event=int(answer.event_times[row, place]),
                known=int(answer.known_at[row, place]),
                at=int(answer.known_at[row, place]),
            )
            require_current(self._columns[place], symbol, held, answer.now, read.due[place])


def _newest(answer: OnlineValues, place: int, values: Array) -> NewestValues:
    """Return one feature's newest values."""
    return NewestValues(
        values=values,
        event_times=instants(answer.event_times[:, place].tolist()),
        known_at=instants(answer.known_at[:, place].tolist()),
    )
