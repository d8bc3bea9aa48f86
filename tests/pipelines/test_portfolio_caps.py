"""skfolio's optimisers, exposure caps and trading costs: limits hold or the failure has a name."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from pipelines.errors import AllocationInvalid, OptimisationFailed
from pipelines.portfolio import (
    Allocation,
    Limits,
    capped,
    hierarchical,
    mean_variance,
    minimum_variance,
    trading_costs,
)

RETURNS = (
    0.01
    * np.random.default_rng(0).normal(0.02, 1.0, (500, 5))
    @ np.linalg.cholesky(np.full((5, 5), 0.3) + 0.7 * np.eye(5)).T
    * [1.0, 1.5, 2.0, 0.5, 1.0]
)


def test_minimum_variance_is_the_closed_form_when_nothing_binds():
    S = np.cov(RETURNS.T)
    expected = np.linalg.solve(S, np.ones(5))
    expected /= expected.sum()
    found = minimum_variance(RETURNS, shrinkage="none", lowest=-1.0).require()
    # The solver stops near the flat bottom of the variance: weights to 1e-3, variance to 1e-5.
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found @ S @ found == pytest.approx(expected @ S @ expected, rel=1e-5)


def test_shrinkage_pulls_weights_together():
    few = RETURNS[:15]
    plain = minimum_variance(few, shrinkage="none", lowest=-2.0, highest=2.0).require()
    shrunk = minimum_variance(few, shrinkage="ledoit_wolf", lowest=-2.0, highest=2.0).require()
    assert shrunk.std() < plain.std()


def test_more_risk_aversion_means_less_variance():
    S = np.cov(RETURNS.T)
    bold, timid = (mean_variance(RETURNS, risk_aversion=a).require() for a in (0.5, 50.0))
    assert timid @ S @ timid < bold @ S @ bold


def test_costs_keep_a_portfolio_where_it_is_until_a_change_pays():
    held = np.full(5, 0.2)
    moved = [
        np.abs(
            mean_variance(RETURNS, risk_aversion=5.0, current=held, trade_cost=cost).require()
            - held
        ).sum()
        for cost in (0.0, 0.0002, 0.05)
    ]
    assert moved[0] > moved[1] > moved[2]
    assert moved[2] < 1e-3
    with pytest.raises(AllocationInvalid, match=r"current weights of \(3,\)"):
        mean_variance(RETURNS, risk_aversion=5.0, current=np.ones(3))


def test_hierarchical_risk_parity_gives_the_calm_name_most():
    weights = hierarchical(RETURNS).require()
    assert weights.argmax() == 3
    assert weights.sum() == pytest.approx(1.0)


def test_bounds_that_cannot_add_up_are_a_named_failure():
    allocation = mean_variance(RETURNS, risk_aversion=1.0, highest=0.1)
    assert allocation.weights is None
    assert allocation.failure.why == "infeasible"
    assert "0 to 0.5, never to 1" in allocation.failure.reason
    with pytest.raises(OptimisationFailed, match="mean-variance, infeasible"):
        allocation.require()


def test_a_solver_that_fails_is_a_named_failure_and_not_the_last_weights(monkeypatch):
    import cvxpy

    assert minimum_variance(RETURNS).solved

    def broken(*_args, **_options):
        raise cvxpy.error.SolverError("out of iterations")

    monkeypatch.setattr(cvxpy.Problem, "solve", broken)
    for allocation in (
        minimum_variance(RETURNS),
        capped(np.full(5, 0.2), Limits(name=0.3, turnover=0.1), current=np.eye(5)[0]),
    ):
        assert allocation.weights is None
        assert allocation.failure.why == "solver error"


def test_an_allocation_is_never_both_or_neither():
    with pytest.raises(AllocationInvalid, match="weights or a failure"):
        Allocation(method="none")


WANTED = np.array([0.5, 0.3, 0.1, 0.1, 0.0])
SECTORS = ("tech", "tech", "oil", "oil", "food")


@pytest.mark.parametrize(
    ("limits", "check"),
    [
        (Limits(name=0.25), lambda w: w.max() <= 0.25 + 1e-7),
        (Limits(sectors={"tech": 0.4}), lambda w: w[:2].sum() <= 0.4 + 1e-7),
        (Limits(beta=(0.0, 0.9)), lambda w: w @ [2.0, 1.5, 0.5, 0.5, 0.2] <= 0.9 + 1e-7),
        (Limits(concentration=0.25), lambda w: (w**2).sum() <= 0.25 + 1e-7),
        (Limits(turnover=0.2), lambda w: np.abs(w - 0.2).sum() <= 0.2 + 1e-7),
        (Limits(invested=None, gross=0.5), lambda w: np.abs(w).sum() <= 0.5 + 1e-7),
    ],
)
def test_each_cap_binds_and_holds(limits, check):
    assert not check(WANTED)
    weights = capped(
        WANTED,
        limits,
        sectors=SECTORS,
        betas=[2.0, 1.5, 0.5, 0.5, 0.2],
        current=np.full(5, 0.2),
    ).require()
    assert check(weights)
    if limits.invested is not None:
        assert weights.sum() == pytest.approx(1.0)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_the_capped_weights_are_the_nearest_ones(seed):
    wanted = np.random.default_rng(seed).dirichlet(np.ones(6))
    found = capped(wanted, Limits(name=0.3)).require()
    # The projection on a capped simplex shifts all by one number and clips.
    low, high = -1.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(wanted + middle, 0, 0.3).sum() < 1 else (low, middle)
    np.testing.assert_allclose(found, np.clip(wanted + low, 0, 0.3), atol=2e-5)


def test_all_caps_together_match_an_independent_solver():
    limits = Limits(name=0.35, sectors={"tech": 0.5}, beta=(0.0, 1.0), concentration=0.27)
    betas = np.array([2.0, 1.5, 0.5, 0.5, 0.2])
    found = capped(WANTED, limits, sectors=SECTORS, betas=betas).require()
    rules = [
        {"type": "eq", "fun": lambda w: w.sum() - 1},
        {"type": "ineq", "fun": lambda w: 0.5 - w[:2].sum()},
        {"type": "ineq", "fun": lambda w: 1.0 - betas @ w},
        {"type": "ineq", "fun": lambda w: 0.27 - (w**2).sum()},
    ]
    other = minimize(
        lambda w: ((w - WANTED) ** 2).sum(),
        np.full(5, 0.2),
        bounds=[(0, 0.35)] * 5,
        constraints=rules,
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(found, other.x, atol=1e-4)


def test_weights_that_keep_every_limit_come_back_untouched():
    assert capped(WANTED, Limits(name=0.6)).require() is not None
    np.testing.assert_array_equal(capped(WANTED, Limits(name=0.6)).require(), WANTED)


def test_limits_that_exclude_each_other_are_infeasible():
    allocation = capped(WANTED, Limits(name=0.1))
    assert allocation.failure.why == "infeasible"
    assert "name=0.1" in allocation.failure.reason


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(beta=(0, 1)), "needs betas"),
        (Limits(turnover=0.1), "needs current"),
        (Limits(sectors={"tech": 0.1}), "need the sector"),
    ],
)
def test_a_limit_without_its_data_is_refused(limits, words):
    with pytest.raises(AllocationInvalid, match=words):
        capped(WANTED, limits)


def test_costs_count_every_trade_once_and_borrow_by_the_day():
    costs = trading_costs(
        [0.5, 0.5, 0.0], [0.7, 0.5, -0.2], rate=0.0005, borrow_rate=[0.0, 0.0, 0.03], days=30
    )
    assert costs.turnover == pytest.approx(0.4)
    assert costs.trade == pytest.approx(0.0002)
    assert costs.borrow == pytest.approx(0.2 * 0.03 * 30 / 360)
    assert costs.total == pytest.approx(costs.trade + costs.borrow)
