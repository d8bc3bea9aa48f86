"""Splits an order over venues at the least total cost, fee included, and says why.

Greedy over the effective marginal cost is exact here: each level is a constant price for a limited
size and no venue has a fixed charge, so any cheaper unit left out could be swapped in.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from heapq import heapify, heappop, heapreplace
from operator import itemgetter

import msgspec

from runtime.domain import Order, PlannedOrder, Quote, Side, order_id
from runtime.errors import OrderInvalid

_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
ZERO, BUY = Decimal(0), Side.BUY
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


class Ladder(msgspec.Struct, frozen=True, kw_only=True):
    """What one venue shows to one side of a symbol, best price first."""

    venue: str
    symbol: str
    fee_rate: Decimal  # fraction of notional, between -1 and 1; negative = a rebate
    levels: Sequence[tuple[Decimal, Decimal, int]]  # USD per unit, units, place among equals
    burden: Decimal = ZERO  # USD per unit, what else it is expected to cost; see `quality`


_Rung = tuple[Decimal, int, Decimal, Ladder, int]  # order, place, USD with fee, ladder, depth


def ladders(side: Side, quotes: Sequence[Quote]) -> list[Ladder]:
    """Group quotes by venue and fee; of equal prices the earlier quote comes first."""
    groups: dict[tuple[str, str, Decimal], list[tuple[Decimal, Decimal, int]]] = {}
    buy = side is BUY
    for place, quote in enumerate(quotes):
        key = (quote.venue, quote.symbol, quote.fee_rate)
        level = (quote.ask if buy else quote.bid, quote.size, place)
        if key in groups:
            groups[key].append(level)
        else:
            groups[key] = [level]
    for levels in groups.values():
        if len(levels) > 1:
            levels.sort(key=itemgetter(0), reverse=not buy)  # stable: ties keep their order
    return [
        Ladder(venue=venue, symbol=symbol, fee_rate=fee_rate, levels=levels)
        for (venue, symbol, fee_rate), levels in groups.items()
    ]


def route(planned: PlannedOrder, quotes: Sequence[Quote], *, lot: int = 1) -> Route:
    """Split a planned order over quotes, several of one venue being its levels; see `split`."""
    return split(planned, ladders(planned.side, quotes), lot=lot)


def split(planned: PlannedOrder, shown: Sequence[Ladder], *, lot: int = 1) -> Route:
    """Split a planned order over what venues show.

    Steps: 1. the best level of each venue, as a heap; 2. take from the cheapest, then look at that
    venue's next level; 3. what nobody shows at the limit waits at the cheapest.

    Args:
        planned: what the plan asks for.
        shown: the side that the order takes from.
        lot: units that a part must be a multiple of.

    Returns:
        The cheapest split.

    Raises:
        OrderInvalid: nothing or another symbol is shown, or the quantity is not whole lots.
    """
    if not shown:
        raise OrderInvalid(f"{planned.symbol}: no venue shows a quote, so it cannot be routed")
    if lot < 1 or planned.quantity % lot:
        raise OrderInvalid(f"{planned.symbol}: {planned.quantity} is not whole lots of {lot}")

    # 1. the best level of each venue
    buy, limit, symbol = planned.side is BUY, planned.limit_price, planned.symbol
    heap: list[_Rung] = []
    for ladder in shown:
        if ladder.symbol != symbol:
            raise OrderInvalid(f"{symbol}: was given a quote of {ladder.symbol}")
        price = ladder.levels[0][0]
        if price <= limit if buy else price >= limit:
            heap.append(_rung(ladder, 0, buy))
    heapify(heap)
    _, _, cheapest, home, _ = heap[0] if heap else min(_rung(one, 0, buy) for one in shown)

    # 2. the cheapest first
    within = bool(heap)
    taken, left, cost = _taken(planned, heap, lot)

    # 3. the rest waits
    if left:
        cost = _EXACT.fma(left, cheapest, cost)
        taken.setdefault(home.venue, (ZERO, cheapest))
    legs = [
        RouteLeg(
            venue=venue,
            quantity=units + left if venue == home.venue else units,
            shown=units,
            marginal=marginal,
        )
        for venue, (units, marginal) in taken.items()
    ]
    return Route(
        symbol=planned.symbol,
        side=planned.side,
        quantity=planned.quantity,
        legs=tuple(legs),
        cost=cost,
        explanation=_explain(planned, legs, shown, waiting=left, within=within),
    )


def _taken(
    planned: PlannedOrder, heap: list[_Rung], lot: int
) -> tuple[dict[str, tuple[Decimal, Decimal]], Decimal, Decimal]:
    """Take what is shown, the cheapest first, until the order is filled or the limit is met.

    Returns:
        venue -> (units taken, USD per unit of the dearest of them); units left over; cost, USD.
    """
    buy, limit, left, cost = planned.side is BUY, planned.limit_price, planned.quantity, ZERO
    taken: dict[str, tuple[Decimal, Decimal]] = {}
    while heap:
        _, _, price, ladder, depth = heap[0]
        venue, size = ladder.venue, ladder.levels[depth][1]
        part = min(left, size - size % lot)
        if part:
            taken[venue] = (part + taken[venue][0] if venue in taken else part, price)
            cost = _EXACT.fma(part, price, cost)
            left -= part
            if not left:
                break
        depth += 1
        deeper = ladder.levels[depth][0] if depth < len(ladder.levels) else None
        if deeper is not None and (deeper <= limit if buy else deeper >= limit):
            heapreplace(heap, _rung(ladder, depth, buy))
        else:
            heappop(heap)
    return taken, left, cost


def _rung(ladder: Ladder, depth: int, buy: bool) -> _Rung:
    """Return one level with its price after the fee; the smallest is the one to take first."""
    price, _, place = ladder.levels[depth]
    if buy:
        key = cost = _EXACT.fma(price, ladder.fee_rate, price)
    else:
        cost = _EXACT.fma(price, ladder.fee_rate.copy_negate(), price)
        key = cost.copy_negate()
    if ladder.burden:
        key = _EXACT.add(key, ladder.burden)
    return key, place, cost, ladder, depth


def _explain(
    planned: PlannedOrder,
    legs: Sequence[RouteLeg],
    shown: Sequence[Ladder],
    *,
    waiting: Decimal,
    within: bool,
) -> str:
    """Say in words what goes where and why."""
    parts = [
        f"{leg.quantity!s} to {leg.venue} at {_EXACT.quantize(leg.marginal, _SHOWN)!s} all in"
        for leg in legs
    ]
    asked = "buy" if planned.side is BUY else "sell"
    words = f"{asked} {planned.quantity!s} {planned.symbol}: {', then '.join(parts)}"
    if not within:
        return f"{words}; no venue meets the limit {planned.limit_price}, it waits at the cheapest"
    if waiting:
        return f"{words}; {waiting} more than is shown, waiting at {legs[0].venue}"
    if len(legs) > 1:
        return f"{words}; {legs[0].venue} is cheapest but shows only {legs[0].shown}"
    idle = dict.fromkeys([one.venue for one in shown if one.venue != legs[0].venue])
    return f"{words}; cheaper than {', '.join(idle)} for the whole size" if idle else words


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
    if (chosen.symbol, chosen.side, total) != (planned.symbol, planned.side, planned.quantity):
        raise OrderInvalid(
            f"the route sends {chosen.side.value} {total} {chosen.symbol}, asked for was "
            f"{planned.side.value} {planned.quantity} {planned.symbol}"
        )
    return tuple(
        [
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
                time_in_force=planned.time_in_force,
                created_at=created_at,
                stop_price=planned.stop_price,
            )
            for number, leg in enumerate(chosen.legs)
        ]
    )
