"""Realistic fills in a backtest, and the gap to what a venue with the same model did."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from featurestore.calendars import load_calendar
from pipelines.definition import definition_of
from pipelines.errors import RiskInvalid
from pipelines.evaluate import evaluate, evaluate_trial
from pipelines.fills import fills
from pipelines.gap import Trade, assumed, reality_gap
from pipelines.realism import Market, PriceStates, realistic
from pipelines.workspace import Workspace
from runtime.brokers.paper import ALTERNATE, PRIMARY, PaperVenue
from runtime.brokers.states import LakeStates
from runtime.bundles.contract import SizingPolicy
from runtime.clock import ReplayClock
from runtime.domain import Bar, Order, OrderType, Side, TimeInForce
from runtime.execution.fills import FillTerms, Latency, Style
from runtime.execution.stops import Announced, Stops
from runtime.execution.style import Execution
from runtime.feeds import price_of
from runtime.market.recorded import HaltMessage, RecordedHalts
from runtime.market.rules import market_rules
from tests.fakes.studies import FEATURE, momentum, small_study

XNYS = load_calendar("XNYS")
NOTHING = Decimal(0)
FREE = FillTerms(half_spread=0.0, fee_rate=0.0, impact=0.0, latency=Latency(low=0.0, high=0.0))
REAL = FillTerms(half_spread=0.00025, fee_rate=0.00025)
VOLUME = np.full(20, 2e6)
STUDY = small_study(costs=0.0)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, market_lake):
    return Workspace(
        tmp_path_factory.mktemp("realism"),
        lake_url=market_lake.fresh_url(),
        snapshot=market_lake.snapshot,
        clock=ReplayClock(datetime(2024, 5, 1, tzinfo=UTC)),
    )


@pytest.fixture(scope="module")
def result(workspace):
    return evaluate(definition_of(STUDY, momentum(21, 3)), workspace).backtest


@pytest.fixture(scope="module")
def reader(workspace):
    return workspace.research_reader(STUDY)


def venue_of(model: FillTerms, **changes):
    """The primary venue, filling by a model that charges the fee the venue charges."""
    given = {"fee_rate": Decimal(repr(model.fee_rate)), "half_spread": NOTHING}
    return replace(PRIMARY, model=model, **given | changes)


def run(result, model=REAL, *, volume=VOLUME, published=None, **changes):
    states = PriceStates(result=result, daily_volume=volume, published=published)
    venues = changes.pop("venues", (venue_of(model),))
    sizing = changes.pop("sizing", STUDY.sizing)
    market = Market(venues=venues, states=states, calendar=XNYS, **changes)
    return realistic(result, sizing, market)


def test_with_a_free_market_it_is_the_plain_backtest_in_whole_shares(result):
    free = run(result, FREE, volume=None, sizing=SizingPolicy(cost_rate=0.0, collar="0.90"))
    # A share is at most a few thousandths of a percent of the equity, and small orders are left.
    np.testing.assert_allclose(free.net, result.net, atol=1e-4)
    assert free.unfilled == 0.0
    assert all(one.filled == int(one.filled) for one in free.trades)
    held_back = run(result, FREE, volume=None)
    assert held_back.unfilled > 0.0, "a jump beyond the collar of 10 % fills nothing"


def test_every_cost_takes_and_more_of_it_takes_more(result):
    ends = [
        np.prod(1.0 + run(result, terms).net)
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


def test_queues_leave_orders_unfilled(result):
    thin = run(result, volume=np.full(20, 1000.0), style=Style.MID_PEG)
    assert thin.unfilled > 0.5


@pytest.mark.parametrize(
    "execution",
    [
        Execution(order_type=OrderType.LIMIT, within="-0.01"),
        Execution(order_type=OrderType.LIMIT, within="0.05", time_in_force=TimeInForce.FOK),
        Execution(order_type=OrderType.MID_PEG, within="0.05"),
        Execution(order_type=OrderType.STOP, stop="0.01"),
        Execution(time_in_force=TimeInForce.CLS),
    ],
    ids=lambda one: f"{one.order_type.value} {one.time_in_force.value}",
)
def test_a_study_that_says_how_its_orders_are_executed_is_traded_so(result, execution):
    study = replace(STUDY, execution=execution)
    assert study.declaration() != STUDY.declaration()
    assert "execution" not in STUDY.declaration()
    assert not np.array_equal(run(result, sizing=study.sizing).net, run(result).net)


def test_a_recorded_halt_stops_its_name_until_it_is_resumed_and_no_longer(result):
    day = result.dates[int(result.fill_rows[4])]
    close = XNYS.session(day).close
    symbol = next(t.symbol for t in run(result).trades if t.day == day)
    halt = HaltMessage(symbol=symbol, at=close - timedelta(hours=2), code="T1")
    resume = HaltMessage(symbol=symbol, at=close + timedelta(hours=1), resumes=True)
    rules = market_rules().halt[0]

    def traded(messages):
        halts = RecordedHalts(rules, result.symbols, messages)
        return run(result, published=halts.published)

    halted = traded([resume, halt])
    here = [t for t in halted.trades if t.day == day]
    assert [t.filled for t in here if t.symbol == symbol] == [0.0]
    assert all(t.filled > 0.0 for t in here if t.symbol != symbol)
    assert halted.unfilled > 0.0
    over = [halt, replace(resume, at=close - timedelta(hours=1))]
    assert traded(over).trades == run(result).trades
    published_later = [replace(halt, at=close + timedelta(minutes=1)), resume]
    assert traded(published_later).trades == run(result).trades


def test_recorded_halts_may_be_asked_about_any_instant():
    start = datetime(2017, 1, 3, 15, tzinfo=UTC)
    messages = [
        HaltMessage(symbol="AAA", at=start, code="T1"),
        HaltMessage(symbol="AAA", at=start + timedelta(hours=1), resumes=True),
    ]
    halts = RecordedHalts(market_rules().halt[0], ("AAA", "BBB"), messages)
    asked = [start + timedelta(minutes=m) for m in (90, 30, -1, 30, 60)]
    assert [set(halts.published(at)) for at in asked] == [set(), {"AAA"}, set(), {"AAA"}, set()]


def test_states_see_no_later_price(result):
    changed = replace(result, prices=result.prices.copy())
    row = int(result.fill_rows[6])
    changed.prices[row + 1 :] *= 3.0

    def state(of, decision):
        at = XNYS.session(of.dates[int(of.fill_rows[decision])]).close
        return PriceStates(result=of)(of.symbols[0], 10.0, at)

    assert state(changed, 6) == state(result, 6)
    assert state(changed, 8) != state(result, 8)


def sent(trade: Trade, leg: int, at: datetime, venue: str) -> Order:
    return Order(
        order_id=f"{leg:024d}",
        bundle="b",
        tick="t",
        symbol=trade.symbol,
        leg=leg,
        venue=venue,
        side=trade.side,
        quantity=Decimal(int(trade.asked)),
        order_type=OrderType.MARKET,
        limit_price=Decimal(10_000) if trade.side is Side.BUY else Decimal("0.01"),
        time_in_force=TimeInForce.DAY,
        created_at=at,
    )


def test_a_venue_with_the_same_terms_and_reader_fills_every_order_as_the_backtest_did(
    result, reader, tmp_path
):
    terms = venue_of(REAL, half_spread=Decimal("0.00025"))
    states = LakeStates(reader=reader, price=FEATURE, window=63)
    market = Market(venues=(terms,), states=states.at, calendar=XNYS)
    # Beyond the collar nothing fills; here the orders have none.
    foretold = [t for t in realistic(result, STUDY.sizing, market).trades if t.filled]
    assert any(abs(t.price / t.reference - 1.0) > 0.0003 for t in foretold), "latency moves prices"
    venue = PaperVenue(tmp_path / "v.db", terms, states=states)
    for day in sorted({trade.day for trade in foretold}):
        close, row = XNYS.session(day).close, result.dates.index(day)
        for leg, trade in enumerate(t for t in foretold if t.day == day):
            venue.submit(sent(trade, 1000 * row + leg, XNYS.session(day).open, terms.name))
        venue.on_bars(
            [
                Bar(symbol=s, close=price_of(float(p)), event_time=close, known_at=close)
                for s, p in zip(result.symbols, result.prices[row], strict=True)
            ],
            close,
        )
    fills = [fill for _, fill in venue.executions(0)]
    assert [(f.symbol, float(f.quantity), float(f.price), float(f.fee)) for f in fills] == [
        (t.symbol, t.filled, t.price, t.fee) for t in foretold
    ]
    assert len(fills) > 100
    assert venue.traded_by() == [(0, terms.hash, repr(terms))]
    venue.close()


def test_what_one_venue_does_not_show_goes_to_the_next(result):
    shallow = replace(venue_of(REAL), depth=Decimal(1000), name="shallow")
    deep = replace(ALTERNATE, model=REAL)
    both = run(result, venues=(shallow, deep))
    assert len(both.trades) > len(run(result, venues=(deep,)).trades)


def test_a_stop_lets_a_losing_position_go_and_an_announced_event_holds_it_back(result):
    plain = run(result)
    tight = run(result, stops=Stops(multiple=1.0))
    wide = run(result, stops=Stops(multiple=6.0))
    assert plain.stopped == 0
    assert tight.stopped > wide.stopped > 0
    fills = {result.dates[int(row)] for row in result.fill_rows}
    first = next(t for t in tight.trades if t.day not in fills)
    assert first.side is Side.SELL
    assert first.filled > 0.0
    yesterday = XNYS.previous(first.day).close
    event = Announced(symbol=first.symbol, at=yesterday + timedelta(days=2), known_at=yesterday)
    told = run(result, stops=Stops(multiple=1.0, events=[event]))
    assert (first.day, first.symbol) not in {(t.day, t.symbol) for t in told.trades}
    surprise = replace(event, known_at=yesterday + timedelta(minutes=1))
    unseen = run(result, stops=Stops(multiple=1.0, events=[surprise]))
    assert first in unseen.trades
    past = replace(event, at=yesterday - timedelta(days=1))
    assert first in run(result, stops=Stops(multiple=1.0, events=[past])).trades


def test_a_short_pays_for_its_loan_by_the_day(result):
    short = replace(result, weights=-result.weights)
    free = run(short, REAL)
    lent = run(short, replace(REAL, borrow_rate=0.05))
    assert free.borrow == 0.0
    years = (result.dates[-1] - result.dates[0]).days / 360
    assert lent.borrow == pytest.approx(0.05 * 0.98e6 * years, rel=0.35)  # equity drifts
    assert np.prod(1.0 + lent.net) < np.prod(1.0 + free.net)


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


def test_a_recorded_trial_is_shown_with_real_fills_and_only_other_rules_are_counted(
    workspace, tmp_path
):
    definition = definition_of(small_study(name="filled"), momentum(21, 3))
    recorded = evaluate_trial(definition, workspace)
    counted = len(workspace.ledger().trials("filled"))
    shown = fills(recorded, workspace=workspace)
    rows = {row[0]: row[1:] for row in shown.table().rows}
    assert 4.0 < float(rows["Mean cost of one, bp"][1]) < 7.0, "5 bp and the luck of latency"
    assert rows["Positions that a stop let go"] == ("0", "0")
    assert len(workspace.ledger().trials("filled")) == counted
    with_stops = fills(recorded, stops=Stops(multiple=2.0), workspace=workspace)
    assert with_stops.run.stopped > 0
    fills(recorded, stops=Stops(multiple=2.0), workspace=workspace)
    fills(recorded, stops=Stops(multiple=3.0), workspace=workspace)
    tried = workspace.ledger().trials("filled")
    assert [one.status for one in tried] == ["complete", "pruned", "pruned"], "each rule is a try"
    everything = [
        HaltMessage(symbol="*", at=XNYS.session(recorded.backtest.dates[0]).open, code="MWC1")
    ]
    halted = fills(recorded, halts=everything, workspace=workspace)
    assert halted.run.unfilled == 1.0
    free = tmp_path / "free.toml"
    free.write_text(
        '[[venue]]\nname = "free"\nhalf_spread = 0\nfee_rate = 0\ndepth = 1e6\nfills = "close"\n'
    )
    assert float(fills(recorded, venues=free, workspace=workspace).table().rows[3][2]) == 0.0
