"""Compares our books with a venue's statement; every difference is its own break, never netted.

Quantities must be equal exactly, cash to 0.00, fills one to one by execution id with exact price,
quantity and fee. A missing statement is "not reconciled", never "matched".
Source: market-rules, section 10.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from runtime.domain import Fill
from runtime.ports import Statement


class BreakClass(StrEnum):
    """What differs."""

    MISSING_HERE = "missing here"  # the venue reports an execution that we have not booked
    MISSING_THERE = "missing there"  # we booked an execution that the venue does not report
    DUPLICATE = "duplicate"  # one side holds an execution twice
    QUANTITY = "quantity"
    PRICE = "price"
    FEE = "fee"
    TIMING = "timing"  # same execution, other time
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


def reconcile(ours: Statement, theirs: Statement | None) -> tuple[Break, ...]:
    """Return every break of one venue and day, in a fixed order; empty means reconciled.

    Args:
        ours: the journal's statement (`Journal.statement`).
        theirs: the venue's own; None if it sent none.
    """

    def found(
        kind: BreakClass, mine: object, yours: object, *, symbol: str = "", execution: str = ""
    ) -> Break:
        return Break(
            kind=kind,
            venue=ours.venue,
            day=ours.day,
            symbol=symbol,
            execution_id=execution,
            ours=str(mine),
            theirs=str(yours),
        )

    if theirs is None or (theirs.venue, theirs.day) != (ours.venue, ours.day):
        sent = "nothing" if theirs is None else f"{theirs.venue} {theirs.day}"
        return (found(BreakClass.NOT_RECONCILED, f"{ours.venue} {ours.day}", sent),)

    breaks: list[Break] = []
    mine, yours = _by_id(ours), _by_id(theirs)
    for name in sorted(mine.keys() | yours.keys()):
        left, right = mine.get(name, []), yours.get(name, [])
        symbol = (left or right)[0].symbol
        if max(len(left), len(right)) > 1:
            counts = (f"{len(left)} times", f"{len(right)} times")
            breaks.append(found(BreakClass.DUPLICATE, *counts, symbol=symbol, execution=name))
        if not left or not right:
            kind = BreakClass.MISSING_HERE if not left else BreakClass.MISSING_THERE
            shown = _words((left or right)[0])
            pair = ("", shown) if not left else (shown, "")
            breaks.append(found(kind, *pair, symbol=symbol, execution=name))
            continue
        for kind, a, b in _differences(left[0], right[0]):
            breaks.append(found(kind, a, b, symbol=symbol, execution=name))
    for symbol, a, b in _unequal(ours.positions, theirs.positions):
        breaks.append(found(BreakClass.POSITION, a, b, symbol=symbol))
    if ours.cash_flow != theirs.cash_flow:
        breaks.append(found(BreakClass.CASH, ours.cash_flow, theirs.cash_flow))
    return tuple(breaks)


def _by_id(statement: Statement) -> dict[str, list[Fill]]:
    grouped: dict[str, list[Fill]] = {}
    for fill in statement.fills:
        grouped.setdefault(fill.execution_id, []).append(fill)
    return grouped


def _differences(a: Fill, b: Fill) -> list[tuple[BreakClass, object, object]]:
    pairs: list[tuple[BreakClass, object, object]] = [
        (
            BreakClass.TERMS,
            f"{a.order_id} {a.side.value} {a.symbol}",
            f"{b.order_id} {b.side.value} {b.symbol}",
        ),
        (BreakClass.QUANTITY, a.quantity, b.quantity),
        (BreakClass.PRICE, a.price, b.price),
        (BreakClass.FEE, a.fee, b.fee),
        (BreakClass.TIMING, a.executed_at, b.executed_at),
    ]
    return [(kind, mine, yours) for kind, mine, yours in pairs if mine != yours]


def _unequal(
    ours: Mapping[str, Decimal], theirs: Mapping[str, Decimal]
) -> list[tuple[str, Decimal, Decimal]]:
    zero = Decimal(0)
    pairs = ((s, ours.get(s, zero), theirs.get(s, zero)) for s in sorted({*ours, *theirs}))
    return [(symbol, a, b) for symbol, a, b in pairs if a != b]


def _words(fill: Fill) -> str:
    return f"{fill.side.value} {fill.quantity} at {fill.price}, fee {fill.fee}"
