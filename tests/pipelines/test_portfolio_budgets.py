"""Risk budgets against the paper's worked example, its properties, and skfolio."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skfolio.optimization import RiskBudgeting

from pipelines.errors import AllocationInvalid, OptimisationFailed
from pipelines.portfolio import equal_risk, risk_budget, risk_contributions

# Maillard, Roncalli & Teiletche (2010): four assets of volatility 10, 20, 30 and 40 %.
VOLATILITY = np.array([0.1, 0.2, 0.3, 0.4])
CORRELATION = np.array(
    [[1.0, 0.8, 0.0, 0.0], [0.8, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -0.5], [0.0, 0.0, -0.5, 1.0]]
)
COVARIANCE = np.outer(VOLATILITY, VOLATILITY) * CORRELATION


def test_equal_risk_is_the_papers_worked_example():
    weights = equal_risk(COVARIANCE).require()
    assert weights == pytest.approx([0.384, 0.192, 0.243, 0.182], abs=6e-4)
    contributions = risk_contributions(weights, COVARIANCE)
    assert contributions == pytest.approx(np.full(4, 0.0257), abs=1e-4)
    assert contributions.sum() == pytest.approx(0.103, abs=5e-4)


def test_equal_weights_in_the_paper_have_the_volatility_it_says():
    assert risk_contributions(np.full(4, 0.25), COVARIANCE).sum() == pytest.approx(0.115, abs=5e-4)


def test_equal_correlations_give_inverse_volatility():
    # Section 2.2: with one correlation for all pairs, weights are proportional to 1 / sigma.
    sigma = np.array([0.1, 0.25, 0.4, 0.15, 0.3])
    C = np.full((5, 5), 0.35) + 0.65 * np.eye(5)
    expected = (1 / sigma) / (1 / sigma).sum()
    np.testing.assert_allclose(
        equal_risk(np.outer(sigma, sigma) * C).require(), expected, rtol=1e-10
    )


def test_two_assets_have_the_papers_closed_form():
    # Section 2.2: x1 = sigma2 / (sigma1 + sigma2), whatever their correlation.
    for rho in (-0.9, 0.0, 0.99):
        S = np.array([[0.01, rho * 0.03], [rho * 0.03, 0.09]])
        assert equal_risk(S).require()[0] == pytest.approx(0.3 / 0.4, rel=1e-9)


@st.composite
def covariances(draw):
    n = draw(st.integers(2, 25))
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    factors = generator.normal(size=(n, max(1, n // 4)))
    scale = 10 ** generator.uniform(-3, 0, n)
    S = factors @ factors.T + np.diag(generator.uniform(0.05, 1.0, n))
    return np.outer(scale, scale) * S


@settings(max_examples=60)
@given(covariance=covariances(), seed=st.integers(0, 1000))
def test_any_budget_is_met(covariance, seed):
    budget = np.random.default_rng(seed).uniform(0.02, 1.0, len(covariance))
    weights = risk_budget(covariance, budget).require()
    shares = risk_contributions(weights, covariance)
    np.testing.assert_allclose(shares / shares.sum(), budget / budget.sum(), rtol=1e-7)
    assert weights.sum() == pytest.approx(1.0)
    assert (weights > 0).all()


@settings(max_examples=40)
@given(covariance=covariances())
def test_volatility_lies_between_minimum_variance_and_equal_weights(covariance):
    # Section 2.3 of the paper: sigma_mv <= sigma_erc <= sigma_1/n.
    n = len(covariance)
    erc = equal_risk(covariance).require()
    equal = np.full(n, 1 / n)
    inverse = np.linalg.solve(covariance, np.ones(n))
    lowest = 1 / inverse.sum()
    assert lowest * (1 - 1e-9) <= erc @ covariance @ erc <= equal @ covariance @ equal * (1 + 1e-9)


def test_skfolio_finds_the_same_budget():
    generator = np.random.default_rng(3)
    returns = generator.normal(size=(800, 6)) @ generator.normal(size=(6, 6)) * 0.01
    ours = equal_risk(np.cov(returns.T)).require()
    np.testing.assert_allclose(RiskBudgeting().fit(returns).weights_, ours, atol=2e-4)


def test_a_singular_covariance_is_a_named_failure_or_exact_and_never_a_guess():
    # The two assets cancel: no long-only weights have any risk to share.
    allocation = equal_risk([[1.0, -1.0], [-1.0, 1.0]])
    assert not allocation.solved
    assert allocation.failure.why == "not converged"
    with pytest.raises(OptimisationFailed, match="equal risk contribution, not converged"):
        allocation.require()


@pytest.mark.parametrize(
    ("covariance", "budget", "words"),
    [
        ([[1.0, 0.0]], [1.0], "square"),
        ([[1.0, 2.0], [2.0, 1.0]], [1.0, 1.0], "not positive semidefinite"),
        ([[1.0, 0.5], [0.1, 1.0]], [1.0, 1.0], "symmetric"),
        ([[1.0, 0.0], [0.0, 0.0]], [1.0, 1.0], "positive variances"),
        ([[1.0, 0.0], [0.0, 1.0]], [1.0, 0.0], "positive share"),
    ],
)
def test_impossible_inputs_are_refused(covariance, budget, words):
    with pytest.raises(AllocationInvalid, match=words):
        risk_budget(covariance, budget)
