"""Step-down testing against arch's StepM, a slow plain implementation, and its error rate."""

import numpy as np
import pytest
from arch.bootstrap import StationaryBootstrap, StepM
from hypothesis import given
from hypothesis import strategies as st

from pipelines.gates.bootstrap import Blocks, blocks_of, stationary_blocks
from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.spa import superior_ability_on
from pipelines.gates.stepwise import surviving_trials, surviving_trials_on


def returns(periods: int, trials: int, seed: int, *, good: int = 0, gain: float = 0.0):
    """Daily returns of one per cent with a common factor; the first `good` trials gain more."""
    generator = np.random.default_rng(seed)
    shocks = 0.8 * generator.normal(size=(periods, trials)) + 0.6 * generator.normal(
        size=(periods, 1)
    )
    shocks[1:] += 0.2 * shocks[:-1]
    shocks *= 0.01 * np.linspace(0.5, 2.0, trials)
    shocks[:, :good] += gain
    return shocks


def rows_of(blocks: Blocks, draw: int) -> np.ndarray:
    owned = range(blocks.cuts[draw], blocks.cuts[draw + 1])
    runs = [np.arange(blocks.lengths[b]) + blocks.starts[b] for b in owned]
    return np.concatenate(runs) % blocks.periods


def slow_rounds(seen: np.ndarray, null: np.ndarray, alpha: float) -> list[int]:
    """Romano & Wolf (2005), algorithm 3.1: reject, leave the rejected out, test the rest again.

    Args:
        seen: statistics, shape (N,).
        null: recentred statistics of each draw, shape (B, N).
    """
    draws = len(null)
    left = set(range(seen.size))
    while left:
        maxima = np.sort(null[:, sorted(left)].max(axis=1))[::-1]
        critical = maxima[int(np.floor(alpha * (draws + 1) + 1e-9)) - 1]
        rejected = {column for column in left if seen[column] > critical}
        if not rejected:
            break
        left -= rejected
    return sorted(set(range(seen.size)) - left)


@pytest.mark.parametrize("seed", range(8))
def test_the_raw_form_keeps_the_models_that_arch_keeps_on_the_indices_of_arch(seed):
    values, block, draws = returns(300, 12, seed, good=5, gain=0.0022), 12, 399
    oracle = StepM(np.zeros(300), -values, size=0.05, block_size=block, reps=draws, seed=7)
    oracle.compute()
    bootstrap = StationaryBootstrap(block, values, seed=7)
    indices = np.array([bootstrap.update_indices() for _ in range(draws)])
    ours = surviving_trials_on(
        values, blocks_of(indices), mean_block=block, form="raw", recentring="consistent"
    )
    assert sorted(ours.survivors(0.05)) == [int(k) for k in oracle.superior_models]


@pytest.mark.parametrize("form", ["studentised", "raw"])
@pytest.mark.parametrize("seed", range(6))
def test_survivors_are_those_of_the_papers_rounds(form, seed):
    values = returns(200, 9, 50 + seed, good=4, gain=0.002)
    blocks = stationary_blocks(200, mean_block=8, draws=299, seed=seed)
    omega = superior_ability_on(values, blocks, mean_block=8).omega
    scale = np.sqrt(200) / omega if form == "studentised" else np.ones(9)
    means = values.mean(axis=0)
    null = np.array([values[rows_of(blocks, d)].mean(axis=0) - means for d in range(299)]) * scale
    seen = means * scale
    if form == "studentised":
        null, seen = np.maximum(null, 0), np.maximum(seen, 0)
    ours = surviving_trials_on(values, blocks, mean_block=8, form=form)
    np.testing.assert_allclose(ours.statistics, seen, rtol=1e-12)
    for alpha in (0.01, 0.05, 0.1, 0.5):
        assert sorted(ours.survivors(alpha)) == slow_rounds(seen, null, alpha)


def test_the_best_trials_p_value_is_that_of_the_test_of_the_best():
    values = returns(300, 20, 3, good=3, gain=0.001)
    blocks = stationary_blocks(300, mean_block=10, draws=500, seed=1)
    best = superior_ability_on(values, blocks, mean_block=10).studentised
    ours = surviving_trials_on(values, blocks, mean_block=10)
    assert ours.p_values.min() == best.p_upper
    assert ours.p_values.argmin() == best.best


def test_step_down_keeps_more_than_one_step_would():
    values = returns(1000, 10, 4)
    values -= values.mean(axis=0)
    values[:, 0] += 0.003
    values[:, 1] += 0.0011
    blocks = stationary_blocks(1000, mean_block=10, draws=999, seed=1)
    ours = surviving_trials_on(values, blocks, mean_block=10)
    one_step = superior_ability_on(values, blocks, mean_block=10).studentised
    single = [
        (1 + (np.asarray(one_step.null) >= statistic).sum()) / 1000 for statistic in ours.statistics
    ]
    assert (ours.p_values <= np.array(single) + 0.02).all()
    assert set(ours.survivors(0.05)) == {0, 1}


def test_worthless_families_keep_anything_in_about_one_of_twenty_cases():
    """300 families of 8 worthless trials: at most the upper end of a 99.9 % binomial interval."""
    kept = sum(
        bool(
            surviving_trials(returns(300, 8, seed), mean_block=8, draws=199, seed=seed).survivors(
                0.05
            )
        )
        for seed in range(300)
    )
    assert 3 <= kept <= 29


def test_trials_that_lose_never_survive_and_none_has_a_p_value_of_zero():
    values = returns(250, 6, 5, good=1, gain=0.05)
    values[:, 3:] -= 0.01
    ours = surviving_trials(values, mean_block=8, draws=199, seed=1)
    assert (ours.p_values[3:] == 1.0).all()
    assert ours.p_values[0] == 1 / 200
    assert ours.survivors(1e-6) == ()


def test_a_trial_that_holds_the_benchmark_neither_survives_nor_changes_the_others():
    values = returns(300, 6, 11, good=2, gain=0.003)
    beside = np.hstack((values, np.zeros((300, 1))))
    alone = surviving_trials(values, mean_block=12, draws=500, seed=2)
    both = surviving_trials(beside, mean_block=12, draws=500, seed=2)
    np.testing.assert_array_equal(alone.p_values, both.p_values[:6])
    assert both.p_values[6] == 1.0


@given(seed=st.integers(0, 10**6), trials=st.integers(1, 70), copies=st.integers(1, 2))
def test_order_scale_and_ties_of_trials_do_not_matter(seed, trials, copies):
    values = np.repeat(returns(60, trials, seed, good=2, gain=0.004), copies, axis=1)
    order = np.random.default_rng(seed).permutation(values.shape[1])
    one = surviving_trials(values, mean_block=6, draws=120, seed=seed)
    other = surviving_trials(values[:, order] * 8.0, mean_block=6, draws=120, seed=seed)
    np.testing.assert_array_equal(one.p_values[order], other.p_values)
    for _, level in enumerate(np.unique(one.statistics)):
        assert np.unique(one.p_values[one.statistics == level]).size == 1


@pytest.mark.parametrize("values", [np.zeros((5, 3)), np.zeros((0, 2)), np.full((40, 2), np.nan)])
def test_malformed_evidence_is_one_clear_error(values):
    with pytest.raises(GateInputInvalid):
        surviving_trials(values, mean_block=3, draws=100, seed=1)
