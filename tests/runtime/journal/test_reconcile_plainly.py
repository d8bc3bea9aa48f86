"""What reconciliation finds, beside the same rules written down plainly, in fractions."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from itertools import chain
from random import Random

import pytest
from msgspec.structs import replace as changed

from runtime.domain import Fill, Side
from runtime.journal.reconcile import BreakClass, reconcile
from runtime.ports import Statement

DAY = date(2017, 2, 1)
NOON = datetime(2017, 2, 1, 12, tzinfo=UTC)
TIMES = (
    NOON,
    NOON.astimezone(timezone(timedelta(hours=9))),  # the same instant, written elsewhere
    NOON + timedelta(microseconds=1),
    NOON - timedelta(days=1),
)
SYMBOLS = ("AAA", "BBB")
Line = tuple[BreakClass, str, str, str, str, Decimal]  # kind, symbol, execution, ours, theirs, USD

QUANTITIES = [Decimal(text) for text in ("3", "3.0", "3.00", "1E+1", "10")]
PRICES = [Decimal(text) for text in ("1.1", "1.10", "1.105", "1.1000001")]
FEES = [Decimal(text) for text in ("0", "0.00", "0.01", "0.005")]
UNITS = [Decimal(text) for text in ("0", "3", "3.0", "4")]
CASH = [Decimal(text) for text in ("-3.30", "-3.3", "-3.31", "0.00")]


def a_fill(chance: Random) -> Fill:
    def seldom(usual: str, other: str) -> str:
        return other if chance.random() < 0.15 else usual

    return Fill(
        venue=seldom("primary", "alternate"),
        execution_id=chance.choice("abcdef"),
        order_id=seldom("o1", "o2"),
        symbol=seldom("AAA", "BBB"),
        side=Side(seldom("buy", "sell")),
        quantity=chance.choice(QUANTITIES),
        price=chance.choice(PRICES),
        fee=chance.choice(FEES),
        executed_at=chance.choice(TIMES),
    )


def a_statement(chance: Random, fills: Sequence[Fill]) -> Statement:
    return Statement(
        venue="primary",
        day=DAY,
        positions={name: chance.choice(UNITS) for name in chance.choice((SYMBOLS, SYMBOLS[1:]))},
        cash_flow=chance.choice(CASH),
        fills=tuple(fills),
        taken_back=frozenset(chance.choices("abcdef", k=chance.randint(0, 2))),
        split=frozenset(chance.sample(SYMBOLS, k=chance.randint(0, 1))),
    )


def a_pair(chance: Random) -> tuple[Statement, Statement]:
    """Two sides of a day, the second as the first but for a few places, and maybe shuffled."""
    ours = [a_fill(chance) for _ in range(chance.randint(0, 6))]
    if chance.random() < 0.7:  # each execution once
        ours = list({fill.execution_id: fill for fill in ours}.values())
    theirs = list(ours)
    for _ in range(chance.randint(0, 3)):
        place, new = chance.randint(0, len(theirs)), a_fill(chance)
        match chance.choice(("come", "go", "other", "terms")):
            case "come":
                theirs.insert(place, new)
            case "go":
                del theirs[place : place + 1]
            case "other":
                theirs[place : place + 1] = [new]
            case "terms":
                same = [changed(new, execution_id=one.execution_id) for one in theirs[place:][:1]]
                theirs[place : place + 1] = same
    if chance.random() < 0.3:
        chance.shuffle(theirs)
    return a_statement(chance, ours), a_statement(chance, theirs)


def cents(amount: Fraction) -> Decimal:
    """Round to whole cents, halves away from zero."""
    whole = int(abs(amount) * 100 + Fraction(1, 2))
    return Decimal(whole if amount >= 0 else -whole).scaleb(-2)


def exactly(fill: Fill) -> tuple[int, Fraction, Fraction, Fraction]:
    sign = {Side.BUY: 1, Side.SELL: -1}[fill.side]
    return sign, Fraction(fill.quantity), Fraction(fill.price), Fraction(fill.fee)


def paid(fill: Fill) -> Decimal:
    sign, quantity, price, fee = exactly(fill)
    return cents(-sign * quantity * price - fee)


def said(fill: Fill) -> str:
    return f"{fill.side.value} {fill.quantity} at {fill.price}, fee {fill.fee}"


def unlike_terms(name: str, a: Fill, b: Fill) -> list[Line]:
    (sign, size, price, fee), (_, size_b, price_b, fee_b) = exactly(a), exactly(b)
    terms = [f"{one.order_id} {one.side.value} {one.symbol}" for one in (a, b)]
    told: list[tuple[bool, BreakClass, object, object, Decimal]] = [
        (terms[0] != terms[1], BreakClass.TERMS, terms[0], terms[1], paid(b) - paid(a)),
        (
            size != size_b,
            BreakClass.QUANTITY,
            a.quantity,
            b.quantity,
            cents(-sign * (size_b - size) * price),
        ),
        (
            price != price_b,
            BreakClass.PRICE,
            a.price,
            b.price,
            cents(-sign * size * (price_b - price)),
        ),
        (fee != fee_b, BreakClass.FEE, a.fee, b.fee, cents(fee - fee_b)),
        (
            a.executed_at != b.executed_at,
            BreakClass.TIMING,
            a.executed_at,
            b.executed_at,
            Decimal("0.00"),
        ),
    ]
    return [
        (kind, a.symbol, name, str(x), str(y), usd) for differ, kind, x, y, usd in told if differ
    ]


def alone(fill: Fill, other: Statement, kind: BreakClass) -> BreakClass:
    early = fill.executed_at.astimezone(UTC).date() < DAY
    return BreakClass.BUSTED if early or fill.execution_id in other.taken_back else kind


def plainly(ours: Statement, theirs: Statement) -> list[Line]:
    """Look at every execution id, symbol and the cash, one after the other."""
    found: list[Line] = []
    for name in sorted({fill.execution_id for fill in chain(ours.fills, theirs.fills)}):
        mine = [fill for fill in ours.fills if fill.execution_id == name]
        yours = [fill for fill in theirs.fills if fill.execution_id == name]
        if len(mine) > 1 or len(yours) > 1:
            told = f"{len(mine)} times", f"{len(yours)} times"
            more = len(yours) - len(mine) if mine and yours else 0
            first = (mine or yours)[0]
            found.append((BreakClass.DUPLICATE, first.symbol, name, *told, more * paid(first)))
        if not yours:
            kind = alone(mine[0], theirs, BreakClass.MISSING_THERE)
            found.append((kind, mine[0].symbol, name, said(mine[0]), "", -paid(mine[0])))
        elif not mine:
            kind = alone(yours[0], ours, BreakClass.MISSING_HERE)
            found.append((kind, yours[0].symbol, name, "", said(yours[0]), paid(yours[0])))
        else:
            found += unlike_terms(name, mine[0], yours[0])
    for symbol in SYMBOLS:
        held, there = (one.positions.get(symbol, Decimal(0)) for one in (ours, theirs))
        one_acted = (symbol in ours.split) ^ (symbol in theirs.split)
        kind = BreakClass.CORPORATE_ACTION if one_acted else BreakClass.POSITION
        if held != there:
            found.append((kind, symbol, "", str(held), str(there), Decimal("0.00")))
    if ours.cash_flow != theirs.cash_flow:
        flows = str(ours.cash_flow), str(theirs.cash_flow)
        found.append((BreakClass.CASH, "", "", *flows, theirs.cash_flow - ours.cash_flow))
    return found


@pytest.mark.parametrize("seed", range(10))
def test_every_break_is_the_one_that_the_plain_rules_name_to_the_word(seed):
    chance, seen = Random(seed), Counter[object]()
    for _ in range(200):
        ours, theirs = a_pair(chance)
        found = reconcile(ours, theirs)
        told = [
            (one.kind, one.symbol, one.execution_id, one.ours, one.theirs, one.amount)
            for one in found
        ]
        expected = plainly(ours, theirs)
        assert told == expected
        amounts = [str(one.amount) for one in found]
        assert amounts == [str(usd + 0) for *_, usd in expected], "two places, and no minus zero"
        assert {(one.venue, one.day) for one in found} <= {("primary", DAY)}
        seen.update([one.kind for one in found] or ["nothing"])
    assert seen.keys() == {*BreakClass, "nothing"} - {BreakClass.NOT_RECONCILED}
