"""Every order type through the engine: decided, checked, routed, sent, filled or not, booked."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace as changed

from runtime.brokers.paper import ALTERNATE, PRIMARY, PaperVenue
from runtime.bundles.contract import SizingPolicy
from runtime.domain import OrderState, OrderType, Side, TimeInForce
from runtime.engine import fund
from runtime.execution.fills import FillTerms, MarketState
from runtime.execution.style import Execution
from runtime.guardrails import MarketState as Trading
from runtime.guardrails import Published, judge
from runtime.market.states import Bands
from tests.fakes.graphs import tilt_manifest
from tests.fakes.market import CAPITAL, XNYS, Bench, open_bench
from tests.runtime.engine.sessions import run
from tests.runtime.guardrails.scene import AT, POLICY, context, planned

D = Decimal
DAYS = [one.day for one in XNYS.sessions(date(2017, 1, 3), date(2017, 1, 31))]
MODEL = FillTerms(half_spread=0.00025, fee_rate=0.00025, queue_share=0.1)
EVERY = {
    "nothing said": None,
    "market, ioc": Execution(time_in_force=TimeInForce.IOC),
    "market, at the close": Execution(time_in_force=TimeInForce.CLS),
    "limit": Execution(order_type=OrderType.LIMIT, within="-0.005"),
    "limit, gtc": Execution(
        order_type=OrderType.LIMIT, within="-0.005", time_in_force=TimeInForce.GTC
    ),
    "limit, wider": Execution(order_type=OrderType.LIMIT, within="0.004"),
    "limit, fok": Execution(
        order_type=OrderType.LIMIT, within="0.05", time_in_force=TimeInForce.FOK
    ),
    "peg": Execution(order_type=OrderType.MID_PEG, within="0.05"),
    "peg, gtc": Execution(
        order_type=OrderType.MID_PEG, within="0.05", time_in_force=TimeInForce.GTC
    ),
    "stop": Execution(order_type=OrderType.STOP, stop="0.005"),
    "stop, gtc": Execution(order_type=OrderType.STOP, stop="0.005", time_in_force=TimeInForce.GTC),
    "stop limit": Execution(order_type=OrderType.STOP_LIMIT, stop="0.005", within="0.002"),
}


class Counting(PaperVenue):
    """Counts how often each order was sent."""

    sent: Counter[str]

    def submit(self, order):
        self.sent[order.order_id] += 1
        return super().submit(order)


@dataclass
class Traded:
    """An account after some weeks, and what was seen on the way."""

    bench: Bench
    sent: Counter[str]
    reports: list[object] = field(default_factory=list)

    def result(self) -> tuple[object, ...]:
        journal = self.bench.desk.journal
        last = journal.last_session()
        fills = [(f.fill.execution_id, f.fill.price, f.fill.quantity) for f in journal.fills()]
        return last.cash, dict(last.positions), fills


def traded(
    folder: Path,
    execution: Execution | None,
    schedule: str = "daily",
    depths: tuple[int, int] = (225_000, 500_000),
) -> Traded:
    sizing = SizingPolicy()
    if execution is not None:
        sizing = changed(sizing, execution=execution)
    bench = open_bench(folder, manifest=tilt_manifest(schedule=schedule, sizing=sizing))
    fund(bench.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    sent: Counter[str] = Counter()
    venues = []
    for plain, depth in zip((PRIMARY, ALTERNATE), depths, strict=True):
        terms = replace(plain, depth=D(depth))
        venue = Counting(
            folder / "venues" / f"{terms.name}-modelled.db",
            replace(terms, model=MODEL),
            states=lambda bar: MarketState(
                mid=float(bar.close), daily_volume=3e5, daily_volatility=0.01
            ),
        )
        venue.sent = sent
        venues.append(venue)
    engine = bench.changed(brokers=tuple(venues))
    found = Traded(bench, sent)
    for day in DAYS:
        outcome = run(bench, day, engine=engine)
        assert outcome.breaks == ()
        for record in bench.desk.journal.orders():
            report = record.report
            assert report.filled + report.leaves + report.cancelled == record.order.quantity
            said = bench.desk.broker(record.order.venue).report(record.order.order_id)
            if record.state is not OrderState.REJECTED and record.order.tick != day.isoformat():
                assert said == report, (day, record)
            found.reports.append((day, report))
    bench.desk.journal.verify()
    return found


@pytest.fixture(scope="module")
def market_order(tmp_path_factory):
    found = traded(tmp_path_factory.mktemp("usual"), None)
    yield found
    found.bench.close()


@pytest.mark.parametrize("name", [one for one in EVERY if one != "nothing said"])
def test_each_way_to_execute_changes_what_is_traded_and_the_books_stay_the_venues(
    tmp_path, market_order, name
):
    found = traded(tmp_path / "one", EVERY[name])
    assert found.result() != market_order.result()
    assert set(found.sent.values()) <= {1}, "nothing is ever sent again"
    asked = {(r.order.order_type, r.order.time_in_force) for r in found.bench.desk.journal.orders()}
    assert asked == {(EVERY[name].order_type, EVERY[name].time_in_force)}
    assert found.bench.desk.journal.fills()
    found.bench.close()
    if "gtc" in name:
        again = traded(tmp_path / "two", EVERY[name])
        assert again.result() == found.result(), "a replay meets the same luck"
        assert again.reports == found.reports
        again.bench.close()


def test_what_an_ioc_lacks_is_cancelled_and_the_next_decision_asks_anew(tmp_path):
    asked = Execution(time_in_force=TimeInForce.IOC)
    found = traded(tmp_path, asked, schedule="week_end", depths=(70_000, 70_000))
    orders = found.bench.desk.journal.orders()
    cut = [one for one in orders if one.state is OrderState.CANCELLED and one.filled]
    assert cut, "more was asked for than was shown"
    assert all(one.leaves == 0 and one.report.cancelled > 0 for one in cut)
    assert set(found.sent.values()) == {1}
    found.bench.close()


def test_a_new_decision_replaces_what_still_rests(tmp_path):
    found = traded(tmp_path, EVERY["limit, gtc"])
    orders = found.bench.desk.journal.orders()
    replaced = [one for one in orders if one.note.startswith("replaced by the decision of")]
    assert replaced
    assert {one.state for one in replaced} == {OrderState.CANCELLED}
    working = found.bench.desk.journal.open_orders()
    assert {one.order.tick for one in working} <= {DAYS[-1].isoformat()}
    found.bench.close()


def test_a_fok_that_no_venue_fills_whole_is_refused_by_the_router_and_never_sent(tmp_path):
    found = traded(tmp_path, EVERY["limit, fok"], schedule="week_end")
    journal = found.bench.desk.journal
    lines = [line for one in journal.decisions() for line in one.record.plan]
    refused = [line for line in lines if line.denied and line.verdicts[-1].check == "route"]
    assert refused
    assert all("whole or not at all" in line.verdicts[-1].reason for line in refused)
    assert all(line.order_ids == () for line in refused)
    for record in journal.orders():
        assert record.filled in (0, record.order.quantity)
    found.bench.close()


@pytest.mark.parametrize(
    ("side", "stop", "limit", "objection"),
    [
        (Side.BUY, "42.00", "43.00", None),
        (Side.SELL, "38.00", "37.00", None),
        (Side.BUY, "42.005", "43.00", "the stop is off the tick grid"),
        (Side.BUY, "40.00", "43.00", "would trade at once"),
        (Side.SELL, "41.00", "37.00", "would trade at once"),
        (Side.BUY, "60.00", "61.00", "the stop is outside the collar"),
        (Side.BUY, "42.00", "60.00", "outside the collar"),
        (Side.BUY, "43.80", "43.90", "the stop is outside the published band"),
    ],
)
def test_a_stop_is_checked_against_the_reference_and_its_limit_against_the_stop(
    side, stop, limit, objection
):
    asked = changed(
        planned(side, quantity="100"),
        order_type=OrderType.STOP_LIMIT,
        stop_price=D(stop),
        limit_price=D(limit),
    )
    top = "43.85" if objection and "band" in objection else "100"
    if objection and "band" in objection:
        asked = changed(asked, limit_price=D("43.80"), stop_price=D("43.90"))
    state = Published(state=Trading.NORMAL, at=AT, bands=Bands(D("1"), D(top)), bands_at=AT)
    seen = context(
        market={"AAA": state, "BBB": state}, positions={"AAA": D(10_000), "BBB": D(1000)}
    )
    (judged,) = judge([asked], seen, POLICY)
    price = next(one for one in judged.verdicts if one.check == "4 price")
    assert price.passed is (objection is None), price
    assert (objection or "") in price.reason


def test_a_pegs_cap_is_checked_like_any_limit():
    peg = changed(planned(quantity="100"), order_type=OrderType.MID_PEG, limit_price=D("60"))
    (judged,) = judge([peg], context(), POLICY)
    assert "outside the collar" in judged.objections
