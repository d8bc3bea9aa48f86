"""Where a mid-pegged order stands: the middle of the best quotes, while it may trade there.

It is re-priced with every change of the best quotes. A middle may lie on half a tick: the rule
limits what is quoted, not what is executed (17 CFR 242.612).
"""

from decimal import Decimal
from typing import NamedTuple

from runtime.domain import Side
from runtime.market.states import Bands


class Pegged(NamedTuple):
    """Where a peg may trade now."""

    price: Decimal | None  # USD per unit; None = it may not
    reason: str  # one sentence


def middle(bid: Decimal, offer: Decimal) -> Decimal:
    """Return the point half-way between two quotes, exactly."""
    return (bid + offer) / 2


def peg(
    side: Side,
    *,
    bid: Decimal | None,
    offer: Decimal | None,
    cap: Decimal,
    bands: Bands | None = None,
    in_locked: bool = False,
) -> Pegged:
    """Return at which price a peg may trade.

    Args:
        side: of the order.
        bid: national best bid, USD per unit; None = there is none.
        offer: national best offer; None = there is none.
        cap: the order's own limit.
        bands: price bands in force; None = there are none now.
        in_locked: the venue's rule for a locked market, where both quotes are one price.
    """
    if bid is None or offer is None:
        return Pegged(None, "the best quotes have one side only, so there is no middle")
    if bid > offer:
        return Pegged(None, f"the market is crossed, {bid} bid over {offer}")
    if bid == offer and not in_locked:
        return Pegged(None, f"the market is locked at {bid}, where this venue trades no pegs")
    price = middle(bid, offer)
    if bands is not None and not bands.lower <= price <= bands.upper:
        return Pegged(None, f"the middle {price} lies outside {bands.lower} to {bands.upper}")
    if side.sign * (price - cap) > 0:
        return Pegged(None, f"the middle {price} is beyond the limit {cap}")
    return Pegged(price, "at the middle of the best quotes")
