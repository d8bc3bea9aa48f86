"""Sharpe statistics against the worked examples of their papers, and the traps between them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kurtosis, norm, skew

from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.sharpe import (
    Moments,
    deflated_sharpe,
    expected_best_sharpe,
    minimum_track_record,
    moments,
    most_trials,
    probabilistic_sharpe,
    sharpe_ratios,
)


def trials_of_the_paper() -> np.ndarray:
    """100 trials whose annual variance is 1/2, over 250 days (the 2014 paper's example)."""
    trials = np.linspace(-1, 1, 100)
    return trials * np.sqrt(0.5 / 250) / trials.std(ddof=1)


STRATEGY_OF_THE_PAPER = Moments(sharpe=2.5 / np.sqrt(250), skewness=-3, kurtosis=10, periods=1250)


def test_hurdle_matches_the_worked_example_in_the_paper():
    assert expected_best_sharpe(trials_of_the_paper(), counted=100) == pytest.approx(
        0.1132, abs=1e-4
    )


def test_deflated_sharpe_matches_the_worked_example_in_the_paper():
    deflated = deflated_sharpe(STRATEGY_OF_THE_PAPER, trials_of_the_paper(), counted=100)
    assert deflated == pytest.approx(0.9004, abs=1e-4)


def test_46_trials_would_have_been_few_enough_as_the_paper_says():
    # section "A numerical example": with N = 46 and the same variance, DSR is 0.9505
    trials = trials_of_the_paper()
    few = trials[:46] * trials.std(ddof=1) / trials[:46].std(ddof=1)
    assert deflated_sharpe(STRATEGY_OF_THE_PAPER, few, counted=46) == pytest.approx(
        0.9505, abs=1e-3
    )
    flips = most_trials(STRATEGY_OF_THE_PAPER, trials, confidence=0.95)
    assert flips == 46


def test_probabilistic_sharpe_matches_the_efficient_frontier_paper():
    # Bailey & Lopez de Prado (2012): 24 months, SR 0.458 a month, skewness -2.448, kurtosis 10.164
    fund = Moments(sharpe=0.458, skewness=-2.448, kurtosis=10.164, periods=24)
    as_if_normal = Moments(sharpe=0.458, skewness=0, kurtosis=3, periods=24)
    assert probabilistic_sharpe(as_if_normal, hurdle=0) == pytest.approx(0.982, abs=1e-3)
    assert probabilistic_sharpe(fund, hurdle=0) == pytest.approx(0.913, abs=2e-3)


@pytest.mark.parametrize(
    ("periods_per_year", "skewness", "kurtosis_", "years"),
    [(252, 0, 3, 2.73), (52, 0, 3, 2.83), (12, 0, 3, 3.24), (12, -0.72, 5.78, 4.99)],
)
def test_track_record_lengths_match_the_efficient_frontier_paper(
    periods_per_year, skewness, kurtosis_, years
):
    # an annual ratio of 2 shown to exceed 1 with 95 % confidence
    root = np.sqrt(periods_per_year)
    record = Moments(sharpe=2 / root, skewness=skewness, kurtosis=kurtosis_, periods=100)
    needed = minimum_track_record(record, hurdle=1 / root, confidence=0.95)
    assert needed / periods_per_year == pytest.approx(years, abs=0.006)


def test_a_track_record_of_the_minimum_length_has_exactly_the_confidence():
    record = Moments(sharpe=0.1, skewness=-0.5, kurtosis=7, periods=2)
    needed = minimum_track_record(record, hurdle=0.03, confidence=0.9)
    reached = Moments(sharpe=0.1, skewness=-0.5, kurtosis=7, periods=round(needed))
    assert probabilistic_sharpe(reached, hurdle=0.03) == pytest.approx(0.9, abs=1e-3)
    assert minimum_track_record(record, hurdle=0.1, confidence=0.9) == float("inf")


def test_kurtosis_is_not_excess_kurtosis_and_moments_agree_with_scipy():
    returns = np.random.default_rng(3).standard_t(5, 4000) * 0.01 + 0.0005
    ours = moments(returns)
    assert ours.kurtosis == pytest.approx(kurtosis(returns, fisher=False), rel=1e-12)
    assert ours.skewness == pytest.approx(skew(returns), rel=1e-10)
    assert ours.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1), rel=1e-12)
    normal = Moments(sharpe=0.1, skewness=0, kurtosis=3, periods=101)
    expected = norm.cdf(0.1 * 10 / np.sqrt(1 + 0.5 * 0.1**2))  # Lo (2002), normal returns
    assert probabilistic_sharpe(normal, hurdle=0) == pytest.approx(expected, rel=1e-12)


def test_annualised_ratios_would_give_another_answer():
    annual = Moments(sharpe=2.5, skewness=-3, kurtosis=10, periods=1250)
    assert deflated_sharpe(annual, trials_of_the_paper(), counted=100) > 0.99


def test_failed_trials_raise_the_hurdle():
    trials = trials_of_the_paper()
    assert expected_best_sharpe(trials, counted=500) > expected_best_sharpe(trials, counted=100)
    with pytest.raises(GateInputInvalid, match="cannot be 99"):
        expected_best_sharpe(trials, counted=99)


def test_more_trials_than_the_flip_fail_and_not_one_fewer():
    trials = np.random.default_rng(1).normal(0, 0.02, 40)
    record = Moments(sharpe=0.09, skewness=-0.3, kurtosis=6, periods=2500)
    flips = most_trials(record, trials, confidence=0.95)
    assert deflated_sharpe(record, trials, counted=flips) >= 0.95
    assert deflated_sharpe(record, trials, counted=flips + 1) < 0.95


def test_no_number_of_trials_helps_a_loser():
    loser = Moments(sharpe=-0.01, skewness=0, kurtosis=3, periods=2500)
    assert most_trials(loser, trials_of_the_paper(), confidence=0.95) == 0


@given(
    seed=st.integers(0, 10**6),
    scale=st.floats(1e-6, 1e3),
    periods=st.integers(5, 200),
)
def test_ratios_do_not_depend_on_the_unit_of_returns(seed, scale, periods):
    returns = np.random.default_rng(seed).normal(0.1, 1, (periods, 3))
    np.testing.assert_allclose(sharpe_ratios(returns * scale), sharpe_ratios(returns), rtol=1e-9)


@given(counted=st.integers(2, 10**9), deviation=st.floats(1e-4, 1.0))
def test_the_hurdle_grows_with_trials_and_with_their_spread(counted, deviation):
    trials = np.array([-deviation, deviation])
    hurdle = expected_best_sharpe(trials, counted=counted)
    assert expected_best_sharpe(trials, counted=2 * counted) > hurdle
    assert expected_best_sharpe(2 * trials, counted=counted) == pytest.approx(2 * hurdle)


def test_constant_returns_have_a_ratio_of_zero_and_no_moments():
    constant = np.full(50, 0.1)
    assert sharpe_ratios(constant)[0] == 0.0
    with pytest.raises(GateInputInvalid, match="constant"):
        moments(constant)


@pytest.mark.parametrize("returns", [[0.1], [], [0.1, np.nan], [[0.1, 0.2], [0.2, 0.1]]])
def test_malformed_series_are_one_clear_error(returns):
    with pytest.raises(GateInputInvalid):
        moments(returns)


@pytest.mark.parametrize("trials", [[], [0.1], [0.1, np.inf]])
def test_a_hurdle_needs_two_finite_trials(trials):
    with pytest.raises(GateInputInvalid, match="two or more finite"):
        expected_best_sharpe(np.array(trials), counted=10)
