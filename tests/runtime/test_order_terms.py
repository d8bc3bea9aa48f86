"""Terms that make an order, a fill or a report, and what a plan asks for; others are refused."""

from datetime import date
from itertools import product

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace as changed

from runtime.bundles.contract import SizingPolicy, canonical
from runtime.domain import Fill, OrderReport, OrderState, OrderType, PlannedOrder, Side, TimeInForce
from runtime.errors import OrderInvalid
from runtime.execution.style import Execution
from runtime.plan import make_plan
from tests.runtime.journal.trading import START, make_order
from tests.runtime.typed_orders import (
    BUY,
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


def test_a_report_whose_quantities_do_not_add_up_cannot_be_made():
    with pytest.raises(OrderInvalid, match="do not make"):
        OrderReport(
            order_id="x", state=OrderState.WORKING, ordered=D(10), filled=D(4), leaves=D(4),
            cancelled=D(1),
        )  # fmt: skip
