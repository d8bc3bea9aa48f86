"""Sharpe ratios of returns that remember, and bootstrap intervals: formulae, coverage, edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.tsa.stattools import acf

from pipelines.gates.bootstrap import stationary_blocks
from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.uncertainty import (
    adjusted_sharpe,
    aggregation_factor,
    autocorrelations,
    sharpe_interval,
)


def remembering(periods: int, seed: int, *, rho: float, sharpe: float = 0.0) -> np.ndarray:
    """AR(1) returns of unit variance with the given true Sharpe ratio per period."""
    shocks = np.random.default_rng(seed).normal(size=periods) * np.sqrt(1 - rho**2)
    shocks[0] /= np.sqrt(1 - rho**2)
    for day in range(1, periods):
        shocks[day] += rho * shocks[day - 1]
    return shocks + sharpe


@pytest.mark.parametrize(
    ("rho", "factor"),
    [(0.0, 3.46), (-0.2, 4.17), (0.2, 2.88)],  # Lo (2002): AR(1), from months to a year
)
def test_annual_factors_of_monthly_ratios_match_the_paper(rho, factor):
    lags = rho ** np.arange(1, 12)
    assert aggregation_factor(lags, periods=12) == pytest.approx(factor, abs=0.005)


@given(rho=st.floats(-0.9, 0.9), periods=st.integers(1, 300))
def test_the_sum_over_lags_is_the_closed_form_of_a_first_order_process(rho, periods):
    # Lo (2002), equation 22
    closed = 1 + 2 * rho / (1 - rho) * (1 - (1 - rho**periods) / (periods * (1 - rho)))
    lags = rho ** np.arange(1, max(periods, 2))
    assert aggregation_factor(lags, periods=periods) == pytest.approx(
        np.sqrt(periods / closed), rel=1e-7
    )


def test_autocorrelations_are_those_of_statsmodels():
    returns = remembering(500, 1, rho=0.3)
    ours = autocorrelations(returns, lags=25)
    np.testing.assert_allclose(ours, acf(returns, nlags=25, fft=False)[1:], atol=1e-12)


def test_a_ratio_whose_gains_follow_gains_is_worth_less_than_the_root_says():
    returns = remembering(20_000, 2, rho=0.2, sharpe=0.06)
    plain = adjusted_sharpe(returns, horizon=1, periods=252)
    adjusted = adjusted_sharpe(returns, horizon=21, periods=252)
    true = aggregation_factor(0.2 ** np.arange(1, 252), periods=252) / np.sqrt(252)
    assert plain == pytest.approx(returns.mean() / returns.std(ddof=1) * np.sqrt(252), rel=1e-12)
    assert adjusted / plain == pytest.approx(true, rel=0.05)


@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_a_95_per_cent_interval_covers_the_true_ratio_about_95_times_in_100(rho):
    covered = 0
    for seed in range(200):
        returns = remembering(750, seed, rho=rho, sharpe=0.08)
        blocks = stationary_blocks(750, mean_block=27, draws=400, seed=seed)
        interval = sharpe_interval(returns, blocks, confidence=0.95)
        covered += interval.low <= 0.08 <= interval.high
    assert 175 <= covered <= 200  # blocks are finite, so a little below 190 is expected


def test_memory_widens_the_interval_only_if_blocks_are_kept_whole():
    returns = remembering(2000, 5, rho=0.4, sharpe=0.05)
    widths = []
    for mean_block in (1, 40):
        blocks = stationary_blocks(2000, mean_block=mean_block, draws=1000, seed=1)
        interval = sharpe_interval(returns, blocks, confidence=0.95)
        widths.append(interval.high - interval.low)
    assert widths[1] > 1.3 * widths[0]
    assert widths[0] == pytest.approx(2 * 1.96 / np.sqrt(2000), rel=0.1)  # Lo (2002), iid


def test_the_interval_is_that_of_resampled_rows():
    returns = remembering(60, 3, rho=0.1, sharpe=0.1)
    blocks = stationary_blocks(60, mean_block=5, draws=99, seed=4)
    ratios = []
    for draw in range(99):
        owned = range(blocks.cuts[draw], blocks.cuts[draw + 1])
        rows = np.concatenate([np.arange(blocks.lengths[b]) + blocks.starts[b] for b in owned]) % 60
        ratios.append(returns[rows].mean() / returns[rows].std(ddof=1))
    ours = sharpe_interval(returns, blocks, confidence=0.9)
    assert [ours.low, ours.high] == pytest.approx(np.quantile(ratios, (0.05, 0.95)), rel=1e-9)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: autocorrelations(np.arange(5.0), lags=5), "no autocorrelation at lag 5"),
        (lambda: autocorrelations(np.ones(9), lags=1), "one series"),
        (lambda: aggregation_factor([0.1], periods=4), "4 periods need 3 lags"),
        (lambda: aggregation_factor([-1.0], periods=2), "variance of 0"),
        (lambda: adjusted_sharpe(np.ones((4, 2)), horizon=2, periods=4), "one series"),
        (lambda: adjusted_sharpe([0.1, np.nan, 0.2], horizon=1, periods=4), "not a finite"),
    ],
)
def test_what_cannot_be_computed_is_one_clear_error(call, says):
    with pytest.raises(GateInputInvalid, match=says):
        call()


def test_an_interval_needs_draws_and_days_that_fit():
    returns = remembering(50, 1, rho=0.0)
    few = stationary_blocks(50, mean_block=5, draws=10, seed=1)
    with pytest.raises(GateInputInvalid, match=r"10 draws give no interval of 0\.95"):
        sharpe_interval(returns, few, confidence=0.95)
    with pytest.raises(GateInputInvalid, match="49 days, but resamples of 50"):
        sharpe_interval(
            returns[1:], stationary_blocks(50, mean_block=5, draws=99, seed=1), confidence=0.9
        )
