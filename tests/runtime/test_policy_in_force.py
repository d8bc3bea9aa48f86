"""An engine follows the policy in force at each tick, and names it in what it decides."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from runtime.clock import ReplayClock
from runtime.engine import Engine, fund
from runtime.errors import DatabaseUnavailable
from runtime.policies.log import PolicyLog
from runtime.policies.policy import default_policy, policy_text
from tests.fakes.market import CAPITAL, XNYS, open_bench

FRIDAYS = (date(2017, 1, 6), date(2017, 1, 13))
ASKED = XNYS.session(FRIDAYS[0]).close - timedelta(hours=1)
SMALL = policy_text(None).replace("max_notional = 10_000_000", "max_notional = 1")


@pytest.fixture
def bench(tmp_path):
    found = open_bench(tmp_path)
    fund(found.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    yield found
    found.close()


def run(engine: Engine, day: date):
    clock = engine.desk.clock
    assert isinstance(clock, ReplayClock)
    clock.advance(XNYS.session(day).close)
    return engine.run_session(XNYS.session(day))


@pytest.fixture
def log(bench):
    found = PolicyLog(bench.desk.journal.engine)
    found.reload(policy_text(None), by="start", why="test", at=ASKED)
    return found


def test_a_reload_is_followed_at_the_next_tick_without_a_restart(bench, log):
    engine = bench.changed(limits=log.policy_at)
    first = run(engine, FRIDAYS[0])
    assert first.orders > 0
    log.reload(SMALL, by="ada", why="careful", at=ASKED + timedelta(days=3))
    second = run(engine, FRIDAYS[1])
    assert second.orders == 0
    assert (first.decision.policy_hash, second.decision.policy_hash) == tuple(
        one.hash for one in log.history()
    )


def test_an_override_changes_one_tick_and_is_found_by_the_hash_the_decision_names(bench, log):
    log.reload(SMALL, by="ada", why="careful", at=ASKED)
    asked = log.ask(
        "size.max_notional", "1000000", seconds=7200, by="ada", why="month end", at=ASKED
    )
    log.approve(asked.id, by="ben", at=ASKED)
    engine = bench.changed(limits=log.policy_at)
    first, second = run(engine, FRIDAYS[0]), run(engine, FRIDAYS[1])
    assert (first.orders > 0, second.orders) == (True, 0)
    base, used = log.explain(first.decision.policy_hash)
    assert (base.number, [one.approved_by for one in used]) == (2, ["ben"])
    assert log.explain(second.decision.policy_hash) == (base, ())


def test_without_an_answer_about_the_policy_nothing_is_decided(bench):
    def gone(at):
        raise DatabaseUnavailable("no answer")

    outcome = run(bench.changed(limits=gone), FRIDAYS[0])
    assert outcome.refusal == "refused: no answer"
    assert outcome.orders == 0
    assert outcome.decision.policy_hash == default_policy().hash


def test_a_rest_after_a_loss_survives_a_restart(tmp_path):
    text = policy_text(None).replace("max_daily_loss = 0.15", "max_daily_loss = 0")
    bench = open_bench(tmp_path)
    fund(bench.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    policy = PolicyLog(bench.desk.journal.engine)
    policy.reload(text, by="start", why="test", at=ASKED)
    days = [session.day for session in XNYS.sessions(FRIDAYS[0], date(2017, 1, 13))]
    for day in days[:-1]:
        run(bench.engine(), day)  # a new engine each day: nothing is remembered but the journal
    closes = [one.equity for one in bench.desk.journal.sessions()]
    assert any(after < before for before, after in pairwise(closes))
    outcome = run(bench.changed(limits=policy.policy_at), days[-1])
    verdicts = [v for line in outcome.decision.plan for v in line.verdicts if v.check == "6 loss"]
    resting = [v for v in verdicts if "a rest of 5 sessions" in v.limit]
    assert resting
    assert all(not v.passed and "daily loss" in v.reason for v in resting)
    assert Decimal(0) == policy.policy_at(ASKED).loss.max_daily_loss
    bench.close()
