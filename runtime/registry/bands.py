"""Whether a bundle has left the bands that were fixed when it was promoted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from runtime.bundles.contract import StopBands


@dataclass(frozen=True, slots=True, kw_only=True)
class DayReturn:
    """One closed session of a bundle in its seat."""

    day: date
    own: float  # fraction, of its own books
    benchmark: float | None  # fraction; None if the benchmark could not be marked


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A band that was left."""

    day: date
    band: str  # "max_drawdown"
    limit: Decimal  # fraction
    observed: Decimal  # fraction, positive, beyond the limit

    def __str__(self) -> str:
        return (
            f"{_WORDS[self.band]} of {self.observed:.2%} on {self.day} is beyond the "
            f"{self.limit:.2%} that were fixed at promotion"
        )


_WORDS = {
    "max_drawdown": "a drawdown",
    "max_daily_loss": "a loss in one day",
    "max_shortfall": "a shortfall behind the benchmark",
}


def breached(bands: StopBands, days: Sequence[DayReturn]) -> Breach | None:
    """Return the first band that was left, None while all hold.

    Args:
        bands: as signed.
        days: every session since the bundle took its seat, oldest first.

    Returns:
        The breach of the earliest day; on one day the order is daily loss, drawdown, shortfall.
    """
    value = peak = reference = 1.0
    for one in days:
        value *= 1.0 + one.own
        peak = max(peak, value)
        reference *= 1.0 + (one.benchmark or 0.0)
        observed = {
            "max_daily_loss": -one.own,
            "max_drawdown": 1.0 - value / peak,
            "max_shortfall": reference - value,
        }
        for band, figure in observed.items():
            limit = getattr(bands, band)
            # one part in 1e12 is what rounding of a float can add to a loss right at the limit
            if limit is not None and figure > float(limit) + 1e-12:
                return Breach(
                    day=one.day, band=band, limit=Decimal(limit), observed=Decimal(repr(figure))
                )
    return None
