"""Keeps a route from trading through a better protected quote (Rule 611, 17 CFR 242.611).

Protected is the best displayed quote of each venue, if it is of at least one round lot. Whoever
takes a worse price somewhere must take the protected quotes that are better, in full, at the same
time. A split by all-in cost can break that where a better price has the dearer fee.

1. split at the least all-in cost; if that trades through nothing it is the answer;
2. else try each price as the worst one that is taken: the protected quotes better than it are
   taken first, the rest at the least all-in cost up to it; the cheapest of these is the answer.
"""

from collections.abc import Sequence
from decimal import Decimal

from msgspec.structs import replace

from runtime.domain import PlannedOrder, Side
from runtime.routing.router import Ladder, Route, RouteLeg, split

ZERO = Decimal(0)
_Level = tuple[Decimal, Decimal]  # USD per unit, units


def traded_through(
    taken: Sequence[tuple[str, Decimal, Decimal]],
    shown: Sequence[Ladder],
    side: Side,
    *,
    round_lot: int = 100,
) -> tuple[str, ...]:
    """Return the venues whose protected quotes a set of executions would trade through.

    Args:
        taken: (venue, USD per unit, units) of each execution.
        shown: what every venue shows.
        side: of the order.
        round_lot: units below which a quote is not protected.
    """
    worst = max((side.sign * price for _, price, _ in taken), default=None)
    if worst is None:
        return ()
    units: dict[tuple[str, Decimal], Decimal] = {}
    for venue, price, amount in taken:
        units[venue, price] = units.get((venue, price), ZERO) + amount
    return tuple(
        ladder.venue
        for ladder in shown
        if ladder.levels[0][1] >= round_lot
        and side.sign * ladder.levels[0][0] < worst
        and units.get((ladder.venue, ladder.levels[0][0]), ZERO) < ladder.levels[0][1]
    )


def executions(chosen: Route, shown: Sequence[Ladder]) -> tuple[tuple[str, Decimal, Decimal], ...]:
    """Return the levels that a route's legs take, (venue, USD per unit, units)."""
    by_venue = {ladder.venue: ladder for ladder in shown}
    found = []
    for leg in chosen.legs:
        left = leg.shown
        for price, size, _ in by_venue[leg.venue].levels:
            part = min(left, size)
            if part > 0:
                found.append((leg.venue, price, part))
                left -= part
    return tuple(found)


def protected_split(
    planned: PlannedOrder, shown: Sequence[Ladder], *, lot: int = 1, round_lot: int = 100
) -> Route:
    """Split an order at the least all-in cost that trades through nothing.

    Args:
        planned: what the plan asks for.
        shown: the side that the order takes from, one ladder a venue.
        lot: units that a part must be a multiple of.
        round_lot: units below which a quote is not protected.

    Raises:
        OrderInvalid: as `split`.
    """
    free = split(planned, shown, lot=lot)
    if _at_the_best(free, shown):
        return free
    passed = traded_through(executions(free, shown), shown, planned.side, round_lot=round_lot)
    if not passed:
        return free
    sign, burden = planned.side.sign, {ladder.venue: ladder.burden for ladder in shown}

    def dear(route: Route) -> Decimal:
        return sign * route.cost + sum(leg.quantity * burden[leg.venue] for leg in route.legs)

    worsts = sorted({sign * price for ladder in shown for price, _, _ in ladder.levels})
    best: Route | None = None
    for worst in worsts:
        found = _up_to(planned, shown, worst, lot=lot, round_lot=round_lot)
        if found is not None and (best is None or dear(found) < dear(best)):
            best = found
    if best is None:
        return free
    words = f"{best.explanation}; the quotes of {', '.join(passed)} are protected and taken first"
    return replace(best, explanation=words)


def _at_the_best(chosen: Route, shown: Sequence[Ladder]) -> bool:
    """Say whether all is taken from one best level that nobody betters: the usual case, quickly."""
    if len(chosen.legs) != 1:
        return False
    leg, buy = chosen.legs[0], chosen.side is Side.BUY
    tops = [ladder.levels[0] for ladder in shown]
    own = next(ladder.levels[0] for ladder in shown if ladder.venue == leg.venue)
    best = min(tops)[0] if buy else max(tops)[0]
    return own[0] == best and leg.shown <= own[1]


def _up_to(
    planned: PlannedOrder,
    shown: Sequence[Ladder],
    worst: Decimal,
    *,
    lot: int,
    round_lot: int,
) -> Route | None:
    """Return the split whose worst price is `worst`, None if that much is not shown."""
    sign, left = planned.side.sign, planned.quantity
    limit = sign * planned.limit_price
    forced: dict[str, _Level] = {}
    rest: list[Ladder] = []
    for ladder in sorted(shown, key=lambda one: sign * one.levels[0][0]):
        levels = [one for one in ladder.levels if sign * one[0] <= min(worst, limit)]
        if not levels:
            continue
        price, size, _ = levels[0]
        part = min(left, size - size % lot)
        if size >= round_lot and sign * price < worst and part:
            forced[ladder.venue] = (price, part)
            left -= part
            levels = [(price, size - part, levels[0][2]), *levels[1:]]
        rest.append(replace(ladder, levels=[one for one in levels if one[1] > 0] or levels[:1]))
    if not left:
        return _joined(planned, forced, {one.venue: one for one in shown}, None)
    if not rest or sum(size for one in rest for _, size, _ in one.levels) < left:
        return None
    rest = [  # whoever must be used has his charge
        replace(one, ticket_charge=ZERO) if one.venue in forced else one for one in rest
    ]
    tail = split(replace(planned, quantity=left), rest, lot=lot)
    if any(leg.quantity != leg.shown for leg in tail.legs):
        return None
    return _joined(planned, forced, {one.venue: one for one in shown}, tail)


def _joined(
    planned: PlannedOrder, forced: dict[str, _Level], shown: dict[str, Ladder], tail: Route | None
) -> Route:
    """Return the forced parts and the rest as one route."""
    sign = planned.side.sign
    cost = tail.cost if tail else ZERO
    cost += sign * sum(shown[venue].ticket_charge for venue in forced)
    units: dict[str, Decimal] = {}
    dearest: dict[str, Decimal] = {}
    for venue, (price, part) in forced.items():
        all_in = price * (1 + sign * shown[venue].fee_rate)
        cost += part * all_in
        units[venue], dearest[venue] = part, all_in
    for leg in tail.legs if tail else ():
        units[leg.venue] = units.get(leg.venue, ZERO) + leg.quantity
        dearest[leg.venue] = leg.marginal
    legs = tuple(
        RouteLeg(venue=venue, quantity=part, shown=part, marginal=dearest[venue])
        for venue, part in units.items()
    )
    told = ", then ".join(
        f"{leg.quantity} to {leg.venue} at {leg.marginal:.4f} all in" for leg in legs
    )
    asked = "buy" if planned.side is Side.BUY else "sell"
    words = f"{asked} {planned.quantity} {planned.symbol}: {told}"
    charged = sum((shown[venue].ticket_charge for venue in units), ZERO)
    if charged:
        words += f"; ticket charges of {charged} included"
    return Route(
        symbol=planned.symbol,
        side=planned.side,
        quantity=planned.quantity,
        legs=legs,
        cost=cost,
        explanation=words,
    )
