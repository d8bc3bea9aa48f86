"""Kupiec's published regions, Christoffersen by counting, value at risk by its definition."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from pipelines.errors import RiskInvalid
from pipelines.risk import (
    expected_shortfall,
    filtered_forecast,
    historical_forecast,
    independence_test,
    kupiec_test,
    normal_forecast,
    value_at_risk,
)

# Kupiec (1995), 5 % non-rejection regions, as reprinted in Jorion (2007), "Value at Risk", 3rd
# edition, table 6-2: (tail probability, days) -> breaches strictly between these bounds.
REGIONS = {
    (0.01, 255): (None, 7),
    (0.01, 510): (1, 11),
    (0.01, 1000): (4, 17),
    (0.025, 255): (2, 12),
    (0.025, 510): (6, 21),
    (0.025, 1000): (15, 36),
    (0.05, 255): (6, 21),
    (0.05, 510): (16, 36),
    (0.05, 1000): (37, 65),
    (0.075, 255): (11, 28),
    (0.075, 510): (27, 51),
    (0.075, 1000): (59, 92),
    (0.1, 255): (16, 36),
    (0.1, 510): (38, 65),
    (0.1, 1000): (81, 120),
}


@pytest.mark.parametrize(("cell", "bounds"), REGIONS.items())
def test_the_non_rejection_regions_are_the_published_ones(cell, bounds):
    tail, days = cell
    kept = [n for n in range(days) if kupiec_test(days, n, level=1 - tail).p_value >= 0.05]
    low, high = bounds
    assert max(kept) == high - 1
    if low is not None:
        assert min(kept) == low + 1


def test_a_figure_by_hand():
    """10 breaches of 250 at 99 %: LR = -2 ln[.99^240 .01^10] + 2 ln[.96^240 .04^10] = 12.96."""
    found = kupiec_test(250, 10, level=0.99)
    assert found.statistic == pytest.approx(12.9555, abs=1e-3)
    assert found.expected == pytest.approx(2.5)
    assert kupiec_test(200, 10, level=0.95).statistic == pytest.approx(0.0, abs=1e-12)
    assert kupiec_test(100, 0, level=0.99).statistic == pytest.approx(-200 * np.log(0.99))


def test_breaches_in_a_row_are_clusters_and_breaches_apart_are_not():
    apart = np.zeros(1000, dtype=bool)
    apart[::50] = True
    together = np.zeros(1000, dtype=bool)
    together[100:120] = True
    assert independence_test(together).p_value < 1e-6
    assert independence_test(apart).p_value > 0.2
    assert independence_test(np.zeros(50, dtype=bool)).statistic == 0.0


def test_independence_is_the_likelihood_ratio_of_the_transition_counts():
    rng = np.random.default_rng(4)
    broken = rng.random(800) < 0.05
    pairs = list(itertools.pairwise(broken.tolist()))
    count = {key: pairs.count(key) for key in itertools.product((False, True), repeat=2)}
    up = (count[False, True] + count[True, True]) / len(pairs)
    to = {a: count[a, True] / (count[a, True] + count[a, False]) for a in (False, True)}
    free = sum(n * np.log(to[a] if b else 1 - to[a]) for (a, b), n in count.items() if n)
    null = sum(n * np.log(up if b else 1 - up) for (_, b), n in count.items() if n)
    assert independence_test(broken).statistic == pytest.approx(2 * (free - null), rel=1e-9)


def test_the_size_of_kupiecs_test_is_near_five_per_cent_under_the_null():
    rng = np.random.default_rng(11)
    counts = rng.binomial(1000, 0.05, 4000)
    rejected = np.mean([kupiec_test(1000, int(n), level=0.95).p_value < 0.05 for n in counts])
    assert 0.035 < rejected < 0.075  # discreteness keeps it from being exact


@given(
    st.lists(st.floats(-0.2, 0.2, allow_subnormal=False), min_size=2, max_size=60),
    st.sampled_from([0.9, 0.95, 0.99]),
)
def test_value_at_risk_is_the_smallest_loss_that_enough_days_stay_within(values, level):
    returns = np.array(values)
    var = value_at_risk(returns, level)
    losses = -returns
    needed = level * losses.size - 1e-6
    assert (losses <= var).sum() >= needed
    smaller = losses[losses < var]
    assert smaller.size == 0 or (losses <= smaller.max()).sum() < needed
    assert expected_shortfall(returns, level) >= var - 1e-12


def test_shortfall_counts_the_broken_observation_in_part():
    returns = -np.arange(1.0, 11.0) / 100  # losses 1 % to 10 %
    assert expected_shortfall(returns, 0.8) == pytest.approx(0.095)
    assert expected_shortfall(returns, 0.75) == pytest.approx((0.10 + 0.09 + 0.5 * 0.08) / 2.5)


def test_large_normal_samples_have_the_closed_forms():
    returns = np.random.default_rng(2).normal(0.0, 0.01, 400_000)
    assert value_at_risk(returns, 0.99) == pytest.approx(0.01 * norm.ppf(0.99), rel=0.01)
    closed = 0.01 * norm.pdf(norm.ppf(0.99)) / 0.01
    assert expected_shortfall(returns, 0.99) == pytest.approx(closed, rel=0.01)


@pytest.mark.parametrize("model", [historical_forecast, normal_forecast, filtered_forecast])
def test_a_forecast_never_sees_its_own_day(model):
    returns = np.random.default_rng(1).normal(0.0, 0.01, 900)
    changed = returns.copy()
    changed[700:] *= 5.0
    before, after = model(returns, 0.99), model(changed, 0.99)
    upto = 700 - before.start + 1
    assert (before.var[:upto] == after.var[:upto]).all()
    assert (before.shortfall[:upto] == after.shortfall[:upto]).all()
    assert before.var.size == 400
    assert not (before.var[upto:] == after.var[upto:]).any() or model is historical_forecast


def test_filtered_forecasts_hold_where_plain_ones_cluster():
    rng = np.random.default_rng(7)
    sigma, returns = 0.01, []
    for _ in range(6000):
        returns.append(sigma * rng.standard_normal())
        sigma = np.sqrt(2e-6 + 0.10 * returns[-1] ** 2 + 0.88 * sigma**2)
    seen = np.array(returns)
    plain = historical_forecast(seen, 0.95).breaches(seen)
    filtered = filtered_forecast(seen, 0.95).breaches(seen)
    assert independence_test(plain).p_value < 0.01
    assert independence_test(filtered).p_value > 0.01
    assert kupiec_test(filtered.size, int(filtered.sum()), level=0.95).p_value > 0.05


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: value_at_risk(np.array([0.1, np.nan]), 0.99), "finite"),
        (lambda: value_at_risk(np.array([0.1]), 1.0), "between 0 and 1"),
        (lambda: historical_forecast(np.zeros(100), 0.99), "there are 100"),
        (lambda: kupiec_test(10, 11, level=0.99), "11 breaches in 10"),
        (lambda: independence_test(np.array([True])), "two days"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_its_numbers(call, word):
    with pytest.raises(RiskInvalid, match=word):
        call()
