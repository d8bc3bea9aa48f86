"""Figures of a curve, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from service.books.curves import max_drawdown, returns_of, sharpe, summary


def test_drawdown_is_measured_from_the_running_peak():
    assert max_drawdown([100.0, 120.0, 90.0, 130.0, 117.0]) == pytest.approx(-0.25)
    assert max_drawdown([1.0, 2.0, 3.0]) == 0.0
    assert max_drawdown([]) is None


def test_sharpe_of_alternating_returns_is_worked_out_by_hand():
    # 40 returns, half +2 %, half -1 %: mean 0.5 %, sum of squares 40 * 1.5 %^2, over 39.
    returns = np.array([0.02, -0.01] * 20)
    deviation = np.sqrt(40 * 0.015**2 / 39)
    assert sharpe(returns) == pytest.approx(0.005 / deviation * np.sqrt(252), rel=1e-12)


def test_too_few_days_and_constant_returns_have_no_ratio():
    assert sharpe(np.full(19, 0.01)) is None
    assert sharpe(np.zeros(100)) is None


def test_a_year_that_doubles_returns_100_per_cent_a_year():
    levels = list(2.0 ** (np.arange(253) / 252))
    figures = summary(levels)
    assert figures.total_return == pytest.approx(1.0)
    assert figures.annual_return == pytest.approx(1.0)
    assert figures.max_drawdown == 0.0


def test_no_levels_give_no_figures():
    assert summary([]).total_return is None
    assert summary([100.0]).sharpe is None


def test_returns_are_simple():
    assert returns_of([100.0, 110.0, 99.0]).tolist() == pytest.approx([0.1, -0.1])
