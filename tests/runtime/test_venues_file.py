"""The file of paper venues, orders met by bars, measured latencies: each number has an effect."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from runtime.brokers.matching import Asked, match_bar, style_of
from runtime.brokers.paper import ALTERNATE, PRIMARY
from runtime.brokers.states import LakeStates, daily_volatility
from runtime.brokers.terms import load_venues, parse_venues
from runtime.database import open_database
from runtime.domain import Bar, OrderState, OrderType, Side, TimeInForce
from runtime.errors import LatencyUnmeasured, VenuesInvalid
from runtime.execution.fills import FillTerms, Latency, MarketState, Style, execute, luck_of
from runtime.execution.latency import load_latency, measure_latency, save_latency
from runtime.journal.records import OrderEvent
from runtime.journal.store import Journal
from tests.fakes.market import SyntheticMarket
from tests.runtime.journal.trading import START, make_decision, make_order

CLOSE = datetime(2017, 2, 1, 21, tzinfo=UTC)
BAR = Bar(symbol="AAA", close=Decimal(50), event_time=CLOSE, known_at=CLOSE)
MODEL = FillTerms(half_spread=0.00025, fee_rate=0.00025)
TERMS = replace(PRIMARY, model=MODEL)
STATE = MarketState(mid=50.0, daily_volatility=0.02)
BUY = Asked(side=Side.BUY, quantity=Decimal(100), limit_price=Decimal(60))


def test_the_packaged_venues_are_the_two_known_ones_filled_by_the_model():
    market = load_venues(None)
    assert [replace(one, model=None) for one in market.venues] == [PRIMARY, ALTERNATE]
    for one in market.venues:
        assert one.model is not None
        assert (one.model.latency.low, one.model.latency.high) == (200.0, 500.0)
        assert one.model.half_spread == float(one.half_spread)
        assert one.model.fee_rate == float(one.fee_rate)
    assert market.volume is None
    assert not market.uses_measured_latency


FILE = """
[model]
latency_ms = [10, 20]
borrow_rate = 0.03
volatility_window = 21
volume = "bars.volume"

[[venue]]
name = "one"
half_spread = 0.001
fee_rate = "0.002"
depth = 5000

