"""The contract check at ingest: a frame that cannot be read is refused, a bad row is set aside.

1. Shape: columns, dtypes and time zones; any fault refuses the whole frame.
2. Rows: keys, times, values; each bad row gets one reason.
3. Against what the lake holds: repeated rows, contradicted keys, revisions out of order.
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import polars as pl

from featurestore.calendars import load_calendar
from featurestore.errors import ContractBroken
from featurestore.times import micros
from featurestore.views import Dtype, FeatureView

UTC_TIME = pl.Datetime("us", "UTC")
IDENTITY = ["entity", "event_time", "revision"]
_AT, _REPEATED = "_at", "_repeated"  # columns put beside a frame's own, which are all declared
_POLARS: dict[Dtype, pl.DataType] = {"float64": pl.Float64(), "int64": pl.Int64()}

# What each reason asks of the sender; the first words are the reason kept in the quarantine.
REMEDIES = {
    "entity missing": "name the entity",
    "event_time missing": "fill in what the value is about",
    "known_at missing": "fill in when the value could first be known",
    "revision invalid": "count revisions from 0",
    "known too early": "known_at must be at least event_time plus the view's availability",
    "known in the future": "send the row once it is known, or correct known_at",
    "not a session close": "set event_time to the close of a session of the view's calendar",
    "duplicate key": "send one row per entity, event_time and revision",
    "value missing": "leave the row out, or declare the field nullable",
    "value not finite": "correct it at the source, or leave the row out",
    "value out of range": "correct it at the source, or widen the range in the view",
    "key contradicted": "send a correction as a new row with a higher revision",
    "revision out of order": "a higher revision must not be known before a lower one",
}


def table_schema(view: FeatureView) -> dict[str, pl.DataType]:
    """Return the columns of a view's table with their polars types."""
    keys: dict[str, pl.DataType] = {
        "entity": pl.String(),
        "event_time": UTC_TIME,
        "known_at": UTC_TIME,
        "revision": pl.Int64(),
        "source": pl.String(),
    }
    return keys | {field.name: _POLARS[field.dtype] for field in view.fields}


def shaped(view: FeatureView, frame: pl.DataFrame) -> pl.DataFrame:
    """Bring a frame to the view's columns and types without changing a value.

    Args:
        view: the contract.
        frame: entity, event_time, known_at and the fields; revision defaults to 0 and source to
            the view's source. Times in any zone, integers for float fields, are converted.

    Returns:
        The rows in their order, with the columns of `table_schema`.

    Raises:
        ContractBroken: not a polars frame, a column missing or unknown, a wrong dtype, a time
            without zone.
    """
    if not isinstance(frame, pl.DataFrame):
        raise ContractBroken(
            f"{view.name}: ingest takes a polars DataFrame, was given {type(frame).__name__}; "
            "convert it with polars.from_pandas or polars.DataFrame"
        )
    if "revision" not in frame.columns:
        frame = frame.with_columns(pl.lit(0, pl.Int64).alias("revision"))
    if "source" not in frame.columns:
        frame = frame.with_columns(pl.lit(view.source).alias("source"))
    schema = table_schema(view)
    missing = [name for name in schema if name not in frame.columns]
    if missing:
        raise ContractBroken(
            f"{view.name}: column {', '.join(missing)} is missing; "
            f"the frame has {', '.join(frame.columns)}; add or rename it"
        )
    unknown = [name for name in frame.columns if name not in schema]
    if unknown:
        raise ContractBroken(
            f"{view.name}: column {', '.join(unknown)} is not in the view; "
            "drop it, or declare a field for it"
        )
    return frame.select(_cast(view.name, frame[name], dtype) for name, dtype in schema.items())


