"""SPA and Reality Check against arch, against a slow plain implementation, and on their edges."""

import numpy as np
import pytest
from arch.bootstrap import SPA, StationaryBootstrap
from hypothesis import given
from hypothesis import strategies as st

from pipelines.gates.bootstrap import blocks_of, stationary_blocks
from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.spa import superior_ability, superior_ability_on


def noise(periods: int, trials: int, seed: int, *, mean: float = 0.0) -> np.ndarray:
    """Autocorrelated daily returns of one per cent, with a common factor."""
    generator = np.random.default_rng(seed)
    shocks = generator.normal(size=(periods, trials)) + generator.normal(size=(periods, 1))
    shocks[1:] += 0.2 * shocks[:-1]
    return 0.01 * shocks + mean


def arch_indices(values: np.ndarray, block: int, draws: int, seed: int) -> np.ndarray:
    """The very rows that arch's SPA resamples with this seed."""
    bootstrap = StationaryBootstrap(block, values, seed=seed)
    return np.array([bootstrap.update_indices() for _ in range(draws)])


def rows_of(blocks, draw: int) -> np.ndarray:
    """Rows of one draw, one by one."""
    owned = range(blocks.cuts[draw], blocks.cuts[draw + 1])
    runs = [np.arange(blocks.lengths[b]) + blocks.starts[b] for b in owned]
    return np.concatenate(runs) % blocks.periods


def slow_variance(values: np.ndarray, mean_block: float) -> np.ndarray:
    """Omega squared of Hansen (2005), equation 4: every lag with its kernel weight."""
    periods, q = len(values), 1 / mean_block
    centred = values - values.mean(axis=0)
    variance = (centred**2).sum(axis=0) / periods
    for lag in range(1, periods):
        share = lag / periods
        kernel = (1 - share) * (1 - q) ** lag + share * (1 - q) ** (periods - lag)
        variance += 2 * kernel * (centred[:-lag] * centred[lag:]).sum(axis=0) / periods
    return variance


def slow_test(values: np.ndarray, blocks, mean_block: float) -> tuple[float, list[float]]:
    """Hansen (2005) step by step: every lag, every row, no truncation tricks."""
    periods = len(values)
    mean = values.mean(axis=0)
    omega = np.sqrt(slow_variance(values, mean_block))
    seen = max(0.0, (np.sqrt(periods) * mean / omega).max())
    clearly_bad = np.sqrt(periods) * mean / omega < -np.sqrt(2 * np.log(np.log(periods)))
    centres = (np.maximum(mean, 0), np.where(clearly_bad, 0, mean), mean)
    counts = [0, 0, 0]
    for draw in range(blocks.draws):
        resampled = values[rows_of(blocks, draw)].mean(axis=0)
        for form, centre in enumerate(centres):
            z = np.sqrt(periods) * (resampled - centre) / omega
            counts[form] += max(0.0, z.max()) >= seen
    return seen, [(1 + count) / (1 + blocks.draws) for count in counts]


@pytest.mark.parametrize(("mean", "seed"), [(0.0, 1), (0.0006, 2), (-0.001, 3)])
def test_raw_form_has_the_p_values_of_arch_on_the_indices_of_arch(mean, seed):
    values, block, draws = noise(300, 12, seed, mean=mean), 17, 400
    oracle = SPA(np.zeros(300), -values, block_size=block, reps=draws, seed=5, studentize=False)
    oracle.compute()
    ours = superior_ability_on(
        values, blocks_of(arch_indices(values, block, draws, seed=5)), mean_block=block
    ).raw
    counts = [round(p * draws) for p in oracle.pvalues]
    assert list(ours.exceedances) == counts
    assert ours.p_upper == (1 + counts[2]) / (1 + draws)


def test_indices_of_arch_are_the_ones_its_test_draws():
    values = noise(60, 2, 8)
    bootstrap = StationaryBootstrap(9, values, seed=5)
    resampled = [pos[0] for pos, _ in bootstrap.bootstrap(20)]
    indices = arch_indices(values, 9, 20, seed=5)
    np.testing.assert_array_equal(values[indices], np.array(resampled))


@pytest.mark.parametrize(("mean", "block"), [(0.0, 1), (0.0004, 6), (0.001, 20), (-0.002, 40)])
def test_studentised_form_agrees_with_a_slow_plain_implementation(mean, block):
    values = noise(120, 7, seed=block, mean=mean)
    values[:, 2] -= 0.004  # one clearly bad trial, so that the three recentrings differ
    blocks = stationary_blocks(120, mean_block=block, draws=300, seed=9)
    ours = superior_ability_on(values, blocks, mean_block=block).studentised
    statistic, p_values = slow_test(values, blocks, block)
    assert ours.statistic == pytest.approx(statistic, rel=1e-10)
    assert [ours.p_lower, ours.p_consistent, ours.p_upper] == pytest.approx(p_values, abs=1e-12)


@pytest.mark.parametrize(("periods", "block"), [(10, 1), (12, 10), (30, 30), (61, 25), (200, 14)])
def test_long_run_variance_is_the_kernel_sum_over_every_lag(periods, block):
    values = noise(periods, 3, seed=periods, mean=0.001)
    omega = superior_ability(values, mean_block=block, draws=100, seed=1).omega
    np.testing.assert_allclose(omega**2, slow_variance(values, block), rtol=1e-9)


def test_clearly_bad_trials_do_not_hide_a_good_one():
    values = noise(500, 2, seed=4, mean=0.0007)
    crowd = np.hstack((values, noise(500, 40, seed=5, mean=-0.02) * 3))
    test = superior_ability(crowd, mean_block=10, draws=2000, seed=1)
    alone = superior_ability(values, mean_block=10, draws=2000, seed=1)
    assert test.studentised.p_consistent == pytest.approx(alone.studentised.p_consistent, abs=0.02)
    assert test.reality_check_p > 2 * alone.reality_check_p


