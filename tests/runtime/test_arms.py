"""A/B arms: which sessions count, how rarely equals are told apart, how soon others are."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from math import pi, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.joint.arms import Pair, judge, paired
from runtime.joint.shares import MemberDay
from runtime.registry.betting import wealth

BOUND, ALPHA, ARMS = 0.02, 0.05, 2
FIRST = date(2026, 1, 5)
ARM, CONTROL = ("arm.b", "b" * 64), ("champion", "c" * 64)


def row(number: int, seat, returned: float | None = 0.0, **more) -> MemberDay:
    facts = {"equity": Decimal(1000), "given": Decimal(1000), **more}
    return MemberDay(
        day=FIRST + timedelta(days=number),
        role=seat[0],
        bundle=facts.pop("bundle", seat[1]),
        cash=Decimal(0),
        fees=Decimal(0),
        profit=Decimal(0),
        returned=returned,
        **facts,
    )


def rows(count: int, **changed) -> list[MemberDay]:
    """Return sessions of two seats; `changed` is number -> facts of the arm's row."""
    found = []
    for number in range(count):
        found.append(row(number, CONTROL, 0.001 * number))
        found.append(row(number, ARM, 0.002 * number, **changed.get(f"n{number}", {})))
    return found


def counted(days: list[MemberDay], since: date = FIRST) -> list[int]:
    return [(one.day - FIRST).days for one in paired(days, ARM, CONTROL, since)]


def test_a_session_counts_once_both_have_decided_and_traded():
    days = rows(6)
    assert counted(days) == [2, 3, 4, 5]
    assert paired(days, ARM, CONTROL, FIRST)[0] == Pair(
        day=FIRST + timedelta(days=2), arm=0.004, control=0.002
    )
    assert counted(days, since=FIRST + timedelta(days=2)) == [4, 5]  # nothing from before the test


@pytest.mark.parametrize(
    ("what", "left_out"),
    [
        ({"bundle": "d" * 64}, {3, 4}),  # another bundle sat there at that close
        ({"stopped": True}, {3, 4}),
        ({"given": Decimal(1100)}, {3, 4}),  # capital came at that close, and went at the next
        ({"given": Decimal(1009)}, set()),  # less than 1 % of what it has
    ],
)
def test_sessions_of_other_bundles_and_of_untraded_money_are_left_out(what, left_out):
    assert set(counted(rows(8, n2=what))) == {2, 3, 4, 5, 6, 7} - left_out


def test_what_a_session_brings_never_says_whether_it_counts():
    """A loss, a stop or a new bundle at a session's own close leaves that session in."""
    for what in ({"stopped": True}, {"bundle": "d" * 64}, {"given": Decimal(1)}):
        assert counted(rows(5, n4=what)) == [2, 3, 4]
    days = rows(5)
    days[-1] = row(4, ARM, None)
    assert counted(days) == [2, 3]  # it had no equity, so no return


@given(
    st.lists(st.floats(-0.05, 0.05), min_size=1, max_size=30), st.integers(1, 5), st.integers(1, 4)
)
def test_it_decides_on_the_day_on_which_the_interval_leaves_zero_out(differences, arms, asked):
    pairs = [Pair(day=FIRST, arm=one, control=0.0) for one in differences]
    judged = judge(pairs, bound=BOUND, alpha=ALPHA, arms=arms, asked=asked)
    found = judged.evidence
    assert judged.needed == pytest.approx(2 * arms / ALPHA * pi**2 / 6 * asked**2)
    assert (found.low > 0) == (found.better >= judged.needed)
    assert (found.high < 0) == (found.worse >= judged.needed)


def test_however_often_a_test_is_begun_anew_all_of_them_together_keep_alpha():
    parts = [
        2 / judge((), bound=BOUND, alpha=ALPHA, arms=1, asked=k).needed for k in range(1, 2001)
    ]
    assert ALPHA * 0.999 < sum(parts) < ALPHA
    assert parts == sorted(parts, reverse=True)


def equals(random, shape):
    """Three books of equal mean that share a market and fat, clustered noise of their own."""
    paths, days = shape
    waves = 0.004 * (1.2 + np.sin(np.arange(days) / 20))
    market = random.normal(0.0, 0.01, (paths, 1, days))
    return market + waves * random.standard_t(4, (paths, ARMS + 1, days)) / sqrt(2)


def crashing(random, shape):
    """Small gains on most days and rare losses that fall on one book alone; means are zero."""
    paths, days = shape
    return np.where(random.random((paths, ARMS + 1, days)) < 0.05, -0.019, 0.001)


def decided(books: np.ndarray) -> np.ndarray:
    """Say per path whether a look after each day would ever have decided anything at all."""
    needed = 2 * ARMS / ALPHA * pi**2 / 6
    differences = books[:, 1:] - books[:, :1]
    found = [
        (wealth(sign * part, BOUND) >= needed).any(axis=(1, 2))
        for part in np.array_split(differences, 20)
        for sign in (1, -1)
    ]
    return np.concatenate([one | other for one, other in zip(found[::2], found[1::2], strict=True)])


@pytest.mark.parametrize("null", [equals, crashing])
def test_equals_are_told_apart_no_more_often_than_alpha_however_often_one_looks(null):
    """Two arms, one control, both directions, a look after each of 400 days."""
    books = null(np.random.default_rng(17), (1000, 400))
    assert decided(books).mean() <= ALPHA


def test_looking_daily_at_an_ordinary_test_would_tell_equals_apart_far_more_often():
    """The same days, a t-test on each of them: what the bet is for, and that the null can fail."""
    books = equals(np.random.default_rng(17), (1000, 400))
    differences = books[:, 1:] - books[:, :1]
    n = np.arange(1, 401)
    mean = differences.cumsum(axis=2) / n
    spread = np.sqrt(np.maximum((differences**2).cumsum(axis=2) / n - mean**2, 1e-12))
    t = np.abs(mean * np.sqrt(n) / spread)[:, :, 20:]
    assert (t > 2.24).any(axis=(1, 2)).mean() > 4 * ALPHA  # 2.24: 5 % for two arms, two-sided


def test_a_real_difference_is_found_in_both_directions_and_a_larger_one_sooner():
    random = np.random.default_rng(3)
    noise = random.normal(0.0, 0.004, (300, 500))
    needed, first = 2 * ARMS / ALPHA * pi**2 / 6, {}
    for edge in (0.15, 0.3):  # standard deviations a day
        for sign in (1, -1):  # the arm is the better one, or the control is
            days = noise + sign * edge * 0.004
            reached = wealth(sign * days, BOUND) >= needed
            first[edge, sign] = np.where(reached.any(axis=1), reached.argmax(axis=1), 500)
    for sign in (1, -1):
        assert (first[0.3, sign] < 500).mean() > 0.95
        assert (first[0.15, sign] < 500).mean() > 0.4
        assert np.median(first[0.3, sign]) < 200 < np.median(first[0.15, sign])
