"""Compares our books with a venue's statement; every difference is its own break, never netted.

Quantities must be equal exactly, cash to 0.00, fills one to one by execution id with exact price,
quantity and fee. A missing statement is "not reconciled", never "matched".
Source: market-rules, section 10.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from itertools import compress
from operator import itemgetter, ne
from typing import NamedTuple

from runtime.domain import Fill
from runtime.ports import Statement

_ZERO, _CENT = Decimal("0.00"), Decimal("0.01")
_Unlike = tuple[str, list[Fill], list[Fill]]  # an execution id, what we hold of it, what they hold
_NAME = itemgetter(0)


class BreakClass(StrEnum):
    """What differs."""

    MISSING_HERE = "missing here"  # the venue reports an execution that we have not booked
    MISSING_THERE = "missing there"  # we booked an execution that the venue does not report
    DUPLICATE = "duplicate"  # one side holds an execution twice
    QUANTITY = "quantity"
    PRICE = "price"
    FEE = "fee"
    TIMING = "timing"  # same execution, other time
    BUSTED = "late/busted"  # one side has taken it back, or it is of an earlier day
    CORPORATE_ACTION = "corporate action"  # a position, and only one side knows of a split
    TERMS = "terms"  # same execution, other order, symbol or side
    POSITION = "position"
    CASH = "cash"
    NOT_RECONCILED = "not reconciled"  # no statement, or one of another venue or day


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """One difference between our books and a venue's record."""

    kind: BreakClass
    venue: str
    day: date
    symbol: str  # "" for cash
    execution_id: str  # "" for positions and cash
    ours: str
    theirs: str
    amount: Decimal = Decimal("0.00")  # USD, what the venue claims beyond us; 0 for positions

    def words(self) -> str:
        """Return the break as a sentence's part."""
        mine, yours = self.ours or "nothing", self.theirs or "nothing"
        what = self.symbol or "cash"
        return (
            f"{self.kind} break of {self.day} at {self.venue}: {what} ours {mine}, theirs {yours}"
        )


class _Found(NamedTuple):
    """A difference before it is said of which venue and day it is."""

    kind: BreakClass
    ours: object
    theirs: object
    symbol: str = ""
    execution_id: str = ""
    amount: Decimal = _ZERO


def reconcile(ours: Statement, theirs: Statement | None) -> tuple[Break, ...]:
    """Return every break of one venue and day, in a fixed order; empty means reconciled.

    Args:
        ours: the journal's statement (`Journal.statement`).
        theirs: the venue's own; None if it sent none.
    """
    if theirs is None or (theirs.venue, theirs.day) != (ours.venue, ours.day):
        sent = "nothing" if theirs is None else f"{theirs.venue} {theirs.day}"
        found = [_Found(BreakClass.NOT_RECONCILED, f"{ours.venue} {ours.day}", sent)]
    else:
        found = [*_executions(ours, theirs), *_standing(ours, theirs)]
    return tuple(
        Break(
            kind=one.kind,
            venue=ours.venue,
            day=ours.day,
            symbol=one.symbol,
            execution_id=one.execution_id,
            ours=str(one.ours),
            theirs=str(one.theirs),
            amount=one.amount,
        )
        for one in found
    )


def _executions(ours: Statement, theirs: Statement) -> Iterator[_Found]:
    """Match executions one to one, in order of their ids."""
    for name, left, right in sorted(_unlike(ours.fills, theirs.fills), key=_NAME):
        one = (left or right)[0]
        if max(len(left), len(right)) > 1:
            counts = (f"{len(left)} times", f"{len(right)} times")
            twice = (len(right) - len(left)) * _cash(one) if left and right else _ZERO
            yield _Found(BreakClass.DUPLICATE, *counts, one.symbol, name, twice + _ZERO)
        if left and right:
            for kind, a, b, amount in _differences(left[0], right[0]):
                yield _Found(kind, a, b, one.symbol, name, amount)
        else:
            kind = _missing(one, ours, theirs, here=not left)
            pair = (_words(one), "") if left else ("", _words(one))
            yield _Found(kind, *pair, one.symbol, name, -_cash(one) if left else _cash(one))


def _standing(ours: Statement, theirs: Statement) -> Iterator[_Found]:
    """Compare units and cash at the day's end."""
    for symbol, a, b in _unequal(ours.positions, theirs.positions):
        acted = (symbol in ours.split) != (symbol in theirs.split)
        kind = BreakClass.CORPORATE_ACTION if acted else BreakClass.POSITION
        yield _Found(kind, a, b, symbol)
    if ours.cash_flow != theirs.cash_flow:
        claimed = theirs.cash_flow - ours.cash_flow
        yield _Found(BreakClass.CASH, ours.cash_flow, theirs.cash_flow, amount=claimed)


