"""Average daily volume of the names that are to be traded, as the lake knows it."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from math import isfinite

from featurestore.errors import PlatformError
from runtime.bundles.inputs import Array, PointInTime

VOLUME_BARS = 21  # sessions behind an average daily volume


def average_volumes(
    reader: PointInTime, feature: str, symbols: Sequence[str], at: datetime
) -> dict[str, Decimal]:
    """Return units traded a day on average; a name without that much history is left out.

    Args:
        reader: point-in-time data.
        feature: "view.field" of units traded a day; "" = there is none.
        symbols: that are asked about.
        at: UTC; nothing known later is looked at.
    """
    if not (feature and symbols):
        return {}
    rows = _read(reader, feature, symbols, at)
    if rows is None and len(symbols) > 1:
        return {
            symbol: volume
            for one in symbols
            for symbol, volume in average_volumes(reader, feature, (one,), at).items()
        }
    means = [] if rows is None else [float(row.mean()) for row in rows]
    return {
        symbol: Decimal(repr(mean))
        for symbol, mean in zip(symbols, means, strict=False)
        if isfinite(mean) and mean >= 0
    }


def _read(reader: PointInTime, feature: str, symbols: Sequence[str], at: datetime) -> Array | None:
    """Return volumes, one row a symbol; None if they cannot be told."""
    try:
        return reader.window(feature, symbols, length=VOLUME_BARS, at=at)
    except PlatformError:
        return None  # unknown: the policy says whether that blocks
