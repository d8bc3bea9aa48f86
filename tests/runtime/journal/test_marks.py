"""Closes turned all at once are what each is by itself, and a book values itself by both alike."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.domain import Bar, Fill, Side
from runtime.errors import OrderInvalid
from runtime.journal.book import Book
from runtime.journal.exact import mark_units
from runtime.journal.marks import Marks, floats_of

AT = datetime(2017, 1, 31, 21, tzinfo=UTC)
NAMES = ("AAA", "BBB", "CCC", "DDD")
EXACT = st.integers(1, 10**20).map(lambda count: Decimal(count).scaleb(-6))
SMALL = st.integers(1, 10**9).map(lambda count: Decimal(count).scaleb(-4))
ODD = st.sampled_from([Decimal("NaN"), Decimal("Infinity"), Decimal("-0"), Decimal("0.0000001")])


def marks(closes: list[Decimal]) -> Marks:
    named = zip(NAMES, closes, strict=False)
    return Marks([Bar(symbol=s, close=c, event_time=AT, known_at=AT) for s, c in named])


def one_by_one(close: Decimal) -> int | None:
    try:
        return mark_units(close, "AAA")
    except OrderInvalid:
        return None


@given(st.lists(st.one_of(EXACT, SMALL, ODD, st.just(Decimal(0))), max_size=4))
def test_closes_become_whole_numbers_as_each_would_and_what_is_none_is_left_out(closes):
    found = marks(closes)
    wanted = {name: one_by_one(close) for name, close in zip(NAMES, closes, strict=False)}
    assert found.units == {name: count for name, count in wanted.items() if count is not None}


@given(st.lists(st.one_of(EXACT, SMALL), min_size=4, max_size=4), st.permutations(NAMES))
def test_floats_are_the_nearest_ones_in_the_order_asked_for(closes, order):
    found = marks(closes)
    assert found.floats(NAMES[:3]).tolist() == [float(close) for close in closes[:3]]
    assert floats_of(found, order).tolist() == [float(found[name]) for name in order]
    assert floats_of(found, order).tolist() == floats_of(dict(found), order).tolist()


def test_a_symbol_without_a_close_has_no_float():
    with pytest.raises(KeyError):
        marks([Decimal(1)]).floats(("AAA", "ZZZ"))


def fill(number: int, symbol: str, side: Side, quantity: int) -> Fill:
    return Fill(
        venue="v",
        execution_id=str(number),
        order_id="o",
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity),
        price=Decimal("10.01"),
        fee=Decimal("0.01"),
        executed_at=AT,
    )


TRADES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(list(Side)), st.integers(1, 3)), max_size=12
)


@given(TRADES, TRADES, TRADES)
def test_copies_that_share_holdings_go_their_own_ways(common, left, right):
    """Each stands where a book stands that took its events alone, and is valued alike."""
    closes = marks([Decimal("10.5"), Decimal(20), Decimal("0.25"), Decimal(7)])

    def taking(book: Book, trades: list[tuple[str, Side, int]], start: int) -> Book:
        for number, (symbol, side, quantity) in enumerate(trades, start):
            book.apply(fill(number, symbol, side, quantity))
            book.equity(closes)  # which is remembered until something moves
        return book

    def funded() -> Book:
        book = Book()
        book.flow(Decimal(100_000))
        return book

    one = taking(funded(), common, 0)
    one.quantities()
    two = one.copy()
    taking(one, left, 100)
    taking(two, right, 200)
    for book, trades, start in ((one, left, 100), (two, right, 200)):
        alone = taking(taking(funded(), common, 0), trades, start)
        assert book.quantities() == alone.quantities()
        assert list(book.quantities()) == sorted(book.quantities())
        assert book.positions() == alone.positions()
        assert {name: book.lots(name) for name in NAMES} == {n: alone.lots(n) for n in NAMES}
        assert book.equity(closes) == alone.equity(dict(closes))
        assert np.array_equal(book.weights(closes, NAMES), alone.weights(dict(closes), NAMES))


def test_a_close_that_is_missing_or_inexact_is_named_where_it_is_held():
    book = Book()
    book.flow(Decimal(1000))
    book.apply(fill(1, "BBB", Side.BUY, 5))
    assert book.equity(marks([Decimal("0.0000001"), Decimal("10.01")])) == Decimal("999.99")
    with pytest.raises(OrderInvalid, match="BBB: 5 held but no mark was given"):
        book.equity(marks([Decimal(1)]))
    with pytest.raises(OrderInvalid, match="BBB mark may have 6 decimal places"):
        book.equity(marks([Decimal(1), Decimal("10.0000001")]))
