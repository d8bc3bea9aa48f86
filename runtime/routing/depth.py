"""What venues show to one side of a symbol, merged into one order, cheapest unit first.

The order is worked out only as far as somebody asked and kept, so many orders of one snapshot pay
for it once, and a single small one does not pay for levels that nobody reaches. So is what the
cheapest levels give together: an order of many starts from there.
"""

from bisect import bisect_left
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from heapq import heapify, heappop, heapreplace
from operator import itemgetter
from typing import NamedTuple, TypeAlias

import msgspec

from runtime.domain import Quote, Side
from runtime.errors import OrderInvalid

EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
ZERO, ONE, BUY = Decimal(0), Decimal(1), Side.BUY
THEN = ", then "
_fma, _quantize = EXACT.fma, EXACT.quantize


class Ladder(msgspec.Struct, frozen=True, kw_only=True):
    """What one venue shows to one side of a symbol, best price first."""

    venue: str
    symbol: str
    fee_rate: Decimal  # fraction of notional, between -1 and 1; negative = a rebate
    levels: Sequence[tuple[Decimal, Decimal, int]]  # USD per unit, units, place among equals
    burden: Decimal = ZERO  # USD per unit, what else it is expected to cost; see `quality`
    ticket_charge: Decimal = ZERO  # USD per child order that executes there, whatever its size


