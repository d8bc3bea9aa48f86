"""Traps that implementations of these statistics fall into, each with the wrong answer beside."""

from math import e, sqrt

import numpy as np
import pytest
from scipy.stats import norm

from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.independence import independence
from pipelines.gates.pbo import backtest_overfitting
from pipelines.gates.sharpe import (
    EULER_GAMMA,
    Moments,
    deflated_sharpe,
    expected_best_sharpe,
    minimum_track_record,
    moments,
    probabilistic_sharpe,
    sharpe_ratios,
)
from pipelines.gates.spa import superior_ability
from pipelines.gates.stepwise import surviving_trials
from pipelines.gates.uncertainty import adjusted_sharpe

# Bailey & Lopez de Prado (2014), a numerical example: N = 100, annual variance of the trials 1/2,
# annual Sharpe ratio 2.5 over 1250 days, skewness -3, kurtosis 10; DSR 0.9004.
PAPER = Moments(sharpe=2.5 / sqrt(250), skewness=-3, kurtosis=10, periods=1250)
TRIALS = np.linspace(-1, 1, 100) * sqrt(0.5 / 250) / np.linspace(-1, 1, 100).std(ddof=1)
PUBLISHED = 0.9004


def noise(days: int, trials: int, seed: int = 1, *, mean: float = 0.0) -> np.ndarray:
    return 0.01 * np.random.default_rng(seed).normal(size=(days, trials)) + mean


def test_annualised_and_per_period_ratios_must_not_be_mixed():
    assert deflated_sharpe(PAPER, TRIALS, counted=100) == pytest.approx(PUBLISHED, abs=1e-4)
    annual = Moments(sharpe=2.5, skewness=-3, kurtosis=10, periods=1250)
    mixed = deflated_sharpe(annual, TRIALS * sqrt(250), counted=100)
    assert abs(mixed - PUBLISHED) > 0.05
    days, months = (
        minimum_track_record(
            Moments(sharpe=2 / sqrt(n), skewness=0, kurtosis=3, periods=100),
            hurdle=1 / sqrt(n),
            confidence=0.95,
        )
        / n
        for n in (252, 12)
    )
    assert (days, months) == (pytest.approx(2.73, abs=0.006), pytest.approx(3.24, abs=0.006))


def test_kurtosis_is_the_fourth_moment_and_not_its_excess_over_three():
    excess = Moments(sharpe=PAPER.sharpe, skewness=-3, kurtosis=10 - 3, periods=1250)
    wrong = deflated_sharpe(excess, TRIALS, counted=100)
    assert abs(wrong - PUBLISHED) > 1e-3
    assert moments(np.random.default_rng(1).normal(size=200_000)).kurtosis == pytest.approx(
        3.0, abs=0.05
    )


def test_the_hurdle_grows_with_the_deviation_of_the_trials_ratios_not_with_their_variance():
    typical, tail = norm.ppf(1 - 1 / 100), norm.ppf(1 - 1 / (100 * e))
    luck = (1 - EULER_GAMMA) * typical + EULER_GAMMA * tail
    ours = expected_best_sharpe(TRIALS, counted=100)
    assert ours == pytest.approx(TRIALS.std(ddof=1) * luck, rel=1e-12)
    assert ours == pytest.approx(0.1132, abs=1e-4)  # published
    assert TRIALS.var(ddof=1) * luck < ours / 10
    returns = noise(250, 100)
    of_ratios = expected_best_sharpe(sharpe_ratios(returns), counted=100)
    assert of_ratios > 10 * returns.std(ddof=1) * luck / sqrt(250)  # not of the returns


def test_trials_that_are_all_bad_must_not_pass_by_a_truncation_and_a_strict_comparison():
    test = superior_ability(noise(300, 8, mean=-0.02), mean_block=5, draws=200, seed=1).studentised
    assert (np.maximum(test.null, 0) > test.statistic).mean() == 0.0  # the wrong p: passes
    assert test.p_consistent == 1.0
    steps = surviving_trials(noise(300, 8, mean=-0.02), mean_block=5, draws=200, seed=1)
    assert (steps.p_values == 1.0).all()


