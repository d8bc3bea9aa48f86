"""CSCV against a brute-force reading of the paper, its known properties, ties and edges."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.independence import alike
from pipelines.gates.pbo import backtest_overfitting, judged_overfitting


def brute_force(values: np.ndarray, blocks: int) -> list[tuple[float, float, float]]:
    """Paper, section 3, split by split: relative rank, Sharpe ratio in and out of sample."""
    periods = len(values)
    parts = [values[s * periods // blocks : (s + 1) * periods // blocks] for s in range(blocks)]
    found = []
    for chosen in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[s] for s in chosen])
        outside = np.concatenate([parts[s] for s in range(blocks) if s not in chosen])
        ratio_in, ratio_out = (half.mean(0) / half.std(0, ddof=1) for half in (inside, outside))
        best = int(ratio_in.argmax())
        rank = rankdata(ratio_out)[best] / (values.shape[1] + 1)
        found.append((rank, ratio_in[best], ratio_out[best]))
    return found


def noise(periods: int, trials: int, seed: int) -> np.ndarray:
    return 0.01 * np.random.default_rng(seed).normal(size=(periods, trials))


@pytest.mark.parametrize(("periods", "trials", "blocks"), [(64, 5, 4), (101, 8, 6), (77, 3, 8)])
def test_every_split_agrees_with_brute_force(periods, trials, blocks):
    values = noise(periods, trials, seed=periods)
    ours = backtest_overfitting(values, blocks=blocks)
    expected = sorted(brute_force(values, blocks))
    ranks = 1 / (1 + np.exp(-ours.logits))
    actual = sorted(zip(ranks, ours.in_sample, ours.out_of_sample, strict=True))
    np.testing.assert_allclose(actual, expected, rtol=1e-9)
    assert ours.pbo == np.mean([rank <= 0.5 + 1e-12 for rank, _, _ in expected])
    slope, intercept = np.polyfit(*np.array(expected)[:, 1:].T, 1)
    assert [ours.slope, ours.intercept] == pytest.approx([slope, intercept], rel=1e-6)
    assert ours.loss_probability == np.mean([out < 0 for _, _, out in expected])


def test_sixteen_blocks_make_the_12870_splits_of_the_paper():
    result = backtest_overfitting(noise(320, 4, seed=1), blocks=16)
    assert result.splits == 12870
    assert result.pbo == result.at_or_below_median / 12870


def test_selection_among_noise_is_overfit_half_of_the_time():
    pbos = [backtest_overfitting(noise(400, 20, seed), blocks=8).pbo for seed in range(60)]
    assert np.mean(pbos) == pytest.approx(0.5, abs=0.07)


def test_one_dominant_trial_is_hardly_ever_overfit():
    values = noise(800, 20, seed=2)
    values[:, 7] += 0.003
    result = backtest_overfitting(values, blocks=16)
    assert result.pbo < 0.01
    assert result.loss_probability < 0.01


def test_trials_that_only_shine_in_one_half_are_overfit():
    values = noise(800, 16, seed=3)
    for k in range(16):  # good in block k only: best in sample, worst out of it
        values[:, k] -= 0.002
        values[50 * k : 50 * (k + 1), k] += 0.03
    result = backtest_overfitting(values, blocks=16)
    assert result.pbo > 0.95
    assert result.slope < 0


@given(seed=st.integers(0, 10**6), power=st.integers(-20, 20), trials=st.integers(2, 12))
def test_scale_and_order_of_trials_do_not_matter(seed, power, trials):
    values = noise(60, trials, seed)
    order = np.random.default_rng(seed).permutation(trials)
    plain = backtest_overfitting(values, blocks=6)
    other = backtest_overfitting(values[:, order] * 2.0**power, blocks=6)
    np.testing.assert_array_equal(plain.logits, other.logits)
    np.testing.assert_array_equal(plain.in_sample, other.in_sample)


@given(seed=st.integers(0, 10**6), copies=st.integers(1, 5))
def test_order_does_not_matter_with_ties_either(seed, copies):
    values = np.repeat(noise(40, 3, seed), copies, axis=1)
    order = np.random.default_rng(seed).permutation(values.shape[1])
    plain = backtest_overfitting(values, blocks=4)
    np.testing.assert_array_equal(
        plain.logits, backtest_overfitting(values[:, order], blocks=4).logits
    )


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 0, 2, 3), (3, 2, 1, 0)])
def test_of_level_winners_in_sample_the_one_that_is_worst_out_of_sample_is_taken(order):
    whole = np.random.default_rng(6).integers(-8, 9, size=(2, 32)) + 4
    calm, loud = whole[1], whole[1] + np.tile([32, -32], 16)  # to the bit of the same mean
    winners = np.column_stack((np.r_[whole[0], calm], np.r_[whole[0], loud])) / 1024
    values = np.column_stack((winners, noise(64, 2, seed=8)))
    result = backtest_overfitting(values[:, order], blocks=2)
    where = int(result.in_sample.argmax())  # chosen in the first half
    assert result.out_of_sample[where] == pytest.approx(loud.mean() / loud.std(ddof=1), rel=1e-9)


def test_level_trials_share_their_mean_rank_and_the_median_counts_as_overfit():
    twins = np.repeat(noise(64, 1, seed=4), 2, axis=1)
    result = backtest_overfitting(twins, blocks=4)
    assert (result.logits == 0).all()
    assert result.pbo == 1.0


def test_a_trial_that_stands_still_in_a_half_has_a_ratio_of_zero_there():
    values = noise(64, 3, seed=5) - 0.02  # three losers
    beside = np.column_stack((values, np.zeros(64)))
    result = backtest_overfitting(beside, blocks=4)
    assert (result.in_sample == 0).all()  # standing still is best of all
    assert (result.logits > 0).all()


# ---- a field padded with copies


def sweep(seed: int, ideas: int = 12, settings: int = 3) -> np.ndarray:
    """Ideas of different worth on common days, each in a few settings that correlate by 0.7."""
    generator = np.random.default_rng(seed)
    worth = np.linspace(-0.0008, 0.0008, ideas)
    idea = worth + 0.01 * generator.normal(size=(1200, ideas))
    return np.repeat(idea, settings, axis=1) + 0.0065 * generator.normal(
        size=(1200, ideas * settings)
    )


def copies(trial: np.ndarray, number: int, likeness: float, seed: int) -> np.ndarray:
    """Copies that correlate with a trial by `likeness` and earn the same."""
    noise = np.random.default_rng(seed).normal(size=(len(trial), number))
    noise -= noise.mean(axis=0)
    return trial[:, None] + trial.std() * np.sqrt(likeness**-2 - 1) * noise


@pytest.mark.parametrize("likeness", [0.9999, 0.97, 0.92])
def test_copies_of_any_trial_take_little_off_the_judged_probability(likeness):
    values = sweep(11)
    order = np.argsort(values.mean(axis=0) / values.std(axis=0))
    honest = judged_overfitting(values, blocks=8)
    bought = []
    for copied in (order[0], order[9], order[18], order[27], order[-1]):
        padded = np.column_stack((values, copies(values[:, copied], 150, likeness, int(copied))))
        found = judged_overfitting(padded, blocks=8)
        assert found.judged >= honest.judged - 0.05
        assert found.clusters <= honest.clusters + 3
        bought.append(found.pbo)
    assert min(bought) < honest.pbo - 0.1, "the plain probability can be bought"


def test_copies_of_every_poor_trial_at_once_are_in_vain_too():
    values = sweep(11)
    order = np.argsort(values.mean(axis=0) / values.std(axis=0))
    junk = [copies(values[:, k], 20, 0.97, int(k)) for k in order[:12]]
    honest, found = (
        judged_overfitting(field, blocks=8) for field in (values, np.column_stack((values, *junk)))
    )
    assert found.judged >= honest.judged - 0.05
    assert found.pbo < honest.pbo - 0.2


@given(seed=st.integers(0, 10**6), often=st.integers(2, 6))
def test_repeating_a_trial_to_the_bit_changes_nothing_of_the_vote_of_clusters(seed, often):
    values = noise(64, 5, seed)
    once = backtest_overfitting(values, blocks=4)
    repeated = np.repeat(values, [1, often, 1, 1, 2], axis=1)
    again = judged_overfitting(repeated, blocks=4)
    assert again.clustered == judged_overfitting(values, blocks=4).clustered
    assert again.judged >= once.clustered


def test_trials_that_are_not_alike_vote_as_they_are_ranked():
    values = noise(400, 15, seed=8)
    found = judged_overfitting(values, blocks=8)
    assert found.clusters == 15
    assert found.clustered == found.pbo == found.judged
    assert found.pbo == backtest_overfitting(values, blocks=8).clustered


def test_copies_gather_around_the_worst_of_them():
    """A good trial between two poor ones: only the worst gathers, so the other keeps its vote."""
    base = np.random.default_rng(9).normal(size=(2000, 3))
    base = np.linalg.qr(base - base.mean(axis=0))[0]
    middle = base[:, 0]
    left, right = (0.9 * middle + sign * np.sqrt(0.19) * base[:, 1] for sign in (1, -1))
    worth = np.array([0.02, -0.02, -0.01]) / np.sqrt(2000)  # middle is the best, left the worst
    labels = alike(np.column_stack((middle, left, right)) + worth)
    assert labels.tolist() == [0, 0, 1]


@given(seed=st.integers(0, 10**6))
def test_who_is_alike_does_not_depend_on_order(seed):
    values = np.column_stack((sweep(seed, 4, 3)[:120], np.zeros((120, 2))))
    order = np.random.default_rng(seed).permutation(values.shape[1])
    labels, shuffled = alike(values), alike(values[:, order])
    together = labels[:, None] == labels
    assert np.array_equal(together[np.ix_(order, order)], shuffled[:, None] == shuffled)
    assert together[-1, -2], "trials that never move are alike"


@pytest.mark.parametrize(
    ("values", "blocks", "says"),
    [
        (noise(31, 3, 1), 16, "31 days cannot fill 16 blocks"),
        (noise(64, 1, 1), 4, "two or more trials"),
        (noise(64, 3, 1), 5, "even"),
        (noise(64, 3, 1), 26, "even, from 2 to 24"),
        (np.where(noise(64, 3, 1) > 0.02, np.inf, 0), 4, "not a finite return"),
        (np.empty((0, 0)), 4, "shape"),
    ],
)
def test_malformed_evidence_is_one_clear_error(values, blocks, says):
    with pytest.raises(GateInputInvalid, match=says):
        backtest_overfitting(values, blocks=blocks)
