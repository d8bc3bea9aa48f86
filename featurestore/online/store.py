"""The face of the online store: materialize, push, read points and whole windows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from featurestore.errors import ContractBroken, FeatureStale, HistoryMissing
from featurestore.online.cells import Applied, Array, Bar, Micros, Update, Window, absent, pack
from featurestore.online.layout import Column
from featurestore.online.port import OnlineBackend
from featurestore.online.values import OnlineValues
from featurestore.times import MICROSECOND, instant, micros
from featurestore.views import FeatureView, is_plain, split_feature

if TYPE_CHECKING:  # polars starts a thread; the live service serves without it
    import polars as pl

    from featurestore.reader import LatestValues


class OfflineReader(Protocol):
    """What materializing asks of a reader of the lake."""

    def view(self, name: str) -> FeatureView:
        """Return a view's contract."""
        ...

    def latest(self, feature: str, symbols: Sequence[str], *, at: datetime) -> LatestValues:
        """Return each symbol's newest value known at `at`."""
        ...

    def window(self, feature: str, symbols: Sequence[str], *, length: int, at: datetime) -> Array:
        """Return the newest `length` bars due at `at`, shape (n, length)."""
        ...


@dataclass(frozen=True, slots=True)
class OnlineStore:
    """The newest known values, from one backend or another."""

    backend: OnlineBackend

    def materialize(
        self,
        reader: OfflineReader,
        features: Sequence[str],
        symbols: Sequence[str],
        *,
        at: datetime,
        windows: Mapping[str, int] | None = None,
    ) -> Applied:
        """Bring the newest values known at `at` online, all at once.

        Repeating it changes nothing; an older materialization never replaces a newer value.

        Args:
            reader: the snapshot to read.
            features: "view.field" or a computed feature's name, distinct.
            symbols: entities, distinct.
            at: UTC.
            windows: features of which whole windows are kept too -> bars.

        Raises:
            HistoryMissing: nothing of a symbol, or too little for a window, was known at `at`.
            HoldoutSealed: `at` lies at or behind the reader's seal.
            ContractBroken: features or symbols repeat, or a window is of no feature asked for.
            OnlineUnavailable: the storage does not answer; what it held still stands.
        """
        lengths = dict(windows or {})
        _require_distinct("features", features)
        _require_distinct("symbols", symbols)
        if not set(lengths) <= set(features) or any(each < 1 for each in lengths.values()):
            raise ContractBroken(f"windows {lengths} must be >= 1 bar, of features {features}")
        columns = tuple(column_of_reader(reader, feature) for feature in features)
        written = micros(at)
        latest = [reader.latest(feature, symbols, at=at) for feature in features]
        events = np.array([[micros(t) for t in each.event_times] for each in latest]).T
        known = np.array([[micros(t) for t in each.known_at] for each in latest]).T
        held = {}
        for j, (feature, column) in enumerate(zip(features, columns, strict=True)):
            if feature in lengths:
                bars = reader.window(feature, symbols, length=lengths[feature], at=at)
                for i, symbol in enumerate(symbols):
                    held[column.key, symbol] = Window(
                        values=np.ascontiguousarray(bars[i], dtype=np.float64),
                        event=int(events[i, j]),
                        known=int(known[i, j]),
                        at=written,
                    )
        values = np.column_stack([each.values for each in latest])
        return self.backend.apply(
            Update(
                columns=columns,
                symbols=tuple(symbols),
                packed=pack(values, events, known),
                at=written,
                windows=held,
            )
        )

    def push(self, view: FeatureView, frame: pl.DataFrame, *, at: datetime) -> Applied:
        """Bring observations online as they arrive, without waiting for the lake.

        Points take the newest; windows held of the view's fields move on by a bar, and only by the
        next session's where the view has a calendar. Computed features wait for the lake.

        Args:
            view: the contract; every row must satisfy it.
            frame: as for ingest: entity, event_time, known_at, the fields; optional revision.
            at: instant of arrival, UTC; rows known later are refused.

        Raises:
            ContractBroken: a row does not satisfy the contract; nothing is written.
            HistoryMissing: a bar does not follow its window; nothing is written.
            OnlineUnavailable: the storage does not answer.
        """
        rows = _accepted(view, frame, at)
        columns = tuple(column_of(view, f"{view.name}.{field.name}") for field in view.fields)
        symbols = tuple(dict.fromkeys(row["entity"] for row in rows))
        packed = absent(len(symbols), len(columns))
        place = {symbol: i for i, symbol in enumerate(symbols)}
        bars = []
        for row in rows:  # ascending, so the newest stays
            i, event, known = (
                place[row["entity"]],
                micros(row["event_time"]),
                micros(row["known_at"]),
            )
            for j, (column, field) in enumerate(zip(columns, view.fields, strict=True)):
                raw = row[field.name]
                value = float("nan") if raw is None else float(raw)
                packed[i : i + 1, :, j] = pack(*(np.array([[x]]) for x in (value, event, known)))[
                    :, :, 0
                ]
                bars.append(
                    Bar(column=column, symbol=row["entity"], event=event, known=known, value=value)
                )
        update = Update(columns=columns, symbols=symbols, packed=packed, at=micros(at), bars=bars)
        return self.backend.apply(update)

    def get_online_features(
        self,
        features: Sequence[str],
        symbols: Sequence[str],
        *,
        now: datetime,
        stale: Literal["refuse", "allow"] = "refuse",
    ) -> OnlineValues:
        """Return cells of (len(symbols), len(features)), all of one moment.

        Args:
            features: "view.field".
            symbols: entities.
            now: UTC; ages count up to here.
            stale: "allow" returns values that are too old as well; see their ages.

        Raises:
            ViewUnknown: a feature was not materialized.
            HistoryMissing: a symbol was not materialized, or its value was not yet known at `now`.
            FeatureStale: a value is older than its view's freshness; names feature, symbol and age.
            OnlineUnavailable: the storage does not answer.
        """
        if not features or not symbols:
            raise ContractBroken(f"ask for features and symbols, not {features} of {symbols}")
        cells = self.backend.read(features, symbols)
        answer = OnlineValues(
            tuple(features),
            tuple(symbols),
            now,
            cells.packed,
            cells.plan.freshness,
            cells.plan.versions,
        )
        if not cells.settled <= micros(now) <= cells.deadline and not answer.current:
            answer.require_present()
            if stale == "refuse":
                answer.require_fresh()
        return answer

    def window(self, feature: str, symbols: Sequence[str], *, length: int, at: datetime) -> Array:
        """Return the newest `length` bars due at `at`, bit-equal to the lake's, or raise.

        Args:
            feature: "view.field", materialized with a window of at least `length`.
            symbols: entities.
            length: bars.
            at: UTC.

        Returns:
            shape (n, length), float64, oldest bar first.

        Raises:
            ViewUnknown: the feature was not materialized.
            HistoryMissing: no window of a symbol, a shorter one, or one that ends after `at`.
            FeatureStale: the bar due at `at` is not in the window, or the newest is too old.
        """
        column, found = self.backend.windows(feature, symbols)
        out = np.empty((len(symbols), length))
        due = due_at(column, micros(at))
        for i, (symbol, window) in enumerate(zip(symbols, found, strict=True)):
            if window is None or window.values.size < length:
                held = "no window" if window is None else f"a window of {window.values.size} bars"
                raise HistoryMissing(
                    f"{feature}: {held} of {symbol} is online, asked for are {length}; "
                    f"materialize with windows={{{feature!r}: {length}}}"
                )
            require_current(column, symbol, window, at, due)
            out[i] = window.values[-length:]
        return out

    def features(self) -> tuple[str, ...]:
        """Return the features that are served, sorted."""
        return tuple(sorted(self.backend.layout().current))

    def symbols(self) -> tuple[str, ...]:
        """Return the symbols that are held, sorted."""
        return self.backend.symbols()


