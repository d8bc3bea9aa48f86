"""Performance figures against worked examples, and pictures that are equal byte for byte."""

from datetime import date

import numpy as np
import pytest

from pipelines import plots
from pipelines.definition import definition_of
from pipelines.evaluate import Trial
from pipelines.performance import annual_return, drawdowns, figures, growth, sharpe, volatility
from pipelines.pictures import Table
from tests.fakes.array_reader import random_reader
from tests.fakes.studies import FEATURE, momentum, small_study
from tests.pipelines.test_backtest import SYMBOLS, run


def test_a_worked_example_of_growth_and_drawdown():
    returns = np.array([0.10, -0.50, 0.20, 1.00])
    np.testing.assert_allclose(growth(returns), [1.1, 0.55, 0.66, 1.32])
    np.testing.assert_allclose(drawdowns(returns), [0.0, -0.5, -0.4, 0.0])
    np.testing.assert_allclose(drawdowns(np.array([-0.2, 0.1])), [-0.2, -0.12])


def test_a_worked_example_of_sharpe_and_volatility():
    returns = np.array([0.01, 0.03])  # mean 0.02, deviation sqrt(2) * 0.01
    assert sharpe(returns) == pytest.approx(2 / np.sqrt(2) * np.sqrt(252))
    assert volatility(returns) == pytest.approx(0.01 * np.sqrt(2) * np.sqrt(252))
    assert sharpe(np.full(5, 0.01)) == 0.0
    assert sharpe(np.zeros(5)) == 0.0


def test_a_daily_return_compounds_over_a_year():
    assert annual_return(np.full(252, 0.001)) == pytest.approx(1.001**252 - 1)


@pytest.fixture(scope="module")
def trial():
    reader = random_reader(SYMBOLS, date(2000, 1, 3), date(2003, 12, 31), seed=7, feature=FEATURE)
    study, strategy = small_study(), momentum(21, 3)
    result = run(strategy, reader, study)
    return Trial(
        key="0" * 64,
        definition=definition_of(study, strategy),
        snapshot_hash="",
        graph=b"",
        backtest=result,
        figures=figures(result),
    )


@pytest.mark.parametrize("name", ["equity", "excess", "turnover", "weights"])
def test_a_picture_is_the_same_every_time_and_says_what_it_shows(trial, name):
    first, second = getattr(plots, name)(trial), getattr(plots, name)(trial)
    assert first.png == second.png
    assert first.png.startswith(b"\x89PNG")
    assert b"Software" not in first.png
    assert len(first.words) > 40
    assert repr(first) == first.words


def test_the_summary_compares_strategy_benchmark_and_excess(trial):
    table = plots.summary(trial)
    cells = {row[0]: row[1:] for row in table.rows}
    assert cells["Sharpe ratio, annualised"][0] == f"{trial.figures['sharpe']:.2f}"
    assert cells["Sharpe ratio, annualised"][2] == f"{trial.figures['excess_sharpe']:.2f}"
    assert "Strategy" in repr(table)


def test_the_lowest_cash_is_told_as_a_share_of_equity(trial):
    books, rows = trial.backtest.books, trial.backtest.fill_rows
    shares = [cash / books.equity[row + 1] for cash, row in zip(books.cash, rows, strict=True)]
    assert trial.figures["lowest_cash"] == pytest.approx(min(shares))
    assert {row[0]: row[1] for row in plots.summary(trial).rows}[
        "Lowest cash after a fill, of equity"
    ] == f"{min(shares):.1%}"


def test_a_table_escapes_what_it_shows():
    table = Table(("", "a"), [("<b>", "1")])
    assert "&lt;b&gt;" in table._repr_html_()
    assert repr(table).splitlines()[1] == "<b>  1"
