"""Feast's historical read: a spine of entities and instants in, what was known then out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from featurestore.calendars import load_calendar
from featurestore.contract import UTC_TIME
from featurestore.errors import ContractBroken
from featurestore.pit import join_as_of
from featurestore.views import FeatureView, split_feature


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoricalFeatures:
    """The answer to a historical read."""

    frame: pl.DataFrame  # the spine, then per view its fields, event_time and known_at
    is_pit_validated: bool  # every value was looked at: none was known after its row's `at`
    snapshot_hash: str  # what was read


def spine_of(view: FeatureView, symbols: Sequence[str], start: date, end: date) -> pl.DataFrame:
    """Return a spine: every symbol at every session close from `start` to `end`, inclusive.

    Raises:
        ContractBroken: the view has no calendar, no symbol was named, or no session lies between.
    """
    if view.calendar is None:
        raise ContractBroken(
            f"view {view.name} has no calendar to take instants from; pass a spine with entity, at"
        )
    sessions = load_calendar(view.calendar).sessions(start, end)
    if not symbols or not sessions:
        raise ContractBroken(
            f"{len(symbols)} symbols and {len(sessions)} sessions from {start} to {end} make no "
            "spine; name at least one symbol and a range with sessions"
        )
    instants = pl.DataFrame({"at": [session.close for session in sessions]})
    return pl.DataFrame({"entity": list(symbols)}).join(
        instants.cast(UTC_TIME), how="cross", maintain_order="left_right"
    )


def historical(
    features: Sequence[str],
    spine: pl.DataFrame,
    rows_of: Callable[[str], pl.DataFrame],
    snapshot_hash: str,
) -> HistoricalFeatures:
    """Join features to a spine by knowledge time.

    Args:
        features: "view.field", distinct.
        spine: columns entity and at (any time zone), in any order; other columns are kept.
        rows_of: view name -> its observations.
        snapshot_hash: content hash of what `rows_of` reads.

    Raises:
        ContractBroken: the spine lacks a column or its times a zone, or no feature is named.
    """
    spine = _checked(features, spine)
    fields: dict[str, list[str]] = {}
    for feature in features:
        view, field = split_feature(feature)
        fields.setdefault(view, []).append(field)
    keys = spine.select("entity", "at")
    frame, valid = spine, True
    for view, names in fields.items():
        columns = ["event_time", "known_at", *names]
        rows = rows_of(view).select("entity", "revision", *columns)
        joined = join_as_of(keys, rows).select(columns)
        valid = valid and bool((joined["known_at"] <= keys["at"]).fill_null(value=True).all())
        renamed = joined.rename({column: f"{view}.{column}" for column in columns})
        order = [f"{view}.{column}" for column in (*names, "event_time", "known_at")]
        frame = frame.hstack(renamed.select(order))
    return HistoricalFeatures(frame=frame, is_pit_validated=valid, snapshot_hash=snapshot_hash)


def _checked(features: Sequence[str], spine: pl.DataFrame) -> pl.DataFrame:
    if not features or len(set(features)) != len(features):
        raise ContractBroken(f"features must be distinct and not empty: {list(features)}")
    for name in ("entity", "at"):
        if name not in spine.columns:
            raise ContractBroken(
                f"the spine lacks column {name}; it has {', '.join(spine.columns)}: "
                "entity is a symbol, at the instant of the decision"
            )
    dtype = spine["at"].dtype
    if not isinstance(dtype, pl.Datetime) or dtype.time_zone is None:
        raise ContractBroken(
            f"the spine's at is {dtype}; it must be a time with zone, "
            'e.g. .dt.replace_time_zone("UTC")'
        )
    if spine["entity"].null_count() or spine["at"].null_count():
        raise ContractBroken("the spine has a row without entity or at; drop it")
    return spine.with_columns(
        pl.col("entity").cast(pl.String),
        pl.col("at").dt.convert_time_zone("UTC").dt.cast_time_unit("us"),
    )
