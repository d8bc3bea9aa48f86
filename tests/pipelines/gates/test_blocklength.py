"""Automatic block lengths against arch, what they follow, and the size of the test they serve."""

import numpy as np
import pytest
from arch.bootstrap import optimal_block_length
from hypothesis import given
from hypothesis import strategies as st

from pipelines.gates.blocklength import block_lengths, shared_block


def remembering(periods: int, rhos: np.ndarray, seed: int) -> np.ndarray:
    """One first-order autoregressive column per rho."""
    values = np.random.default_rng(seed).normal(size=(periods, rhos.size))
    for day in range(1, periods):
        values[day] += rhos * values[day - 1]
    return values


@pytest.mark.parametrize("periods", [11, 30, 100, 756])
def test_lengths_are_those_of_arch(periods):
    values = remembering(periods, np.linspace(-0.5, 0.95, 30), seed=periods)
    expected = optimal_block_length(values)["stationary"].to_numpy()
    np.testing.assert_allclose(block_lengths(values), expected, rtol=1e-10)


def test_blocks_are_short_for_noise_and_long_for_what_remembers():
    assert shared_block(remembering(2000, np.zeros(50), 1)) <= 2
    assert shared_block(remembering(2000, np.full(50, 0.6), 1)) > 10


def test_a_trial_that_never_moves_has_no_say():
    values = remembering(500, np.full(5, 0.5), 2)
    beside = np.hstack((values, np.zeros((500, 20))))
    assert shared_block(beside) == shared_block(values)
    assert shared_block(np.zeros((500, 3))) == 1


@given(seed=st.integers(0, 10**6), periods=st.integers(10, 80), trials=st.integers(1, 9))
def test_order_does_not_matter_and_blocks_fit_the_sample(seed, periods, trials):
    values = remembering(periods, np.linspace(0, 0.9, trials), seed)
    order = np.random.default_rng(seed).permutation(trials)
    lengths = block_lengths(values)
    np.testing.assert_array_equal(lengths[order], block_lengths(values[:, order]))
    assert 1 <= shared_block(values) <= periods
