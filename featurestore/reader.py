"""The reading face of one snapshot: windows and latest values by knowledge time, and a seal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from featurestore.errors import ContractBroken, HistoryMissing, HoldoutSealed, ViewUnknown
from featurestore.features.declaration import Feature
from featurestore.features.evaluate import OnMissing
from featurestore.features.expression import sources_of
from featurestore.features.serving import computed_columns, computed_latest, computed_windows
from featurestore.frontier import Frontier, build_frontier
from featurestore.grid import NEVER, Array, Index, SessionGrid, build_grid
from featurestore.historical import (
    HistoricalFeatures,
    historical,
    require_range,
    require_some,
    spine_of,
    spine_of_members,
)
from featurestore.horizon import earlier_end
from featurestore.lake import Lake
from featurestore.pit import latest_revisions
from featurestore.revisions import believed, first_prints, revisions_of
from featurestore.seals import Opening, seal_for
from featurestore.series import OwnTimes, build_series
from featurestore.times import instant, micros
from featurestore.universes import Universe, members_at, universe_at
from featurestore.views import FeatureView, decode_view, is_plain, split_feature

VIEWS_TABLE = "_views"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The lake at one moment: pinned table versions and the hash of what they hold."""

    versions: dict[str, int]  # table -> Delta version
    hash: str  # SHA-256 over the contents, hex; equal contents, equal hash


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderSource:
    """All it takes to open the same reader elsewhere; plain data, cheap to send to a worker."""

    lake: Lake
    snapshot: Snapshot
    sealed_from: datetime | None = None  # UTC; nothing known at or after this is loaded
    truncated_at: datetime | None = None  # UTC; nothing known after this is kept
    views: tuple[str, ...] | None = None  # None = every view of the snapshot
    study: str | None = None  # whose own seal holds; None = the earliest of the lake
    opening: Opening | None = None  # leave to look behind the lake's seals


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestValues:
    """The newest known value per symbol."""

    values: Array  # (n,)
    event_times: list[datetime]  # UTC; what each value is about
    known_at: list[datetime]  # UTC; when each could first be known