@pytest.mark.parametrize("trials", [1, 30])
def test_trials_that_are_all_bad_give_p_of_one_and_never_zero(trials):
    values = noise(250, trials, seed=3, mean=-0.01)
    test = superior_ability(values, mean_block=10, draws=500, seed=1).studentised
    assert test.statistic == 0.0
    assert test.p_lower == test.p_consistent == test.p_upper == 1.0


def test_even_overwhelming_skill_has_a_p_value_above_zero():
    test = superior_ability(noise(400, 5, 6, mean=0.05), mean_block=10, draws=999, seed=1)
    assert test.studentised.p_consistent == test.reality_check_p == 1 / 1000
    assert test.studentised.p_of(test.studentised.statistic) == 1 / 1000, "as it is judged"


def test_a_trial_that_holds_the_benchmark_changes_nothing():
    values = noise(300, 6, seed=11, mean=0.0005)
    beside = np.hstack((values, np.zeros((300, 1))))
    one = superior_ability(values, mean_block=12, draws=500, seed=2).studentised
    other = superior_ability(beside, mean_block=12, draws=500, seed=2).studentised
    assert one.exceedances == other.exceedances


def test_critical_value_is_where_the_verdict_turns():
    test = superior_ability(noise(300, 8, 2), mean_block=10, draws=999, seed=1).studentised
    critical = test.critical(0.05)
    assert (1 + (test.null >= np.nextafter(critical, np.inf)).sum()) / 1000 <= 0.05
    assert (1 + (test.null >= critical).sum()) / 1000 > 0.05
    assert test.critical(1e-6) == float("inf")


@given(seed=st.integers(0, 10**6), power=st.integers(-20, 20), trials=st.integers(1, 70))
def test_scale_and_order_of_trials_do_not_matter(seed, power, trials):
    values = noise(80, trials, seed, mean=0.0003)
    order = np.random.default_rng(seed).permutation(trials)
    plain = superior_ability(values, mean_block=9, draws=150, seed=seed)
    other = superior_ability(values[:, order] * 2.0**power, mean_block=9, draws=150, seed=seed)
    assert plain.studentised.statistic == other.studentised.statistic
    assert plain.studentised.exceedances == other.studentised.exceedances
    assert plain.raw.exceedances == other.raw.exceedances
    assert plain.studentised.best == order[other.studentised.best]


@given(seed=st.integers(0, 10**6), periods=st.integers(10, 90), block=st.integers(1, 10))
def test_p_values_are_ordered_and_above_zero(seed, periods, block):
    values = noise(periods, 5, seed) + np.random.default_rng(seed).normal(0, 0.003, 5)
    test = superior_ability(values, mean_block=block, draws=120, seed=seed)
    for form in (test.studentised, test.raw):
        assert 0 < form.p_lower <= form.p_consistent <= form.p_upper <= 1


def test_the_same_seed_gives_the_same_answer_and_another_seed_another_one():
    values = noise(200, 9, 1)
    runs = [superior_ability(values, mean_block=9, draws=400, seed=s) for s in (3, 3, 4)]
    np.testing.assert_array_equal(runs[0].studentised.null, runs[1].studentised.null)
    assert not np.array_equal(runs[0].studentised.null, runs[2].studentised.null)


def test_size_under_a_true_null_is_about_five_per_cent():
    """200 studies of 10 worthless trials: rejections lie inside the 99.9 % binomial interval."""
    rejected = sum(
        superior_ability(
            noise(400, 10, seed), mean_block=8, draws=299, seed=seed
        ).studentised.p_consistent
        <= 0.05
        for seed in range(200)
    )
    assert 1 <= rejected <= 22


def test_blocks_have_the_asked_mean_length_and_fill_every_draw_exactly():
    blocks = stationary_blocks(1000, mean_block=20, draws=400, seed=6)
    assert [len(rows_of(blocks, d)) for d in (0, 17, 399)] == [1000] * 3
    blocks_per_draw = np.diff(blocks.cuts).mean()
    assert blocks_per_draw == pytest.approx(1 + 999 / 20, rel=0.03)
    counts = np.bincount(np.concatenate([rows_of(blocks, d) for d in range(400)]), minlength=1000)
    assert abs(counts - 400).max() < 6 * np.sqrt(400 * 20)  # every row equally likely


def test_blocks_of_indices_are_those_indices():
    blocks = stationary_blocks(37, mean_block=5, draws=30, seed=2)
    indices = np.array([rows_of(blocks, draw) for draw in range(30)])
    again = blocks_of(indices)
    np.testing.assert_array_equal([rows_of(again, d) for d in range(30)], indices)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.zeros((0, 3)), "shape"),
        (np.zeros((50, 0)), "shape"),
        (np.zeros((5, 3)), "5 days"),
        (np.full((50, 2), np.nan), "day 0 of trial 0 is nan"),
        (np.full((50, 2), 0.001), "without risk"),
    ],
)
def test_malformed_evidence_is_one_clear_error(values, says):
    with pytest.raises(GateInputInvalid, match=says):
        superior_ability(values, mean_block=4, draws=100, seed=1)


@pytest.mark.parametrize("block", [0, 51])
def test_a_block_must_fit_the_sample(block):
    with pytest.raises(GateInputInvalid, match="mean block"):
        superior_ability(noise(50, 2, 1), mean_block=block, draws=100, seed=1)
