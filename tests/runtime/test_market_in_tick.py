"""The published market in a tick: collars end at the bands, and a cancel passes whatever is on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from types import SimpleNamespace

import pytest

from runtime.domain import OrderState, OrderType, PlannedOrder, Side, TimeInForce
from runtime.engine import fund
from runtime.guardrails import MarketState, Published
from runtime.market.bands import inside
from runtime.market.states import Bands
from runtime.policies.policy import parse_policy
from runtime.tick import inside_bands
from tests.fakes.market import CAPITAL, XNYS, open_bench

FRIDAY = XNYS.session(date(2017, 1, 6))
MONDAY = XNYS.session(date(2017, 1, 9))


@pytest.fixture
def bench(tmp_path):
    found = open_bench(tmp_path)
    fund(found.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    yield found
    found.close()


def run(bench, session, **changes):
    bench.desk.clock.advance(session.close)
    return bench.changed(**changes).run_session(session)


def test_a_collar_ends_at_the_band_on_its_side():
    limits = Bands(Decimal("95.00"), Decimal("105.00"))
    found = [inside(Decimal(p), s, limits) for s in Side for p in ("90", "100", "110")]
    assert found == [Decimal(p) for p in ("90", "100", "105", "95", "100", "110")]


def test_a_stops_collar_is_pulled_in_as_far_as_its_stop_and_no_further():
    def pulled(upper: str) -> Decimal:
        bands = Bands(Decimal("90"), Decimal(upper))
        now = Published(state=MarketState.NORMAL, at=FRIDAY.close, bands=bands)
        stop = PlannedOrder(
            symbol="AAA",
            side=Side.BUY,
            quantity=Decimal(10),
            order_type=OrderType.STOP,
            limit_price=Decimal("106"),
            reference_price=Decimal("100"),
            reason="test",
            time_in_force=TimeInForce.GTC,
            stop_price=Decimal("104"),
        )
        (found,) = inside_bands([stop], SimpleNamespace(market={"AAA": now}))
        return found.limit_price

    assert pulled("105") == Decimal("105")
    assert pulled("104") == Decimal("104")
    assert pulled("103") == Decimal("106")  # the stop itself lies beyond: check 4 says so


def test_market_orders_are_pulled_in_to_published_bands_and_pass(bench):
    prices = {bar.symbol: bar.close for bar in bench.desk.feed.bars(
        bench.bundle.manifest.symbols, FRIDAY.close)}  # fmt: skip
    share = Decimal("0.05")
    bands = {
        symbol: Bands(*(round(price * (1 + way * share), 2) for way in (-1, 1)))
        for symbol, price in prices.items()
    }

    def market(at):
        return {
            symbol: Published(state=MarketState.NORMAL, at=at, bands=bands[symbol], bands_at=at)
            for symbol in prices
        }

    outcome = run(bench, FRIDAY, market=market)
    orders = [line.order for line in outcome.decision.plan]
    assert orders
    assert outcome.denied == 0
    assert all(order.limit_price == bands[order.symbol].upper for order in orders)
    assert all(order.side is Side.BUY for order in orders)


def test_a_cancel_passes_with_every_limit_missing_the_market_halted_and_trading_stopped(bench):
    sent = run(bench, FRIDAY)
    assert sent.orders > 0
    working = [record.order.order_id for record in bench.desk.journal.open_orders()]
    assert len(working) == sent.orders

    def halted(at):
        return {s: Published(state=MarketState.HALTED, at=at, code="MWC3")
                for s in bench.bundle.manifest.symbols}  # fmt: skip

    bench.desk.kill.engage("all", "drill")
    dead = replace(bench.desk.feed, reader=type(bench.market)(last=date(2017, 1, 6)))
    policy = parse_policy('name = "nothing is allowed"')
    # The feed is dead too, so nothing executes before the cancel.
    outcome = run(bench, MONDAY, policy=policy, market=halted, feed=dead)
    assert outcome.fills == 0
    states = {record.order.order_id: record.state for record in bench.desk.journal.orders()}
    assert {states[name] for name in working} == {OrderState.CANCELLED}
    assert bench.desk.journal.open_orders() == ()


def test_a_real_venue_that_publishes_nothing_takes_no_order(bench, monkeypatch):
    monkeypatch.setattr(type(bench.desk), "simulated", property(lambda _: False))
    outcome = run(bench, FRIDAY)
    assert outcome.orders == 0
    reasons = {v.reason for line in outcome.decision.plan for v in line.verdicts if not v.passed}
    assert "no market state was published" in reasons
