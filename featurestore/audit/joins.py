"""Auditing as-of joins: canaries that tell when they were known, and rows out of order."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from featurestore.audit.findings import AuditReport, Leak
from featurestore.audit.functions import checked_rows
from featurestore.contract import IDENTITY, UTC_TIME
from featurestore.errors import ContractBroken


def canaries(rows: pl.DataFrame) -> pl.DataFrame:
    """Replace every field by its row's own known_at, in microseconds since 1970.

    Such a value says itself from when it is: whatever picks rows can be judged by what it picked.
    """
    keys = {*IDENTITY, "known_at", "source"}
    known = pl.col("known_at").dt.timestamp("us").cast(pl.Float64)
    return rows.with_columns(known.alias(c) for c in rows.columns if c not in keys)


def audit_join(
    join: Callable[[pl.DataFrame, pl.DataFrame], Any],
    spine: pl.DataFrame,
    rows: pl.DataFrame,
    *,
    name: str | None = None,
    seed: int = 0,
) -> AuditReport:
    """Audit whatever attaches observations to a spine of entities and instants.

    Args:
        join: takes spine and rows, returns one row per spine row with entity, at and the fields;
            or refuses rows it cannot use by raising.
        spine: entity and at, times with zone, distinct.
        rows: observations, as for `audit_feature`.
        name: what reports call it; None = the function's own name.
        seed: of the shuffles.

    Returns:
        Leaks of kind "canary" (a value known only later) and "order" (rows out of order, or a
        spine out of order, get another answer).

    Raises:
        ContractBroken: rows or spine are not unique, or lack a column or a zone.
    """
    called = name or str(getattr(join, "__name__", type(join).__name__))
    rows = checked_rows(called, rows)
    keys = spine.select("entity", "at")
    if keys.is_duplicated().any():
        entity, at = keys.filter(keys.is_duplicated()).row(0)
        raise ContractBroken(f"{called}: the spine asks twice for {entity} at {at}; ask once")
    marked = canaries(rows)
    fields = [c for c in rows.columns if c not in {*IDENTITY, "known_at", "source"}]
    straight = _answers(called, join, keys.sort("at", "entity"), marked, fields)
    leaks = [leak for field in fields for leak in _late(called, straight, field)]
    generator = np.random.Generator(np.random.PCG64(seed))
    for what, asked, held in (
        ("rows in another order", keys.sort("at", "entity"), _shuffled(marked, generator)),
        ("a spine in another order", _shuffled(keys, generator), marked),
    ):
        try:
            answers = _answers(called, join, asked, held, fields)
        except Exception:  # noqa: BLE001
            continue  # refusing what it cannot use is an honest answer, whatever the error
        found = next(iter(_changed(called, straight, answers, fields, what)), None)
        leaks += [] if found is None else [found]
    return AuditReport(
        subject=called,
        features=tuple(f"{called}.{field}" for field in fields),
        rows=straight.height,
        checked=straight["at"].n_unique(),
        leaks=tuple(leaks),
    )


def _shuffled(frame: pl.DataFrame, generator: np.random.Generator) -> pl.DataFrame:
    shuffled: pl.DataFrame = frame[generator.permutation(frame.height).tolist()]
    return shuffled


def _answers(
    name: str,
    join: Callable[[pl.DataFrame, pl.DataFrame], Any],
    spine: pl.DataFrame,
    rows: pl.DataFrame,
    fields: list[str],
) -> pl.DataFrame:
    produced = join(spine.clone(), rows.clone())
    answers: pl.DataFrame = produced.collect() if isinstance(produced, pl.LazyFrame) else produced
    missing = [c for c in ("entity", "at", *fields) if c not in answers.columns]
    if missing:
        raise ContractBroken(f"{name}: its answer lacks {', '.join(missing)}")
    kept = answers.select(
        "entity", pl.col("at").dt.convert_time_zone("UTC").cast(UTC_TIME), *fields
    )
    return kept.sort("at", "entity", maintain_order=True)


def _late(name: str, answers: pl.DataFrame, field: str) -> list[Leak]:
    """Return the first canary that was known after its spine row's instant."""
    late = answers.filter(pl.col(field) > pl.col("at").dt.timestamp("us"))
    if late.is_empty():
        return []
    row = late.row(0, named=True)
    known = pl.Series([int(row[field])]).cast(UTC_TIME)[0]
    return [
        Leak(
            feature=f"{name}.{field}",
            kind="canary",
            entity=row["entity"],
            at=row["at"],
            seen=f"its value was known only at {known:%Y-%m-%d %H:%M} UTC, "
            f"{known - row['at']} later ({late.height} of {answers.height} rows)",
        )
    ]


def _changed(
    name: str, straight: pl.DataFrame, answers: pl.DataFrame, fields: list[str], what: str
) -> list[Leak]:
    if straight.height != answers.height:
        seen = f"{what} gives {answers.height} answers instead of {straight.height}"
        first = straight.row(0, named=True)
        at, entity = first["at"], first["entity"]
        return [Leak(feature=name, kind="order", entity=entity, at=at, seen=seen)]
    for field in fields:
        other = ~straight[field].eq_missing(answers[field])
        if other.any():
            i = int(other.arg_max() or 0)
            at, entity = straight["at"][i], straight["entity"][i]
            seen = f"{what} gets another answer ({int(other.sum())} of {other.len()} differ)"
            return [Leak(feature=f"{name}.{field}", kind="order", entity=entity, at=at, seen=seen)]
    return []
