"""Splits an order over venues at the least total cost, fees and charges included, and says why.

Greedy over the effective marginal cost is exact where no venue asks a fixed charge: each level is a
constant price for a limited size, so any cheaper unit left out could be swapped in. Where one
does, `charges` first finds the venues to use, and the split over them is greedy again.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from runtime.domain import Order, PlannedOrder, Quote, Side, order_ids
from runtime.errors import OrderInvalid
from runtime.routing.charges import cheapest_venues
from runtime.routing.depth import (
    BUY,
    EXACT,
    ONE,
    THEN,
    ZERO,
    Depth,
    Ladder,
    RouteLeg,
    add,
    ladders,
)

__all__ = ["Ladder", "Route", "RouteLeg", "child_orders", "ladders", "route", "split"]

_fma = EXACT.fma


class Route(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How an order is split; legs add up to it exactly, cheapest venue first."""

    symbol: str
    side: Side
    quantity: Decimal  # units, of the whole order
    legs: tuple[RouteLeg, ...]
    cost: Decimal  # USD: paid for a buy, received for a sell, fees and charges in, at the quotes
    explanation: str  # in words


def route(planned: PlannedOrder, quotes: Sequence[Quote], *, lot: int = 1) -> Route:
    """Split a planned order over quotes, several of one venue being its levels; see `split`."""
    return split(planned, ladders(planned.side, quotes), lot=lot)


def split(planned: PlannedOrder, shown: Sequence[Ladder] | Depth, *, lot: int = 1) -> Route:
    """Split a planned order over what venues show.

    Steps: 1. every venue's levels in one order; 2. where venues ask ticket charges, which of them
    to use at all; 3. take from the cheapest on; 4. what nobody shows at the limit waits at the
    cheapest.

    Args:
        planned: what the plan asks for.
        shown: the side that the order takes from; as a `Depth`, made ready for many orders.
        lot: units that a part must be a multiple of.

    Returns:
        The cheapest split.

    Raises:
        OrderInvalid: nothing or another symbol is shown, or the quantity is not whole lots.
    """
    # 1. one order over all venues
    depth = shown if isinstance(shown, Depth) else Depth(planned.side, planned.symbol, shown)
    units, limit = planned.quantity, planned.limit_price
    if depth.symbol != planned.symbol or depth.buy is not (planned.side is BUY):
        raise OrderInvalid(f"{planned.symbol}: was given the other side, or a book of another one")
    if lot < 1 or units % (ONE if lot == 1 else lot):
        raise OrderInvalid(f"{planned.symbol}: {units} is not whole lots of {lot}")

    # 2. which venues, 3. the cheapest first
    if depth is shown and lot == 1 and not depth.charges:  # made ready
        filled = depth.filled(units, limit)
        if filled is not None:
            parts, words, cost = filled
            return _route(planned, parts, cost, words)
    only = cheapest_venues(depth, planned, lot) if depth.charges else None
    legs, said, left, cost, home = _take(planned, depth, lot, only)

    # 4. the rest waits
    waits = ""
    if left:
        waits, price, there = home or _least(planned, depth)
        cost, shows = _fma(left, price, cost), ZERO
        if waits in legs:
            shows, price = legs[waits].shown, legs[waits].marginal
            there = said[waits].partition(" ")[2]  # after the units that it shows
        both = shows + left
        legs[waits] = RouteLeg(venue=waits, quantity=both, shown=shows, marginal=price)
        said[waits] = f"{both!s} {there}"
    parts = tuple(legs.values())
    told, within = THEN.join(said.values()), home is not None
    words = _explain(planned, parts, told, depth, waits=waits, left=left, within=within)
    if depth.charges:
        charged = sum([depth.charges[venue] for venue in legs], ZERO)
        cost = EXACT.add(cost, charged if depth.buy else charged.copy_negate())
        words = f"{words}{_charged(planned, depth, lot, legs, charged)}"
    return _route(planned, parts, cost, words)


def _route(planned: PlannedOrder, parts: tuple[RouteLeg, ...], cost: Decimal, words: str) -> Route:
    return Route(
        symbol=planned.symbol,
        side=planned.side,
        quantity=planned.quantity,
        legs=parts,
        cost=cost,
        explanation=words,
    )


