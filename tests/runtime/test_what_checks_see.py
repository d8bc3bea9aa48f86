"""What the eight checks look at is the account as its own record tells it, tick after tick."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from runtime import tick
from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.bundles.inputs import MarketReader
from runtime.domain import OrderState
from runtime.engine import fund
from runtime.errors import VenueUnknownOutcome
from runtime.guardrails import Context
from tests.fakes.graphs import tilt_manifest
from tests.fakes.market import CAPITAL, XNYS, Bench, open_bench
from tests.fakes.several import joint_desk, members, tilted

FIRST, LATE = date(2017, 1, 3), timedelta(minutes=5)


@pytest.fixture
def bench(tmp_path):
    opened = open_bench(tmp_path, manifest=tilt_manifest(schedule="daily"))
    fund(opened.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    yield opened
    opened.close()


@pytest.fixture
def seen(monkeypatch) -> list[Context]:
    """Every picture that the checks were given."""
    found: list[Context] = []
    judge = tick.judge

    def looked(orders, context, policy):
        found.append(replace(context, repeats=Counter(context.repeats)))  # as it is now
        return judge(orders, context, policy)

    monkeypatch.setattr(tick, "judge", looked)
    return found


def run(bench: Bench, count: int, **changes) -> None:
    """Run the first sessions, each five minutes after its close."""
    engine = bench.changed(**changes)
    for session in XNYS.sessions(FIRST, date(2017, 3, 1))[:count]:
        bench.desk.clock.advance(session.close + LATE)
        engine.run_session(session)


def losing(equities) -> int:
    streak = 0
    while streak + 1 < len(equities) and equities[-1 - streak] < equities[-2 - streak]:
        streak += 1
    return streak


def test_losses_streaks_peaks_and_prices_of_before_are_those_of_the_closed_sessions(bench, seen):
    run(bench, 24)
    sessions = bench.desk.journal.sessions()
    assert len(seen) == len(sessions) == 24
    for number, context in enumerate(seen):
        closed, now = sessions[:number], sessions[number]
        equities = [one.equity for one in closed]
        assert context.equity_before == (equities[-1] if equities else None)
        assert context.equity_peak == max(equities, default=None)
        assert context.losing_streak == losing(equities)
        assert [one.equity for one in context.closes] == equities
        assert context.previous_prices == (closed[-1].marks if closed else {})
        assert (context.equity, context.cash) == (now.equity, now.cash)
        assert (context.prices, context.positions) == (now.marks, now.positions)
        close = XNYS.session(now.day).close
        assert set(context.priced_at.values()) == {context.valued_at} == {close}
        assert context.at == close + LATE
    assert max(context.losing_streak for context in seen) > 1


def test_orders_sent_before_are_counted_by_what_the_last_ten_decisions_sent(bench, seen):
    run(bench, 14)
    sent: list[Counter] = []
    for kept in reversed(bench.desk.journal.decisions(limit=20)):
        lines = [line.order for line in kept.record.plan if line.order_ids]
        sent.append(Counter((one.symbol, one.side, one.quantity) for one in lines))
    assert len(sent) == len(seen) == 14
    for number, context in enumerate(seen):
        assert context.repeats == sum(sent[max(0, number - 10) : number], Counter())
    assert sum(seen[-1].repeats.values()) > 4


def test_stage_study_and_seat_are_those_of_the_bundle_that_decides(bench, seen):
    run(bench, 1, approved=lambda: "f" * 64)
    (context,) = seen
    assert (context.stage, context.study) == ("staging", bench.bundle.manifest.study)
    assert (context.bundle, context.approved_bundle) == (bench.bundle.hash, "f" * 64)
    assert (context.account, context.caller, context.simulated) == ("paper", "engine", True)
    assert context.features.keys() == {bench.bundle.manifest.price_feature}


class Later(MarketReader):
    """The market as a decision reads it: each value is known three minutes after its bar."""

    def __init__(self, market) -> None:
        self._market, self.window = market, market.window

    def latest(self, *args, **named):
        found = self._market.latest(*args, **named)
        return replace(found, known_at=[at + timedelta(minutes=3) for at in found.known_at])


def test_a_decision_is_as_late_as_the_newest_thing_it_knew(bench):
    run(bench, 1, reader=Later(bench.market))  # the feed of bars knows them at the close
    (kept,) = bench.desk.journal.decisions()
    assert kept.record.known_at == XNYS.session(FIRST).close + timedelta(minutes=3)


class Silent(PaperVenue):
    """Takes orders and answers no question about one."""

    def submit(self, order):
        super().submit(order)
        raise VenueUnknownOutcome(f"{self.name}: no answer")

    def find(self, order_id):
        raise VenueUnknownOutcome(f"{self.name}: no answer")

    def expire_before(self, opened):
        """Keep what works."""

    def on_bars(self, bars, at):
        """Show the first bars, when nothing works yet, and execute nothing on later ones."""
        return super().on_bars(bars, at) if at < XNYS.next(FIRST).open else 0


def test_what_may_still_fill_is_no_reason_to_buy_it_again(bench, seen):
    venue = Silent(bench.folder / "venues" / "silent.db", PRIMARY)
    run(bench, 2, brokers=(venue,))
    venue.close()
    orders = bench.desk.journal.orders()
    first = {one.order.symbol: one.order for one in orders if one.order.tick == str(FIRST)}
    assert {one.state for one in orders} == {OrderState.UNKNOWN}
    assert [one.working for one in seen] == [(), tuple(first.values())]
    second = bench.desk.journal.decisions(limit=1)[0].record
    for line in second.plan:
        assert line.order.quantity < first[line.order.symbol].quantity / 10


def test_nor_is_it_for_one_of_several_bundles(bench, seen, tmp_path):
    venue = Silent(bench.folder / "venues" / "silent.db", PRIMARY)
    both = {name: tilted(tmp_path / name, name, schedule="daily") for name in ("arm.a", "arm.b")}
    desk, _ = joint_desk(
        replace(bench.desk, brokers=(venue,)), members(both, {"arm.a": "0.4", "arm.b": "0.5"})
    )
    bench.desk = desk
    run(bench, 2)
    venue.close()
    orders = desk.journal.orders()
    first = {one.order.symbol: one.order for one in orders if one.order.tick == str(FIRST)}
    assert len(first) == 4
    assert [one.working for one in seen] == [(), tuple(first.values())]
    for line in desk.journal.decisions(limit=1)[0].record.plan:
        assert line.order.quantity < first[line.order.symbol].quantity / 10