def _cast(view: str, column: pl.Series, wanted: pl.DataType) -> pl.Series:
    """Convert a column where no value can change; ContractBroken otherwise."""
    given = column.dtype
    if given == wanted:
        return column
    if isinstance(wanted, pl.Datetime) and isinstance(given, pl.Datetime):
        if given.time_zone is None:
            raise ContractBroken(
                f"{view}.{column.name}: times carry no zone, e.g. {_sample(column)}; "
                f'say which one with .dt.replace_time_zone("UTC") or of the exchange'
            )
        return column.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    lossless = (
        (wanted == pl.Float64 and (given.is_integer() or given == pl.Float32))
        or (wanted == pl.Int64 and given.is_integer())
        or (wanted == pl.String and isinstance(given, pl.Categorical | pl.Enum))
        or given == pl.Null
    )
    if not lossless:
        raise ContractBroken(
            f"{view}.{column.name}: dtype is {given}, the view wants {wanted}, "
            f"e.g. {_sample(column)}; cast it before ingest"
        )
    return column.cast(wanted)


def _sample(column: pl.Series) -> str:
    at = column.is_not_null().arg_max()
    return "no rows" if at is None else f"{column[at]!r} in row {at}"


def row_reasons(
    view: FeatureView,
    rows: pl.DataFrame,
    *,
    now: datetime | None,
    waived: frozenset[str] = frozenset(),
) -> pl.DataFrame:
    """Find what is wrong with each row, taken by itself or within its frame.

    Args:
        view: the contract.
        rows: as `shaped` returned them.
        now: UTC instant of arrival; rows known later are bad. None = not checked.
        waived: reasons that somebody vouches for.

    Returns:
        columns `reason` (a key of REMEDIES, or null) and `field` (null if it is about the key),
        one row per row given; the first fault found counts.
    """
    availability = pl.duration(microseconds=micros_of(view))
    faults: list[tuple[pl.Expr, str, str | None]] = [
        (pl.col("entity").is_null() | (pl.col("entity") == ""), "entity missing", None),
        (pl.col("event_time").is_null(), "event_time missing", None),
        (pl.col("known_at").is_null(), "known_at missing", None),
        (pl.col("revision").is_null() | (pl.col("revision") < 0), "revision invalid", None),
        (pl.col("known_at") < pl.col("event_time") + availability, "known too early", None),
    ]
    if now is not None:
        faults.append((pl.col("known_at") > now, "known in the future", None))
    if view.calendar is not None:
        closes = pl.Series(session_closes(view.calendar)).cast(UTC_TIME).implode()
        faults.append((~pl.col("event_time").is_in(closes), "not a session close", None))
    for field in view.fields:
        value = pl.col(field.name)
        if not field.nullable:
            faults.append((value.is_null(), "value missing", field.name))
        if field.dtype == "float64":
            faults.append((~value.is_finite(), "value not finite", field.name))
        if field.low is not None:
            faults.append((value < field.low, "value out of range", field.name))
        if field.high is not None:
            faults.append((value > field.high, "value out of range", field.name))
    faults.insert(4, (pl.col(_REPEATED), "duplicate key", None))
    faults = [fault for fault in faults if fault[1] not in waived]
    judged = rows.with_columns(_repeated(rows).alias(_REPEATED)).with_row_index(_AT)
    bad = judged.filter(pl.any_horizontal(bad.fill_null(value=False) for bad, _, _ in faults))
    told = bad.select(
        _AT,
        pl.coalesce(pl.when(bad).then(pl.lit(why)) for bad, why, _ in faults).alias("reason"),
        pl.coalesce(
            # An empty string stands for "the key", so that the first fault's field wins.
            pl.when(bad).then(pl.lit(field or "", pl.String))
            for bad, _, field in faults
        )
        .replace("", None)
        .alias("field"),
    )
    return judged.select(_AT).join(told, on=_AT, how="left", maintain_order="left").drop(_AT)


def _repeated(rows: pl.DataFrame) -> pl.Series:
    """Return which rows have the key of an earlier row.

    Keys that rise all the way, which most senders' do, are distinct at a glance.
    """
    if rises(rows, ["event_time", "entity", "revision"]) or rises(rows, IDENTITY):
        return pl.repeat(value=False, n=rows.height, dtype=pl.Boolean(), eager=True)
    return rows.select(~pl.struct(IDENTITY).is_first_distinct()).to_series()


