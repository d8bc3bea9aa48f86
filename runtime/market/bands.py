"""LULD price bands from reference price, tier, previous close and time of day; pure functions."""

from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from enum import IntEnum, StrEnum

from featurestore.calendars import Session
from runtime.domain import Side
from runtime.errors import FeedInvalid
from runtime.market.rules import BandRow, Luld
from runtime.market.states import Bands

ZERO, TWO = Decimal(0), 2


class Tier(IntEnum):
    """Tier of the plan: 1 = S&P 500, Russell 1000 and listed ETPs, 2 = the rest."""

    ONE = 1
    TWO = 2


class Shown(StrEnum):
    """What the market does with a quote at a price."""

    EXECUTABLE = "executable"
    NON_EXECUTABLE = "non-executable"  # displayed with a flag
    HIDDEN = "hidden"  # not displayed


def row_of(rules: Luld, previous_close: Decimal) -> BandRow:
    """Return the row that the previous close picks for the whole day."""
    for row in rules.row:
        if row.below is not None and previous_close >= row.below:
            continue
        if row.at_most is not None and previous_close > row.at_most:
            continue
        return row
    raise FeedInvalid(f"no band row fits a previous close of {previous_close}")


def is_doubled(
    rules: Luld,
    *,
    tier: Tier,
    previous_close: Decimal,
    reference: Decimal,
    session: Session,
    at: datetime,
) -> bool:
    """Say whether the bands are doubled at `at`.

    Texts differ on whether tier 2's price limit means the previous close or the live reference;
    both have to fit, which gives the narrower bands.
    """
    early = at < session.open + timedelta(seconds=rules.doubled_after_open)
    late = at >= session.close - timedelta(seconds=rules.doubled_before_close)
    if not (early or late):
        return False
    limit = rules.doubled_tier_2_at_most
    return tier is Tier.ONE or limit is None or max(previous_close, reference) <= limit


def width(
    rules: Luld,
    *,
    tier: Tier,
    previous_close: Decimal,
    reference: Decimal,
    doubled: bool,
    leverage: Decimal = Decimal(1),
) -> Decimal:
    """Return how far the bands lie from the reference, USD per unit.

    Args:
        rules: in force that day.
        tier: of the symbol.
        previous_close: on the primary listing market, USD; picks the row.
        reference: live reference price, USD.
        doubled: from `is_doubled`.
        leverage: of a tier 2 leveraged ETP, at least 1; it multiplies the percentage.
    """
    row = row_of(rules, previous_close)
    fraction = row.tier_1 if tier is Tier.ONE else row.tier_2 * max(leverage, Decimal(1))
    times = TWO if doubled else 1
    wide = reference * fraction * times
    return wide if row.cap is None else min(wide, row.cap * times)


def bands_of(
    rules: Luld,
    *,
    tier: Tier,
    previous_close: Decimal,
    reference: Decimal,
    session: Session,
    at: datetime,
    leverage: Decimal = Decimal(1),
) -> Bands:
    """Return the bands at `at`, on the cent grid and never below zero.

    Raises:
        FeedInvalid: a price is not positive, or the time lies outside the regular session.
    """
    if not (previous_close > 0 and reference > 0):
        raise FeedInvalid(f"bands need positive prices, not {previous_close} and {reference}")
    if not session.open <= at <= session.close:
        raise FeedInvalid(f"there are no bands at {at.isoformat()}, outside the regular session")
    doubled = is_doubled(
        rules,
        tier=tier,
        previous_close=previous_close,
        reference=reference,
        session=session,
        at=at,
    )
    wide = width(
        rules,
        tier=tier,
        previous_close=previous_close,
        reference=reference,
        doubled=doubled,
        leverage=leverage,
    )
    return Bands(
        lower=max(ZERO, _rounded(reference - wide, rules.band_tick)),
        upper=_rounded(reference + wide, rules.band_tick),
    )


def shown(side: Side, price: Decimal, bands: Bands) -> Shown:
    """Say what becomes of a quote: bids above and offers below the bands are not displayed."""
    if side is Side.BUY:
        if price > bands.upper:
            return Shown.HIDDEN
        return Shown.NON_EXECUTABLE if price < bands.lower else Shown.EXECUTABLE
    if price < bands.lower:
        return Shown.HIDDEN
    return Shown.NON_EXECUTABLE if price > bands.upper else Shown.EXECUTABLE


def inside(limit: Decimal, side: Side, bands: Bands) -> Decimal:
    """Return the limit of a marketable order, no worse than the band on its side."""
    return min(limit, bands.upper) if side is Side.BUY else max(limit, bands.lower)


def may_trade(price: Decimal, bands: Bands) -> bool:
    """Say whether a trade at `price` may happen."""
    return bands.lower <= price <= bands.upper


def _rounded(price: Decimal, tick: Decimal) -> Decimal:
    return (price / tick).to_integral_value(ROUND_HALF_UP) * tick
