"""What a tick decides, commits and sends, and what the next session fills and closes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec
import numpy as np
import pytest

from runtime.clock import ReplayClock
from runtime.domain import OrderState
from runtime.engine import fund
from runtime.policies.policy import default_policy
from tests.fakes.market import CAPITAL, XNYS, open_bench
from tests.runtime.engine.sessions import FRIDAY, MONDAY, run
from tests.runtime.journal.trading import make_decision, make_order, order_state


def test_a_session_that_is_not_due_only_marks_and_closes(bench):
    outcome = run(bench, date(2017, 1, 5))
    assert (outcome.decision, outcome.orders, outcome.fills) == (None, 0, 0)
    last = bench.desk.journal.last_session()
    assert (last.day, last.equity, last.breaks) == (date(2017, 1, 5), CAPITAL, ())


def test_a_tick_decides_commits_and_sends_and_the_next_session_fills(bench):
    journal = bench.desk.journal
    decided = run(bench, FRIDAY)
    record = journal.decision(decided.decision.decision_id).record
    assert record.tick == "2017-01-06"
    assert record.policy_hash == default_policy().hash
    assert record.inputs["prices"].shape == (4, 5)
    assert [len(line.verdicts) for line in record.plan] == [8] * 4
    assert all(line.route and line.order_ids for line in record.plan)
    orders = journal.orders(record.decision_id)
    assert decided.orders == len(orders) >= 4
    assert {order.state for order in orders} == {OrderState.WORKING}

    filled = run(bench, MONDAY)
    assert filled.fills == len(orders)
    assert {o.state for o in journal.orders(record.decision_id)} == {OrderState.FILLED}
    close = XNYS.session(MONDAY).close
    assert {one.fill.executed_at for one in journal.fills()} == {close}
    last = journal.last_session()
    invested = last.equity - last.cash
    # the graph asks for 0.9, the sizing policy invests 0.98 of it
    assert Decimal("0.87") < invested / last.equity < Decimal("0.89")


def test_how_often_orders_were_repeated_is_handed_out_as_it_stood_then(bench):
    history = bench.engine().history
    decided = run(bench, FRIDAY).decision
    before = history.repeats()
    history.decided(decided)
    once = history.repeats()
    for _ in range(12):
        history.decided(decided)
    assert (len(before), set(once.values()), set(history.repeats().values())) == (0, {1}, {10})
    with pytest.raises(TypeError):
        once[next(iter(once))] = 7


@dataclass
class Ticking(ReplayClock):
    """A clock on which time goes by: every look at it is seven milliseconds later."""

    def now(self) -> datetime:
        self.at += timedelta(milliseconds=7)
        return self.at


def test_an_acknowledgement_carries_the_time_it_came_so_that_latency_can_be_measured(bench):
    session = XNYS.session(FRIDAY)
    engine = bench.changed(clock=Ticking(session.close))
    outcome = engine.run_session(session)
    journal = bench.desk.journal
    decided = journal.decision(outcome.decision.decision_id).record.decided_at
    waited = [
        (event.at - decided) / timedelta(milliseconds=1)
        for record in journal.orders()
        for event in journal.order_events(record.order.order_id)
        if event.state is OrderState.WORKING
    ]
    assert len(waited) == outcome.orders
    assert min(waited) >= 7.0
    assert len(set(waited)) == len(waited), "orders are sent one after another"


def test_the_graph_sees_exactly_what_was_known_at_the_close(bench):
    outcome = run(bench, FRIDAY)
    market = bench.market
    last = [session.day for session in market.sessions].index(FRIDAY)
    expected = market.closes[:, last - 4 : last + 1]
    np.testing.assert_array_equal(outcome.decision.inputs["prices"], expected)
    assert outcome.decision.current == (0.0,) * 4
    assert outcome.decision.known_at == XNYS.session(FRIDAY).close


def test_a_tick_runs_again_without_any_effect(bench):
    run(bench, FRIDAY, MONDAY)
    head = bench.desk.journal.head()
    session = XNYS.session(MONDAY)
    for engine in (bench.engine(), bench.engine()):
        outcome = engine.run_session(session)
        assert (outcome.decision, outcome.orders, outcome.fills) == (None, 0, 0)
    assert bench.desk.journal.head() == head


def test_the_account_never_trades_before_it_is_funded(tmp_path):
    bench = open_bench(tmp_path)
    outcome = run(bench, FRIDAY)
    assert "equity" in outcome.refusal
    assert bench.desk.journal.orders() == ()
    bench.close()


def test_an_unapproved_bundle_decides_but_sends_nothing(tmp_path):
    bench = open_bench(tmp_path, approved=lambda: "f" * 64)
    fund(bench.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    outcome = run(bench, FRIDAY)
    assert (outcome.orders, outcome.denied) == (0, 4)
    assert {line.verdicts[0].check for line in outcome.decision.plan} == {"1 authority"}
    assert not any(line.verdicts[0].passed for line in outcome.decision.plan)
    bench.close()


def test_orders_that_another_bundle_sent_in_this_session_count_against_its_limit(bench):
    """A new bundle takes over between the commit of a tick and the session's close."""
    journal, tick = bench.desk.journal, FRIDAY.isoformat()
    earlier = [make_order(10, name, tick=tick, leg=leg) for name in "ABC" for leg in range(2)]
    journal.record_decision(make_decision(earlier, tick), earlier)
    at = XNYS.session(FRIDAY).open
    for order in earlier:
        order_state(journal, order.order_id, OrderState.REJECTED, at)
    assert journal.sent_at(tick) == 3  # two legs are one order

    def limited(most: int):
        policy = default_policy()
        rate = msgspec.structs.replace(policy.rate, max_orders_per_session=most)
        return msgspec.structs.replace(policy, rate=rate)

    outcome = run(bench, FRIDAY, engine=bench.changed(policy=limited(5)))
    denied = [line for line in outcome.decision.plan if line.denied]
    assert len(outcome.decision.plan) - len(denied) == 2
    failed = {verdict.check for line in denied for verdict in line.verdicts if not verdict.passed}
    assert failed == {"7 rate"}


def test_losses_and_streaks_are_counted_alike_after_a_restart(bench):
    engine = bench.engine()
    days = [session.day for session in XNYS.sessions(date(2017, 1, 3), date(2017, 4, 28))]
    run(bench, *days, engine=engine)
    restarted = bench.engine().history
    ours = engine.history
    for name in ("equity", "peak", "losing_streak", "last_day", "broken_days", "marks"):
        assert getattr(restarted, name) == getattr(ours, name)
    assert restarted.repeats() == ours.repeats()
    assert restarted.benchmark.equity == ours.benchmark.equity
    equities = [record.equity for record in bench.desk.journal.sessions()]
    assert ours.peak == max(equities)
    streak = 0
    while streak + 1 < len(equities) and equities[-1 - streak] < equities[-2 - streak]:
        streak += 1
    assert ours.losing_streak == streak
