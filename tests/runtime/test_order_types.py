"""Every order type end to end: what may be asked, what the plan asks, what a bar makes of it."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import product

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from runtime.brokers.matching import Asked, match_bar, style_of
from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.bundles.contract import SizingPolicy, canonical
from runtime.domain import (
    Bar,
    Fill,
    Order,
    OrderReport,
    OrderState,
    OrderType,
    PlannedOrder,
    Quote,
    Side,
    TimeInForce,
)
from runtime.errors import OrderInvalid
from runtime.execution.fills import FillTerms, MarketState, Style
from runtime.execution.style import Execution
from runtime.joint.allocation import Asked as Wanted
from runtime.joint.allocation import join
from runtime.market.pegs import peg
from runtime.market.states import Bands
from runtime.plan import make_plan
from runtime.routing.whole import route_order
from tests.runtime.journal.trading import START, make_order

D = Decimal
DAY, GTC, IOC, FOK, OPG, CLS = TimeInForce
MARKET, LIMIT, MID_PEG, STOP, STOP_LIMIT = OrderType
BUY, SELL = Side
MODEL = replace(
    PRIMARY, model=FillTerms(half_spread=0.00025, fee_rate=0.00025, adverse=0.0, queue_share=0.1)
)
FITS = {
    MARKET: {DAY, IOC, OPG, CLS},
    LIMIT: set(TimeInForce),
    MID_PEG: {DAY, GTC},
    STOP: {DAY, GTC},
    STOP_LIMIT: {DAY, GTC},
}


def order(
    kind: OrderType = LIMIT,
    time: TimeInForce = DAY,
    *,
    side: Side = BUY,
    limit: str = "110",
    stop: str | None = None,
    units: int = 100,
    leg: int = 0,
) -> Order:
    plain = make_order(units * side.sign, "AAA", limit=limit, leg=leg)
    return changed(
        plain, order_type=kind, time_in_force=time, stop_price=None if stop is None else D(stop)
    )


# --- what may be asked -----------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "time"), product(OrderType, TimeInForce))
def test_a_type_takes_the_times_in_force_that_its_row_of_the_rules_allows(kind, time):
    stop = "105" if kind.stops else None
    if time in FITS[kind]:
        assert order(kind, time, stop=stop).time_in_force is time
    else:
        with pytest.raises(OrderInvalid, match=f"{kind.value} cannot be {time.value}.*use one of"):
            order(kind, time, stop=stop)


@pytest.mark.parametrize(
    ("kind", "stop", "limit", "why"),
    [
        (STOP, None, "110", "needs a positive stop"),
        (STOP_LIMIT, "0", "110", "needs a positive stop"),
        (LIMIT, "105", "110", "takes no stop price"),
        (MARKET, "105", "110", "takes no stop price"),
        (MID_PEG, "105", "110", "takes no stop price"),
        (STOP, "105", "104", "could never fill"),
    ],
)
def test_prices_that_make_no_order_are_refused_with_one_reason(kind, stop, limit, why):
    with pytest.raises(OrderInvalid, match=why):
        order(kind, stop=stop, limit=limit)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"order_type": MID_PEG}, "mid_peg needs its limit"),
        ({"order_type": LIMIT}, "limit needs its limit"),
        ({"order_type": MARKET, "within": "0.01"}, "takes the collar"),
        ({"order_type": STOP}, "stops need one"),
        ({"order_type": LIMIT, "within": "0.01", "stop": "0.02"}, "others have none"),
        ({"order_type": STOP, "stop": "-0.02"}, "must lie above 0"),
        ({"order_type": LIMIT, "within": "NaN"}, "between -0.5 and 0.5"),
        ({"order_type": LIMIT, "within": "much"}, "must be a decimal"),
        ({"order_type": LIMIT, "within": "0", "time_in_force": OPG}, "no opening price"),
        ({"order_type": MID_PEG, "within": "0", "time_in_force": FOK}, "has to rest"),
        ({"time_in_force": GTC}, "no longer than its session"),
    ],
)
def test_a_bundle_that_asks_for_what_makes_no_order_is_refused(said, why):
    with pytest.raises(ValueError, match=why):
        Execution(**said)
    told = msgspec.json.encode(said)
    with pytest.raises(msgspec.ValidationError, match=why):
        msgspec.json.decode(told, type=Execution)


def test_who_says_nothing_of_execution_writes_the_bytes_that_were_always_written():
    assert b"execution" not in canonical(SizingPolicy())
    plain = order(MARKET)
    assert b"stop_price" not in msgspec.json.encode(plain)
    asked = Execution(order_type=STOP_LIMIT, time_in_force=GTC, within="0.01", stop="0.02")
    sizing = SizingPolicy(execution=asked)
    assert msgspec.json.decode(canonical(sizing), type=SizingPolicy) == sizing
    assert sizing.at_market == SizingPolicy()


# --- what the plan asks ----------------------------------------------------------------------


def planned(execution: Execution | None, side: Side = BUY) -> PlannedOrder:
    sizing = SizingPolicy(invested=1.0)
    if execution is not None:
        sizing = changed(sizing, execution=execution)
    plan = make_plan(
        np.array([0.5 if side is BUY else 0.0]),
        ("AAA",),
        prices={"AAA": D("100.00")},
        positions={} if side is BUY else {"AAA": D(500)},
        equity=D(100_000),
        sizing=sizing,
        day=date(2017, 1, 31),
    )
    return plan.orders[0]


@pytest.mark.parametrize(
    ("execution", "buy", "sell"),
    [
        (None, ("110.00", None), ("90.00", None)),
        (Execution(time_in_force=IOC), ("110.00", None), ("90.00", None)),
        (Execution(order_type=LIMIT, within="0.01"), ("101.00", None), ("99.00", None)),
        (Execution(order_type=LIMIT, within="-0.02"), ("98.00", None), ("102.00", None)),
        (Execution(order_type=MID_PEG, within="0.00015"), ("100.01", None), ("99.99", None)),
        (Execution(order_type=STOP, stop="0.03"), ("113.30", "103.00"), ("87.30", "97.00")),
        (
            Execution(order_type=STOP_LIMIT, stop="0.03", within="0.01"),
            ("104.03", "103.00"),
            ("96.03", "97.00"),
        ),
    ],
)
def test_a_plan_prices_each_type_from_the_reference_never_further_out(execution, buy, sell):
    for side, (limit, stop) in ((BUY, buy), (SELL, sell)):
        asked = planned(execution, side)
        assert asked.limit_price == D(limit)
        assert asked.stop_price == (None if stop is None else D(stop))
        wanted = execution or Execution()
        assert (asked.order_type, asked.time_in_force) == (
            wanted.order_type,
            wanted.time_in_force,
        )


# --- where it goes ---------------------------------------------------------------------------


def quote(venue: str, bid: str, ask: str, size: int, fee: str = "0.0002") -> Quote:
    return Quote(
        venue=venue, symbol="AAA", bid=D(bid), ask=D(ask), size=D(size), fee_rate=D(fee), at=START
    )


SHOWN = [quote("a", "99.98", "100.02", 300), quote("b", "99.97", "100.03", 900, "0.0001")]


def asks(
    kind: OrderType, time: TimeInForce = DAY, units: int = 200, limit: str = "110"
) -> PlannedOrder:
    return PlannedOrder(
        symbol="AAA", side=BUY, quantity=D(units), order_type=kind, limit_price=D(limit),
        reference_price=D(100), reason="", time_in_force=time,
        stop_price=D(105) if kind.stops else None,
    )  # fmt: skip


def venues_of(asked: PlannedOrder, quotes: Iterable[Quote] = SHOWN) -> dict[str, Decimal]:
    return {leg.venue: leg.quantity for leg in route_order(asked, list(quotes)).legs}


def test_a_fok_goes_to_one_venue_or_to_none():
    assert venues_of(asks(LIMIT, FOK, 300)) == {"a": D(300)}
    assert len(venues_of(asks(LIMIT, DAY, 900))) == 2  # what any other order does
    with pytest.raises(OrderInvalid, match="better quote elsewhere is protected"):
        route_order(asks(LIMIT, FOK, 900), SHOWN)
    with pytest.raises(OrderInvalid, match="no single venue shows all"):
        route_order(asks(LIMIT, FOK, 1000), SHOWN)
    with pytest.raises(OrderInvalid, match="no single venue shows all"):
        route_order(asks(LIMIT, FOK, 100, limit="100.01"), SHOWN)
    small = [quote("a", "99.98", "100.02", 99), SHOWN[1]]  # below a round lot: not protected
    assert venues_of(asks(LIMIT, FOK, 900), small) == {"b": D(900)}


def test_a_peg_and_a_stop_rest_whole_where_they_are_expected_to_cost_least():
    assert venues_of(asks(MID_PEG, DAY, 5000)) == {"b": D(5000)}  # the lower fee, no spread to pay
    assert venues_of(asks(STOP, GTC, 5000)) == {"b": D(5000)}  # 0.0105 + 0.03 against 0.021 + 0.02
    dear = [SHOWN[0], quote("b", "99.90", "100.10", 900, "0.0001")]
    assert venues_of(asks(STOP, GTC, 5000), dear) == {"a": D(5000)}
    assert venues_of(asks(MID_PEG, GTC, 5000), dear) == {"b": D(5000)}
    assert "asleep until 105" in route_order(asks(STOP), SHOWN).explanation
    assert route_order(asks(MID_PEG), SHOWN).legs[0].marginal == D("100.00") * D("1.0001")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"quantity": D(0)}, "must be positive"),
        ({"price": D(-1)}, "must be positive"),
        ({"fee": D("-0.01")}, "fee must not be negative"),
        ({"executed_at": START.replace(tzinfo=None)}, "time zone"),
    ],
)
def test_an_execution_that_cannot_have_happened_is_refused(said, words):
    real: dict[str, object] = {
        "venue": "a", "execution_id": "1", "order_id": "o", "symbol": "AAA", "side": BUY,
        "quantity": D(1), "price": D(1), "fee": D(0), "executed_at": START,
    }  # fmt: skip
    assert Fill(**real).fee == 0
    with pytest.raises(OrderInvalid, match=words):
        Fill(**real | said)


def test_an_order_without_a_time_zone_is_refused():
    order = make_order(10)
    with pytest.raises(OrderInvalid, match="created_at must carry a time zone"):
        changed(order, created_at=order.created_at.replace(tzinfo=None))


@pytest.mark.parametrize("kind", [MID_PEG, STOP])
def test_what_rests_is_not_routed_by_a_quote_of_another_symbol_or_by_none(kind):
    with pytest.raises(OrderInvalid, match="a quote of another symbol"):
        route_order(asks(kind), [SHOWN[0], changed(SHOWN[1], symbol="BBB")])
    with pytest.raises(OrderInvalid, match="no venue shows a quote"):
        route_order(asks(kind), [])


# --- where a peg stands ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bid", "offer", "price"),
    [
        ("10.00", "10.01", "10.005"),  # half a tick
        ("10.00", "10.02", "10.01"),
        ("0.5000", "0.5001", "0.50005"),
        (None, "10.02", None),
        ("10.00", None, None),
        ("10.03", "10.02", None),  # crossed
        ("10.02", "10.02", None),  # locked
        ("10.50", "10.60", None),  # above the upper band
        ("9.40", "9.50", None),  # below the lower one
        ("10.40", "10.50", None),  # beyond its own cap
    ],
)
def test_a_peg_stands_at_the_middle_while_it_may_trade_there(bid, offer, price):
    said = peg(
        BUY,
        bid=None if bid is None else D(bid),
        offer=None if offer is None else D(offer),
        cap=D("10.40"),
        bands=Bands(D("9.50") if bid != "0.5000" else D("0.1"), D("10.50")),
    )
    assert said.price == (None if price is None else D(price))
    locked = peg(BUY, bid=D(10), offer=D(10), cap=D(11), in_locked=True)
    assert locked.price == D(10)


# --- what a bar makes of it ------------------------------------------------------------------

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


def test_a_report_whose_quantities_do_not_add_up_cannot_be_made():
    with pytest.raises(OrderInvalid, match="do not make"):
        OrderReport(
            order_id="x", state=OrderState.WORKING, ordered=D(10), filled=D(4), leaves=D(4),
            cancelled=D(1),
        )  # fmt: skip


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


# --- several bundles in one account ----------------------------------------------------------


def test_bundles_that_share_an_account_keep_a_type_they_agree_on_and_no_order_outlives_its_day():
    def of(kind: OrderType, time: TimeInForce, limit: str) -> PlannedOrder:
        return changed(asks(kind, time), limit_price=D(limit))

    def joined(*wanted: PlannedOrder) -> PlannedOrder:
        plans = [Wanted(role=f"arm.{n}", study="s", orders=(one,)) for n, one in enumerate(wanted)]
        (one,) = join(plans, ("AAA",), equity=D(10**6)).orders
        return one.order

    same = joined(of(LIMIT, GTC, "101"), of(LIMIT, GTC, "100"))
    assert (same.order_type, same.time_in_force, same.limit_price) == (LIMIT, DAY, D(100))
    mixed = joined(of(STOP, GTC, "110"), of(MID_PEG, DAY, "108"))
    assert (mixed.order_type, mixed.time_in_force) == (MARKET, DAY)
    assert (mixed.stop_price, mixed.limit_price) == (None, D(108))
    assert joined(of(STOP, GTC, "110")).time_in_force is DAY
    alone = Wanted(role="arm.a", study="s", orders=(of(STOP, GTC, "110"),))
    (kept,) = join([alone], ("AAA",), equity=D(10**6), alone=True).orders
    assert kept.order.time_in_force is GTC
