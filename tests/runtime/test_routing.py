"""The router splits at the least cost, exactly, and never sends more than was asked for."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from scipy.optimize import linprog

from runtime.domain import Quote, Side, order_id
from runtime.errors import OrderInvalid
from runtime.routing.depth import Depth
from runtime.routing.router import child_orders, ladders, route, split
from tests.runtime.journal.trading import BUNDLE, START, make_planned


def quote(
    venue: str, bid: str, ask: str, size: int | str = 1000, fee: str = "0", symbol: str = "AAA"
) -> Quote:
    return Quote(
        venue=venue,
        symbol=symbol,
        bid=Decimal(bid),
        ask=Decimal(ask),
        size=Decimal(size),
        fee_rate=Decimal(fee),
        at=START,
    )


def legs(chosen) -> dict[str, int]:
    return {leg.venue: int(leg.quantity) for leg in chosen.legs}


def test_a_small_order_goes_whole_to_the_cheapest_venue_and_says_so():
    chosen = route(make_planned(100), [quote("a", "9.99", "10.02"), quote("b", "9.98", "10.01")])
    assert legs(chosen) == {"b": 100}
    assert chosen.cost == Decimal("1001.00")
    assert "100 to b at 10.0100 all in; cheaper than a" in chosen.explanation


def test_the_fee_counts_as_much_as_the_price():
    quotes = [quote("cheap fee", "9.9", "10.01"), quote("dear fee", "9.9", "10.00", fee="0.002")]
    assert legs(route(make_planned(100), quotes)) == {"cheap fee": 100}
    sells = [quote("a", "10.00", "11", fee="0.002"), quote("b", "9.99", "11")]
    assert legs(route(make_planned(-100, limit="1"), sells)) == {"b": 100}


def test_what_the_cheapest_does_not_show_goes_to_the_next_one():
    chosen = route(make_planned(100), [quote("a", "9", "10", 60), quote("b", "9", "11", 1000)])
    assert legs(chosen) == {"a": 60, "b": 40}
    assert chosen.cost == 60 * 10 + 40 * 11
    assert "a is cheapest but shows only 60" in chosen.explanation


def test_several_levels_of_one_venue_become_one_child():
    quotes = [quote("a", "9", "10", 10), quote("b", "9", "10.5", 10), quote("a", "9", "11", 50)]
    chosen = route(make_planned(40), quotes)
    assert legs(chosen) == {"a": 30, "b": 10}
    assert chosen.legs[0].marginal == 11


def test_more_than_all_venues_show_waits_at_the_cheapest():
    chosen = route(make_planned(500), [quote("a", "9", "11", 100), quote("b", "9", "10", 100)])
    assert legs(chosen) == {"b": 400, "a": 100}
    assert "300 more than is shown, waiting at b" in chosen.explanation


def test_where_the_rest_waits_is_told_even_if_that_venue_shows_less_than_a_lot():
    quotes = [quote("a", "9", "10", 60), quote("b", "9", "11", 100)]
    chosen = route(make_planned(500), quotes, lot=100)
    assert legs(chosen) == {"b": 100, "a": 400}
    assert "400 more than is shown, waiting at a" in chosen.explanation


def test_a_venue_beyond_the_limit_is_not_used():
    quotes = [quote("a", "9", "10", 10), quote("b", "9", "12", 1000)]
    assert legs(route(make_planned(100, limit="11"), quotes)) == {"a": 100}
    chosen = route(make_planned(100, limit="9"), quotes)
    assert legs(chosen) == {"a": 100}
    assert "no venue meets the limit 9" in chosen.explanation


def test_ties_go_to_the_venue_named_first():
    quotes = [quote("z", "9", "10"), quote("a", "9", "10")]
    assert legs(route(make_planned(10), quotes)) == {"z": 10}


def test_parts_are_whole_lots():
    quotes = [quote("a", "9", "10", 250), quote("b", "9", "11", 1000)]
    assert legs(route(make_planned(500), quotes, lot=100)) == {"a": 200, "b": 300}
    with pytest.raises(OrderInvalid, match="whole lots of 100"):
        route(make_planned(150), quotes, lot=100)


def test_an_order_without_a_quote_or_with_a_strangers_quote_is_refused():
    with pytest.raises(OrderInvalid, match="no venue shows a quote"):
        route(make_planned(), [])
    with pytest.raises(OrderInvalid, match="quote of BBB"):
        route(make_planned(), [quote("a", "9", "10", symbol="BBB")])


@pytest.mark.parametrize("asked", [{"side": Side.SELL}, {"symbol": "BBB"}])
def test_a_book_that_was_made_ready_for_other_orders_is_refused(asked):
    ready = Depth(Side.BUY, "AAA", ladders(Side.BUY, [quote("a", "9", "10")]))
    assert split(make_planned(100), ready).quantity == 100
    with pytest.raises(OrderInvalid, match="the other side, or a book of another one"):
        split(replace(make_planned(100), **asked), ready)


@pytest.mark.parametrize(
    ("first", "limit", "taken"),
    [
        (quote("a", "9", "10.03", 60, "-0.001"), "10.02", {"b": 100}),  # cheapest, but dearer shown
        (quote("a", "9", "10.00", "60.5"), "10.02", {"a": 60, "b": 40}),  # whole units alone
    ],
)
def test_a_book_made_ready_gives_only_whole_units_within_the_limit(first, limit, taken):
    shown = ladders(Side.BUY, [first, quote("b", "9", "10.02", 250)])
    planned = make_planned(100, limit=limit)
    ready = split(planned, Depth(Side.BUY, "AAA", shown))
    assert legs(ready) == taken
    assert repr(ready) == repr(split(planned, shown))


def test_children_carry_derived_ids_and_add_up_to_the_parent():
    planned = make_planned(100)
    chosen = route(planned, [quote("a", "9", "10", 60), quote("b", "9", "11")])
    orders = child_orders(
        chosen, planned, account="paper", bundle=BUNDLE, tick="2017-01-31", created_at=START
    )
    assert [(one.venue, one.quantity, one.leg) for one in orders] == [("a", 60, 0), ("b", 40, 1)]
    assert orders[1].order_id == order_id("paper", BUNDLE, "2017-01-31", "AAA", 1)
    assert {one.side for one in orders} == {Side.BUY}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"quantity": Decimal(99)}, "sends buy 100 AAA, asked for was buy 99 AAA"),
        ({"quantity": Decimal(101)}, "sends buy 100 AAA, asked for was buy 101 AAA"),
        ({"side": Side.SELL}, "sends buy 100 AAA, asked for was sell 100 AAA"),
        ({"symbol": "BBB"}, "sends buy 100 AAA, asked for was buy 100 BBB"),
    ],
)
def test_a_route_that_sends_something_else_than_was_asked_for_is_stopped(asked, words):
    planned = make_planned(100)
    chosen = route(planned, [quote("a", "9", "10")])
    with pytest.raises(OrderInvalid, match=words):
        child_orders(
            chosen,
            replace(planned, **asked),
            account="paper",
            bundle=BUNDLE,
            tick="2017-01-31",
            created_at=START,
        )


levels = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.integers(990, 1010),
        st.integers(0, 400),
        st.integers(0, 30),
    ),
    min_size=1,
    max_size=15,
)


@given(levels, st.integers(1, 2000), st.booleans())
def test_the_split_costs_what_a_linear_programme_says_and_adds_up(books, size, buying):
    quotes = [
        quote(venue, f"{price / 100}", f"{price / 100}", shown, f"{fee / 10_000}")
        for venue, price, shown, fee in books
    ]
    shown = sum(one[2] for one in books)
    size = min(size, shown) or 1
    planned = make_planned(size if buying else -size, limit="100" if buying else "0.01")
    chosen = route(planned, quotes)
    assert sum(leg.quantity for leg in chosen.legs) == size
    assert len({leg.venue for leg in chosen.legs}) == len(chosen.legs)
    if shown >= size:
        sign = 1 if buying else -1
        each = [sign * float(q.ask * (1 + sign * q.fee_rate)) for q in quotes]
        bounds = [(0, float(q.size)) for q in quotes]
        best = linprog(each, A_eq=[[1.0] * len(each)], b_eq=[size], bounds=bounds)
        assert sign * float(chosen.cost) == pytest.approx(best.fun, rel=1e-9)
