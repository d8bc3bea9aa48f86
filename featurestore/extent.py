"""How much of a view a reader was handed: what a lease records of a read."""

from dataclasses import dataclass
from datetime import datetime

import polars as pl


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Rows loaded of one view, and the times that they are about."""

    rows: int
    first: datetime | None  # event time, UTC; None = no rows
    last: datetime | None


def extent_of(rows: pl.DataFrame) -> Extent:
    """Return the extent of observations with a column event_time."""
    first, last = rows["event_time"].min(), rows["event_time"].max()
    return Extent(
        rows=rows.height,
        first=first if isinstance(first, datetime) else None,
        last=last if isinstance(last, datetime) else None,
    )