def rises(rows: pl.DataFrame, order: Sequence[str]) -> bool:
    """Say whether rows lie in ascending order of some columns, all distinct and without gaps."""
    rising, equal = pl.lit(value=False), pl.lit(value=True)
    for name in order:
        column = pl.col(name)
        rising |= equal & (column > column.shift(1))
        equal &= column == column.shift(1)
    return bool(rows.select(rising.slice(1).fill_null(value=False).all()).item())


def micros_of(view: FeatureView) -> int:
    """Return the view's availability lag in microseconds."""
    return round(view.availability.total_seconds() * 1_000_000)


def session_closes(calendar: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return every session close of a calendar, microseconds since 1970, ascending."""
    table = load_calendar(calendar)
    closes = [micros(session.close) for session in table.sessions(table.first, table.last)]
    return np.array(closes, dtype=np.int64)


def against_lake(view: FeatureView, rows: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Compare good rows with those the lake holds.

    Args:
        view: the contract.
        rows: good rows, keys distinct.
        held: rows of the lake that share an entity and event_time with them.

    Returns:
        column `reason`: null for a new row, "unchanged" for one the lake holds already,
        a key of REMEDIES for a bad one; one row per row given.
    """
    content = ["known_at", *(field.name for field in view.fields)]
    joined = rows.with_row_index("at").join(
        held.select([*IDENTITY, *content]), on=IDENTITY, how="left", suffix="_held", coalesce=True
    )
    same = pl.all_horizontal(pl.col(c).eq_missing(pl.col(f"{c}_held")) for c in content)
    is_held = pl.col("known_at_held").is_not_null()
    verdict = joined.sort("at").select(
        pl.when(is_held & same)
        .then(pl.lit("unchanged"))
        .when(is_held)
        .then(pl.lit("key contradicted"))
        .alias("reason")
    )
    fresh = rows.with_row_index("at").filter(verdict["reason"].is_null())
    disordered = _out_of_order(fresh, held)
    at = pl.int_range(pl.len(), dtype=pl.UInt32)
    return verdict.select(
        pl.when(at.is_in(disordered.implode()))
        .then(pl.lit("revision out of order"))
        .otherwise(pl.col("reason"))
        .alias("reason")
    )


def _out_of_order(fresh: pl.DataFrame, held: pl.DataFrame) -> pl.Series:
    """Return `at` of new rows known before a lower revision, or after a higher one held."""
    highest = pl.concat([fresh["revision"], held["revision"]]).max()
    if fresh.is_empty() or highest in (None, 0):
        return fresh["at"].clear()
    columns = [*IDENTITY, "known_at", "at"]
    union = pl.concat(
        [
            fresh.select(columns),
            held.with_columns(pl.lit(None, pl.UInt32).alias("at")).select(columns),
        ]
    ).sort(IDENTITY)
    bar = pl.struct("entity", "event_time")
    before = pl.when(bar == bar.shift(1)).then(pl.col("known_at").shift(1))
    after_held = pl.when((bar == bar.shift(-1)) & pl.col("at").shift(-1).is_null()).then(
        pl.col("known_at").shift(-1)
    )
    bad = (pl.col("known_at") < before) | (pl.col("known_at") > after_held)
    return union.filter(pl.col("at").is_not_null() & bad.fill_null(value=False))["at"]


def describe(view: FeatureView, rows: pl.DataFrame, limit: int) -> Sequence[str]:
    """Say in one sentence each what is wrong with the first bad rows.

    Args:
        view: the contract.
        rows: bad rows with columns row, reason, field besides the table's own.
        limit: how many sentences at most.
    """
    return [_sentence(view, bad) for bad in rows.head(limit).iter_rows(named=True)]


def _sentence(view: FeatureView, bad: dict[str, object]) -> str:
    where = f"{view.name}.{bad['field']}" if bad["field"] else view.name
    found = f", is {bad[str(bad['field'])]}" if bad["field"] else ""
    if bad["reason"] == "value out of range":
        field = view.field(str(bad["field"]))
        found += f", allowed {field.low} to {field.high}"
    times = ", ".join(f"{name} {bad[name]}" for name in ("event_time", "known_at"))
    return (
        f"{where} row {bad['row']} ({bad['entity']}, {times}, revision {bad['revision']}): "
        f"{bad['reason']}{found}; {REMEDIES[str(bad['reason'])]}"
    )
