"""Instants as whole microseconds since 1970 in UTC, the unit of every time column."""

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
