"""The face of the feature store: declare views, ingest observations, pin a snapshot, read it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from typing import Literal

import polars as pl

from featurestore.contract import (
    against_lake,
    describe,
    rises,
    row_reasons,
    shaped,
)
from featurestore.digest import combined_hash, table_hash
from featurestore.errors import ContractBroken, SnapshotUnknown, ViewUnknown
from featurestore.extent import Extent
from featurestore.features.declaration import Feature
from featurestore.features.evaluate import OnMissing
from featurestore.historical import HistoricalFeatures
from featurestore.lake import Lake
from featurestore.quarantine import (
    WAIVABLE,
    chosen,
    decide,
    decoded,
    kept,
    set_aside,
)
from featurestore.reader import LakeReader, open_reader
from featurestore.seals import Opening, add_seal
from featurestore.snapshots import VIEWS_TABLE, ReaderSource, Snapshot, declared_views
from featurestore.universes import Universe
from featurestore.views import FeatureView

_FILED = ["known_at", "entity", "event_time", "revision"]  # order of the rows in a file
EXAMPLES = 5  # bad rows that a report spells out


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What became of the rows of one frame; rows = accepted + unchanged + quarantined."""

    view: str
    rows: int
    accepted: int
    unchanged: int  # the lake held them already, to the bit
    quarantined: int
    reasons: dict[str, int]  # why rows were set aside -> how many
    examples: tuple[str, ...]  # the first of them in words, with the remedy
    version: int | None  # table version afterwards; None = nothing was ever accepted


