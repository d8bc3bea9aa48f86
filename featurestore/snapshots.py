"""A snapshot of the lake, the views it declares, and all it takes to open a reader of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from featurestore.lake import Lake
from featurestore.seals import Opening
from featurestore.views import FeatureView, decode_view

VIEWS_TABLE = "_views"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The lake at one moment: pinned table versions and the hash of what they hold."""

    versions: dict[str, int]  # table -> Delta version
    hash: str  # SHA-256 over the contents, hex; equal contents, equal hash


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderSource:
    """All it takes to open the same reader elsewhere; plain data, cheap to send to a worker."""

    lake: Lake
    snapshot: Snapshot
    sealed_from: datetime | None = None  # UTC; nothing known at or after this is loaded
    truncated_at: datetime | None = None  # UTC; nothing known after this is kept
    views: tuple[str, ...] | None = None  # None = every view of the snapshot
    study: str | None = None  # whose own seal holds; None = the earliest of the lake
    opening: Opening | None = None  # leave to look behind the lake's seals


def declared_views(lake: Lake, version: int | None) -> dict[str, FeatureView]:
    """Return the views declared up to a version of the declarations' table, by name."""
    if version is None:
        return {}
    rows: list[dict[str, Any]] = lake.read(VIEWS_TABLE, version=version).sort("edition").to_dicts()
    return {row["name"]: decode_view(row["declaration"]) for row in rows}
