"""Realistic fills in a backtest, and the gap to what a venue with the same model did."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pytest

from pipelines.definition import definition_of
from pipelines.errors import RiskInvalid
from pipelines.evaluate import evaluate
from pipelines.realism import Trade, assumed, realistic, reality_gap, states_of
from pipelines.workspace import Workspace
from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.clock import ReplayClock
from runtime.domain import Bar, Order, OrderType, Side, TimeInForce
from runtime.fills import FillTerms, Latency, Style
from tests.fakes.studies import momentum, small_study

FREE = FillTerms(half_spread=0.0, fee_rate=0.0, impact=0.0, latency=Latency(low=0.0, high=0.0))
REAL = FillTerms(half_spread=0.00025, fee_rate=0.00025)
VOLUME = np.full(20, 2e6)


@pytest.fixture(scope="module")
def result(tmp_path_factory, market_lake):
    workspace = Workspace(
        tmp_path_factory.mktemp("realism"),
        lake_url=market_lake.fresh_url(),
        snapshot=market_lake.snapshot,
        clock=ReplayClock(datetime(2024, 5, 1, tzinfo=UTC)),
    )
    return evaluate(definition_of(small_study(costs=0.0), momentum(21, 3)), workspace).backtest


STUDY = small_study(costs=0.0)


def test_with_a_free_market_it_is_the_plain_backtest(result):
    run = realistic(result, STUDY, FREE, states_of(result))
    # The first order is sized a session later here: its price before the first fill is not kept.
    np.testing.assert_allclose(run.net[25:], result.net[25:], atol=2e-4)
    assert run.unfilled == 0.0


def test_every_cost_takes_and_more_of_it_takes_more(result):
    states = states_of(result, daily_volume=VOLUME)
    ends = [
        np.prod(1.0 + realistic(result, STUDY, terms, states).net)
        for terms in (
            replace(REAL, impact=0.0, fee_rate=0.0, half_spread=0.0),
            replace(REAL, impact=0.0, fee_rate=0.0),
            replace(REAL, impact=0.0),
            REAL,
            replace(REAL, impact=3.0),
        )
    ]
    assert ends == sorted(ends, reverse=True)
    assert len(set(ends)) == 5


def test_halts_and_queues_leave_orders_unfilled(result):
    states = states_of(result, daily_volume=VOLUME)
    day = result.dates[int(result.fill_rows[4])]
    halted = realistic(result, STUDY, REAL, states, halted={day: frozenset(result.symbols)})
    assert all(trade.filled == 0.0 for trade in halted.trades if trade.day == day)
    assert halted.unfilled > 0.0
    thin = states_of(result, daily_volume=np.full(20, 1000.0))
    assert realistic(result, STUDY, REAL, thin, style=Style.MID_PEG).unfilled > 0.5


def test_states_see_no_later_price(result):
    changed = replace(result, prices=result.prices.copy())
    row = int(result.fill_rows[6])
    changed.prices[row + 1 :] *= 3.0
    assert states_of(changed)[6] == states_of(result)[6]
    assert states_of(changed)[8] != states_of(result)[8]


def test_a_venue_with_the_same_model_leaves_no_gap(result, tmp_path):
    """The backtest's orders, sent to a paper venue that fills by the same model."""
    states = states_of(result, daily_volume=VOLUME)
    run = realistic(result, STUDY, REAL, states)
    by_day = {result.dates[int(row)]: i for i, row in enumerate(result.fill_rows)}

    def state(bar):
        return states[by_day[bar.event_time.date()]][result.symbols.index(bar.symbol)]

    terms = replace(PRIMARY, fee_rate=Decimal("0.00025"), model=REAL)
    venue = PaperVenue(tmp_path / "v.db", terms, states=state)
    chosen = [trade for trade in run.trades if trade.day == result.dates[int(result.fill_rows[3])]]
    asked_at = datetime.combine(chosen[0].day, datetime.min.time(), UTC)
    close = asked_at.replace(hour=21)
    for leg, trade in enumerate(chosen):
        venue.submit(
            Order(
                order_id=f"{leg:024d}",
                bundle="b",
                tick="t",
                symbol=trade.symbol,
                leg=leg,
                venue="primary",
                side=trade.side,
                quantity=Decimal(repr(trade.asked)),
                order_type=OrderType.MARKET,
                limit_price=Decimal(10_000) if trade.side is Side.BUY else Decimal("0.01"),
                time_in_force=TimeInForce.DAY,
                created_at=asked_at,
            )
        )
    venue.on_bars(
        [
            Bar(
                symbol=trade.symbol,
                close=Decimal(repr(trade.reference)),
                event_time=close,
                known_at=close,
            )
            for trade in chosen
        ],
        close,
    )
    seen = [
        Trade(
            symbol=fill.symbol,
            day=fill.executed_at.date(),
            side=fill.side,
            asked=float(fill.quantity),
            filled=float(fill.quantity),
            reference=next(t.reference for t in chosen if t.symbol == fill.symbol),
            price=float(fill.price),
            fee=float(fill.fee),
        )
        for _, fill in venue.executions(0)
    ]
    gap = reality_gap(chosen, seen)
    assert len(gap.pairs) == len(chosen) > 3
    assert gap.holds
    assert gap.within == 1.0
    venue.close()


def trade(symbol="AAA", price=100.05, **changes):
    made = {
        "symbol": symbol,
        "day": date(2017, 2, 1),
        "side": Side.BUY,
        "asked": 10.0,
        "filled": 10.0,
        "reference": 100.0,
        "price": price,
        "fee": 0.5,
    }
    return Trade(**made | changes)


def test_slippage_by_hand_and_the_gap_in_its_table():
    assert trade().slippage == pytest.approx(0.0005 + 0.0005)
    assert trade(side=Side.SELL, price=99.95).slippage == pytest.approx(0.001)
    gap = reality_gap([trade(), trade("BBB"), trade("CCC")], [trade(), trade("BBB", 100.5)])
    assert gap.pairs[1].difference == pytest.approx(0.0045)
    assert gap.within == pytest.approx(1 / 3)
    assert not gap.holds
    assert [one.symbol for one in gap.only_foretold] == ["CCC"]
    rows = gap.table().rows
    assert rows[3][:2] == ("within 10 % of the slippage seen", "33%")
    assert rows[4] == ("2017-02-01 buy BBB", "10.00", "55.00", "+45.00")


def test_what_the_backtest_assumed_is_its_cost_rate_on_every_trade():
    seen = [trade(), trade("BBB", 100.05, fee=0.55)]
    gap = reality_gap(assumed(seen, 0.001), seen)
    assert [pair.foretold.slippage for pair in gap.pairs] == pytest.approx([0.001, 0.001])
    assert gap.pairs[1].relative == pytest.approx(0.05 / 1.05)
    assert gap.holds


def test_two_fills_of_one_order_are_one_trade_and_unfilled_ones_none():
    halves = [trade(filled=4.0, price=100.0, fee=0.2), trade(filled=6.0, price=101.0, fee=0.3)]
    (pair,) = reality_gap([trade()], [*halves, trade("ZZZ", filled=0.0)]).pairs
    assert pair.seen.filled == 10.0
    assert pair.seen.price == pytest.approx(100.6)
    assert pair.seen.fee == pytest.approx(0.5)
    with pytest.raises(RiskInvalid):
        reality_gap([], [])