@dataclass(frozen=True, slots=True)
class FeatureStore:
    """Feature views over a lake of bitemporal observations.

    `now` tells the instant of arrival, UTC; rows that claim to be known later are set aside.
    Without it (a fixed history with no clock at hand) that one check is left out.
    """

    lake: Lake
    now: Callable[[], datetime] | None = None
    # Told reader, study ("" if none is named), view and extent before a view is handed out.
    on_read: Callable[[LakeReader, str, str, Extent], None] | None = None
    _hashes: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def apply(self, *views: FeatureView) -> tuple[str, ...]:
        """Declare views; return the names whose declaration is new or changed.

        Raises:
            ContractBroken: a view that already holds rows would lose, gain or retype a field,
                or change its calendar; nothing is declared then.
        """
        version = self.lake.version(VIEWS_TABLE)
        declared = declared_views(self.lake, version)
        changed = [view for view in views if declared.get(view.name) != view]
        for view in changed:
            before = declared.get(view.name)
            if before is not None and self.lake.version(view.name) is not None:
                _require_same_shape(before, view)
        if changed:
            edition = 0 if version is None else version + 1
            frame = pl.DataFrame(
                {
                    "edition": [edition] * len(changed),
                    "name": [view.name for view in changed],
                    "version_hash": [view.version_hash for view in changed],
                    "declaration": [view.encoded() for view in changed],
                }
            )
            self.lake.append(VIEWS_TABLE, frame, after=version)
        return tuple(view.name for view in changed)

    def views(self) -> tuple[FeatureView, ...]:
        """Return every declared view, by name."""
        declared = declared_views(self.lake, self.lake.version(VIEWS_TABLE))
        return tuple(declared[name] for name in sorted(declared))

    def view(self, name: str) -> FeatureView:
        """Return one declared view; ViewUnknown lists what exists."""
        declared = {view.name: view for view in self.views()}
        if name not in declared:
            raise ViewUnknown(
                f"no feature view {name!r}; declared are: {', '.join(sorted(declared)) or 'none'}"
            )
        return declared[name]

    def ingest(
        self,
        view_name: str,
        frame: pl.DataFrame,
        *,
        on_bad: Literal["quarantine", "refuse"] = "quarantine",
    ) -> IngestReport:
        """Check a frame against its view's contract and append what holds.

        1. Refuse a frame whose columns do not fit.
        2. Give each bad row its reason; rows that the lake holds already are left out.
        3. Keep bad rows in the quarantine first, then append the good ones in one commit: a crash
           in between leaves the table as it was, and the same frame sent again ends as it should.

        Args:
            view_name: a declared view.
            frame: polars; entity, event_time, known_at, the fields; optional revision (0 = first
                print) and source.
            on_bad: "refuse" raises at the first bad row and writes nothing at all.

        Raises:
            ViewUnknown: not declared.
            ContractBroken: the frame does not fit, or `on_bad` is "refuse" and a row is bad.
            LakeUnavailable: the lake cannot be written, or another writer was faster.
        """
        return self._file(self.view(view_name), frame, refuse=on_bad == "refuse")

    def _file(
        self,
        view: FeatureView,
        frame: pl.DataFrame,
        *,
        refuse: bool = False,
        waived: frozenset[str] = frozenset(),
    ) -> IngestReport:
        """Check rows and append what holds; with `waived`, whatever else is bad is refused."""
        rows = shaped(view, frame).with_row_index("row")
        version = self.lake.version(view.name)
        verdicts = row_reasons(view, rows, now=self._arrival(), waived=waived)
        rows = rows.with_columns(verdicts)
        if version is not None:
            rows = self._compared(view, rows, version)
        elif rows["revision"].max() not in (None, 0):
            rows = _compared_with(view, rows, rows.clear())
        bad = rows.filter(pl.col("reason").is_not_null() & (pl.col("reason") != "unchanged"))
        good = rows.filter(pl.col("reason").is_null()).select(view.columns)
        examples = tuple(describe(view, bad, EXAMPLES))
        if (refuse or waived) and not bad.is_empty():
            raise ContractBroken(f"{bad.height} of {rows.height} rows are bad: {examples[0]}")
        set_aside(self.lake, view, bad)
        if not good.is_empty():
            filed = good.with_columns(pl.col("event_time").dt.year().alias("year"))
            if not rises(filed, _FILED):
                filed = filed.sort(_FILED)
            version = self.lake.append(view.name, filed, after=version, partition_by=["year"])
        counts = bad["reason"].value_counts(sort=True).sort("count", "reason", descending=True)
        return IngestReport(
            view=view.name,
            rows=rows.height,
            accepted=good.height,
            unchanged=rows.height - good.height - bad.height,
            quarantined=bad.height,
            reasons=dict(counts.iter_rows()),
            examples=examples,
            version=version,
        )

    def _arrival(self) -> datetime | None:
        return None if self.now is None else self.now()

    def quarantine(self, view_name: str | None = None, *, decided: bool = False) -> pl.DataFrame:
        """Return the rows set aside: view, batch, row, reason, field and content (JSON).

        With `decided` also those released or dropped, and who said so and why.
        """
        return kept(self.lake, view_name, decided=decided)

    def release(
        self,
        view_name: str,
        batch: str,
        *,
        why: str,
        by: str,
        rows: Sequence[int] | None = None,
    ) -> IngestReport:
        """Let rows out of the quarantine into their view.

        Somebody may vouch for a value out of range; any other fault has to be gone by now, e.g.
        because the view was changed.

        Args:
            view_name: a declared view.
            batch: the batch's hash, or an unambiguous beginning.
            why: the reason, kept for good.
            by: who decides.
            rows: numbers within the batch; None = all that are open.

        Raises:
            ContractBroken: no such open rows, no reason, or a fault that nobody may vouch for;
                nothing is written then.
        """
        view = self.view(view_name)
        picked = chosen(self.lake, view.name, batch, rows)
        _require_reason(why, by)
        report = self._file(view, decoded(view, picked), waived=WAIVABLE)
        decide(self.lake, picked, "released", why=why, by=by, at=self._arrival())
        return report

    def drop(
        self,
        view_name: str,
        batch: str,
        *,
        why: str,
        by: str,
        rows: Sequence[int] | None = None,
    ) -> int:
        """Close rows of the quarantine for good; they stay on file. Returns how many.

        Raises:
            ContractBroken: no such open rows, or no reason.
        """
        picked = chosen(self.lake, self.view(view_name).name, batch, rows)
        _require_reason(why, by)
        decide(self.lake, picked, "dropped", why=why, by=by, at=self._arrival())
        return picked.height

    def snapshot(self) -> Snapshot:
        """Pin every table at its newest version and hash what they hold.

        A table version that this store hashed before is not read again; `verify` always reads.
        """
        declarations = self.lake.version(VIEWS_TABLE)
        versions = {} if declarations is None else {VIEWS_TABLE: declarations}
        for view in self.views():
            version = self.lake.version(view.name)
            if version is not None:
                versions[view.name] = version
        return Snapshot(versions=versions, hash=self._hash(versions, known=self._hashes))

    def verify(self, snapshot: Snapshot) -> None:
        """Read a snapshot's tables again; SnapshotUnknown if they are gone or hold other values."""
        found = self._hash(snapshot.versions, known={})
        if found != snapshot.hash:
            raise SnapshotUnknown(
                f"the lake {self.lake.url} at the pinned versions has hash {found}, the snapshot "
                f"says {snapshot.hash}; it is another lake, or its files were changed"
            )

    def reader(
        self,
        snapshot: Snapshot,
        *,
        sealed_from: datetime | None = None,
        views: Sequence[str] | None = None,
        study: str | None = None,
        opening: Opening | None = None,
    ) -> LakeReader:
        """Open a snapshot for point-in-time reads.

        Args:
            snapshot: from `snapshot`, or rebuilt from a manifest.
            sealed_from: UTC; what is known from then on is neither loaded nor answered.
            views: the views wanted; None = all.
            study: whose own seal holds; None = the earliest seal of the lake does.
            opening: leave to look behind the lake's seals; research code has none.
        """
        opened = open_reader(
            ReaderSource(
                lake=self.lake,
                snapshot=snapshot,
                sealed_from=sealed_from,
                views=None if views is None else tuple(views),
                study=study,
                opening=opening,
            )
        )
        if self.on_read is not None:
            opened.watch(partial(self.on_read, opened, study or ""))
        return opened

    def seal(self, name: str, sealed_from: datetime) -> None:
        """Seal the lake from an instant on, for good; readers without an opening end before it.

        Raises:
            ContractBroken: `name` holds an earlier seal; a seal never moves to a later date.
        """
        add_seal(self.lake, name, sealed_from)

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
        snapshot: Snapshot | None = None,
        sealed_from: datetime | None = None,
    ) -> HistoricalFeatures:
        """Read by knowledge time from a snapshot, or from the newest; see the reader's method."""
        reader = self.reader(snapshot or self.snapshot(), sealed_from=sealed_from)
        return reader.get_historical_features(
            features,
            spine=spine,
            symbols=symbols,
            start=start,
            end=end,
            universe=universe,
            missing=missing,
        )

    def _compared(self, view: FeatureView, rows: pl.DataFrame, version: int) -> pl.DataFrame:
        columns = [column for column in view.columns if column != "source"]
        first, last = rows["event_time"].min(), rows["event_time"].max()
        if not isinstance(first, datetime) or not isinstance(last, datetime):
            return rows
        held = self.lake.read(view.name, version=version, columns=columns, events=(first, last))
        held = held.join(rows, on=["entity", "event_time"], how="semi")
        if held.is_empty() and rows["revision"].max() in (None, 0):
            return rows  # nothing to compare with, nothing to put in order
        return _compared_with(view, rows, held)

    def _hash(self, versions: dict[str, int], *, known: dict[str, str]) -> str:
        """Hash what tables hold; one whose files and contract are `known` is not read again."""
        declared = declared_views(self.lake, versions.get(VIEWS_TABLE))
        tables = {}
        for name, version in versions.items():
            if name == VIEWS_TABLE:
                continue
            view = declared[name]
            content = f"{view.version_hash} {self.lake.fingerprint(name, version)}"
            if content not in known:
                known[content] = table_hash(view, self.lake.read(name, version=version))
            tables[name] = known[content]
        return combined_hash(tables)


def _require_reason(why: str, by: str) -> None:
    if not why.strip() or not by.strip():
        raise ContractBroken("say why (--why) and who decides (--by); both are kept for good")


def _require_same_shape(before: FeatureView, after: FeatureView) -> None:
    shapes = [{field.name: field.dtype for field in view.fields} for view in (before, after)]
    if shapes[0] != shapes[1] or before.calendar != after.calendar:
        raise ContractBroken(
            f"view {after.name} holds rows with fields {shapes[0]} on calendar {before.calendar}; "
            f"it cannot become {shapes[1]} on calendar {after.calendar}; declare a new view name"
        )


def _compared_with(view: FeatureView, rows: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Give rows that passed so far the reason that what the lake holds gives them."""
    passed = rows.filter(pl.col("reason").is_null())
    found = passed.select("row").hstack(against_lake(view, passed.drop("row"), held))
    joined = rows.join(found, on="row", how="left", suffix="_held", maintain_order="left")
    return joined.with_columns(pl.coalesce("reason", "reason_held").alias("reason")).drop(
        "reason_held"
    )
