"""Drawdown episodes, exposures and stress windows against plain loops."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import RiskInvalid
from pipelines.performance import drawdowns
from pipelines.risk import (
    StressWindow,
    drawdown_episodes,
    effective_names,
    rolling_beta,
    stressed,
)


def test_episodes_by_hand():
    #          1.1   0.99  1.089 1.1979 0.95832
    returns = np.array([0.1, -0.1, 0.1, 0.1, -0.2])
    deep, shallow = drawdown_episodes(returns)
    assert (deep.peak, deep.trough, deep.recovered, deep.days) == (3, 4, None, None)
    assert deep.depth == pytest.approx(-0.2)
    assert (shallow.peak, shallow.trough, shallow.recovered, shallow.days) == (0, 1, 3, 3)


@given(st.lists(st.floats(-0.3, 0.3), min_size=1, max_size=40))
def test_episodes_cover_every_day_under_water_once(values):
    returns = np.array(values)
    under = drawdowns(returns)
    covered = np.zeros(returns.size, dtype=int)
    for one in drawdown_episodes(returns):
        end = returns.size if one.recovered is None else one.recovered
        covered[one.peak + 1 : end] += 1
        assert one.depth == under[one.peak + 1 : end].min()
    assert (covered == (under < 0.0)).all()


def test_equal_weights_count_as_many_names_as_there_are():
    weights = np.array([[0.25] * 4, [1.0, 0.0, 0.0, 0.0], [0.0] * 4, [0.5, -0.5, 0.0, 0.0]])
    assert effective_names(weights).tolist() == [4.0, 1.0, 0.0, 2.0]


def test_rolling_beta_is_the_regression_slope_of_each_window():
    rng = np.random.default_rng(3)
    market = rng.normal(0.0, 0.01, 300)
    ours = 0.7 * market + rng.normal(0.0, 0.003, 300)
    found = rolling_beta(ours, market, window=100)
    assert found.size == 201
    for i in (0, 57, 200):
        slope = np.polyfit(market[i : i + 100], ours[i : i + 100], 1)[0]
        assert found[i] == pytest.approx(slope, rel=1e-9)
    with pytest.raises(RiskInvalid, match="does not move"):
        rolling_beta(ours, np.zeros(300), window=100)


def test_a_stress_window_starts_at_its_first_close_and_must_lie_inside():
    days = [date(2001, 9, 7), date(2001, 9, 10), date(2001, 9, 17), date(2001, 9, 21)]
    ours, base = np.array([0.5, 0.5, -0.1, -0.2]), np.array([0.5, 0.5, -0.05, 0.0])
    window = StressWindow(name="w", start=date(2001, 9, 10), end=date(2001, 9, 21))
    later = StressWindow(name="l", start=date(2001, 9, 10), end=date(2001, 9, 28))
    (found,) = stressed(days, ours, base, (window, later))
    assert found.strategy == pytest.approx(0.9 * 0.8 - 1.0)
    assert found.benchmark == pytest.approx(-0.05)
    assert found.worst_day == -0.2