def _take(
    planned: PlannedOrder, depth: Depth, lot: int, only: Collection[str] | None
) -> tuple[dict[str, RouteLeg], dict[str, str], Decimal, Decimal, tuple[str, Decimal, str] | None]:
    """Take what is shown, the cheapest first, until the order is filled or the limit is met.

    Returns:
        A leg by venue; by venue how much goes there at what cost; units left over; cost, USD,
        without ticket charges; the cheapest level within the limit: venue, USD per unit, words; or
        None.
    """
    buy, limit, left, cost = depth.buy, planned.limit_price, planned.quantity, ZERO
    legs: dict[str, RouteLeg] = {}
    said: dict[str, str] = {}
    home: tuple[str, Decimal, str] | None = None
    rungs, words, number = depth.rungs, depth.words, 0
    while left and (number < len(rungs) or depth.reach()):
        _, _, all_in, price, size, ladder, _ = rungs[number]
        number += 1
        if price > limit if buy else price < limit:
            continue
        venue = ladder.venue
        if only is not None and venue not in only:
            continue
        if home is None:
            home = venue, all_in, words[number - 1]
        part = left if size >= left else size - size % lot  # what is left is whole lots
        if part:
            add(legs, said, venue, part, all_in, words[number - 1])
            cost = _fma(part, all_in, cost)
            left -= part
    return legs, said, left, cost, home


def _least(planned: PlannedOrder, depth: Depth) -> tuple[str, Decimal, str]:
    """Return where an order waits whose limit nobody meets: venue, USD per unit, words."""
    place = 0
    if depth.charges:
        rungs, units, charges = depth.all(), planned.quantity, depth.charges
        costs = [(units * one[0] + charges[one[5].venue], one[1]) for one in rungs]
        place = costs.index(min(costs))
    elif not depth.rungs:
        depth.reach()
    rung = depth.rungs[place]
    return rung[5].venue, rung[2], depth.words[place]


def _explain(
    planned: PlannedOrder,
    legs: Sequence[RouteLeg],
    told: str,
    depth: Depth,
    *,
    waits: str = "",
    left: Decimal = ZERO,
    within: bool = True,
) -> str:
    """Say in words what goes where, which is told already, and why."""
    words = f"{depth.asked} {planned.quantity!s} {planned.symbol}: {told}"
    if not within:
        return f"{words}; no venue meets the limit {planned.limit_price}, it waits at the cheapest"
    if left:
        return f"{words}; {left} more than is shown, waiting at {waits}"
    return f"{words}{depth.why(legs[0].venue, legs[0].shown, len(legs))}"


def _charged(
    planned: PlannedOrder, depth: Depth, lot: int, used: Collection[str], charged: Decimal
) -> str:
    """Say what is charged, and whose cheaper units would not repay a charge."""
    by_price, *_ = _take(planned, depth, lot, None)
    passed = [venue for venue in by_price if venue not in used]
    words = f"; ticket charges of {charged} included"
    if not passed:
        return words
    return f"{words}, cheaper units at {', '.join(passed)} would not repay another"


def child_orders(
    chosen: Route,
    planned: PlannedOrder,
    *,
    account: str,
    bundle: str,
    tick: str,
    created_at: datetime,
) -> tuple[Order, ...]:
    """Return one order per leg, compared with what was asked at the last point before the venue.

    Raises:
        OrderInvalid: the legs do not add up to the planned order.
    """
    total = ZERO
    for leg in chosen.legs:
        total += leg.quantity
    symbol, side = planned.symbol, planned.side
    if chosen.symbol != symbol or chosen.side is not side or total != planned.quantity:
        raise OrderInvalid(
            f"the route sends {chosen.side.value} {total} {chosen.symbol}, asked for was "
            f"{planned.side.value} {planned.quantity} {planned.symbol}"
        )
    ids = order_ids(account, bundle, tick, symbol, len(chosen.legs))
    limit, stop = planned.limit_price, planned.stop_price
    order_type, time_in_force = planned.order_type, planned.time_in_force
    children = []
    for number, leg in enumerate(chosen.legs):
        child = Order(
            order_id=ids[number],
            bundle=bundle,
            tick=tick,
            symbol=symbol,
            leg=number,
            venue=leg.venue,
            side=side,
            quantity=leg.quantity,
            order_type=order_type,
            limit_price=limit,
            time_in_force=time_in_force,
            created_at=created_at,
            stop_price=stop,
        )
        children.append(child)
    return tuple(children)
