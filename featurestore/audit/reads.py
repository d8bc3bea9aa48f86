"""Auditing what reads through a reader: declared views, windowed features, decisions."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from featurestore.audit.findings import AuditReport, Kind, Leak
from featurestore.audit.joins import audit_join
from featurestore.audit.outcome import outcome
from featurestore.audit.truncation import audit_truncation
from featurestore.contract import IDENTITY, micros_of
from featurestore.errors import ContractBroken, FeatureUndefined, HistoryMissing
from featurestore.frontier import build_frontier
from featurestore.grid import Array
from featurestore.pit import join_as_of
from featurestore.reader import LakeReader

SPINE_ROWS = 20_000  # of the audit of a view, at most


def audit_reads(
    name: str,
    read: Callable[[LakeReader, datetime], Mapping[str, Any]],
    reader: LakeReader,
    times: Sequence[datetime],
    entities: Sequence[str],
) -> AuditReport:
    """Audit a function that reads through a reader at one instant.

    Args:
        name: what reports call it.
        read: takes reader and instant, returns feature -> values of the entities, shape (n, ...).
        reader: the whole history.
        times: instants tried, UTC; those without enough history, or value, are left out.
        entities: names of the rows, length n.

    Returns:
        One leak per feature: a value that differs when everything later is cut off.

    Raises:
        ContractBroken: there is a value at none of the instants; says why at the last of them.
    """
    leaks: dict[str, Leak] = {}
    features: dict[str, None] = {}
    rows, checked, why = 0, 0, "name some"
    for at in times:
        try:
            whole = _arrays(read(reader, at))
        except (HistoryMissing, FeatureUndefined) as missing:
            why = str(missing)
            continue
        checked, rows = checked + 1, rows + sum(len(array) for array in whole.values())
        features |= dict.fromkeys(whole)
        try:
            cut, error = _arrays(read(reader.truncated(at), at)), ""
        except (HistoryMissing, FeatureUndefined) as missing:
            cut, error = {}, str(missing)
        for feature, array in whole.items():
            seen = error or _first_difference(array, cut.get(feature), entities)
            if seen and feature not in leaks:
                entity = "" if error else seen.partition(" ")[0]
                leaks[feature] = Leak(
                    feature=feature,
                    kind="fails" if error else "value",
                    entity=entity,
                    at=at,
                    seen=seen if error else seen.partition(" ")[2],
                )
    if not checked:
        raise ContractBroken(f"{name}: no value at any of {len(times)} instants tried: {why}")
    return AuditReport(
        subject=name,
        features=tuple(features),
        rows=rows,
        checked=checked,
        leaks=tuple(leaks.values()),
    )


def _arrays(values: Mapping[str, Any]) -> dict[str, Array]:
    return {name: np.ascontiguousarray(array, dtype=np.float64) for name, array in values.items()}


def _first_difference(whole: Array, cut: Array | None, entities: Sequence[str]) -> str:
    """Return "entity value with ..." of the first row that differs to the bit; "" if none does."""
    if cut is None or whole.shape != cut.shape:
        shape = "nothing" if cut is None else str(cut.shape)
        return f"{entities[0]} shape {whole.shape} with the future, {shape} with it cut off"
    bits = [array.view(np.int64).reshape(len(array), -1) for array in (whole, cut)]
    bad = np.argwhere(
        (bits[0] != bits[1]) & ~(np.isnan(whole) & np.isnan(cut)).reshape(bits[0].shape)
    )
    if not bad.size:
        return ""
    row, place = (int(each) for each in bad[0])
    one, other = (float(array.reshape(len(array), -1)[row, place]) for array in (whole, cut))
    return f"{entities[row]} {one!r} with the future, {other!r} with it cut off"


def audit_view(reader: LakeReader, view: str, *, samples: int = 8, seed: int = 0) -> AuditReport:
    """Audit what a declared view serves: its rows, the join, and reads with the future cut off.

    1. Rows: unique, none known before its event time plus availability.
    2. The join that the face uses, on canary values: nothing served that was known later.
    3. What the face serves, against a plain join of the rows known by sampled instants, to the bit.
    """
    contract = reader.view(view)
    rows = reader.rows(view)
    if rows.is_empty():
        raise ContractBroken(f"{view} holds no rows, so nothing can be audited; ingest some first")
    names = [field.name for field in contract.fields]
    rows = rows.select(*IDENTITY, "known_at", *names)
    leaks = _row_faults(view, rows, micros_of(contract))
    if not leaks:
        spine = _spine(rows, seed)
        leaks += audit_join(_joined_as_served, spine, rows, name=view, seed=seed).leaks

        def compute(end: datetime | None) -> pl.DataFrame:
            if end is None:
                wanted = {f"{view}.{name}": name for name in names}
                served = reader.get_historical_features([*wanted], spine=spine).frame
                return outcome(view, served.rename(wanted).select("entity", "at", *names), rows)
            known = rows.filter(pl.col("known_at") <= end)
            joined = join_as_of(spine.filter(pl.col("at") <= end), known)
            return outcome(view, joined.select("entity", "at", *names), known)

        found = audit_truncation(view, compute, samples=samples, seed=seed)
        leaks += found.leaks
    return AuditReport(
        subject=view,
        features=tuple(f"{view}.{name}" for name in names),
        rows=rows.height,
        checked=samples,
        leaks=tuple(leaks),
        notes=_notes(view, rows),
    )


def _joined_as_served(spine: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    fields = [name for name in rows.columns if name not in (*IDENTITY, "known_at")]
    return spine.hstack(build_frontier(rows).join(spine, fields))


def _spine(rows: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return instants at which answers change: when something becomes known, and just before."""
    known = rows.select("entity", pl.col("known_at").alias("at")).unique()
    if known.height > SPINE_ROWS // 2:
        known = known.sort("at", "entity").sample(SPINE_ROWS // 2, seed=seed)
    before = known.with_columns(pl.col("at") - pl.duration(microseconds=1))
    return pl.concat([known, before]).unique().sort("at", "entity")


def _row_faults(view: str, rows: pl.DataFrame, availability: int) -> list[Leak]:
    """Return what no ingest would have let in: the lake was written by another way."""
    lag = (rows["known_at"] - rows["event_time"]).dt.total_microseconds()
    early = "it claims to be known before its event time plus the view's availability"
    faults: list[tuple[pl.Series, Kind, str]] = [
        (rows.select(IDENTITY).is_duplicated(), "duplicate", "it is there twice"),
        (lag < availability, "canary", early),
    ]
    for bad, kind, seen in faults:
        if bad.any():
            row = rows.filter(bad).sort("known_at", "entity").row(0, named=True)
            at, entity = row["event_time"], row["entity"]
            return [Leak(feature=view, kind=kind, entity=entity, at=at, seen=seen)]
    return []


def _notes(view: str, rows: pl.DataFrame) -> tuple[str, ...]:
    """Say what a reader of numbers should know and no audit can decide."""
    notes = []
    if rows.height > 1 and rows["known_at"].n_unique() == 1:
        notes.append(
            f"{view}: everything became known at one instant, {rows['known_at'][0]}: this is "
            "history filed later, no record of what was known when"
        )
    return tuple(notes)
