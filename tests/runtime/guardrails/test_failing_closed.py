"""What has no limit, no answer or no price blocks; seven checks let nothing through."""

from __future__ import annotations

import pytest

from runtime.domain import Side
from runtime.guardrails import CHECKS, judge
from tests.runtime.guardrails.scene import POLICY, D, context, failing, limits, planned


def test_seven_checks_are_not_eight():
    for number in range(8):
        (result,) = judge([planned()], context(), POLICY, [*CHECKS[:number], *CHECKS[number + 1 :]])
        assert not result.passed
        assert not result.objections


@pytest.mark.parametrize(
    ("check", "section", "name"),
    [
        (check, section, name)
        for (check, _), section in zip(
            CHECKS,
            ["authority", "market", "size", "price", "exposure", "loss", "rate", "health"],
            strict=True,
        )
        for name in getattr(POLICY, section).__struct_fields__
        if name not in ("live_stages", "allow_short", "locates")
    ],
)
def test_every_limit_that_is_left_out_blocks(check, section, name):
    order = planned(Side.SELL, "AAA", "10001") if section == "market" else planned()
    assert check in failing(order, limits(section, **{name: None}))


def test_live_venues_need_their_own_list_of_stages():
    assert failing(simulated=False, stage="production") == []
    policy = limits("authority", live_stages=None)
    assert failing(policy=policy, simulated=False, stage="production") == ["1 authority"]


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("prepared", [False, True])
def test_a_check_that_fails_or_cannot_be_prepared_has_not_passed(number, prepared):
    def broken(*_args):
        raise RuntimeError("no answer")

    checks = list(CHECKS)
    checks[number] = (checks[number][0], (lambda *_args: broken) if prepared else broken)
    (result,) = judge([planned()], context(), POLICY, checks)
    assert not result.passed
    assert result.objections == f"{checks[number][0]}: the check failed: no answer"


def test_something_held_without_a_price_blocks_everything():
    results = judge([planned()], context(prices={"BBB": D("40")}), POLICY)
    assert not results[0].passed
    assert "no price for AAA" in results[0].objections
