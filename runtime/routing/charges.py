"""Which venues to use where each asks a fixed charge per child order: exact, by branch and bound.

A charge makes a venue's cost curve jump at its first unit, so taking the cheapest unit next is no
longer the least cost. The curve's convex envelope (a straight line from nothing to where charge and
units together are cheapest per unit, the curve itself from there on) is, and greedy over envelopes
is a lower bound that is wrong at one venue at most: the one that ends part way along its line.

1. every level within the limit as whole lots and integers, and each venue's envelope
2. greedy over envelopes: if no venue ends part way, its venues are the best there are
3. else that venue is used, charge paid, or is not; what cannot beat the best found is dropped

All in integers, lines rounded down by less than one unit of the costs in all, so that a bound is
never above what it bounds and nothing better is dropped.

Source: Falk & Soland (1969), "An Algorithm for Separable Nonconvex Programming Problems",
Management Science 15(9), 550-569, for branching on envelopes.
"""

from collections.abc import Sequence
from decimal import Decimal

from runtime.domain import PlannedOrder
from runtime.routing.depth import EXACT, ZERO, Curves, Depth, Piece, Rung

_PAID, _OUT = ~1, 0  # masks: its charge is paid and its levels are open; it is not used


def cheapest_venues(depth: Depth, planned: PlannedOrder, lot: int) -> frozenset[str] | None:
    """Return the venues over which a greedy split, their charges paid, costs least.

    Args:
        depth: what is shown.
        planned: a whole number of lots.
        lot: units that a part must be a multiple of.

    Returns:
        Names, None if all that is shown is needed.
    """
    limit, wanted = planned.limit_price, int(planned.quantity) // lot
    bits = wanted.bit_length()
    curves = depth.curves.get((lot, bits))
    if curves is None:
        curves = depth.curves[lot, bits] = _curves(depth.all(), depth.charges, lot, bits)
    if _beyond(depth.worst(), limit, depth.buy):
        within = [rung for rung in depth.rungs if not _beyond(rung[3], limit, depth.buy)]
        curves = _curves(within, depth.charges, lot, bits)
    if curves.total <= wanted:
        return None
    return frozenset([curves.names[venue] for venue in _search(curves, wanted)])


def _beyond(price: Decimal, limit: Decimal, buy: bool) -> bool:
    return price > limit if buy else price < limit