def _unlike(ours: Sequence[Fill], theirs: Sequence[Fill]) -> list[_Unlike]:
    """Return where not both sides hold the same one execution; soon, if they are in one order."""
    names = [fill.execution_id for fill in ours]
    if not len(dict.fromkeys(names)) == len(names) == len(theirs):
        return _unlike_by_id(ours, theirs)
    if ours == theirs:
        return []
    found = []
    for mine, yours in compress(zip(ours, theirs, strict=True), map(ne, ours, theirs)):
        if mine.execution_id != yours.execution_id:
            return _unlike_by_id(ours, theirs)
        found.append((mine.execution_id, [mine], [yours]))
    return found


def _unlike_by_id(ours: Sequence[Fill], theirs: Sequence[Fill]) -> list[_Unlike]:
    """Return the same of executions in any order, some of which only one side has, or twice."""
    mine = {fill.execution_id: fill for fill in ours}
    yours = {fill.execution_id: fill for fill in theirs}
    unlike = set(compress(mine, map(ne, mine.values(), map(yours.get, mine))))
    unlike |= yours.keys() - mine.keys()
    for one, fills in ((mine, ours), (yours, theirs)):
        if len(one) < len(fills):
            times = Counter(fill.execution_id for fill in fills)
            unlike.update(name for name, count in times.items() if count > 1)
    left, right = _by_id(ours, unlike), _by_id(theirs, unlike)
    return [(name, left.get(name, []), right.get(name, [])) for name in unlike]


def _by_id(fills: Sequence[Fill], wanted: set[str]) -> dict[str, list[Fill]]:
    grouped: dict[str, list[Fill]] = {}
    for fill in fills if wanted else ():
        if fill.execution_id in wanted:
            grouped.setdefault(fill.execution_id, []).append(fill)
    return grouped


def _missing(fill: Fill, ours: Statement, theirs: Statement, *, here: bool) -> BreakClass:
    """Say of which kind an execution is that only one side has."""
    other = ours if here else theirs
    if fill.execution_id in other.taken_back or fill.executed_at.astimezone(UTC).date() < ours.day:
        return BreakClass.BUSTED
    return BreakClass.MISSING_HERE if here else BreakClass.MISSING_THERE


def _cash(fill: Fill) -> Decimal:
    """Return what an execution pays, USD, whole cents, negative for a purchase."""
    exact = -fill.side.sign * fill.quantity * fill.price - fill.fee
    return exact.quantize(_CENT, ROUND_HALF_UP) + _ZERO


def _differences(a: Fill, b: Fill) -> list[tuple[BreakClass, object, object, Decimal]]:
    """Return what differs and what the venue claims for it beyond us, USD."""
    found: list[tuple[BreakClass, object, object, Decimal]] = []
    if (a.order_id, a.side, a.symbol) != (b.order_id, b.side, b.symbol):
        mine, yours = (f"{one.order_id} {one.side.value} {one.symbol}" for one in (a, b))
        found.append((BreakClass.TERMS, mine, yours, _cash(b) - _cash(a)))
    if a.quantity != b.quantity:
        claim = -a.side.sign * (b.quantity - a.quantity) * a.price
        found.append((BreakClass.QUANTITY, a.quantity, b.quantity, claim))
    if a.price != b.price:
        claim = -a.side.sign * a.quantity * (b.price - a.price)
        found.append((BreakClass.PRICE, a.price, b.price, claim))
    if a.fee != b.fee:
        found.append((BreakClass.FEE, a.fee, b.fee, a.fee - b.fee))
    if a.executed_at != b.executed_at:
        found.append((BreakClass.TIMING, a.executed_at, b.executed_at, _ZERO))
    return [
        (kind, mine, yours, claim.quantize(_CENT, ROUND_HALF_UP) + _ZERO)
        for kind, mine, yours, claim in found
    ]


def _unequal(
    ours: Mapping[str, Decimal], theirs: Mapping[str, Decimal]
) -> list[tuple[str, Decimal, Decimal]]:
    zero = Decimal(0)
    pairs = ((s, ours.get(s, zero), theirs.get(s, zero)) for s in sorted({*ours, *theirs}))
    return [(symbol, a, b) for symbol, a, b in pairs if a != b]


def _words(fill: Fill) -> str:
    return f"{fill.side.value} {fill.quantity} at {fill.price}, fee {fill.fee}"
