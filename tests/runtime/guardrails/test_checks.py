"""Each check lets through what it should and blocks at its limit; what passed before counts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.calendars import Session
from runtime.domain import Order, OrderType, Side, TimeInForce
from runtime.guardrails import FeatureAge, MarketState, Published, judge
from runtime.market.states import Bands
from tests.runtime.guardrails.scene import (
    AT,
    POLICY,
    SESSION,
    WIDE,
    D,
    context,
    failing,
    limits,
    normal,
    planned,
)


def working(side=Side.BUY, symbol="BBB", quantity="1000", limit="40"):
    return Order(
        order_id="w" * 24,
        bundle="b" * 64,
        tick="2020-03-13",
        symbol=symbol,
        leg=0,
        venue="primary",
        side=side,
        quantity=D(quantity),
        order_type=OrderType.LIMIT,
        limit_price=D(limit),
        time_in_force=TimeInForce.DAY,
        created_at=AT - timedelta(days=3),
    )


def test_an_ordinary_order_passes_eight_checks_in_their_order():
    (result,) = judge([planned()], context(), POLICY)
    assert result.passed
    assert [verdict.check for verdict in result.verdicts] == [
        "1 authority",
        "2 market",
        "3 size",
        "4 price",
        "5 exposure",
        "6 loss",
        "7 rate",
        "8 health",
    ]


def published(state, at=AT):
    return {"BBB": Published(state=state, at=at)}


def feature(known_at, allowed=None):
    return {"macro.cpi": FeatureAge(known_at=known_at, allowed=allowed)}


BLOCKED = [
    ("1 authority", {"killed": {"all": "test"}}),
    ("1 authority", {"killed": {"account.paper": "test"}}),
    ("1 authority", {"killed": {"study.tilt": "test"}}),
    ("1 authority", {"killed": {"symbol.BBB": "test"}}),
    ("1 authority", {"approved_bundle": "c" * 64}),
    ("1 authority", {"approved_bundle": None}),
    ("1 authority", {"stage": "retired"}),
    ("1 authority", {"simulated": False}),  # staging with real money
    ("1 authority", {"caller": "somebody"}),
    ("1 authority", {"session": None}),
    ("2 market", {"market": {}}),
    *[("2 market", {"market": published(s)}) for s in MarketState if s != "normal"],
    ("2 market", {"market": published(MarketState.NORMAL, AT - timedelta(hours=2))}),
    ("2 market", {"market": published(MarketState.NORMAL, AT + timedelta(seconds=1))}),
    ("4 price", {"priced_at": {"BBB": AT - timedelta(hours=2)}}),
    ("4 price", {"priced_at": {"BBB": AT + timedelta(seconds=1)}}),
    ("4 price", {"previous_prices": {"BBB": D("26")}}),
    ("4 price", {"market": normal(bands=Bands(D("38"), D("41.59")), bands_at=AT)}),
    ("4 price", {"market": normal(bands=Bands(D("41.61"), D("50")), bands_at=AT)}),
    ("4 price", {"market": normal(bands=WIDE, bands_at=AT - timedelta(hours=2))}),
    ("4 price", {"market": normal(bands=WIDE, bands_at=AT + timedelta(seconds=1))}),
    ("5 exposure", {"equity": D(0)}),
    ("5 exposure", {"equity": D(-1)}),
    ("6 loss", {"equity_before": D(1_200_000)}),  # 16.7 % in a day
    ("6 loss", {"equity_peak": D(2_100_000)}),
    ("6 loss", {"losing_streak": 16}),
    ("6 loss", {"valued_at": None}),
    ("6 loss", {"valued_at": AT - timedelta(hours=2)}),
    ("6 loss", {"breaks": ("position of AAA differs",)}),
    ("7 rate", {"orders_this_session": 400}),
    ("7 rate", {"repeats": {("BBB", Side.BUY, D(1000)): 5}}),
    ("7 rate", {"working": (working(),)}),
    ("7 rate", {"working": (working(Side.SELL, quantity="7", limit="41.60"),)}),
    ("8 health", {"verified": False}),
    ("8 health", {"drift_stopped": True}),
    ("8 health", {"priced_at": {"BBB": AT + timedelta(seconds=1)}}),
    ("8 health", {"features": feature(None)}),
    ("8 health", {"features": feature(AT - timedelta(hours=2))}),
    ("8 health", {"features": feature(AT + timedelta(seconds=1))}),
    ("8 health", {"features": feature(AT - timedelta(days=6), allowed=5 * 86400.0)}),
    ("8 health", {"weights": {"BBB": float("nan")}}),
    ("8 health", {"weights": {"BBB": 1.01}}),
    ("8 health", {"weights": {}}),
]


@pytest.mark.parametrize(("check", "change"), BLOCKED)
def test_each_reason_to_block_blocks_at_its_check(check, change):
    assert check in failing(**change)


@pytest.mark.parametrize(
    ("check", "order"),
    [
        ("2 market", planned(Side.SELL)),  # nothing held: short
        ("2 market", planned(Side.SELL, "AAA", "10001")),
        ("3 size", planned(quantity="0.5")),
        ("3 size", planned(quantity="20001")),  # 800,040 USD of 1,000,000
        ("4 price", planned(limit="41.605")),
        ("4 price", planned(limit="44.01")),  # 10.025 % away
        ("5 exposure", planned(symbol="AAA", quantity="1667")),  # 70.002 % in AAA
        ("5 exposure", planned(quantity="11251")),  # gross 105.004 %
    ],
)
def test_orders_beyond_a_limit_are_blocked_at_its_check(check, order):
    assert check in failing(order)


@pytest.mark.parametrize(
    "order",
    [
        planned(Side.SELL, "AAA", "10000"),
        planned(limit="42.00"),
        planned(symbol="AAA", quantity="1666"),
        planned(quantity="11250"),
    ],
)
def test_orders_exactly_at_a_limit_pass(order):
    assert failing(order) == []


def test_a_restricted_symbol_is_traded_by_nobody_and_the_others_are():
    policy = limits("authority", restricted=("BBB",))
    assert failing(policy=policy) == ["1 authority"]
    assert failing(planned(symbol="AAA"), policy) == []


def test_an_order_is_as_large_as_the_dearer_of_its_two_prices_makes_it():
    assert failing(planned(quantity="20001", reference="30")) == ["3 size", "5 exposure"]
    assert failing(planned(quantity="10001", reference="80")) == ["3 size"]
    assert failing(planned(quantity="10000", reference="80")) == []


def test_the_age_of_prices_has_a_limit_at_the_order_and_another_at_the_decision():
    old = {"priced_at": {"BBB": AT - timedelta(hours=2)}}
    assert failing(policy=limits("price", max_reference_age=10**6), **old) == ["8 health"]
    assert failing(policy=limits("health", max_data_age=10**6), **old) == ["4 price"]


def test_longs_and_shorts_together_have_a_net_limit_of_their_own():
    policy = limits("exposure", max_net_of_equity=D("0.62"))
    assert failing(planned(quantity="500"), policy) == []  # 620,000 of 1,000,000
    assert failing(planned(quantity="501"), policy) == ["5 exposure"]
    short = {"positions": {"AAA": D(10_000), "BBB": D(-1_000)}, "cash": D(440_000)}
    assert failing(planned(symbol="AAA", quantity="1000"), policy, **short) == []  # net 620,000


def test_a_session_ends_for_orders_an_hour_after_its_close():
    shifted = Session(day=SESSION.day, open=SESSION.open, close=AT - timedelta(hours=1))
    assert failing(session=shifted) == []
    later = Session(day=SESSION.day, open=SESSION.open, close=AT - timedelta(hours=1, seconds=1))
    assert failing(session=later) == ["1 authority"]
    early = Session(day=SESSION.day, open=AT + timedelta(seconds=1), close=AT + timedelta(hours=6))
    assert failing(session=early) == ["1 authority"]


def test_working_orders_count_as_filled():
    waiting = working(quantity="11000", limit="30")
    assert failing(planned(quantity="500"), working=(waiting,)) == ["5 exposure"]
    assert failing(planned(quantity="250"), working=(waiting,)) == []


def test_a_pending_sale_is_not_sold_twice():
    pending = working(Side.SELL, "AAA", "6000", "70")
    sale = planned(Side.SELL, "AAA", "5000")
    assert failing(sale, working=(pending,)) == ["2 market"]


def test_orders_of_one_tick_count_for_each_other():
    first, second = planned(quantity="10000"), planned(symbol="AAA", quantity="1000")
    results = judge([first, second], context(), POLICY)
    assert [result.passed for result in results] == [True, False]
    assert "gross" in results[1].objections
    blocked_first = judge([planned(quantity="0.5"), second], context(), POLICY)
    assert [result.passed for result in blocked_first] == [False, True]  # a blocked one does not


def test_one_symbol_gets_one_order_a_tick():
    results = judge([planned(quantity="10"), planned(quantity="20")], context(), POLICY)
    assert [result.passed for result in results] == [True, False]
    assert "7 rate" in results[1].objections


def test_the_throttle_stops_a_tick_that_never_ends():
    assert failing(policy=limits("rate", max_orders_per_tick=0)) == ["7 rate"]


def test_a_slow_feature_may_be_as_old_as_its_view_allows():
    assert failing(features=feature(AT - timedelta(days=5), allowed=5 * 86400.0)) == []


def test_taking_risk_off_skips_exposure_and_loss_and_nothing_else():
    sale = planned(Side.SELL, "AAA", "4000")
    disaster = {
        "equity_before": D(3_000_000),
        "equity_peak": D(9_000_000),
        "breaks": ("cash differs",),
        "valued_at": None,
        "cash": D(-900_000),
    }
    assert failing(sale, **disaster) == []
    assert failing(planned(), **disaster) == ["5 exposure", "6 loss"]
    assert failing(sale, **disaster, killed={"all": "x"}) == ["1 authority"]


def test_volume_is_respected_where_known_and_asked_for_where_required():
    assert failing(volumes={"BBB": D(19_999)}) == ["3 size"]
    assert failing(volumes={"BBB": D(20_000)}) == []
    assert failing(policy=limits("size", volume_required=True)) == ["3 size"]


def test_odd_lots_leave_only_in_a_full_exit():
    hundred = limits("size", lot=100)
    held = {"positions": {"AAA": D("150.5")}, "cash": D(990_970)}
    assert failing(planned(Side.SELL, "AAA", "150.5"), hundred, **held) == []
    assert failing(planned(Side.SELL, "AAA", "50"), hundred, **held) == ["3 size"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["AAA", "BBB"]), st.sampled_from(list(Side)), st.integers(1, 30_000)
        ),
        max_size=4,
    )
)
def test_whatever_passes_leaves_the_book_inside_its_limits(asked):
    picture = context()
    orders = [planned(side, symbol, str(quantity)) for symbol, side, quantity in asked]
    cash, positions = picture.cash, {"AAA": D(10_000), "BBB": D(0)}
    for result in judge(orders, picture, POLICY):
        if result.passed:
            order = result.order
            positions[order.symbol] += order.quantity * order.side.sign
            cash -= order.quantity * picture.prices[order.symbol] * order.side.sign
    values = [units * picture.prices[symbol] for symbol, units in positions.items()]
    assert all(D(0) <= value <= D(700_000) for value in values)
    assert sum(values) <= D(1_050_000)
    assert cash >= D(-50_000)
