"""Where each order type goes, where a peg stands, and what bundles of one account agree on."""

from collections.abc import Iterable
from decimal import Decimal

import pytest
from msgspec.structs import replace as changed

from runtime.domain import OrderType, PlannedOrder, Quote, TimeInForce
from runtime.errors import OrderInvalid
from runtime.joint.allocation import Asked as Wanted
from runtime.joint.allocation import join
from runtime.market.pegs import peg
from runtime.market.states import Bands
from runtime.routing.whole import route_order
from tests.runtime.journal.trading import START
from tests.runtime.typed_orders import BUY, DAY, FOK, GTC, LIMIT, MARKET, MID_PEG, STOP, D


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


@pytest.mark.parametrize("kind", [MID_PEG, STOP])
def test_what_rests_is_not_routed_by_a_quote_of_another_symbol_or_by_none(kind):
    with pytest.raises(OrderInvalid, match="a quote of another symbol"):
        route_order(asks(kind), [SHOWN[0], changed(SHOWN[1], symbol="BBB")])
    with pytest.raises(OrderInvalid, match="no venue shows a quote"):
        route_order(asks(kind), [])


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