[[venue]]
name = "two"
half_spread = 0.003
fee_rate = 0
depth = 1
fills = "close"
"""


def test_a_venue_that_passes_on_what_regulators_take_charges_it_on_sales_alone():
    plain = parse_venues(FILE).venues[1]
    passes_on = parse_venues(FILE.replace("depth = 1\n", 'depth = 1\nsale_fees = "us"\n')).venues[1]
    spring = datetime(2026, 5, 4, 20, tzinfo=UTC)
    bar = Bar(symbol="AAA", close=Decimal(50), event_time=spring, known_at=spring)
    sale = Asked(side=Side.SELL, quantity=Decimal(1000), limit_price=Decimal(40))
    without, with_it = (match_bar(sale, bar, terms, STATE).fee for terms in (plain, passes_on))
    # 1000 at 49.85: 49,850 x 20.60 / 1,000,000 = 1.02691 and 1000 x 0.000195 = 0.195, each up
    assert (without, with_it) == (Decimal(0), Decimal("1.23"))
    assert match_bar(BUY, bar, passes_on, STATE).fee == 0
    with pytest.raises(VenuesInvalid, match="sale_fees"):
        parse_venues(FILE.replace("depth = 1\n", 'depth = 1\nsale_fees = "uk"\n'))


def test_a_file_chooses_the_model_venue_by_venue():
    market = parse_venues(FILE)
    one, two = market.venues
    assert one.model == FillTerms(
        half_spread=0.001,
        fee_rate=0.002,
        borrow_rate=0.03,
        latency=Latency(low=10.0, high=20.0),
    )
    assert two.model is None
    assert (one.half_spread, one.depth) == (Decimal("0.001"), Decimal(5000))
    assert (market.volatility_window, market.volume) == (21, "bars.volume")
    assert market.hash != parse_venues(FILE.replace("21", "22")).hash
    assert market.hash != parse_venues(FILE.replace("0.03", "0.04")).hash


def test_measured_latencies_take_the_place_of_the_range_unless_the_file_says_no():
    market = parse_venues(FILE, measured=(1.0, 2.0))
    assert market.uses_measured_latency
    assert market.venues[0].model.latency.at(0.9) == 2.0
    kept_out = parse_venues(FILE.replace("[model]", "[model]\nmeasured = false"), measured=(1.0,))
    assert not kept_out.uses_measured_latency


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[model", "venues"),
        ("", "at least one"),
        (FILE.replace('"two"', '"one"'), "a name of its own"),
        (FILE.replace("borrow_rate", "lending_rate"), "lending_rate"),
        (FILE.replace("0.001", "1.5"), "spread"),
        (FILE.replace("[10, 20]", "[20, 10]"), "latency"),
        (FILE.replace("= 21", "= 1"), "volatility_window"),
        (FILE.replace('"close"', '"open"'), "open"),
    ],
)
def test_a_file_that_no_market_could_be_is_refused_in_words(text, said):
    with pytest.raises(VenuesInvalid, match=said):
        parse_venues(text)


def test_an_order_fills_at_the_price_of_the_model_and_its_fee_is_in_cents():
    got = match_bar(BUY, BAR, TERMS, STATE)
    name = luck_of("AAA", CLOSE.date())
    model = execute(name, Side.BUY, 100.0, Style.MARKET, STATE, MODEL)
    assert got.quantity == 100
    assert float(got.price) == pytest.approx(model.price, abs=1e-6)
    assert got.fee == round(Decimal(repr(model.fee)), 2)
    assert match_bar(BUY, BAR, PRIMARY, STATE).price == Decimal("50.0125")


def test_a_limit_a_halt_and_a_sleeping_stop_keep_an_order_from_filling():
    assert match_bar(replace(BUY, limit_price=Decimal(49)), BAR, TERMS, STATE).quantity == 0
    assert match_bar(BUY, BAR, TERMS, replace(STATE, halted=True)).quantity == 0
    assert match_bar(BUY, BAR, PRIMARY, replace(STATE, halted=True)).quantity == 0
    stop = Asked(
        side=Side.SELL, quantity=Decimal(5), limit_price=Decimal(1), trigger=Decimal("49.99")
    )
    asleep = match_bar(stop, BAR, TERMS, STATE)
    assert asleep.asleep
    assert asleep.quantity == 0
    awake = match_bar(replace(stop, trigger=Decimal(50)), BAR, TERMS, STATE)
    assert (awake.asleep, awake.quantity) == (False, 5)
    assert match_bar(replace(BUY, trigger=Decimal("50.01")), BAR, TERMS, STATE).asleep


def test_an_immediate_order_takes_what_the_venue_shows_and_all_or_nothing_takes_nothing():
    big = replace(BUY, quantity=Decimal(5000), style=Style.IOC)
    assert match_bar(big, BAR, TERMS, STATE).quantity == 2000  # 100000 USD shown at 50
    nothing = match_bar(replace(big, whole=True), BAR, TERMS, STATE)
    assert nothing.quantity == 0
    assert "all were asked for" in nothing.reason
    assert match_bar(replace(BUY, whole=True), BAR, TERMS, STATE).quantity == 100


def test_the_time_in_force_says_how_an_order_meets_the_market():
    assert style_of(OrderType.MARKET, TimeInForce.DAY) is Style.MARKET
    assert style_of(OrderType.LIMIT, TimeInForce.IOC) is Style.IOC


def test_states_are_of_the_bar_and_claim_no_volatility_without_history():
    market = SyntheticMarket(("AAA", "BBB"), first=datetime(2017, 1, 3).date())
    states = LakeStates(reader=market, price="synthetic.close", window=20)
    session = market.sessions[40]
    closes = market.closes[1, 20:41]
    bar = Bar(
        symbol="BBB",
        close=Decimal(repr(float(closes[-1]))),
        event_time=session.close,
        known_at=session.close,
    )
    assert states(bar) == MarketState(
        mid=closes[-1], daily_volatility=float(np.std(closes[1:] / closes[:-1] - 1.0))
    )
    assert daily_volatility(closes[:2]) == 0.0
    early = replace(bar, event_time=market.sessions[5].close, known_at=market.sessions[5].close)
    assert states(early).daily_volatility == 0.0
    busy = replace(states, volume="synthetic.close")
    assert busy(bar).daily_volume == pytest.approx(market.closes[1, 20:41].mean())


@pytest.fixture
def journal(tmp_path):
    opened = Journal(open_database(f"sqlite:///{tmp_path / 'runtime.db'}"))
    yield opened
    opened.engine.dispose()


def acknowledged(journal, milliseconds):
    orders = [make_order(10, leg=leg) for leg in range(len(milliseconds))]
    journal.record_decision(make_decision(orders), orders)
    journal.record_order_states(
        [
            OrderEvent(
                order_id=order.order_id,
                state=OrderState.WORKING,
                at=order.created_at + timedelta(milliseconds=wait),
            )
            for order, wait in zip(orders, milliseconds, strict=True)
        ]
    )


def test_latency_is_measured_from_decision_to_answer_and_kept_with_its_origin(journal, tmp_path):
    acknowledged(journal, [*range(100, 125), 36 * 3_600_000])
    measured = measure_latency(journal, at=CLOSE)
    assert measured.orders == 25, "an answer of another day is an outage"
    assert measured.milliseconds[0] == 100.0
    assert measured.milliseconds[50] == 112.0
    assert measured.milliseconds[-1] == 124.0
    assert measured.journal_head == journal.head().hash
    assert (measured.first, measured.account) == (START, journal.account)
    path = tmp_path / "latency.json"
    assert load_latency(path) is None
    save_latency(path, measured)
    assert load_latency(path) == measured
    path.write_text(path.read_text().replace("112.0", "-112.0"))
    with pytest.raises(VenuesInvalid, match="negative"):
        load_latency(path)
    path.write_text("{}")
    with pytest.raises(VenuesInvalid, match="measure again"):
        load_latency(path)


@pytest.mark.parametrize(("waits", "said"), [([5] * 19, "needs 20"), ([0] * 30, "was replayed")])
def test_too_few_answers_or_a_clock_that_stood_still_measure_nothing(journal, waits, said):
    acknowledged(journal, waits)
    with pytest.raises(LatencyUnmeasured, match=said):
        measure_latency(journal, at=CLOSE)
