"""Attribution adds up to the last bit of what was earned; each part answers for its cause."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.attribution import attribute, linked, tilts
from pipelines.backtest import backtest
from pipelines.compile import compile_strategy
from pipelines.definition import definition_of
from pipelines.errors import RiskInvalid
from pipelines.evaluate import evaluate
from pipelines.holdings import held_weights
from pipelines.strategy import History, Strategy
from pipelines.workspace import Workspace
from runtime.bundles.inference import DecisionSession
from runtime.clock import ReplayClock
from tests.fakes.studies import FEATURE, momentum, small_study


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, market_lake):
    return Workspace(
        tmp_path_factory.mktemp("attribution"),
        lake_url=market_lake.fresh_url(),
        snapshot=market_lake.snapshot,
        clock=ReplayClock(datetime(2024, 5, 1, tzinfo=UTC)),
    )


@pytest.fixture(scope="module")
def result(workspace):
    return evaluate(definition_of(small_study(), momentum(21, 3)), workspace).backtest


def run(workspace, strategy, **changes):
    study = small_study(**changes)
    reader = workspace.research_reader(study)
    graph = compile_strategy(strategy, 20)
    session = DecisionSession(graph)
    return backtest(session, strategy.inputs, reader, study, study.research), study


def equal_weights():
    def decide(xp, inputs):
        last = inputs.prices[:, -1]
        return last, xp.ones_like(last) / 20.0

    return Strategy(
        inputs={"prices": History(feature=FEATURE, length=2)}, decide=decide, parameters={}
    )


def test_the_parts_of_every_day_sum_to_its_net_return(result):
    found = attribute(result, small_study())
    np.testing.assert_allclose(found.parts.sum(axis=1), result.net, atol=1e-14)


def test_the_linked_parts_sum_to_the_compound_return(result):
    found = attribute(result, small_study())
    whole = np.prod(1.0 + result.net) - 1.0
    assert sum(found.total().values()) == pytest.approx(whole, abs=1e-12)
    years, parts = found.yearly()
    for year, row in zip(years, parts, strict=True):
        inside = np.array([day.year == year for day in result.dates])
        assert row.sum() == pytest.approx(np.prod(1.0 + result.net[inside]) - 1.0, abs=1e-12)


def test_names_sum_to_the_excess_before_costs(result):
    found = attribute(result, small_study())
    excess = result.gross - result.benchmark_books.gross
    np.testing.assert_allclose(found.by_name.sum(axis=1), excess, atol=1e-12)


def test_holding_the_benchmark_leaves_signal_and_costs_beyond_it_empty(workspace):
    result, study = run(workspace, equal_weights())
    found = attribute(result, study)
    assert np.abs(found.by_name).max() < 1e-12
    # Waiting for the next bar is the benchmark's wait as well, so signal undoes timing.
    assert np.abs(found.parts[:, 1] + found.parts[:, 2]).max() < 1e-12


def test_without_costs_the_part_of_costs_is_zero_and_grows_with_the_rate(workspace):
    free, study = run(workspace, momentum(21, 3), costs=0.0)
    assert attribute(free, study).total()["costs"] == 0.0
    dear, study = run(workspace, momentum(21, 3), costs=0.01)
    assert attribute(dear, study).total()["costs"] < -0.05


def test_timing_is_what_the_wait_for_the_next_bar_changed(workspace):
    """One decision's wait by hand: weights at the deciding close against one session later."""
    result, study = run(workspace, momentum(21, 3))
    found = attribute(result, study)
    fill = int(result.fill_rows[5])
    before = held_weights(result)[fill - 1]
    day = result.prices[fill] / result.prices[fill - 1] - 1.0
    wanted = result.weights[5] * study.invested
    assert found.parts[fill, 2] == pytest.approx(float((before - wanted) @ day), abs=1e-12)


def test_standing_and_moving_sum_to_the_mean_return_of_the_holdings(result):
    found = tilts(result)
    mean = result.gross[1:].mean() * 252
    assert found.passive.sum() + found.active.sum() == pytest.approx(mean, rel=1e-9)
    assert 0.0 < abs(found.ratio) < 5.0


@given(st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=30))
def test_linking_any_returns_is_exact(values):
    net = np.array(values)
    parts = np.column_stack([0.3 * net, 0.7 * net])
    whole = np.prod(1.0 + net) - 1.0
    assert linked(parts, net).sum() == pytest.approx(whole, abs=1e-9)


def test_a_day_that_loses_everything_cannot_be_linked():
    with pytest.raises(RiskInvalid, match="everything"):
        linked(np.array([[-1.0]]), np.array([-1.0]))
