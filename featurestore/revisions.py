"""Revision history: what was believed when, first prints, and how a value came to be."""

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from featurestore.contract import IDENTITY
from featurestore.errors import HistoryMissing
from featurestore.pit import latest_revisions
from featurestore.times import micros


def believed(rows: pl.DataFrame, field: str, at: datetime) -> pl.DataFrame:
    """Return the whole history of a field as it was believed at an instant.

    Args:
        rows: observations in any order, all revisions.
        field: a field of theirs.
        at: UTC.

    Returns:
        entity, event_time, the field, revision and known_at: each observation known at `at`, in
        the latest revision known then, by entity and event time.
    """
    micros(at)
    known = rows.filter(pl.col("known_at") <= at).sort(IDENTITY)
    newest = known.unique(["entity", "event_time"], keep="last", maintain_order=True)
    return newest.select("entity", "event_time", field, "revision", "known_at")


def first_prints(rows: pl.DataFrame, field: str) -> pl.DataFrame:
    """Return each observation as it was first published; columns as for `believed`."""
    first = rows.sort(IDENTITY).unique(["entity", "event_time"], keep="first", maintain_order=True)
    return first.select("entity", "event_time", field, "revision", "known_at")


def latest_between(
    rows: pl.DataFrame, field: str, symbols: Sequence[str], first: datetime, end: datetime
) -> pl.DataFrame:
    """Return a field of some entities in its latest revision, about times from `first` to `end`.

    Returns:
        symbol, event_time, known_at and the field, by symbol and time; `end` itself is left out.
    """
    within = (pl.col("event_time") >= first) & (pl.col("event_time") < end)
    return (
        latest_revisions(rows)
        .filter(pl.col("entity").is_in(list(symbols)) & within)
        .select(pl.col("entity").alias("symbol"), "event_time", "known_at", field)
        .sort("symbol", "event_time")
    )


def revisions_of(
    rows: pl.DataFrame, view: str, entity: str, field: str, as_of: datetime | None = None
) -> pl.DataFrame:
    """Return every revision of an entity's field, oldest observation first.

    Args:
        rows: observations in any order.
        view: their view's name, for messages.
        entity: e.g. a symbol.
        field: a field of the view.
        as_of: UTC; revisions known later are left out. None = all.

    Returns:
        event_time, revision, known_at, the field, change (against the revision before; null for
        the first), superseded_at (when the next revision became known; null = it stands).

    Raises:
        HistoryMissing: nothing of the entity was known by then; lists entities that exist.
    """
    held = rows.filter(pl.col("entity") == entity)
    if as_of is not None:
        micros(as_of)
        held = held.filter(pl.col("known_at") <= as_of)
    if held.is_empty():
        names = rows["entity"].unique().sort().head(8).to_list()
        then = "" if as_of is None else f" by {as_of.isoformat()}"
        raise HistoryMissing(
            f"{view}.{field}: nothing of {entity} was known{then}; the view holds "
            f"{', '.join(names) or 'nothing'}{' and others' if len(names) == 8 else ''}"
        )
    ordered = held.sort("event_time", "revision")
    over = pl.col("event_time")
    return ordered.select(
        "event_time",
        "revision",
        "known_at",
        field,
        (pl.col(field) - pl.col(field).shift(1)).over(over).alias("change"),
        pl.col("known_at").shift(-1).over(over).alias("superseded_at"),
    )
