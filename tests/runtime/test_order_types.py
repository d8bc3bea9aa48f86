"""Every order type at a paper venue: what a bar makes of it, and what is left of it after each."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.brokers.matching import Asked, match_bar, style_of
from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.domain import Bar, Order, OrderState, OrderType, Side
from runtime.errors import OrderInvalid
from runtime.execution.fills import FillTerms, MarketState, Style
from runtime.market.states import Bands
from tests.runtime.journal.trading import START
from tests.runtime.typed_orders import (
    BUY,
    CLS,
    DAY,
    FITS,
    FOK,
    GTC,
    IOC,
    LIMIT,
    MARKET,
    MID_PEG,
    OPG,
    SELL,
    STOP,
    STOP_LIMIT,
    D,
    order,
)

MODEL = replace(
    PRIMARY, model=FillTerms(half_spread=0.00025, fee_rate=0.00025, adverse=0.0, queue_share=0.1)
)


AT = datetime(2017, 2, 1, 21, tzinfo=UTC)


def bar(close: str, at: datetime = AT) -> Bar:
    return Bar(symbol="AAA", close=D(close), event_time=at, known_at=at)


def test_a_peg_fills_on_half_ticks_and_only_where_it_may():
    asked = Asked(side=BUY, quantity=D(50), limit_price=D("10.10"), style=Style.MID_PEG)
    state = MarketState(mid=10.0, daily_volume=1e6, shown=0.0)
    quoted = replace(state, quotes=(D("10.00"), D("10.01")))
    assert match_bar(asked, bar("10.00"), MODEL, quoted).price == D("10.005")
    assert match_bar(asked, bar("10.00"), MODEL, quoted).quantity == 50
    for bad in ((None, D("10.01")), (D("10.02"), D("10.01")), (D("10.01"), D("10.01"))):
        assert match_bar(asked, bar("10.00"), MODEL, replace(state, quotes=bad)).quantity == 0
    banded = replace(quoted, bands=Bands(D("9.00"), D("10.00")))
    assert match_bar(asked, bar("10.00"), MODEL, banded).quantity == 0
    assert match_bar(asked, bar("10.00"), PRIMARY, quoted).quantity == 0  # it models no queue


def test_nothing_trades_outside_the_bands():
    asked = Asked(side=BUY, quantity=D(50), limit_price=D(20))
    inside = MarketState(mid=10.0, bands=Bands(D("9.50"), D("10.50")))
    assert match_bar(asked, bar("10.40"), PRIMARY, inside).quantity == 50
    assert match_bar(asked, bar("10.60"), PRIMARY, inside).quantity == 0


def test_the_closing_auction_pays_its_impact_and_no_spread():
    state = MarketState(mid=10.0, daily_volume=10_000.0, daily_volatility=0.02)
    asked = Asked(side=BUY, quantity=D(100), limit_price=D(20))
    crossed = match_bar(asked, bar("10.00"), MODEL, state).price
    auction = replace(asked, style=style_of(MARKET, CLS))
    met = match_bar(auction, bar("10.00"), MODEL, state)
    assert met.price == pytest.approx(D("10.02"), abs=D("0.000001"))  # 0.02 * sqrt(0.01) of 10
    assert crossed != met.price
    assert match_bar(auction, bar("10.00"), PRIMARY, state).price == D("10.00")
    with pytest.raises(OrderInvalid, match="no opening price"):
        style_of(LIMIT, OPG)


def bars_of(closes: Iterable[str]) -> list[Bar]:
    return [bar(close, START + timedelta(days=1 + n)) for n, close in enumerate(closes)]


def lived(tmp_path, asked: Order, closes: Iterable[str], **known) -> tuple[PaperVenue, list[str]]:
    """What became of an order over some closes: its state after each."""
    venue = PaperVenue(
        tmp_path / f"{asked.order_id}.db",
        MODEL,
        states=lambda one: MarketState(mid=float(one.close), **known),
    )
    venue.submit(asked)
    states = []
    for one in bars_of(closes):
        venue.expire_before(one.event_time - timedelta(hours=30))
        venue.on_bars([one], one.event_time)
        venue.on_bars([one], one.event_time)  # published again: nothing happens twice
        states.append(venue.find(asked.order_id).value)
    return venue, states


@pytest.mark.parametrize(
    ("asked", "closes", "states", "filled"),
    [
        (order(LIMIT, DAY, limit="99"), ["100", "98"], ["expired", "expired"], 0),
        (order(LIMIT, GTC, limit="99"), ["100", "98"], ["working", "filled"], 100),
        (order(LIMIT, IOC, limit="99"), ["100", "98"], ["cancelled", "cancelled"], 0),
        (order(LIMIT, IOC, limit="110", units=1500), ["100"], ["cancelled"], 1000),
        (order(LIMIT, FOK, limit="110", units=1500), ["100", "100"], ["cancelled"] * 2, 0),
        (order(LIMIT, FOK, limit="110", units=1000), ["100"], ["filled"], 1000),
        (order(MARKET, CLS), ["100"], ["filled"], 100),
        (order(LIMIT, CLS, limit="99.9"), ["100", "99"], ["expired", "expired"], 0),
        (order(STOP, DAY, stop="103", limit="113"), ["102", "104"], ["expired"] * 2, 0),
        (order(STOP, DAY, stop="103", limit="113"), ["104"], ["filled"], 100),
        (order(STOP, GTC, stop="103", limit="113"), ["102", "104"], ["working", "filled"], 100),
        # a gap through the stop and beyond its limit: awake, it rests, and no stop is needed again
        (
            order(STOP_LIMIT, GTC, stop="103", limit="104"),
            ["102", "109", "101"],
            ["working", "working", "filled"],
            100,
        ),
        (
            order(STOP, GTC, side=SELL, stop="97", limit="87"),
            ["98", "80", "95"],
            ["working", "working", "filled"],
            100,
        ),
    ],
)  # fmt: skip
def test_a_venue_keeps_the_row_of_the_rules_for_each_type(tmp_path, asked, closes, states, filled):
    venue, seen = lived(tmp_path, asked, closes)
    assert seen == states
    assert venue.report(asked.order_id).filled == filled
    venue.close()


def test_a_halted_session_wakes_no_stop(tmp_path):
    asked = order(STOP_LIMIT, GTC, stop="103", limit="104")
    venue, _ = lived(tmp_path, asked, ["104"], halted=True)
    venue.close()
    again = PaperVenue(tmp_path / f"{asked.order_id}.db", MODEL)  # a restart remembers
    later = START + timedelta(days=9)
    again.on_bars([bar("101", later)], later)
    assert again.find(asked.order_id) is OrderState.WORKING
    again.close()


def test_a_good_till_cancelled_peg_fills_in_parts_of_which_each_counts_once(tmp_path):
    asked = order(MID_PEG, GTC, units=2000)
    # 1/13 of a session trades past it, a tenth of that at the middle: 769 of 100,000 a day
    venue, seen = lived(tmp_path, asked, ["100", "100", "100"], daily_volume=100_000.0, shown=0.0)
    assert seen == ["working", "working", "filled"]
    parts = [fill.quantity for _, fill in venue.executions(0)]
    assert parts == [769, 769, 462]
    venue.close()


def test_a_venue_refuses_what_its_bars_cannot_show(tmp_path):
    venue = PaperVenue(tmp_path / "v.db", PRIMARY)
    with pytest.raises(OrderInvalid, match="no opening price"):
        venue.submit(order(LIMIT, OPG))
    with pytest.raises(OrderInvalid, match="takes no pegs"):
        venue.submit(order(MID_PEG))
    assert venue.working() == ()
    venue.close()


every_type = st.sampled_from([(k, t) for k in OrderType for t in FITS[k] if t is not OPG])


@settings(max_examples=20, deadline=None)
@given(
    asked=st.lists(
        st.tuples(every_type, st.sampled_from(list(Side)), st.integers(1, 3000)), max_size=6
    ),
    closes=st.lists(st.integers(8000, 12000), min_size=1, max_size=5),
    volume=st.sampled_from([None, 20_000.0, 1e7]),
    cancel_after=st.integers(0, 5),
)
def test_filled_leaves_and_cancelled_are_what_was_ordered_after_every_bar(
    tmp_path_factory, asked, closes, volume, cancel_after
):
    venue = PaperVenue(
        tmp_path_factory.mktemp("venue") / "v.db",
        MODEL,
        states=lambda one: MarketState(mid=float(one.close), daily_volume=volume),
    )
    orders = []
    for leg, ((kind, time), side, units) in enumerate(asked):
        stop = D(100 + 4 * side.sign) if kind.stops else None
        one = order(kind, time, side=side, limit=str(100 + 8 * side.sign), units=units, leg=leg,
                    stop=None if stop is None else str(stop))  # fmt: skip
        orders.append(one)
        venue.submit(one)
    for number, one in enumerate(bars_of([str(D(close) / 100) for close in closes])):
        venue.on_bars([one], one.event_time)
        if number == cancel_after:
            for each in orders:
                venue.cancel(each.order_id)
        for each in orders:
            report = venue.report(each.order_id)
            done = sum(
                (f.quantity for _, f in venue.executions(0) if f.order_id == each.order_id), D(0)
            )
            assert report.filled == done
            assert report.filled + report.leaves + report.cancelled == each.quantity
            assert (report.state is OrderState.FILLED) == (done == each.quantity)
            if each.time_in_force is FOK:
                assert done in (0, each.quantity)
            if each.time_in_force is not GTC:
                assert report.leaves == 0
    venue.close()
