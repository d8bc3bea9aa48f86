"""What a feature function answers, brought to one form, and compared to the bit.

entity, at, [event_time, revision]   whose value, and the instant from which on it may be used
one column per feature
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from featurestore.contract import UTC_TIME
from featurestore.errors import ContractBroken
from featurestore.views import KEY_COLUMNS

KEYS = ("entity", "at", "event_time", "revision")
ROUNDING = 1e-11  # a relative difference below this is float order, not knowledge


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The earliest place where two outcomes that should agree do not."""

    feature: str
    entity: str
    at: datetime
    key: dict[str, Any]  # the row's key columns
    whole: str  # the value with the future, as text
    cut: str  # without it
    missing: bool  # one side lacks the row
    rounding: bool  # only the last bits differ


def outcome(name: str, produced: Any, given: pl.DataFrame) -> pl.DataFrame:
    """Bring an answer to the common form, sorted by instant and entity.

    Args:
        name: of the feature; a lone column gets it.
        produced: a column as long as `given` (Series, array), whose values count as used when
            their row is known; or a frame with its values and `at`, else known_at, else
            event_time, and entity unless there is only the market.
        given: the rows that the function was handed.

    Raises:
        ContractBroken: the answer has another form, or its times no zone.
    """
    if isinstance(produced, pl.LazyFrame):
        produced = produced.collect()
    frame: pl.DataFrame = (
        produced if isinstance(produced, pl.DataFrame) else _aligned(name, produced, given)
    )
    if "symbol" in frame.columns and "entity" not in frame.columns:
        frame = frame.rename({"symbol": "entity"})
    if "entity" not in frame.columns:
        frame = frame.with_columns(pl.lit("").alias("entity"))
    time = next((c for c in ("at", "known_at", "event_time") if c in frame.columns), None)
    if time is None:
        raise ContractBroken(
            f"{name}: the answer has no time; return a column as long as the frame it was given "
            f"({given.height} rows), or a frame with the column at"
        )
    frame = frame.with_columns(_utc(name, frame, time).alias("at"))
    keys = [key for key in KEYS if key in frame.columns]
    values = [c for c in frame.columns if c not in (*keys, *KEY_COLUMNS)]
    if not values:
        raise ContractBroken(f"{name}: the answer has no value column, only {frame.columns}")
    named = [c if c == name or c.startswith(f"{name}.") else f"{name}.{c}" for c in values]
    kept = frame.rename(dict(zip(values, named, strict=True))).select(*keys, *named)
    return kept.sort("at", "entity", maintain_order=True)


def _aligned(name: str, produced: Any, given: pl.DataFrame) -> pl.DataFrame:
    """Give a bare column the keys of the rows it was computed from."""
    if isinstance(produced, pl.Series):
        column = produced.alias(name)
    else:
        values = np.asarray(produced)
        if values.ndim != 1:
            raise ContractBroken(f"{name}: the answer has shape {values.shape}, not one column")
        column = pl.Series(name, values)
    if column.len() != given.height:
        raise ContractBroken(
            f"{name}: the answer has {column.len()} values for {given.height} rows; return one "
            "per row, or a frame with entity and at"
        )
    keys = [key for key in ("entity", "event_time", "revision") if key in given.columns]
    return given.select(*keys, pl.col("known_at").alias("at")).with_columns(column)


def _utc(name: str, frame: pl.DataFrame, time: str) -> pl.Series:
    column = frame[time]
    if isinstance(column.dtype, pl.Date):
        column = column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if not isinstance(column.dtype, pl.Datetime) or column.dtype.time_zone is None:
        raise ContractBroken(
            f"{name}: its {time} is {column.dtype}; a time must carry a zone, "
            'e.g. .dt.replace_time_zone("UTC")'
        )
    return column.dt.convert_time_zone("UTC").cast(UTC_TIME)


def keys_of(frame: pl.DataFrame) -> list[str]:
    """Return the key columns of an outcome."""
    return [key for key in KEYS if key in frame.columns]


def features_of(frame: pl.DataFrame) -> list[str]:
    """Return the value columns of an outcome."""
    return [c for c in frame.columns if c not in KEYS]


