"""The reading face of one snapshot: windows and latest values by knowledge time, and a seal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import TypeAlias

import numpy as np
import polars as pl

from featurestore.errors import ContractBroken, HistoryMissing, HoldoutSealed, ViewUnknown
from featurestore.extent import Extent, extent_of
from featurestore.features.declaration import Feature
from featurestore.features.evaluate import OnMissing
from featurestore.features.expression import sources_of
from featurestore.features.serving import (
    computed_columns,
    computed_history,
    computed_latest,
    computed_windows,
)
from featurestore.frontier import Frontier, build_frontier
from featurestore.frontier_files import Loadable
from featurestore.grid import NEVER, Array, Index, SessionGrid, build_grid
from featurestore.historical import (
    HistoricalFeatures,
    asked_spine,
    historical,
    require_some,
)
from featurestore.horizon import earlier_end
from featurestore.revisions import believed, first_prints, latest_between, revisions_of
from featurestore.seals import seal_for
from featurestore.series import OwnTimes, build_series
from featurestore.snapshots import VIEWS_TABLE, ReaderSource, Snapshot, declared_views
from featurestore.times import earliest, instants, micros
from featurestore.universes import Universe, universe_at
from featurestore.views import FeatureView, is_plain, split_feature

_Placed: TypeAlias = tuple[SessionGrid | OwnTimes, str, Index]  # table, field, row numbers


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
    _watch: Callable[[str, Extent], None] | None = field(default=None, repr=False)
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

    def watch(self, on_read: Callable[[str, Extent], None]) -> None:
        """Have every view announced with its extent, once, before any of it is handed out."""
        self._watch = on_read

    def symbols(self, view: str) -> tuple[str, ...]:
        """Return the entities of a view, sorted."""
        return self.table(view).entities

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
        self.opened(at)
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
            self.opened(as_of)
        return revisions_of(self._rows(view), view, entity, name, as_of)

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
        return self._window(self.place(feature, symbols), symbols, length, at)

    def windows(
        self, feature: str, symbols: Sequence[str], *, length: int, at: Sequence[datetime]
    ) -> Array:
        """Return the window of every date, shape (D, n, length); bit-equal to `window` of each."""
        if not is_plain(feature):
            return computed_windows(self, feature, symbols, length=length, at=at)
        placed = self.place(feature, symbols)
        out = np.empty((len(at), len(symbols), length))
        for i, each in enumerate(at):
            out[i] = self._window(placed, symbols, length, each)
        return out

    def latest(self, feature: str, symbols: Sequence[str], *, at: datetime) -> LatestValues:
        """Return each symbol's newest value known at `at`, however old: judge its event time.

        Raises:
            HistoryMissing: nothing of a symbol was known at `at`.
            HoldoutSealed: `at` lies at or behind the seal.
        """
        if not is_plain(feature):
            return LatestValues(**computed_latest(self, feature, symbols, at=at))
        table, name, rows = self.place(feature, symbols)
        values, events, known = table.latest(name, rows, self.opened(at))
        unknown = np.flatnonzero(known == NEVER)
        if unknown.size:
            raise HistoryMissing(
                f"{feature}: nothing of {symbols[int(unknown[0])]} was known at {at.isoformat()}; "
                "decide later or leave the symbol out"
            )
        times, first = instants(events.tolist()), instants(known.tolist())
        return LatestValues(values=values, event_times=times, known_at=first)

    def oldest(self, feature: str, symbols: Sequence[str], *, at: datetime) -> datetime:
        """Return when the oldest of `latest` could first be known, UTC; errors as there."""
        return earliest(self.latest(feature, symbols, at=at).known_at)

    def history(self, feature: str, symbols: Sequence[str], start: date, end: date) -> pl.DataFrame:
        """Return what this reader holds about days `start` to `end`; for plots.

        A field comes in its latest revision, a computed feature as it was when its bar was due.

        Args:
            feature: "view.field", or a computed feature by its name.
            symbols: entities.
            start: first day of event time, UTC, inclusive.
            end: last day, inclusive.

        Returns:
            columns symbol, event_time, known_at and the name of the field or feature, by symbol
            and time.

        Raises:
            HoldoutSealed: `end` lies at or behind the seal.
        """
        first = datetime.combine(start, time(), UTC)
        last = datetime.combine(end, time(), UTC)
        self.opened(last)
        days = first, last + timedelta(days=1)
        if not is_plain(feature):
            return computed_history(self, feature, symbols, *days)
        view, name = split_feature(feature)
        self.place(feature, symbols)
        return latest_between(self._rows(view), name, symbols, *days)

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
        sources = dict.fromkeys(s for feature in wanted for s in sources_of(feature))
        for source in sources:
            self.view(source.view).field(source.field)
        if not wanted:
            raise ContractBroken("pass features, at least one, e.g. view.field")
        first = self.view(next(iter(sources)).view)
        asked, reasons = asked_spine(
            self, first, spine=spine, symbols=symbols, start=start, end=end, universe=universe
        )
        answer = historical(
            wanted,
            asked,
            self._join,
            self.snapshot.hash,
            computed=partial(computed_columns, self, on_missing=missing),
            reasons=reasons,
        )
        latest = answer.frame["at"].max()
        if isinstance(latest, datetime):
            self.opened(latest)
        if symbols is not None:
            require_some(answer.frame, wanted)
        return answer

    def universe_at(self, view: str, at: datetime) -> Universe:
        """Return who belonged to a universe at an instant; `view` is one of membership."""
        return universe_at(self, view, at)

    def truncated(self, at: datetime) -> "LakeReader":
        """Return a reader that holds nothing known after `at`; it announces what it reads, too."""
        cut = micros(at)
        before = self.source.truncated_at
        source = replace(self.source, truncated_at=at if before is None else min(at, before))
        tables = {name: table.truncated(cut) for name, table in self._tables.items()}
        return replace(self, source=source, _tables=tables, _frontiers={})

    def _window(self, placed: _Placed, symbols: Sequence[str], length: int, at: datetime) -> Array:
        table, name, rows = placed
        then = self.opened(at)
        out = table.window(name, rows, length, then)
        if np.isnan(out).any():
            raise table.explain(name, symbols, out, then)
        return out

    def opened(self, at: datetime) -> int:
        """Return `at` in microseconds; HoldoutSealed at or behind the seal."""
        value = micros(at)
        seal = self.source.sealed_from
        if seal is not None and at >= seal:
            raise HoldoutSealed(
                f"{at.isoformat()} lies in the holdout, sealed from {seal.isoformat()}: research "
                "may not read it; end the study's dates before it, promotion opens it once"
            )
        return value

    def place(self, feature: str, symbols: Sequence[str]) -> _Placed:
        """Return table, field and row numbers of "view.field"; HistoryMissing names a stranger."""
        view, name = split_feature(feature)
        self.view(view).field(name)
        table = self.table(view)
        if len(set(symbols)) != len(symbols) or not symbols:
            raise ContractBroken(f"{feature}: symbols must be distinct and not empty: {symbols}")
        unknown = [symbol for symbol in symbols if symbol not in table.rows]
        if unknown:
            raise HistoryMissing(
                f"{feature}: no observation of {', '.join(unknown)} is held; "
                f"the view knows {', '.join(table.entities) or 'none'}"
            )
        return table, name, np.array([table.rows[s] for s in symbols], dtype=np.intp)

    def table(self, view: str) -> SessionGrid | OwnTimes:
        """Return a view's observations as this reader holds them in memory."""
        if view not in self._tables:
            contract = self.view(view)
            build = build_series if contract.calendar is None else build_grid
            self._tables[view] = build(contract, self._rows(view))
        return self._tables[view]

    def _join(self, view: str, keys: pl.DataFrame, fields: list[str]) -> pl.DataFrame:
        """Join a view's fields to keys by knowledge; the view's frontier is kept for next time."""
        if view not in self._frontiers:
            self._frontiers[view] = self._frontier(view)
        return self._frontiers[view].join(keys, fields)

    def _frontier(self, view: str) -> Frontier:
        """Map the frontier that another reader left, or compute it and leave it for the next.

        Worlds that end early are many and short, and what promotion looks at is computed from the
        table itself: both do without files.
        """
        source = self.source
        version = source.snapshot.versions.get(view)
        files = source.lake.frontiers()
        plain = source.truncated_at is None and source.opening is None
        if version is None or files is None or not plain:
            return build_frontier(self._rows(view))
        loadable = Loadable(
            view=view,
            fingerprint=source.lake.fingerprint(view, version),
            fields=tuple(each.name for each in self.view(view).fields),
            sealed_from=source.sealed_from,
        )
        found = files.find(loadable)
        if found is None:
            found = build_frontier(self._rows(view))
            files.keep(found, loadable)
        self._announce(view, found.extent)
        return found

    def _rows(self, view: str) -> pl.DataFrame:
        rows = self._load(view)
        if view not in self._watched:
            self._announce(view, extent_of(rows))
        cut = self.source.truncated_at
        return rows if cut is None else rows.filter(pl.col("known_at") <= cut)

    def _announce(self, view: str, extent: Extent) -> None:
        if self._watch is not None and view not in self._watched:
            self._watch(view, extent)
            self._watched.add(view)


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
