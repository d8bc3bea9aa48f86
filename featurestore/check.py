"""Checking what the lake holds against its contracts, for people and for CI."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from featurestore.contract import IDENTITY, describe, row_reasons, table_schema
from featurestore.errors import FeatureStoreError
from featurestore.quarantine import WAIVABLE, decoded
from featurestore.store import EXAMPLES, FeatureStore
from featurestore.times import spoken
from featurestore.views import FeatureView


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewCheck:
    """One view against its contract."""

    view: str
    rows: int
    broken: tuple[str, ...]  # each a sentence with its remedy; empty = the contract holds
    notes: tuple[str, ...]  # worth knowing, nothing broken

    @property
    def holds(self) -> bool:
        """Say whether the contract holds."""
        return not self.broken


def check_store(
    store: FeatureStore, views: Sequence[str] | None = None, *, fresh_at: datetime | None = None
) -> tuple[ViewCheck, ...]:
    """Check views over everything they hold.

    Args:
        store: with `now`, rows known in the future are faults as well.
        views: names; None = every declared view.
        fresh_at: UTC; a view whose newest value is older than its freshness then is broken.

    Raises:
        ViewUnknown: a name is not declared.
    """
    chosen = store.views() if views is None else tuple(store.view(name) for name in views)
    waiting = store.quarantine()
    return tuple(_check(store, view, waiting, fresh_at) for view in chosen)


def _check(
    store: FeatureStore, view: FeatureView, waiting: pl.DataFrame, fresh_at: datetime | None
) -> ViewCheck:
    open_rows = int((waiting["view"] == view.name).sum())
    notes = [f"{open_rows} rows wait in the quarantine; release or drop them"] if open_rows else []
    broken: list[str] = []
    rows = pl.DataFrame(schema=table_schema(view))
    version = store.lake.version(view.name)
    if version is None:
        notes.append("nothing was ingested yet")
    else:
        try:
            rows = store.lake.read(view.name, version=version)
        except FeatureStoreError as error:
            broken.append(str(error))
        else:
            broken += _faults(store, view, rows)
            broken += _false_frontiers(store, view, version, rows)
    newest = rows["event_time"].max()
    if fresh_at is not None and isinstance(newest, datetime) and fresh_at - newest > view.freshness:
        broken.append(
            f"{view.name} is stale: its newest value is of {newest:%Y-%m-%d %H:%M} UTC, "
            f"{(fresh_at - newest).days} days old, allowed are "
            f"{spoken(view.freshness)}; ingest what is new"
        )
    return ViewCheck(view=view.name, rows=rows.height, broken=tuple(broken), notes=tuple(notes))


def _false_frontiers(
    store: FeatureStore, view: FeatureView, version: int, rows: pl.DataFrame
) -> list[str]:
    """Prove the frontiers kept beside a table against its rows."""
    files = store.lake.frontiers()
    if files is None:
        return []
    fingerprint = store.lake.fingerprint(view.name, version)
    return [
        f"{view.name}: {path} is not what the table gives; joins that used it were wrong, delete it"
        for path in files.false(view.name, fingerprint, rows)
    ]


def _vouched_for(store: FeatureStore, view: FeatureView) -> pl.DataFrame:
    """Return the keys of rows that somebody let out of the quarantine in spite of their value."""
    released = store.quarantine(view.name, decided=True).filter(
        (pl.col("verdict") == "released") & pl.col("reason").is_in(list(WAIVABLE))
    )
    return decoded(view, released).select(IDENTITY)


def _faults(store: FeatureStore, view: FeatureView, rows: pl.DataFrame) -> list[str]:
    """Return what is wrong with stored rows, in words."""
    wanted = table_schema(view)
    wrong = [name for name, dtype in wanted.items() if rows.schema.get(name) != dtype]
    if wrong:
        return [f"{view.name}: column {', '.join(wrong)} is missing or has another type"]
    found = []
    rows = rows.select(list(wanted)).sort(IDENTITY).with_row_index("row")
    now = None if store.now is None else store.now()
    judged = rows.with_columns(row_reasons(view, rows, now=now))
    bad = judged.filter(pl.col("reason").is_not_null())
    let_in = bad.filter(pl.col("reason").is_in(list(WAIVABLE)))
    if not let_in.is_empty():
        let_in = let_in.join(_vouched_for(store, view), on=IDENTITY, how="semi")
        bad = bad.join(let_in, on="row", how="anti", maintain_order="left")
    if not bad.is_empty():
        more = f" ({bad.height} rows in all)" if bad.height > EXAMPLES else ""
        found += [sentence + more for sentence in describe(view, bad, EXAMPLES)]
    same = pl.struct("entity", "event_time")
    early = (pl.col("known_at") < pl.col("known_at").shift(1)) & (same == same.shift(1))
    disordered = rows.filter(early)
    if not disordered.is_empty():
        entity, event = disordered.row(0, named=True)["entity"], disordered["event_time"][0]
        found.append(
            f"{view.name}: {disordered.height} revisions are known before those they revise, first "
            f"{entity} of {event}; file them anew in order"
        )
    return found