@dataclass(slots=True)
class LakeReader:
    """Point-in-time reads of one snapshot.

    A view's rows are loaded once, at its first use; reads after that touch memory only. What was
    not known at `at` is never returned; what lies behind the seal is not even loaded.
    """

    source: ReaderSource
    contracts: Mapping[str, FeatureView]
    _load: Callable[[str], pl.DataFrame] = field(repr=False)
    _tables: dict[str, SessionGrid | OwnTimes] = field(default_factory=dict, repr=False)
    _frontiers: dict[str, Frontier] = field(default_factory=dict, repr=False)
    _watch: Callable[[str, pl.DataFrame], None] | None = field(default=None, repr=False)
    _watched: set[str] = field(default_factory=set, repr=False)

    def __reduce__(self) -> tuple[Callable[[ReaderSource], "LakeReader"], tuple[ReaderSource]]:
        """Travel as a description: the receiver opens the lake itself."""
        return open_reader, (self.source,)

    @property
    def sealed_from(self) -> datetime | None:
        """Return the instant from which on everything is sealed, UTC; None = nothing is."""
        return self.source.sealed_from

    @property
    def truncated_at(self) -> datetime | None:
        """Return the instant after which nothing is held, UTC; None = the snapshot's end."""
        return self.source.truncated_at

    @property
    def snapshot(self) -> Snapshot:
        """Return the snapshot that is read."""
        return self.source.snapshot

    def view(self, name: str) -> FeatureView:
        """Return a view's contract as pinned by the snapshot; ViewUnknown lists what exists."""
        if name not in self.contracts:
            raise ViewUnknown(
                f"no feature view {name!r} in this snapshot; "
                f"there are: {', '.join(sorted(self.contracts)) or 'none, ingest one first'}"
            )
        return self.contracts[name]

    def watch(self, on_read: Callable[[str, pl.DataFrame], None]) -> None:
        """Have every view announced with its rows, once, before anything of it is handed out."""
        self._watch = on_read

    def symbols(self, view: str) -> tuple[str, ...]:
        """Return the entities of a view, sorted."""
        return self._table(view).entities

    def rows(self, view: str) -> pl.DataFrame:
        """Return every observation this reader holds of a view, all revisions, in filing order."""
        self.view(view)
        return self._rows(view)

    def as_of(self, feature: str, at: datetime) -> pl.DataFrame:
        """Return the whole history of "view.field" as it was believed at `at`, UTC.

        Columns entity, event_time, the field, revision, known_at.

        Raises:
            HoldoutSealed: `at` lies at or behind the seal.
        """
        view, name = split_feature(feature)
        self.view(view).field(name)
        self._open_at(at)
        return believed(self._rows(view), name, at)

    def first_print(self, feature: str) -> pl.DataFrame:
        """Return each observation of "view.field" as first published; columns as for `as_of`."""
        view, name = split_feature(feature)
        self.view(view).field(name)
        return first_prints(self._rows(view), name)

    def revisions(
        self, feature: str, entity: str, *, as_of: datetime | None = None
    ) -> pl.DataFrame:
        """Return how the values of "view.field" of an entity came to be; see `revisions_of`."""
        view, name = split_feature(feature)
        self.view(view).field(name)
        if as_of is not None:
            self._open_at(as_of)
        return revisions_of(self._rows(view), view, entity, name, as_of)

    def table(self, view: str) -> SessionGrid | OwnTimes:
        """Return a view's observations as this reader holds them in memory."""
        return self._table(view)

    def place(
        self, feature: str, symbols: Sequence[str]
    ) -> tuple[SessionGrid | OwnTimes, str, Index]:
        """Return table, field and row numbers of "view.field"; HistoryMissing names a stranger."""
        return self._place(feature, symbols)

    def opened(self, at: datetime) -> int:
        """Return `at` in microseconds; HoldoutSealed at or behind the seal."""
        return self._open_at(at)

    def window(self, feature: str, symbols: Sequence[str], *, length: int, at: datetime) -> Array:
        """Return the newest `length` bars due at `at`.

        Args:
            feature: "view.field", or a computed feature by its name; its bars are its values.
            symbols: entities, distinct; row order of the result.
            length: bars; for views with a calendar, consecutive sessions.
            at: UTC; each bar in its latest revision known then.

        Returns:
            shape (n, length), float64, oldest bar first.

        Raises:
            HistoryMissing: a bar is absent, or was not known at `at`; names symbol and session.
            HoldoutSealed: `at` lies at or behind the seal.
        """
        if not is_plain(feature):
            return np.asarray(computed_windows(self, feature, symbols, length=length, at=[at])[0])
        table, name, rows = self._place(feature, symbols)
        return self._window(table, name, symbols, rows, length, self._open_at(at))

    def windows(
        self, feature: str, symbols: Sequence[str], *, length: int, at: Sequence[datetime]
    ) -> Array:
        """Return the window of every date, shape (D, n, length); bit-equal to `window` of each."""
        if not is_plain(feature):
            return computed_windows(self, feature, symbols, length=length, at=at)
        table, name, rows = self._place(feature, symbols)
        out = np.empty((len(at), len(symbols), length))
        for i, each in enumerate(at):
            out[i] = self._window(table, name, symbols, rows, length, self._open_at(each))
        return out

    def latest(self, feature: str, symbols: Sequence[str], *, at: datetime) -> LatestValues:
        """Return each symbol's newest value known at `at`, however old: judge its event time.

        Raises:
            HistoryMissing: nothing of a symbol was known at `at`.
            HoldoutSealed: `at` lies at or behind the seal.
        """
        if not is_plain(feature):
            return LatestValues(**computed_latest(self, feature, symbols, at=at))
        table, name, rows = self._place(feature, symbols)
        values, events, known = table.latest(name, rows, self._open_at(at))
        for symbol, each in zip(symbols, known, strict=True):
            if each == NEVER:
                raise HistoryMissing(
                    f"{feature}: nothing of {symbol} was known at {at.isoformat()}; "
                    "decide later or leave the symbol out"
                )
        return LatestValues(
            values=values,
            event_times=[instant(each) for each in events],
            known_at=[instant(each) for each in known],
        )

    def history(self, feature: str, symbols: Sequence[str], start: date, end: date) -> pl.DataFrame:
        """Return what this reader holds about days `start` to `end`, in latest revision; for plots.

        Args:
            feature: "view.field".
            symbols: entities.
            start: first day of event time, UTC, inclusive.
            end: last day, inclusive.

        Returns:
            columns symbol, event_time, known_at and the field's name, by symbol and time.

        Raises:
            HoldoutSealed: `end` lies at or behind the seal.
        """
        view, name = split_feature(feature)
        self._place(feature, symbols)
        last = datetime.combine(end, time(), UTC)
        self._open_at(last)
        rows = latest_revisions(self._rows(view))
        within = (pl.col("event_time") >= datetime.combine(start, time(), UTC)) & (
            pl.col("event_time") < last + timedelta(days=1)
        )
        return (
            rows.filter(pl.col("entity").is_in(list(symbols)) & within)
            .select(pl.col("entity").alias("symbol"), "event_time", "known_at", name)
            .sort("symbol", "event_time")
        )

    def get_historical_features(
        self,
        features: Sequence[str | Feature],
        *,
        spine: pl.DataFrame | None = None,
        symbols: Sequence[str] | None = None,
        start: date | None = None,
        end: date | None = None,
        universe: Universe | str | None = None,
        missing: OnMissing = "refuse",
    ) -> HistoricalFeatures:
        """Return what was known at each spine row, or at each session close of a range.

        Args:
            features: "view.field" and computed features, or their names, distinct.
            spine: polars, columns entity and at; or instead
            symbols: entities, with `start` and `end`: every session of the first view's calendar.
            start: first day, inclusive.
            end: last day, inclusive.
            universe: instead of `symbols`, a list of them, or the name of a membership view: then
                every session has the members of its own day.
            missing: a computed feature that has no value is refused, or null.

        Raises:
            HoldoutSealed: a row's instant lies at or behind the seal.
            ContractBroken: the spine or the range does not fit.
            HistoryMissing, FeatureUndefined: a computed feature has no value somewhere.
        """
        wanted = [str(feature) for feature in features]
        require_range(symbols, start, end)
        for source in dict.fromkeys(s for feature in wanted for s in sources_of(feature)):
            self.view(source.view).field(source.field)
        reasons: list[str] = []
        if symbols is not None and universe is not None:
            raise ContractBroken("pass symbols or a universe, not both")
        if spine is None:
            chosen = symbols if universe is None else universe
            if chosen is None or start is None or end is None or not wanted:
                raise ContractBroken(
                    "pass features, and a spine or symbols with start and end, or a universe"
                )
            first = self.view(sources_of(wanted[0])[0].view)
            if isinstance(chosen, str):
                members = partial(members_at, self, chosen)
                spine = spine_of_members(first, members, start, end)
            else:
                names = chosen.symbols if isinstance(chosen, Universe) else chosen
                spine = spine_of(first, names, start, end)
                begins = datetime.combine(start, time(), UTC)
                said = chosen.hindsight(begins) if isinstance(chosen, Universe) else None
                reasons += [] if said is None else [said]
        elif not (symbols is None and universe is None and start is None and end is None):
            raise ContractBroken("pass a spine or symbols with start and end, not both")
        answer = historical(
            wanted,
            spine,
            self._join,
            self.snapshot.hash,
            computed=lambda feature, keys: computed_columns(
                self, feature, keys, on_missing=missing
            ),
            reasons=reasons,
        )
        latest = answer.frame["at"].max()
        if isinstance(latest, datetime):
            self._open_at(latest)
        if symbols is not None:
            require_some(answer.frame, wanted)
        return answer

    def universe_at(self, view: str, at: datetime) -> Universe:
        """Return who belonged to a universe at an instant; `view` is one of membership."""
        return universe_at(self, view, at)

    def truncated(self, at: datetime) -> "LakeReader":
        """Return a reader of the same snapshot that holds nothing known after `at`."""
        cut = micros(at)
        before = self.source.truncated_at
        source = replace(self.source, truncated_at=at if before is None else min(at, before))
        tables = {name: table.truncated(cut) for name, table in self._tables.items()}
        return LakeReader(source, self.contracts, self._load, tables)

    def _window(
        self,
        table: SessionGrid | OwnTimes,
        name: str,
        symbols: Sequence[str],
        rows: Index,
        length: int,
        at: int,
    ) -> Array:
        out = table.window(name, rows, length, at)
        if np.isnan(out).any():
            raise table.explain(name, symbols, out, at)
        return out

    def _open_at(self, at: datetime) -> int:
        """Return `at` in microseconds; HoldoutSealed at or behind the seal."""
        value = micros(at)
        seal = self.source.sealed_from
        if seal is not None and at >= seal:
            raise HoldoutSealed(
                f"{at.isoformat()} lies in the holdout, sealed from {seal.isoformat()}: research "
                "may not read it; end the study's dates before it, promotion opens it once"
            )
        return value

    def _place(
        self, feature: str, symbols: Sequence[str]
    ) -> tuple[SessionGrid | OwnTimes, str, Index]:
        view, name = split_feature(feature)
        self.view(view).field(name)
        table = self._table(view)
        if len(set(symbols)) != len(symbols) or not symbols:
            raise ContractBroken(f"{feature}: symbols must be distinct and not empty: {symbols}")
        unknown = [symbol for symbol in symbols if symbol not in table.rows]
        if unknown:
            raise HistoryMissing(
                f"{feature}: no observation of {', '.join(unknown)} is held; "
                f"the view knows {', '.join(table.entities) or 'none'}"
            )
        return table, name, np.array([table.rows[s] for s in symbols], dtype=np.intp)

    def _table(self, view: str) -> SessionGrid | OwnTimes:
        if view not in self._tables:
            contract = self.view(view)
            build = build_series if contract.calendar is None else build_grid
            self._tables[view] = build(contract, self._rows(view))
        return self._tables[view]

    def _join(self, view: str, keys: pl.DataFrame, fields: list[str]) -> pl.DataFrame:
        """Join a view's fields to keys by knowledge; the view's frontier is kept for next time."""
        if view not in self._frontiers:
            self._frontiers[view] = build_frontier(self._rows(view))
        return self._frontiers[view].join(keys, fields)

    def _rows(self, view: str) -> pl.DataFrame:
        rows = self._load(view)
        if self._watch is not None and view not in self._watched:
            self._watch(view, rows)
            self._watched.add(view)
        cut = self.source.truncated_at
        return rows if cut is None else rows.filter(pl.col("known_at") <= cut)


