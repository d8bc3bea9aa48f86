"""The daily look: errors stay rare however often one looks, and a real difference is found."""

from __future__ import annotations

from math import exp, log1p, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from runtime.errors import DecisionInvalid
from runtime.registry.betting import STAKES, wealth, weigh

BOUND, ALPHA = 0.05, 0.05
PATHS, DAYS = 2000, 500


def normal(random, shape):
    return random.normal(0.0, 0.006, shape)


def skewed(random, shape):
    """Small gains on most days and a rare large loss; the mean is zero."""
    return np.where(random.random(shape) < 0.02, -0.049, 0.001)


def restless(random, shape):
    """Volatility that comes in waves, as that of markets does."""
    waves = 0.004 * (1.2 + np.sin(np.arange(shape[1]) / 20))
    return waves * random.standard_t(4, shape)


def reacting(random, shape):
    """Risk that doubles while behind: dependent days whose mean, given the past, is zero."""
    steps = random.normal(0.0, 0.004, shape)
    for day in range(1, shape[1]):
        behind = steps[:, :day].sum(axis=1) < 0
        steps[:, day] *= np.where(behind, 2.0, 1.0)
    return steps


NULLS = {one.__name__: one for one in (normal, skewed, restless, reacting)}


def ever_found(differences: np.ndarray) -> np.ndarray:
    """Say per path whether a daily look would ever have called it better."""
    parts = np.array_split(differences, 20)  # the gamblers of all paths at once need much memory
    return np.concatenate([(wealth(part, BOUND) >= 1 / ALPHA).any(axis=1) for part in parts])


def upper_bound(found: int, of: int) -> float:
    """Wilson's 99.9 % upper bound of a proportion."""
    z, p = 3.09, found / of
    return (p + z * z / (2 * of) + z * sqrt(p * (1 - p) / of + z * z / (4 * of * of))) / (
        1 + z * z / of
    )


def lower_bound(found: int, of: int) -> float:
    return 1 - upper_bound(of - found, of)


@pytest.mark.parametrize("name", NULLS)
def test_looking_every_day_finds_nothing_that_is_not_there_more_often_than_alpha(name):
    differences = np.clip(NULLS[name](np.random.default_rng(11), (PATHS, DAYS)), -BOUND, BOUND)
    found = int(ever_found(differences).sum())
    assert lower_bound(found, PATHS) <= ALPHA  # what was seen does not contradict the promise
    assert found / PATHS <= ALPHA


def test_a_t_test_looked_at_every_day_errs_far_more_often():
    """Why the ordinary test will not do: the same days, a look after each."""
    days = normal(np.random.default_rng(11), (PATHS, DAYS))
    n = np.arange(1, DAYS + 1)
    mean = days.cumsum(axis=1) / n
    spread = np.sqrt(np.maximum((days**2).cumsum(axis=1) / n - mean**2, 1e-12))
    t = (mean * np.sqrt(n) / spread)[:, 20:]
    found = int((t > 1.645).any(axis=1).sum())
    assert lower_bound(found, PATHS) > 4 * ALPHA


def test_a_real_difference_is_found_and_a_larger_one_sooner():
    random = np.random.default_rng(3)
    noise = random.normal(0.0, 0.004, (400, DAYS))
    found, middle = {}, {}
    for sharpe in (0.10, 0.25):  # of a day
        paths = wealth(noise + sharpe * 0.004, 0.02) >= 1 / ALPHA
        found[sharpe] = int(paths.any(axis=1).sum())
        first = np.where(paths.any(axis=1), paths.argmax(axis=1), DAYS)
        middle[sharpe] = float(np.median(first))
    assert lower_bound(found[0.25], 400) > 0.9
    assert lower_bound(found[0.10], 400) > 0.1
    assert middle[0.25] < 200 < middle[0.10]


def test_the_interval_holds_on_every_day_at_once():
    """Looked at every twentieth day of 120 paths, it leaves the true mean out in few of them."""
    random, true = np.random.default_rng(5), 0.0006
    missed = 0
    for _ in range(120):
        days = np.clip(random.normal(true, 0.005, 120), -BOUND, BOUND)
        looks = (weigh(days[:n], bound=BOUND, alpha=ALPHA) for n in range(20, 121, 20))
        missed += any(not one.low <= true <= one.high for one in looks)
    assert lower_bound(missed, 120) <= ALPHA
    wide, narrow = (weigh(days[:n], bound=BOUND, alpha=ALPHA) for n in (30, 120))
    assert narrow.high - narrow.low < wide.high - wide.low


def test_wealth_is_the_mean_of_the_gamblers_by_hand():
    days = np.array([0.01, -0.02, 0.09])
    clipped = [0.2, -0.4, 1.0]
    by_hand = [
        sum(exp(sum(log1p(stake * z) for z in clipped[:n])) for stake in STAKES) / len(STAKES)
        for n in (1, 2, 3)
    ]
    np.testing.assert_allclose(wealth(days, BOUND), by_hand, rtol=1e-12)
    assert weigh(days, bound=BOUND, alpha=ALPHA).clipped == 1


@given(arrays(np.float64, st.integers(1, 40), elements=st.floats(-0.2, 0.2)))
@settings(max_examples=60)
def test_better_and_worse_change_places_with_the_two(days):
    one, other = (weigh(sign * days, bound=BOUND, alpha=ALPHA) for sign in (1, -1))
    assert (one.better, one.worse) == (other.worse, other.better)
    assert (one.low, one.high) == (-other.high, -other.low)
    assert one.low <= one.mean <= one.high
    assert one.days == days.size


@given(st.integers(1, 12), st.floats(0.01, 0.5))
def test_at_fair_odds_nobody_can_expect_to_win(days, bound):
    """Over all equally likely paths of +bound and -bound the mean wealth is one, exactly."""
    signs = np.array(np.meshgrid(*[[1.0, -1.0]] * days)).reshape(days, -1).T
    assert wealth(bound * signs, bound)[:, -1].mean() == pytest.approx(1.0, rel=1e-9)


def test_the_first_day_that_decides_is_remembered_when_the_wealth_falls_again():
    days = np.array([0.05] * 12 + [-0.05] * 12)
    found = weigh(days, bound=BOUND, alpha=ALPHA)
    assert found.better < 1 / ALPHA
    assert 3 <= found.better_since <= 12
    assert found.worse_since is None


def test_without_a_day_nothing_is_known_and_what_is_no_number_is_refused():
    found = weigh(np.array([]), bound=BOUND, alpha=ALPHA)
    assert (found.days, found.better, found.low, found.high) == (0, 1.0, -BOUND, BOUND)
    with pytest.raises(DecisionInvalid, match="not finite"):
        weigh(np.array([0.1, np.nan]), bound=BOUND, alpha=ALPHA)
