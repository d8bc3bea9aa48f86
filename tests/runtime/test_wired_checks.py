"""Limits that are fed from outside the tick: share of volume and drift stops reach the checks."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec
import numpy as np
import pytest

from featurestore.errors import HistoryMissing
from runtime.engine import fund
from runtime.errors import ScopeUnknown
from runtime.journal.redecide import redecide
from runtime.kill.switch import check_scope
from runtime.policies.policy import Policy, default_policy
from tests.fakes.market import CAPITAL, XNYS, SyntheticMarket, open_bench

FRIDAY = XNYS.session(date(2017, 1, 6))
UNKNOWN = "CCC"  # a name of which no volume is known


class WithVolumes(SyntheticMarket):
    """The synthetic market, with a thousand units a day of each name but one."""

    def window(self, feature, symbols, *, length, at):
        if feature != "prices.volume":
            return super().window(feature, symbols, length=length, at=at)
        if UNKNOWN in symbols:
            raise HistoryMissing(f"{feature}: nothing of {UNKNOWN} is known")
        days = np.arange(length, dtype=float) - (length - 1) / 2
        return np.tile(1_000.0 + days, (len(symbols), 1))


@pytest.fixture
def bench(tmp_path):
    found = open_bench(tmp_path, market=WithVolumes())
    fund(found.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    yield found
    found.close()


def decided(bench, **changes):
    """Return what failed of each order of one decision, and that it can be taken again."""
    bench.desk.clock.advance(FRIDAY.close)
    plan = bench.changed(**changes).run_session(FRIDAY).decision.plan
    found = redecide(bench.desk.journal, lambda _: bench.bundle)
    assert (found.whole, found.differences) == (1, ())
    return {
        line.order.symbol: [(one.check, one.observed) for one in line.verdicts if not one.passed]
        for line in plan
    }


def requiring(required: bool) -> Policy:
    policy = default_policy()
    size = msgspec.structs.replace(policy.size, volume_required=required)
    return msgspec.structs.replace(policy, size=size)


@pytest.mark.parametrize("required", [False, True])
def test_where_nobody_knows_a_volume_the_policy_says_whether_that_blocks(bench, required):
    found = decided(bench, policy=requiring(required))
    assert found
    assert all(failed == [("3 size", "none")] * required for failed in found.values())


def test_the_average_is_of_the_sessions_before_and_the_verdict_is_kept(bench):
    found = decided(bench, policy=requiring(True), volume="prices.volume")
    assert found[UNKNOWN] == [("3 size", "none")]
    assert len(found) > 2
    for symbol, failed in found.items():
        if symbol != UNKNOWN:
            ((check, observed),) = failed
            assert check == "3 size"
            assert Decimal(observed.rstrip("%")) > 5
    lines = bench.desk.journal.decisions(limit=1)[0].record.plan
    for line in lines:
        shown = next(one for one in line.verdicts if one.check == "3 size").observed
        if line.order.symbol != UNKNOWN:
            assert shown == f"{line.order.quantity / 1000:.2%}"


@pytest.mark.parametrize(("scope", "stops"), [("drift.tilt", True), ("drift.other", False)])
def test_a_drift_stop_of_what_a_study_reads_blocks_check_8_until_two_release_it(
    bench, scope, stops
):
    study = bench.bundle.manifest.study
    bench.desk.kill.engage(scope.replace("tilt", study), "PSI of prices.close is 0.4", by="watch")
    found = decided(bench)
    expected = [("8 health", "stopped")] if stops else []
    assert found
    assert all(failed == expected for failed in found.values())


def test_a_drift_stop_names_a_study():
    assert check_scope("drift.momentum") == "drift.momentum"
    with pytest.raises(ScopeUnknown, match=r"drift\.STUDY"):
        check_scope("drift")
