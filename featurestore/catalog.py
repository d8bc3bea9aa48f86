"""What the store holds, as plain data for tables, JSON and pages."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import polars as pl

from featurestore.store import FeatureStore, IngestReport


def view_rows(store: FeatureStore) -> list[dict[str, Any]]:
    """Return one dict per declared view: its declaration, version hash and what it holds.

    Keys besides `FeatureView.declaration`'s: version_hash, version (None = no rows yet), rows,
    entities, first and last event time (ISO 8601, UTC), quarantined.
    """
    set_aside = store.quarantine()["view"]
    found = []
    for view in store.views():
        version = store.lake.version(view.name)
        held: dict[str, Any] = {"rows": 0, "entities": 0, "first": None, "last": None}
        if version is not None:
            keys = store.lake.read(view.name, version=version, columns=["entity", "event_time"])
            first, last = keys["event_time"].min(), keys["event_time"].max()
            held = {
                "rows": keys.height,
                "entities": keys["entity"].n_unique(),
                "first": first.isoformat() if isinstance(first, datetime) else None,
                "last": last.isoformat() if isinstance(last, datetime) else None,
            }
        found.append(
            {
                **view.declaration(),
                "version_hash": view.version_hash,
                "version": version,
                **held,
                "quarantined": int((set_aside == view.name).sum()),
            }
        )
    return found


def field_rows(store: FeatureStore) -> list[dict[str, Any]]:
    """Return one dict per feature: "view.field", entity, dtype, unit, low, high, nullable."""
    return [
        {
            "feature": f"{view.name}.{field.name}",
            "entity": view.entity,
            "dtype": field.dtype,
            "unit": field.unit,
            "low": field.low,
            "high": field.high,
            "nullable": field.nullable,
        }
        for view in store.views()
        for field in view.fields
    ]


def report_rows(reports: Sequence[IngestReport]) -> list[dict[str, Any]]:
    """Return ingest reports as dicts of plain data."""
    return [{**asdict(report), "examples": list(report.examples)} for report in reports]


def quarantine_rows(store: FeatureStore, view: str | None = None) -> list[dict[str, Any]]:
    """Return the rows set aside, of one view or of all, as dicts of plain data."""
    rows: pl.DataFrame = store.quarantine(view)
    return rows.to_dicts()
