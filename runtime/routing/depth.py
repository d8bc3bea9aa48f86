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


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A rung, and what those before it give, every one of them whole.

    Legs are in the order in which their venues were first taken from.
    """

    venue: str
    all_in: Decimal  # USD per unit with the fee
    words: str  # where it is and what it costs
    worst: Decimal  # USD per unit as shown, the worst price so far, its own included
    before: Decimal  # units of those before it
    cost: Decimal  # USD that they cost, without ticket charges
    own: Decimal | None  # units of them at its venue; None = its venue is new
    ahead: tuple[RouteLeg, ...]  # legs before that of its venue
    behind: tuple[RouteLeg, ...]  # legs after it
    told: str  # what goes to those ahead at what cost
    rest: str  # what goes to those behind
    why: str | None  # why it goes to these venues; None if that depends on what its own gives


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
        "_cost",
        "_heap",
        "_legs",
        "_said",
        "_steps",
        "_totals",
        "asked",
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
        self.asked = "buy" if self.buy else "sell"
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
        self._steps: list[Step] = []  # of each rung, as far as somebody asked
        self._totals: list[Decimal] = []  # units up to each of these
        self._legs: dict[str, RouteLeg] = {}  # by venue, what all of these give together
        self._said: dict[str, str] = {}  # of each: how much goes there at what cost
        self._cost = ZERO  # USD, without ticket charges

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
            Its legs; in words what goes where at what cost, and why; cost, USD, without ticket
            charges. None if less than that is shown, or a rung is beyond the limit or not whole.
        """
        totals = self._totals
        while not totals or totals[-1] < units:
            if not self._keep():
                return None
        step = self._steps[bisect_left(totals, units)]  # the first that is enough
        if step.worst > limit if self.buy else step.worst < limit:
            return None
        part = units - step.before if step.before else units  # as it is written, if it is all
        there = part if step.own is None else step.own + part
        leg = RouteLeg(venue=step.venue, quantity=there, shown=there, marginal=step.all_in)
        parts, why = (*step.ahead, leg, *step.behind), step.why
        if why is None:
            why = self.why(step.venue, there, len(parts))
        told = f"{step.told}{there!s} {step.words}{step.rest}{why}"
        cost = _fma(part, step.all_in, step.cost)
        return parts, f"{self.asked} {units!s} {self.symbol}: {told}", cost

    def _keep(self) -> bool:
        """Add the step of the next rung; say whether there was one of whole units."""
        steps, legs = self._steps, self._legs
        number = len(steps)
        if number == len(self.rungs) and not self.reach():
            return False
        _, _, all_in, worst, size, ladder, _ = self.rungs[number]
        if size % ONE:
            return False
        before, venue, words = ZERO, ladder.venue, self.words[number]
        if number:
            before, last = self._totals[-1], steps[-1].worst
            worst = max(worst, last) if self.buy else min(worst, last)
        venues, parts, said = list(legs), tuple(legs.values()), tuple(self._said.values())
        place = venues.index(venue) if venue in legs else len(venues)
        ahead, behind, why = parts[:place], parts[place + 1 :], None
        if ahead:
            why = self.why(venues[0], ahead[0].shown, len({*venues, venue}))
        elif not behind:
            why = self.why(venue, size, 1)
        step = Step(
            venue=venue,
            all_in=all_in,
            words=words,
            worst=worst,
            before=before,
            cost=self._cost,
            own=legs[venue].shown if venue in legs else None,
            ahead=ahead,
            behind=behind,
            told="".join([f"{one}{THEN}" for one in said[:place]]),
            rest="".join([f"{THEN}{one}" for one in said[place + 1 :]]),
            why=why,
        )
        steps.append(step)
        self._totals.append(before + size)
        if size:
            add(legs, self._said, venue, size, all_in, words)
            self._cost = _fma(size, all_in, self._cost)
        return True

    def why(self, first: str, shows: Decimal, legs: int) -> str:
        """Say why so many legs go where they go: which is the first of them, what it shows."""
        if legs == 1:
            idle = dict.fromkeys([one.venue for one in self.ladders if one.venue != first])
            return f"; cheaper than {', '.join(idle)} for the whole size" if idle else ""
        return "" if self.charges else f"; {first} is cheapest but shows only {shows!s}"

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