def _curves(rungs: Sequence[Rung], charges: dict[str, Decimal], lot: int, bits: int) -> Curves:
    """Scale costs to integers.

    Args:
        rungs: cheapest first.
        charges: of each venue, USD.
        lot: units.
        bits: 2 to their power is more than the lots that are wanted; so much finer than the costs
            are the integers, as a line loses less than one of them a lot.
    """
    places = ZERO
    for rung in rungs:
        places = EXACT.add(places, rung[0])
    exponent = min(_exponent(places), *map(_exponent, charges.values()))
    scale = EXACT.scaleb(Decimal(1 << bits), -exponent)
    a_lot, times = EXACT.multiply(scale, Decimal(lot)), EXACT.multiply
    index: dict[str, int] = {}
    levels: list[list[tuple[int, int]]] = []
    pieces: list[Piece] = []
    for key, _, _, _, size, ladder, _ in rungs:
        lots = int(size // lot)
        if not lots:
            continue
        venue = index.setdefault(ladder.venue, len(levels))
        if venue == len(levels):
            levels.append([])
        cost = int(times(key, a_lot))
        levels[venue].append((cost, lots))
        pieces.append((cost, venue, lots, 1 << len(levels[venue])))
    paid = [int(times(charges[name], scale)) for name in index]
    return Curves(
        names=list(index),
        charges=paid,
        levels=levels,
        pieces=pieces,
        total=sum([piece[2] for piece in pieces]),
        unit=1 << bits,
        twins=_twins(levels, paid),
    )


def _exponent(amount: Decimal) -> int:
    found = amount.as_tuple().exponent
    assert isinstance(found, int)  # quotes and charges are numbers
    return found


def _line(levels: list[tuple[int, int]], charge: int, wanted: int) -> tuple[int, int, int]:
    """Return the line that bounds a venue's beginning: cost a lot, lots, levels below it."""
    lots, cost, below = 0, charge, 0
    for each, size in levels:
        if lots and cost <= each * lots:
            break  # each further lot costs more than those on the line
        part = size if size < wanted - lots else wanted - lots
        lots, cost, below = lots + part, cost + part * each, below + 1
        if lots == wanted:
            break
    return cost // lots, lots, below


def _search(curves: Curves, wanted: int) -> list[int]:
    """Return the venues of least cost, by number."""
    count, unit = len(curves.names), curves.unit
    lines: list[Piece] = []
    undecided: list[int] = []
    for venue, (levels, charge) in enumerate(zip(curves.levels, curves.charges, strict=True)):
        each, lots, below = _line(levels, charge, wanted)
        lines.append((each, venue, lots, 1))
        undecided.append(1 if lots == wanted else 1 | -1 << below + 1)
    pieces = sorted(curves.pieces + lines)

    best, chosen = _fill(curves, [_PAID] * count, wanted)
    seen = {frozenset(chosen)}
    pending = [undecided]
    while pending:
        state = pending.pop()
        found = _bound(pieces, curves.charges, state, wanted, best - unit)
        if found is None:
            continue
        partly, used = found
        if used not in seen:
            seen.add(used)
            tried = [_PAID if venue in used else _OUT for venue in range(count)]
            cost, needed = _fill(curves, tried, wanted)
            if cost < best:
                best, chosen = cost, needed
        if partly is None:
            continue
        without, paid = state.copy(), state.copy()
        paid[partly] = _PAID
        for venue in curves.twins[partly]:
            if state[venue] != _PAID:
                without[venue] = _OUT  # a twin in its place would cost the same
        pending += without, paid  # the latter is looked at first
    return chosen


def _twins(levels: Sequence[Sequence[tuple[int, int]]], charges: Sequence[int]) -> list[list[int]]:
    """Return of each venue those with the same levels and the same charge, itself included."""
    keys = [(charge, *curve) for charge, curve in zip(charges, levels, strict=True)]
    alike: dict[tuple[object, ...], list[int]] = {}
    for venue, key in enumerate(keys):
        alike.setdefault(key, []).append(venue)
    return [alike[key] for key in keys]


def _fill(curves: Curves, state: Sequence[int], wanted: int) -> tuple[int, list[int]]:
    """Return the least cost over the venues in use, charges of those needed included, and these.

    The cost is too high to be chosen if they do not show enough.
    """
    left, cost = wanted, 0
    needed: dict[int, None] = {}
    for each, venue, lots, bit in curves.pieces:
        if bit & state[venue]:
            needed[venue] = None
            if lots >= left:
                cost += each * left
                break
            cost += each * lots
            left -= lots
    return cost + sum([curves.charges[venue] for venue in needed]), list(needed)


def _bound(
    pieces: Sequence[Piece],
    charges: Sequence[int],
    state: Sequence[int],
    wanted: int,
    enough: int,
) -> tuple[int | None, frozenset[int]] | None:
    """Bound the cost of every choice that agrees with what is decided.

    Args:
        pieces: of levels and lines, cheapest first.
        charges: by venue.
        state: a mask of bits by venue.
        wanted: lots.
        enough: a bound above this is of no use.

    Returns:
        The undecided venue that ends part way along its line, if one does; the venues in use. None
        if the bound is too high or what is left open does not show enough.
    """
    used = {venue for venue, mask in enumerate(state) if mask == _PAID}
    left, cost = wanted, sum([charges[venue] for venue in used])
    for each, venue, lots, bit in pieces:
        if not bit & state[venue]:
            continue
        used.add(venue)
        if lots < left:
            cost += each * lots
            left -= lots
            continue
        cost += each * left
        if cost > enough:
            return None
        return venue if bit == 1 and lots > left else None, frozenset(used)
    return None