def open_reader(source: ReaderSource) -> LakeReader:
    """Open a reader from its description; SnapshotUnknown if a pinned version is gone."""
    if source.sealed_from is not None:
        micros(source.sealed_from)
    if source.opening is None:
        sealed_from = seal_for(source.lake, source.study, source.sealed_from)
        source = replace(source, sealed_from=sealed_from)
    source = replace(source, truncated_at=earlier_end(source.truncated_at))
    versions = source.snapshot.versions
    contracts = declared_views(source.lake, versions.get(VIEWS_TABLE))
    wanted = source.views if source.views is not None else tuple(sorted(contracts))
    for name in wanted:
        if name not in contracts:
            raise ViewUnknown(f"no view {name!r}; there are: {', '.join(sorted(contracts))}")

    def load(view: str) -> pl.DataFrame:
        contract = contracts[view]
        columns = [column for column in contract.columns if column != "source"]
        if view not in versions:
            raise HistoryMissing(f"view {view} holds no rows in this snapshot; ingest it first")
        return source.lake.read(
            view, version=versions[view], columns=columns, known_before=source.sealed_from
        )

    return LakeReader(source, {name: contracts[name] for name in wanted}, load)


def declared_views(lake: Lake, version: int | None) -> dict[str, FeatureView]:
    """Return the views declared up to a version of the declarations' table, by name."""
    if version is None:
        return {}
    rows: list[dict[str, Any]] = lake.read(VIEWS_TABLE, version=version).sort("edition").to_dicts()
    return {row["name"]: decode_view(row["declaration"]) for row in rows}
