"""Splits an order over venues at the least total cost, fee included, and says why.

Greedy over the effective marginal cost is exact here: each level is a constant price for a limited
size and no venue has a fixed charge, so any cheaper unit left out could be swapped in.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from operator import itemgetter

import msgspec

from runtime.domain import Order, PlannedOrder, Quote, Side, TimeInForce, order_id
from runtime.errors import OrderInvalid

_EXACT = Context(prec=60)
_SHOWN = Decimal("0.0001")


class RouteLeg(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an order that goes to one venue."""

    venue: str
    quantity: Decimal  # units, positive
    shown: Decimal  # units of it that the venue shows now; the rest waits there
    marginal: Decimal  # USD per unit of the dearest unit taken there, fee included


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """How an order is split; legs add up to it exactly, cheapest venue first."""

    symbol: str
    side: Side
    quantity: Decimal  # units, of the whole order
    legs: tuple[RouteLeg, ...]
    cost: Decimal  # USD: paid for a buy, received for a sell, fees included, at the quotes
    explanation: str  # in words


_Level = tuple[Decimal, str, Decimal]  # USD per unit with the fee, venue, units shown


def route(planned: PlannedOrder, quotes: Sequence[Quote], *, lot: int = 1) -> Route:
    """Split a planned order over the quotes.

    Args:
        planned: what the plan asks for.
        quotes: what venues show; several of one venue are its levels. Ties go to the earlier one.
        lot: units that a part must be a multiple of.

    Returns:
        The cheapest split. What no venue shows at the limit goes to the cheapest one and waits.

    Raises:
        OrderInvalid: no quote, a quote of another symbol, or a quantity that is not whole lots.
    """
    if not quotes:
        raise OrderInvalid(f"{planned.symbol}: no venue shows a quote, so it cannot be routed")
    if lot < 1 or planned.quantity % lot:
        raise OrderInvalid(f"{planned.symbol}: {planned.quantity} is not whole lots of {lot}")
    levels, beyond = _levels(planned, quotes)
    left = planned.quantity
    taken: dict[str, tuple[Decimal, Decimal]] = {}  # venue -> units shown, marginal price
    cost = Decimal(0)
    for price, venue, size in levels:
        if not left:
            break
        part = min(left, size - size % lot)
        if part:
            before = taken[venue][0] if venue in taken else 0
            taken[venue] = (part + before, price)
            cost = _EXACT.fma(part, price, cost)
            left -= part
    home_price, home, _ = levels[0] if levels else beyond[0]
    cost = _EXACT.fma(left, home_price, cost)
    if left and home not in taken:
        taken[home] = (Decimal(0), home_price)
    legs = tuple(
        RouteLeg(
            venue=venue,
            quantity=shown + left if venue == home else shown,
            shown=shown,
            marginal=marginal,
        )
        for venue, (shown, marginal) in taken.items()
    )
    return Route(
        symbol=planned.symbol,
        side=planned.side,
        quantity=planned.quantity,
        legs=legs,
        cost=cost,
        explanation=_explain(planned, legs, quotes, waiting=left, within=bool(levels)),
    )


def _levels(planned: PlannedOrder, quotes: Sequence[Quote]) -> tuple[list[_Level], list[_Level]]:
    """Return levels at the limit or better and those beyond it, each cheapest first."""
    buy, symbol, limit = planned.side is Side.BUY, planned.symbol, planned.limit_price
    within: list[_Level] = []
    beyond: list[_Level] = []
    for quote in quotes:
        if quote.symbol != symbol:
            raise OrderInvalid(f"{symbol}: was given a quote of {quote.symbol}")
        price, fee = (quote.ask, quote.fee_rate) if buy else (quote.bid, -quote.fee_rate)
        level = (_EXACT.fma(price, fee, price), quote.venue, quote.size)
        if price <= limit if buy else price >= limit:
            within.append(level)
        else:
            beyond.append(level)
    for found in (within, beyond):
        found.sort(key=itemgetter(0), reverse=not buy)  # stable: ties keep their order
    return within, beyond


def _explain(
    planned: PlannedOrder,
    legs: Sequence[RouteLeg],
    quotes: Sequence[Quote],
    *,
    waiting: Decimal,
    within: bool,
) -> str:
    """Say in words what goes where and why."""
    names = list(dict.fromkeys(quote.venue for quote in quotes))
    parts = ", then ".join(
        f"{leg.quantity} to {leg.venue} at {_shown(leg.marginal)} all in" for leg in legs
    )
    words = f"{planned.side.value} {planned.quantity} {planned.symbol}: {parts}"
    idle = [name for name in names if all(leg.venue != name for leg in legs)]
    if not within:
        return f"{words}; no venue meets the limit {planned.limit_price}, it waits at the cheapest"
    if waiting:
        words += f"; {waiting} more than is shown, waiting at {legs[0].venue}"
    elif len(legs) > 1:
        words += f"; {legs[0].venue} is cheapest but shows only {legs[0].shown}"
    elif idle:
        words += f"; cheaper than {', '.join(idle)} for the whole size"
    return words


def _shown(price: Decimal) -> str:
    return str(price.quantize(_SHOWN, rounding=ROUND_HALF_EVEN, context=_EXACT))


def child_orders(
    chosen: Route,
    planned: PlannedOrder,
    *,
    account: str,
    bundle: str,
    tick: str,
    created_at: datetime,
    time_in_force: TimeInForce = TimeInForce.DAY,
) -> tuple[Order, ...]:
    """Return one order per leg, compared with what was asked at the last point before the venue.

    Raises:
        OrderInvalid: the legs do not add up to the planned order.
    """
    total = sum((leg.quantity for leg in chosen.legs), Decimal(0))
    if (chosen.symbol, chosen.side, total) != (planned.symbol, planned.side, planned.quantity):
        raise OrderInvalid(
            f"the route sends {chosen.side.value} {total} {chosen.symbol}, asked for was "
            f"{planned.side.value} {planned.quantity} {planned.symbol}"
        )
    return tuple(
        Order(
            order_id=order_id(account, bundle, tick, planned.symbol, number),
            bundle=bundle,
            tick=tick,
            symbol=planned.symbol,
            leg=number,
            venue=leg.venue,
            side=planned.side,
            quantity=leg.quantity,
            order_type=planned.order_type,
            limit_price=planned.limit_price,
            time_in_force=time_in_force,
            created_at=created_at,
        )
        for number, leg in enumerate(chosen.legs)
    )
