"""Routes by type of order: what is taken now is split, what rests or must fill whole goes to one.

1. FOK goes to the cheapest venue that shows all of it within the limit and is not bettered by a
   protected quote elsewhere; if there is none it goes nowhere
2. MID_PEG, STOP and STOP_LIMIT rest at the venue where they are expected to cost least once they
   trade; today's depth says nothing about that, so it splits nothing
3. all else takes what is shown, split at the least all-in cost (`protected`)
"""

from collections.abc import Sequence
from decimal import Decimal

from runtime.domain import OrderType, PlannedOrder, Quote, Side, TimeInForce
from runtime.errors import OrderInvalid
from runtime.market.pegs import middle
from runtime.routing.protected import executions, protected_split, traded_through
from runtime.routing.router import Ladder, Route, RouteLeg, ladders, split

ZERO, BUY = Decimal(0), Side.BUY
_SHOWN = Decimal("0.0001")
_RESTS = (OrderType.MID_PEG, OrderType.STOP, OrderType.STOP_LIMIT)


def route_order(
    planned: PlannedOrder, quotes: Sequence[Quote], *, lot: int = 1, round_lot: int = 100
) -> Route:
    """Route an order over what venues show, as its type asks for.

    Args:
        planned: what the plan asks for.
        quotes: of its symbol; several of one venue are its levels.
        lot: units that a part must be a multiple of.
        round_lot: units below which a quote is not protected.

    Raises:
        OrderInvalid: nothing is shown, no venue fills a FOK whole, or as `split`.
    """
    shown = ladders(planned.side, quotes)
    if planned.order_type in _RESTS:
        return rest_at_one(planned, quotes, shown)
    if planned.time_in_force is TimeInForce.FOK:
        return all_or_none(planned, shown, round_lot=round_lot)
    return protected_split(planned, shown, lot=lot, round_lot=round_lot)


def all_or_none(planned: PlannedOrder, shown: Sequence[Ladder], *, round_lot: int = 100) -> Route:
    """Send all of an order to the cheapest venue that shows all of it.

    Raises:
        OrderInvalid: no single venue does, or whoever does is bettered by a protected quote.
    """
    best: tuple[Decimal, int, Route] | None = None
    enough = False
    for place, ladder in enumerate(shown):
        route = split(planned, [ladder])
        if route.legs[0].shown < planned.quantity:
            continue
        enough = True
        taken = executions(route, [ladder])
        if traded_through(taken, shown, planned.side, round_lot=round_lot):
            continue
        cost = planned.side.sign * route.cost + planned.quantity * ladder.burden
        if best is None or (cost, place) < best[:2]:
            best = cost, place, route
    if best is not None:
        return best[2]
    why = (
        "a better quote elsewhere is protected and one venue cannot take it"
        if enough
        else "no single venue shows all of it within the limit"
    )
    raise OrderInvalid(
        f"{planned.symbol}: {planned.quantity} at {planned.limit_price} or better, whole or not at "
        f"all: {why}"
    )


def rest_at_one(planned: PlannedOrder, quotes: Sequence[Quote], shown: Sequence[Ladder]) -> Route:
    """Let all of an order rest at the venue where trading it is expected to cost least.

    A peg trades at the middle, wherever it rests: it pays the venue's fee and its burden. A stop
    trades at its stop price and then takes liquidity: it pays the venue's spread too.

    Raises:
        OrderInvalid: nothing is shown, or quotes of another symbol.
    """
    if not shown:
        raise OrderInvalid(f"{planned.symbol}: no venue shows a quote, so it cannot be routed")
    if any(quote.symbol != planned.symbol for quote in quotes):
        raise OrderInvalid(f"{planned.symbol}: was given a quote of another symbol")
    sign, stop = planned.side.sign, planned.stop_price
    offer, bid = min(quote.ask for quote in quotes), max(quote.bid for quote in quotes)
    price = stop if stop is not None else _peg(planned, bid, offer)
    spreads: dict[str, Decimal] = {}
    if stop is not None:
        for quote in quotes:
            half = (quote.ask - quote.bid) / 2
            spreads[quote.venue] = min(half, spreads.get(quote.venue, half))
    costs = [
        (price * one.fee_rate + spreads.get(one.venue, ZERO) + one.burden, one.ticket_charge)
        for one in shown
    ]
    units = planned.quantity
    place = min(range(len(shown)), key=lambda one: units * costs[one][0] + costs[one][1])
    home, (cost, charge) = shown[place], costs[place]
    all_in = price + sign * (cost - home.burden)
    asked = "buy" if planned.side is BUY else "sell"
    how = "pegged to the middle" if stop is None else f"asleep until {stop}"
    others = [one.venue for one in shown if one.venue != home.venue]
    words = f"{asked} {planned.quantity} {planned.symbol}: rests at {home.venue}, {how}"
    ticket = f" and a ticket charge of {charge}" if charge else ""
    if others:
        words += (
            f"; expected there at {cost.quantize(_SHOWN)} a unit on top of the price{ticket}, less "
            f"than at {', '.join(others)}"
        )
    leg = RouteLeg(venue=home.venue, quantity=planned.quantity, shown=ZERO, marginal=all_in)
    return Route(
        symbol=planned.symbol,
        side=planned.side,
        quantity=planned.quantity,
        legs=(leg,),
        cost=units * all_in + sign * charge,
        explanation=words,
    )


def _peg(planned: PlannedOrder, bid: Decimal, offer: Decimal) -> Decimal:
    """Return the middle, or the cap where the middle is worse."""
    half_way, cap = middle(bid, offer), planned.limit_price
    return min(half_way, cap) if planned.side is BUY else max(half_way, cap)
