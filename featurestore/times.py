"""Instants as whole microseconds since 1970 in UTC, the unit of every time column."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from featurestore.errors import ContractBroken

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def micros(at: datetime) -> int:
    """Return an instant in microseconds since 1970; ContractBroken if it has no time zone."""
    if at.tzinfo is None:
        raise ContractBroken(
            f"time {at.isoformat()} carries no time zone; pass UTC, e.g. datetime(..., tzinfo=UTC)"
        )
    return (at - EPOCH) // MICROSECOND


def instant(value: int) -> datetime:
    """Return the UTC instant `value` microseconds after 1970."""
    return EPOCH + int(value) * MICROSECOND


def instants(values: Sequence[int]) -> list[datetime]:
    """Return `instant` of each; one that many symbols share, as most do, is made once."""
    made = {value: instant(value) for value in set(values)}
    if len(made) == 1:
        return [*made.values()] * len(values)
    return [made[value] for value in values]


def earliest(times: Sequence[datetime]) -> datetime:
    """Return the earliest of at least one instant; those of one session are usually one object."""
    return times[0] if times.count(times[0]) == len(times) else min(times)


def spoken(span: timedelta) -> str:
    """Return a length of time in words, e.g. "5 days" or "30 minutes"."""
    seconds = span.total_seconds()
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return f"{count} {unit if count != 1 else unit[:-1]}"
    return str(span) if seconds >= 60 else f"{seconds:g} seconds"