def column_of(view: FeatureView, feature: str) -> Column:
    """Return the column of one feature under a view's present declaration."""
    view.field(split_feature(feature)[1])
    return Column(
        feature=feature,
        version_hash=view.version_hash,
        freshness=view.freshness // MICROSECOND,
        availability=view.availability // MICROSECOND,
        calendar=view.calendar,
    )


def column_of_reader(reader: OfflineReader, feature: str) -> Column:
    """Return a feature's column; a computed one has its first source's clock and freshness."""
    if is_plain(feature):
        return column_of(reader.view(split_feature(feature)[0]), feature)
    from featurestore.features.declaration import Feature
    from featurestore.features.expression import parse_input, sources_of

    node = parse_input(feature)
    views = [reader.view(source.view) for source in sources_of(feature)]
    formula = node.version_hash if isinstance(node, Feature) else node.name
    digest = hashlib.sha256(formula.encode())
    for view in views:
        digest.update(view.version_hash.encode())
    return Column(
        feature=feature,
        version_hash=digest.hexdigest(),
        freshness=views[0].freshness // MICROSECOND,
        availability=views[0].availability // MICROSECOND,
        calendar=views[0].calendar,
    )


def _require_distinct(what: str, names: Sequence[str]) -> None:
    if not names or len(set(names)) != len(names):
        raise ContractBroken(f"{what} must be distinct and not empty: {list(names)}")


def _accepted(view: FeatureView, frame: pl.DataFrame, at: datetime) -> list[dict[str, Any]]:
    """Return the rows in ascending order of time; ContractBroken names the first bad ones."""
    import polars as pl

    from featurestore.contract import describe, row_reasons, shaped

    rows = shaped(view, frame).with_row_index("row")
    bad = rows.with_columns(row_reasons(view, rows, now=at)).filter(pl.col("reason").is_not_null())
    if bad.height:
        raise ContractBroken("; ".join(describe(view, bad, 3)))
    return rows.sort("event_time", "known_at", "revision").to_dicts()


@cache
def _closes(calendar: str) -> Micros:
    from featurestore.contract import session_closes

    return session_closes(calendar)


def due_at(column: Column, at: int) -> int | None:
    """Return the event time of the bar due at `at`; None where the view has no calendar."""
    if column.calendar is None:
        return None
    closes = _closes(column.calendar)
    last = int(np.searchsorted(closes, at - column.availability, side="right")) - 1
    return int(closes[last]) if last >= 0 else None


def require_current(
    column: Column, symbol: str, window: Window, at: datetime, due: int | None
) -> None:
    """Refuse a window that does not end with the bar due at `at`."""
    now, name = micros(at), f"{column.feature}: the window of {symbol}"
    ends = f"ends with the bar of {instant(window.event).isoformat()}"
    if window.known > now or (due is not None and window.event > due):
        raise HistoryMissing(
            f"{name} {ends}, known at {instant(window.known).isoformat()}, after {at.isoformat()}; "
            "the online store holds the newest bars only, ask the lake about the past"
        )
    if due is not None and window.event < due:
        raise FeatureStale(
            f"{name} {ends}, due at {at.isoformat()} is the bar of {instant(due).isoformat()}; "
            "push it, or ingest what is newer and materialize again"
        )
    if now - window.event > column.freshness:
        raise FeatureStale(
            f"{name} {ends}, {(now - window.event) * MICROSECOND} before {at.isoformat()}, allowed "
            f"is {column.freshness * MICROSECOND}; ingest what is newer and materialize again"
        )
