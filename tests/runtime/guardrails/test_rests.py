"""After a loss limit was reached new risk rests for some sessions; taking it off does not."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from runtime.domain import Side
from runtime.guardrails import Close, judge
from tests.runtime.guardrails.scene import POLICY, SESSION, D, context, failing, planned


def closes(*equities, streak=0) -> tuple[Close, ...]:
    """Sessions up to yesterday; `streak` is the losing streak at the last one."""
    peaks = [max(equities[: n + 1]) for n in range(len(equities))]
    return tuple(
        Close(
            day=SESSION.day - timedelta(days=len(equities) - n),
            equity=D(equity),
            before=D(equities[n - 1]) if n else None,
            peak=D(peaks[n]),
            losing_streak=streak if n == len(equities) - 1 else 0,
        )
        for n, equity in enumerate(equities)
    )


CRASH = (1_000_000, 840_000)  # 16 % in a day, of 15 % allowed


@pytest.mark.parametrize(
    ("history", "blocks"),
    [
        (closes(*CRASH), True),
        (closes(*CRASH, 990_000, 1_000_000, 1_060_000), True),  # recovered, and still resting
        (closes(*CRASH, 990_000, 990_000, 990_000, 1_060_000), True),  # the fifth session
        (closes(*CRASH, 990_000, 990_000, 990_000, 990_000, 1_060_000), False),
        (closes(1_000_000, 850_000), False),  # exactly the limit
        (closes(1_000_000, 990_000, streak=16), True),
        (closes(1_000_000, 990_000, streak=15), False),
        (closes(2_200_000, 1_900_000, 1_700_000, 1_500_000, 1_300_000, 1_110_000, 1_099_000), True),
    ],
)
def test_after_a_loss_limit_new_risk_rests_for_five_sessions(history, blocks):
    assert ("6 loss" in failing(closes=history)) is blocks
    assert failing(planned(Side.SELL, "AAA", "4000"), closes=history) == []


def test_a_rest_says_why_since_when_and_how_long():
    (result,) = judge([planned()], context(closes=closes(*CRASH, 900_000)), POLICY)
    verdict = result.verdicts[5]
    assert (verdict.limit, verdict.observed) == ("a rest of 5 sessions", "4 left")
    assert verdict.reason == f"daily loss of 16.00% at the close of {date(2020, 3, 14)}"
