"""Independent trials among correlated ones: known cases, other implementations, order, edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import silhouette_samples

from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.independence import _silhouettes, cluster, independence


def families(sizes: tuple[int, ...], *, days: int = 2000, noise: float = 0.3, seed: int = 1):
    """Trials in families that share a factor of their own."""
    generator = np.random.default_rng(seed)
    columns = []
    for size in sizes:
        factor = generator.normal(size=(days, 1))
        columns.append(factor + noise * generator.normal(size=(days, size)))
    return 0.01 * np.hstack(columns)


def test_families_are_found_and_counted():
    found = independence(families((10, 25, 5, 40)))
    assert found.clusters == 4
    assert [len(set(part)) for part in np.split(found.labels, (10, 35, 40))] == [1, 1, 1, 1]
    assert found.effective == pytest.approx(
        1 / sum((n / 80) ** 2 for n in (10, 25, 5, 40)), rel=0.2
    )


def test_copies_are_one_trial_and_strangers_are_all_counted():
    base = families((1,) * 12, days=20_000)
    assert independence(base).effective == pytest.approx(12, rel=0.02)
    copies = independence(np.repeat(base[:, :1], 30, axis=1))
    assert (copies.clusters, copies.effective) == (1, pytest.approx(1.0))
    three_times = independence(np.repeat(base, 3, axis=1))
    assert (three_times.clusters, three_times.effective) == (12, pytest.approx(12, rel=0.02))


def test_effective_number_is_that_of_the_eigenvalues_whichever_side_is_longer():
    for days, trials in ((60, 12), (12, 60)):
        values = families((trials // 2, trials - trials // 2), days=days, noise=1.0)
        spectrum = np.linalg.eigvalsh(np.corrcoef(values.T))
        expected = spectrum.sum() ** 2 / (spectrum**2).sum()
        assert independence(values).effective == pytest.approx(expected, rel=1e-9)


def test_noise_in_few_days_counts_for_less_as_the_docstring_says():
    values = np.random.default_rng(2).normal(size=(500, 250))
    assert independence(values).effective == pytest.approx(250 / 1.5, rel=0.02)


def test_silhouettes_are_those_of_scikit_learn():
    values = families((5, 7, 1, 4), days=200, noise=1.0)
    distance = np.sqrt(np.maximum(0.5 * (1 - np.corrcoef(values.T)), 0))
    np.fill_diagonal(distance, 0.0)
    labels = np.repeat(np.arange(4), (5, 7, 1, 4))
    np.testing.assert_allclose(
        _silhouettes(distance, labels),
        silhouette_samples(distance, labels, metric="precomputed"),
        atol=1e-12,
    )


def test_trials_that_never_move_count_as_none():
    values = np.hstack((families((3, 3)), np.zeros((2000, 2))))
    found = independence(values)
    assert found.clusters == 2
    assert list(found.labels[6:]) == [-1, -1]
    still = independence(np.zeros((50, 3)))
    assert (still.effective, still.clusters) == (0.0, 0)


@pytest.mark.parametrize(("correlation", "groups"), [(0.9, 1), (0.4, 2), (-1.0, 2)])
def test_two_trials_are_apart_below_one_half(correlation, groups):
    labels = cluster(np.array([[1, correlation], [correlation, 1]]))
    assert len(set(labels)) == groups
    assert independence(np.random.default_rng(1).normal(size=(50, 1))).clusters == 1


@given(seed=st.integers(0, 10**6), trials=st.integers(1, 25))
def test_order_and_scale_do_not_matter(seed, trials):
    values = families((trials, 4), days=60, noise=0.8, seed=seed)
    order = np.random.default_rng(seed).permutation(trials + 4)
    one, other = independence(values), independence(values[:, order] * 7.0)
    assert one.clusters == other.clusters
    assert one.effective == pytest.approx(other.effective, rel=1e-9)
    assert 1 - 1e-9 <= one.effective <= trials + 4 + 1e-9


def test_very_many_trials_are_counted_but_not_clustered():
    found = independence(np.random.default_rng(1).normal(size=(40, 1300)))
    assert found.clusters is None
    assert found.effective < 40


@pytest.mark.parametrize("values", [[[0.1, 0.2]], [[0.1], [np.nan]], np.empty((0, 2))])
def test_malformed_evidence_is_one_clear_error(values):
    with pytest.raises(GateInputInvalid):
        independence(values)