def first_duplicate(frame: pl.DataFrame) -> dict[str, Any] | None:
    """Return the keys of the first row whose key occurs twice, or None."""
    keys = frame.select(keys_of(frame))
    twice = keys.filter(keys.is_duplicated())
    return None if twice.is_empty() else twice.row(0, named=True)


def differences(whole: pl.DataFrame, cut: pl.DataFrame, until: datetime) -> list[Difference]:
    """Compare two outcomes up to an instant.

    Args:
        whole: with the future; keys distinct.
        cut: without it; keys distinct.
        until: UTC; rows usable later are left out of both.

    Returns:
        The earliest difference of each feature. A row that one side lacks counts if the other
        side has a value there.
    """
    keys = keys_of(whole)
    if keys_of(cut) != keys:
        raise ContractBroken(f"the answers have keys {keys} and {keys_of(cut)}")
    one, other = (each.filter(pl.col("at") <= until) for each in (whole, cut))
    names = features_of(whole)
    if _identical(one, other, names):
        return []
    there = pl.lit(value=True)
    joined = one.with_columns(there.alias("_one")).join(
        other.select(*keys, *(pl.col(n).alias(f"_cut_{n}") for n in features_of(cut))).with_columns(
            there.alias("_other")
        ),
        on=keys,
        how="full",
        coalesce=True,
        nulls_equal=True,
    )
    joined = joined.sort("at", "entity", maintain_order=True)
    found = []
    for name in names:
        if f"_cut_{name}" not in joined.columns:
            joined = joined.with_columns(pl.lit(None).alias(f"_cut_{name}"))
        difference = _first(joined, keys, name)
        if difference is not None:
            found.append(difference)
    return found


def _identical(one: pl.DataFrame, other: pl.DataFrame, names: list[str]) -> bool:
    return (
        one.height == other.height
        and all(n in other.columns and _same(one[n], other[n]).all() for n in names)
        and one.select(keys_of(one)).equals(other.select(keys_of(other)))
    )


def _same(one: pl.Series, other: pl.Series) -> NDArray[np.bool_]:
    """Compare two columns to the bit; null and every NaN are the same absence."""
    if one.dtype.is_numeric() and other.dtype.is_numeric():
        a, b = (
            np.ascontiguousarray(each.cast(pl.Float64).fill_null(np.nan).to_numpy())
            for each in (one, other)
        )
        return np.asarray((a.view(np.int64) == b.view(np.int64)) | (np.isnan(a) & np.isnan(b)))
    equal = one.eq_missing(other.cast(one.dtype, strict=False))
    return np.asarray(equal.to_numpy())


def _absent(column: pl.Series) -> NDArray[np.bool_]:
    absent = column.is_null()
    return (
        np.asarray((absent | column.is_nan().fill_null(value=True)).to_numpy())
        if (column.dtype.is_float())
        else np.asarray(absent.to_numpy())
    )


def _first(joined: pl.DataFrame, keys: list[str], name: str) -> Difference | None:
    whole, cut = joined[name], joined[f"_cut_{name}"]
    lacks = (joined["_one"].is_null() | joined["_other"].is_null()).to_numpy()
    empty = _absent(whole) & _absent(cut)
    bad = np.flatnonzero((~_same(whole, cut) | lacks) & ~empty)
    if not bad.size:
        return None
    at = int(bad[0])
    row = joined.row(at, named=True)
    missing = bool(lacks[at])
    return Difference(
        feature=name,
        entity=str(row["entity"]),
        at=row["at"],
        key={key: row[key] for key in keys},
        whole="no row" if row["_one"] is None else _text(whole[at]),
        cut="no row" if row["_other"] is None else _text(cut[at]),
        missing=missing,
        rounding=not lacks[bad].any() and _close(whole, cut, bad),
    )


def _close(whole: pl.Series, cut: pl.Series, bad: NDArray[np.intp]) -> bool:
    if not (whole.dtype.is_float() and cut.dtype.is_float()):
        return False
    a = whole.cast(pl.Float64).fill_null(np.nan).to_numpy()[bad]
    b = cut.cast(pl.Float64).fill_null(np.nan).to_numpy()[bad]
    return bool((np.abs(a - b) <= ROUNDING * np.maximum(np.abs(a), np.abs(b))).all())


def _text(value: Any) -> str:
    return "nothing" if value is None else f"{value!r}" if isinstance(value, float) else str(value)
