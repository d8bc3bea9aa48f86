"""From weights to whole-lot orders: sizes, order, minimums, collars and ticks."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.bundles.contract import SizingPolicy
from runtime.bundles.inference import Decided
from runtime.domain import Side
from runtime.errors import DecisionInvalid, PolicyInvalid
from runtime.execution.ticks import collared, tick_grid
from runtime.plan import make_plan, signals, sized

D = Decimal
DAY = date(2020, 3, 31)
HUNDRED_THOUSAND = D(100_000)
SYMBOLS = ("AAA", "BBB", "CCC")
PRICES = {"AAA": D("30"), "BBB": D("7"), "CCC": D("250.5")}


def plan(weights, held=None, *, equity=HUNDRED_THOUSAND, prices=PRICES, **sizing):
    symbols = SYMBOLS[: len(weights)]
    return make_plan(
        np.array(weights),
        symbols,
        prices=prices,
        positions=held or {},
        equity=equity,
        sizing=SizingPolicy(**sizing),
        day=DAY,
    )


def legs(found):
    return [(o.symbol, o.side.value, o.quantity) for o in found.orders]


def test_targets_are_rounded_down_to_whole_lots():
    # 0.98 * 0.5 * 100,000 = 49,000 USD: 1633.33 of AAA, 7000 of BBB
    assert legs(plan([0.5, 0.5])) == [("AAA", "buy", D(1633)), ("BBB", "buy", D(7000))]
    assert legs(plan([0.5], lot=100)) == [("AAA", "buy", D(1600))]


def test_sells_come_before_buys_each_in_universe_order():
    held = {"AAA": D(100), "CCC": D(200)}
    found = plan([0.2, 0.3, 0.0], held)
    assert legs(found) == [("CCC", "sell", D(200)), ("AAA", "buy", D(553)), ("BBB", "buy", D(4200))]


def test_what_is_held_already_is_not_ordered_again():
    assert legs(plan([0.5, 0.5], {"AAA": D(1633), "BBB": D(7000)})) == []


def test_changes_below_the_minimum_are_left_out_with_a_reason():
    found = plan([0.5], {"AAA": D(1620)})  # 13 units, 390 USD
    assert found.orders == ()
    assert found.left_out[0].symbol == "AAA"
    assert "390.00 USD is below the minimum of 500.00 USD" in found.left_out[0].reason
    assert legs(plan([0.5], {"AAA": D(1620)}, minimum_notional="390")) == [("AAA", "buy", D(13))]


def test_a_full_exit_is_never_too_small_and_takes_odd_lots_along():
    assert legs(plan([0.0], {"AAA": D("3.5")}, lot=100)) == [("AAA", "sell", D("3.5"))]


def test_what_is_held_in_odd_lots_changes_by_whole_ones():
    held = {"AAA": D("150.5")}
    assert legs(plan([0.5], held, lot=100)) == [("AAA", "buy", D(1400))]  # to 1550.5 of 1600
    assert legs(plan([0.02], held, lot=10)) == [("AAA", "sell", D(90))]  # to 60.5 of 60


def test_shorts_are_closed_and_opened_like_longs():
    assert legs(plan([-0.5])) == [("AAA", "sell", D(1633))]
    assert legs(plan([0.0], {"AAA": D(-10)})) == [("AAA", "buy", D(10))]


def test_each_order_says_from_where_to_where():
    (order,) = plan([0.5], {"AAA": D(1000)}).orders
    assert order.reason == "from 30.00% to 49.00% of equity"
    assert order.reference_price == D(30)
    assert order.notional == D(633 * 30)


def test_invested_scales_what_backtest_and_plan_share():
    np.testing.assert_array_equal(
        sized(np.array([0.5, -0.25]), SizingPolicy(invested=0.5)), [0.25, -0.125]
    )


def test_no_capital_and_no_price_are_refused():
    with pytest.raises(DecisionInvalid, match="equity is 0"):
        plan([0.5], equity=D(0))
    with pytest.raises(DecisionInvalid, match="no price for BBB"):
        plan([0.5, 0.5], prices={"AAA": D(1)})


@pytest.mark.parametrize(
    ("price", "side", "limit"),
    [
        ("30", Side.BUY, "31.50"),
        ("30.33", Side.BUY, "31.84"),  # 31.8465 rounded towards the reference
        ("30.33", Side.SELL, "28.82"),  # 28.8135 likewise
        ("0.5", Side.BUY, "0.5250"),
        ("0.96", Side.BUY, "1.00"),  # 1.008: at or above a dollar ticks are cents
        ("0.123456", Side.SELL, "0.1173"),
    ],
)
def test_collars_lie_on_the_tick_grid_and_never_outside(price, side, limit):
    assert collared(D(price), side, D("0.05"), DAY) == D(limit)


@given(
    price=st.decimals("0.01", "5000", places=6),
    side=st.sampled_from(list(Side)),
    collar=st.decimals("0", "0.2", places=3),
)
def test_a_collar_is_a_multiple_of_the_tick_within_its_bound(price, side, collar):
    limit = collared(price, side, collar, DAY)
    assert limit % tick_grid(DAY).tick(price * (1 + side.sign * collar)) == 0
    bound = price * (1 + side.sign * collar)
    assert limit <= bound if side is Side.BUY else limit >= bound


def test_tick_sizes_are_dated():
    grid = tick_grid(DAY)
    assert (grid.tick(D("1")), grid.tick(D("0.9999"))) == (D("0.01"), D("0.0001"))
    with pytest.raises(PolicyInvalid, match="no tick size"):
        tick_grid(date(1980, 1, 1)).tick(D("1"))


@given(
    weights=st.lists(st.floats(0, 0.333), min_size=3, max_size=3),
    held=st.lists(st.integers(0, 2000), min_size=3, max_size=3),
)
def test_filling_the_plan_lands_below_its_targets_by_less_than_a_lot_or_the_minimum(weights, held):
    before = {symbol: D(units) for symbol, units in zip(SYMBOLS, held, strict=True)}
    found = plan(weights, before)
    after = dict(before)
    for order in found.orders:
        after[order.symbol] += order.quantity * order.side.sign
    left_out = {left.symbol for left in found.left_out}
    for symbol, weight in zip(SYMBOLS, weights, strict=True):
        gap = D(repr(weight)) * D("0.98") * 100_000 - after[symbol] * PRICES[symbol]
        if symbol in left_out:
            assert abs(gap) < 500 + PRICES[symbol]
        else:
            assert -D("0.000001") <= gap < PRICES[symbol] + D("0.000001")


def test_confidence_is_the_rank_of_the_scores_size():
    decided = Decided(score=np.array([0.1, -0.9, 0.5]), weight=np.array([0.2, 0.0, 0.8]))
    assert [(s.symbol, s.confidence, s.weight) for s in signals(SYMBOLS, decided)] == [
        ("AAA", 1 / 3, 0.2),
        ("BBB", 1.0, 0.0),
        ("CCC", 2 / 3, 0.8),
    ]


@given(
    units=st.integers(1, 10**7),
    off=st.sampled_from([0, 1, -1, 2, -2, 10**6]),
    held=st.integers(-2, 2),
    cents=st.integers(100, 10**6),
    equity=st.integers(10**6, 10**10),
    lot=st.sampled_from([1, 7, 100]),
    short=st.booleans(),
)
def test_a_symbol_is_passed_over_only_if_exact_arithmetic_changes_nothing(
    units, off, held, cents, equity, lot, short
):
    """Weights at, just above and just below a whole lot, where floats cannot tell which it is."""
    price, whole = D(cents) / 100, D(equity) / 100
    weight = float(units * lot * price / whole)
    for _ in range(abs(off)) if abs(off) < 10 else ():
        weight = float(np.nextafter(weight, np.inf if off > 0 else 0.0))
    if abs(off) > 10:
        weight *= 1.0 + 0.4 / units
    weight, sign = (-weight, -1) if short else (weight, 1)
    standing = D(sign * (units + held) * lot)
    found = make_plan(
        np.array([weight]),
        ("AAA",),
        prices={"AAA": price},
        positions={"AAA": standing},
        equity=whole,
        sizing=SizingPolicy(invested=1.0, lot=lot, minimum_notional="0"),
        day=DAY,
    )
    lots = Fraction(repr(weight)) * Fraction(whole) / Fraction(price) / lot
    target = int(lots) * lot  # towards zero
    change = int((target - Fraction(standing)) / lot) * lot if target else -standing
    assert legs(found) == (
        [("AAA", "buy" if change > 0 else "sell", abs(D(change)))] if change else []
    )
