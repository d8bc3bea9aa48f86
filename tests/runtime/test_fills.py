"""The fill model: every part answers for its own cause, and luck is a function of names."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.domain import Bar, Order, OrderState, OrderType, Side, TimeInForce
from runtime.errors import OrderInvalid
from runtime.execution.fills import (
    FillTerms,
    Latency,
    MarketState,
    Style,
    borrow_cost,
    chance,
    execute,
    luck_of,
    stop_distance,
)
from runtime.execution.impact import square_root_impact

TERMS = FillTerms(half_spread=0.0003, fee_rate=0.0002)
STATE = MarketState(mid=50.0, daily_volatility=0.02, daily_volume=1e6, shown=400.0)


def done(style=Style.MARKET, quantity=1000.0, side=Side.BUY, terms=TERMS, state=STATE, **more):
    return execute("AAA 2017-01-03", side, quantity, style, state, terms, **more)


def test_the_square_root_law_by_hand():
    """1 % of a day's volume at 2 % volatility costs a tenth of the volatility: 20 bp."""
    assert float(square_root_impact(0.01, 0.02)) == pytest.approx(0.002)
    assert float(square_root_impact(0.04, 0.02)) == pytest.approx(0.004), "four times, twice"
    with pytest.raises(OrderInvalid):
        square_root_impact(-0.1, 0.02)


def test_a_market_order_pays_spread_impact_and_drift_and_a_fee_on_top():
    got = done()
    assert got.quantity == 1000.0
    assert got.spread == 0.0003
    assert got.impact == pytest.approx(0.02 * np.sqrt(1000 / 1e6))
    assert got.price == pytest.approx(50.0 * (1 + got.slippage))
    assert got.fee == pytest.approx(1000.0 * got.price * 0.0002)
    assert 200.0 <= got.latency_ms <= 500.0


def test_impact_depends_on_the_state_of_the_market():
    wild = done(state=replace(STATE, daily_volatility=0.06))
    thin = done(state=replace(STATE, daily_volume=1e5))
    assert wild.impact == pytest.approx(3 * done().impact)
    assert thin.impact == pytest.approx(np.sqrt(10) * done().impact)
    assert done(terms=replace(TERMS, impact=0.0)).impact == 0.0
    assert done(state=replace(STATE, daily_volume=None)).impact == 0.0


def test_ioc_takes_what_is_shown_and_leaves_the_rest():
    got = done(Style.IOC)
    assert got.quantity == 400.0
    assert "as far as size was shown" in got.reason
    assert done(Style.IOC, quantity=300.0).quantity == 300.0


def test_mid_peg_saves_the_spread_waits_in_line_and_is_picked_off():
    got = done(Style.MID_PEG)
    assert got.spread == got.impact == 0.0
    assert got.adverse == pytest.approx(0.5 * 0.0003)
    busy = replace(STATE, daily_volume=20_000.0, shown=100.0)
    passing = 20_000 * 1800 / 23_400 * 0.1
    ahead = chance("AAA 2017-01-03", "queue") * 100
    partial = done(Style.MID_PEG, state=busy)
    assert partial.quantity == pytest.approx(passing - ahead)
    assert done(Style.MID_PEG, state=replace(busy, daily_volume=100.0)).quantity == 0.0
    assert done(Style.MID_PEG, state=replace(STATE, daily_volume=None)).quantity == 0.0


def test_a_halted_name_and_a_limit_out_of_reach_do_not_trade():
    assert done(state=replace(STATE, halted=True)).quantity == 0.0
    assert "halted" in done(state=replace(STATE, halted=True)).reason
    assert done(limit=49.0).quantity == 0.0
    assert done(limit=60.0).quantity == 1000.0
    assert done(side=Side.SELL, limit=60.0).quantity == 0.0


def test_latency_is_drawn_from_what_was_measured_when_there_is_something():
    assert Latency().at(0.5) == 350.0
    seen = Latency(measured=(10.0, 20.0, 30.0, 40.0))
    assert [seen.at(c) for c in (0.01, 0.3, 0.6, 0.99)] == [10.0, 20.0, 30.0, 40.0]
    slow = done(terms=replace(TERMS, latency=Latency(measured=(60_000.0,))))
    assert slow.latency_ms == 60_000.0
    assert abs(slow.drift) > abs(done().drift), "the mid has longer to move"