def test_level_trials_in_a_half_must_not_be_ranked_by_their_column():
    values = np.repeat(noise(64, 3, seed=2), 3, axis=1)
    pbos = {
        backtest_overfitting(values[:, order], blocks=4).pbo
        for order in (np.arange(9), np.arange(9)[::-1], np.roll(np.arange(9), 4))
    }
    assert len(pbos) == 1
    first = np.array([0.3, 0.1, 0.3])  # what argmax and a plain sort would say of a tie
    assert first.argmax() != 2 - first[::-1].argmax()


def test_constant_returns_have_no_risk_and_no_infinite_ratio():
    steady = np.full((100, 1), 0.001)
    assert sharpe_ratios(steady)[0] == 0.0
    assert sharpe_ratios(np.full(100, 0.1) * 3)[0] == 0.0  # its standard deviation is not quite 0
    for test in (
        lambda: superior_ability(steady, mean_block=5, draws=100, seed=1),
        lambda: surviving_trials(steady, mean_block=5, draws=100, seed=1),
        lambda: moments(steady),
        lambda: adjusted_sharpe(steady, horizon=5, periods=252),
    ):
        with pytest.raises(GateInputInvalid):
            test()
    assert independence(steady).clusters == 0


def test_fewer_days_than_blocks_and_a_single_strategy_are_refused_in_words():
    with pytest.raises(GateInputInvalid, match="15 days cannot fill 16 blocks"):
        backtest_overfitting(noise(15, 4), blocks=16)
    with pytest.raises(GateInputInvalid, match="two or more trials, had 1"):
        backtest_overfitting(noise(64, 1), blocks=4)
    with pytest.raises(GateInputInvalid, match="two or more finite"):
        expected_best_sharpe(np.array([0.1]), counted=1)
    alone = superior_ability(noise(200, 1), mean_block=5, draws=200, seed=1)
    steps = surviving_trials(noise(200, 1), mean_block=5, draws=200, seed=1)
    assert alone.studentised.p_upper == steps.p_values[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_a_number_is_named_and_never_averaged_away(bad):
    values = noise(200, 3)
    values[17, 2] = bad
    for test in (
        lambda: superior_ability(values, mean_block=5, draws=100, seed=1),
        lambda: surviving_trials(values, mean_block=5, draws=100, seed=1),
        lambda: backtest_overfitting(values, blocks=4),
        lambda: sharpe_ratios(values),
        lambda: independence(values),
    ):
        with pytest.raises(GateInputInvalid, match="day 17 of trial 2"):
            test()


def test_studentising_is_what_keeps_a_loud_trial_from_hiding_a_quiet_good_one():
    """The raw form, as `arch` computes it whatever its `studentize` says, is deaf to this."""
    quiet = 0.1 * noise(500, 1, seed=3, mean=0.0015)
    beside = np.hstack((quiet, 20 * noise(500, 5, seed=4)))
    test = superior_ability(beside, mean_block=5, draws=500, seed=1)
    assert test.studentised.best == 0
    assert test.studentised.p_consistent < 0.05 < test.raw.p_consistent


def test_the_published_skewed_fund_is_less_sure_than_a_normal_one():
    # Bailey & Lopez de Prado (2012): 24 months, SR 0.458; normal 0.982, as it was 0.913
    fund = Moments(sharpe=0.458, skewness=-2.448, kurtosis=10.164, periods=24)
    normal = Moments(sharpe=0.458, skewness=0, kurtosis=3, periods=24)
    sure = [probabilistic_sharpe(one, hurdle=0) for one in (fund, normal)]
    assert sure == [pytest.approx(0.913, abs=2e-3), pytest.approx(0.982, abs=1e-3)]