class RouteLeg(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The part of an order that goes to one venue."""

    venue: str
    quantity: Decimal  # units, positive
    shown: Decimal  # units of it that the venue shows now; the rest waits there
    marginal: Decimal  # USD per unit of the dearest unit taken there, fee included


# What it counts as per unit, place among equals, USD per unit with the fee, USD per unit as shown,
# units, ladder, depth in it. The first two order it; the smallest is taken first.
Rung: TypeAlias = tuple[Decimal, int, Decimal, Decimal, Decimal, Ladder, int]
_SHOWN = Decimal("0.0001")

# Lots at one cost: cost a lot, venue, lots, bit. Bit 0 is a venue's line (see `charges`), bit d + 1
# its level d, so that what a venue offers in some state is a mask of bits.
Piece: TypeAlias = tuple[int, int, int, int]


class Taken(NamedTuple):
    """What the cheapest rungs give, every one of them whole; copied before it is added to."""

    rungs: int
    units: Decimal
    cost: Decimal  # USD, without ticket charges
    worst: Decimal  # USD per unit as shown, the worst price among them
    legs: dict[str, RouteLeg]  # by venue, the cheapest first
    said: dict[str, str]  # of each: how much goes there at what cost
    parts: tuple[RouteLeg, ...]  # the legs again
    told: str  # all that is said, ready for more


_NOTHING = Taken(0, ZERO, ZERO, ZERO, {}, {}, (), "")


class Curves(NamedTuple):
    """The venues as integers, whatever is wanted of them."""

    names: list[str]
    charges: list[int]
    levels: list[list[tuple[int, int]]]  # of each venue: cost a lot, lots; best first
    pieces: list[Piece]  # all of these, cheapest first
    total: int  # lots
    unit: int  # what two different costs differ by at least
    twins: list[list[int]]  # of each venue: those with the same levels and charge, itself included


def ladders(side: Side, quotes: Sequence[Quote]) -> list[Ladder]:
    """Group quotes by venue and fee; of equal prices the earlier quote comes first."""
    groups: dict[tuple[str, str, Decimal, Decimal], list[tuple[Decimal, Decimal, int]]] = {}
    buy = side is BUY
    for place, quote in enumerate(quotes):
        key = (quote.venue, quote.symbol, quote.fee_rate, quote.ticket_charge)
        level = (quote.ask if buy else quote.bid, quote.size, place)
        if key in groups:
            groups[key].append(level)
        else:
            groups[key] = [level]
    for levels in groups.values():
        if len(levels) > 1:
            levels.sort(key=itemgetter(0), reverse=not buy)  # stable: ties keep their order
    return [
        Ladder(
            venue=venue,
            symbol=symbol,
            fee_rate=fee_rate,
            levels=levels,
            ticket_charge=ticket_charge,
        )
        for (venue, symbol, fee_rate, ticket_charge), levels in groups.items()
    ]


class Depth:
    """One side of a symbol's book over all venues, for any number of orders."""

    __slots__ = (
        "_heap",
        "_taken",
        "_totals",
        "buy",
        "charges",
        "curves",
        "ladders",
        "rungs",
        "symbol",
        "words",
    )

    def __init__(self, side: Side, symbol: str, shown: Sequence[Ladder]) -> None:
        """Look at the best level of every venue.

        Args:
            side: of the orders that will take from it.
            symbol: theirs.
            shown: what venues show to that side.

        Raises:
            OrderInvalid: nothing or another symbol is shown, or a venue asks two ticket charges.
        """
        if not shown:
            raise OrderInvalid(f"{symbol}: no venue shows a quote, so it cannot be routed")
        self.buy, self.symbol, self.ladders = side is BUY, symbol, shown
        self.rungs: list[Rung] = []  # as far as it was worked out
        self.words: list[str] = []  # of each: where it is and what it costs
        self.charges: dict[str, Decimal] = {}  # by venue, USD; empty if no venue asks any
        self.curves: dict[tuple[int, int], Curves] = {}  # by lot and bits, as far as asked for
        buy, heap = self.buy, []
        for ladder in shown:
            if ladder.symbol != symbol:
                raise OrderInvalid(f"{symbol}: was given a quote of {ladder.symbol}")
            price, size, place = ladder.levels[0]
            if buy:
                key = all_in = _fma(price, ladder.fee_rate, price)
            else:
                all_in = _fma(price, ladder.fee_rate.copy_negate(), price)
                key = all_in.copy_negate()
            if ladder.burden:
                key = EXACT.add(key, ladder.burden)
            if ladder.ticket_charge:
                self.charges = charges_of(shown)
            heap.append((key, place, all_in, price, size, ladder, 0))
        heapify(heap)
        self._heap: list[Rung] = heap
        self._taken = [_NOTHING]  # by no rung, one, two, ... as far as somebody asked
        self._totals = [ZERO]  # units of each of these

    def reach(self) -> bool:
        """Work out the next rung; say whether there was one left."""
        heap = self._heap
        if not heap:
            return False
        rung = heap[0]
        ladder, depth = rung[5], rung[6] + 1
        self.rungs.append(rung)
        self.words.append(f"to {ladder.venue} at {_quantize(rung[2], _SHOWN)!s} all in")
        if depth == len(ladder.levels):
            heappop(heap)
            return True
        price, size, place = ladder.levels[depth]
        if self.buy:
            key = all_in = _fma(price, ladder.fee_rate, price)
        else:
            all_in = _fma(price, ladder.fee_rate.copy_negate(), price)
            key = all_in.copy_negate()
        if ladder.burden:
            key = EXACT.add(key, ladder.burden)
        heapreplace(heap, (key, place, all_in, price, size, ladder, depth))
        return True

    def filled(
        self, units: Decimal, limit: Decimal
    ) -> tuple[tuple[RouteLeg, ...], str, Decimal] | None:
        """Fill an order of lot 1 from what the cheapest rungs give whole and the next one's part.

        Args:
            units: that are wanted.
            limit: USD per unit.

        Returns:
            Its legs; how much goes where at what cost, in words; cost, USD, without ticket charges.
            None if less than that is shown, or a rung is beyond the limit or not whole.
        """
        totals = self._totals
        while totals[-1] < units:
            if not self._keep():
                return None
        place = bisect_left(totals, units)  # of the first that is enough
        worst = self._taken[place].worst
        if worst > limit if self.buy else worst < limit:
            return None
        _, before, cost, _, legs, said, parts, told = self._taken[place - 1]
        _, _, all_in, _, _, ladder, _ = self.rungs[place - 1]
        part = units - before if before else units  # as it is written, if it is all
        cost, venue, words = _fma(part, all_in, cost), ladder.venue, self.words[place - 1]
        if venue in legs:
            legs, said = legs.copy(), said.copy()
            add(legs, said, venue, part, all_in, words)
            return tuple(legs.values()), THEN.join(said.values()), cost
        leg = RouteLeg(venue=venue, quantity=part, shown=part, marginal=all_in)
        return (*parts, leg), f"{told}{part!s} {words}", cost

    def _keep(self) -> bool:
        """Add a rung to what is taken whole; say whether there was one of whole units."""
        number, units, cost, worst, legs, said, *_ = self._taken[-1]
        if number == len(self.rungs) and not self.reach():
            return False
        _, _, all_in, price, size, ladder, _ = self.rungs[number]
        if size % ONE:
            return False
        if not number or (price > worst if self.buy else price < worst):
            worst = price
        legs, said = legs.copy(), said.copy()
        if size:
            add(legs, said, ladder.venue, size, all_in, self.words[number])
            units, cost = units + size, _fma(size, all_in, cost)
        parts, told = tuple(legs.values()), "".join([f"{one}{THEN}" for one in said.values()])
        self._taken.append(Taken(number + 1, units, cost, worst, legs, said, parts, told))
        self._totals.append(units)
        return True

    def all(self) -> list[Rung]:
        """Return every rung, cheapest first."""
        while self.reach():
            pass
        return self.rungs

    def worst(self) -> Decimal:
        """Return the worst price that is shown."""
        prices = [ladder.levels[-1][0] for ladder in self.ladders]
        return max(prices) if self.buy else min(prices)


def add(
    legs: dict[str, RouteLeg],
    said: dict[str, str],
    venue: str,
    part: Decimal,
    all_in: Decimal,
    words: str,
) -> None:
    """Add a part at a venue to what goes there, at least as dear as all before."""
    units = legs[venue].shown + part if venue in legs else part
    legs[venue] = RouteLeg(venue=venue, quantity=units, shown=units, marginal=all_in)
    said[venue] = f"{units!s} {words}"


def charges_of(shown: Sequence[Ladder]) -> dict[str, Decimal]:
    """Return each venue's ticket charge, USD.

    Raises:
        OrderInvalid: a charge is negative, or a venue asks two.
    """
    found: dict[str, Decimal] = {}
    for ladder in shown:
        charge = found.setdefault(ladder.venue, ladder.ticket_charge)
        if charge < 0 or charge != ladder.ticket_charge:
            raise OrderInvalid(
                f"{ladder.symbol}: {ladder.venue} asks ticket charges of {charge} and "
                f"{ladder.ticket_charge}; a venue asks one, of zero or more"
            )
    return found