def test_drift_has_no_direction_and_the_size_of_its_volatility():
    terms = replace(TERMS, latency=Latency(low=400.0, high=400.0))
    drifts = [
        execute(f"S{i}", Side.BUY, 1.0, Style.MARKET, STATE, terms).drift for i in range(4000)
    ]
    expected = 0.02 * np.sqrt(0.4 / 23_400)
    assert np.std(drifts) == pytest.approx(expected, rel=0.05)
    assert abs(np.mean(drifts)) < 4 * expected / np.sqrt(4000)


@given(st.text(max_size=20), st.sampled_from(["latency", "drift", "queue"]))
def test_luck_is_a_function_of_names_and_never_zero_or_one(name, purpose):
    assert chance(name, purpose) == chance(name, purpose)
    assert 0.0 < chance(name, purpose) < 1.0
    assert chance(name, purpose) != chance(name + "x", purpose)


@given(st.floats(1.0, 1e6), st.sampled_from(list(Style)), st.sampled_from(list(Side)))
def test_no_order_fills_more_than_it_asked_for_and_costs_are_never_a_gift(quantity, style, side):
    got = done(style, quantity, side)
    assert 0.0 <= got.quantity <= quantity
    assert got.spread >= 0.0
    assert got.impact >= 0.0
    assert got.adverse >= 0.0
    if got.quantity:
        assert side.sign * (got.price / 50.0 - 1.0) == pytest.approx(got.slippage)


def test_borrow_is_paid_by_calendar_day_over_360():
    terms = replace(TERMS, borrow_rate=0.036)
    assert borrow_cost(1_000_000.0, terms, days=30) == pytest.approx(3000.0)
    assert borrow_cost(0.0, terms, days=30) == 0.0


def test_stops_widen_for_announced_events_only():
    near = {"known_at": 10.0, "now": 10.0, "horizon": 5.0}
    assert stop_distance(0.02, 3.0, **near) == pytest.approx(0.06)
    assert stop_distance(0.02, 3.0, announced=[(12.0, 8.0)], **near) == pytest.approx(0.12)
    surprise = [(12.0, 11.0)]
    assert stop_distance(0.02, 3.0, announced=surprise, **near) == pytest.approx(0.06)
    assert stop_distance(0.02, 3.0, announced=[(20.0, 8.0)], **near) == pytest.approx(0.06)


@pytest.mark.parametrize(
    "call",
    [
        lambda: done(quantity=0.0),
        lambda: MarketState(mid=0.0),
        lambda: MarketState(mid=1.0, daily_volatility=-1.0),
        lambda: FillTerms(half_spread=1.0, fee_rate=0.0),
        lambda: Latency(low=5.0, high=1.0),
        lambda: borrow_cost(-1.0, TERMS, days=1),
    ],
)
def test_what_no_market_could_be_is_refused(call):
    with pytest.raises(OrderInvalid):
        call()


def test_a_paper_venue_with_the_model_fills_as_the_model_says(tmp_path):
    start = datetime(2017, 1, 3, 21, tzinfo=UTC)
    following = datetime(2017, 1, 4, 21, tzinfo=UTC)
    terms = replace(PRIMARY, model=TERMS)
    venue = PaperVenue(tmp_path / "v.db", terms, states=lambda bar: STATE)
    for leg, (side, tif) in enumerate([(Side.BUY, TimeInForce.DAY), (Side.SELL, TimeInForce.IOC)]):
        venue.submit(
            Order(
                order_id=f"{leg:024d}",
                bundle="b",
                tick="t",
                symbol="AAA",
                leg=leg,
                venue="primary",
                side=side,
                quantity=Decimal(1000),
                order_type=OrderType.MARKET,
                limit_price=Decimal(60) if side is Side.BUY else Decimal(40),
                time_in_force=tif,
                created_at=start,
            )
        )
    bar = Bar(symbol="AAA", close=Decimal(50), event_time=following, known_at=following)
    assert venue.on_bars([bar], following) == 2
    (_, bought), (_, sold) = venue.executions(0)
    name = luck_of("AAA", following.date())
    model = execute(name, Side.BUY, 1000.0, Style.MARKET, STATE, TERMS)
    assert bought.price == Decimal(repr(model.price)).quantize(Decimal("0.000001"))
    assert bought.quantity == 1000
    assert sold.quantity == 400, "an IOC order takes what is shown"
    assert venue.find(f"{1:024d}") is OrderState.CANCELLED
    assert venue.statement(following.date()).positions == {"AAA": Decimal(600)}
    venue.close()
