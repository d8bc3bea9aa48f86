"""Declarations: what a study and a strategy refuse, each in one clear sentence."""

from datetime import date

import pytest

from pipelines.errors import StrategyInvalid, StudyInvalid
from pipelines.strategy import History, Inputs, Strategy
from pipelines.study import Period
from runtime.bundles.inputs import CurrentWeights, Latest, Window
from tests.fakes.studies import small_study


def decide(xp, inputs):
    return inputs.prices[:, 0], inputs.prices[:, 0]


@pytest.mark.parametrize(
    ("lag", "length", "words"),
    [
        (-1, 20, "looks 1 bar\\(s\\) ahead"),
        (-5, 20, "looks 5 bar\\(s\\) ahead"),
        (0, 0, "length must be >= 1"),
        (0, -3, "length must be >= 1"),
    ],
)
def test_a_history_that_would_look_ahead_is_refused(lag, length, words):
    with pytest.raises(StrategyInvalid, match=words):
        History(feature="us_equities.close", length=length, lag=lag)


def test_a_lag_makes_the_runtime_read_more_and_decide_see_less():
    strategy = Strategy(
        inputs={
            "prices": History(feature="v.close", length=3, lag=2),
            "now": Latest(feature="v.c"),
        },
        decide=decide,
        parameters={},
    )
    assert strategy.inputs["prices"] == Window(feature="v.close", length=5)
    assert strategy.longest_window == 5
    import numpy as np

    seen = strategy.record({"prices": np.arange(10.0).reshape(2, 5), "now": np.zeros(2)})
    assert seen.prices.tolist() == [[0.0, 1.0, 2.0], [5.0, 6.0, 7.0]]
    assert seen.now.shape == (2,)


def test_an_input_that_was_not_declared_is_named_with_those_that_were():
    with pytest.raises(StrategyInvalid, match=r"'volume', which is not declared; declared: \['pri"):
        _ = Inputs({"prices": 1}).volume
    assert Inputs({"prices": 1})["prices"] == 1
    assert list(Inputs({"a": 1, "b": 2})) == ["a", "b"]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "at least one input"),
        ({"my prices": CurrentWeights()}, "use a plain name"),
        ({"_p": CurrentWeights()}, "use a plain name"),
        ({"p": "us_equities.close"}, "is a str; declare History"),
    ],
)
def test_unusable_inputs_are_refused(inputs, words):
    with pytest.raises(StrategyInvalid, match=words):
        Strategy(inputs=inputs, decide=decide, parameters={})


def test_something_that_cannot_be_called_does_not_decide():
    with pytest.raises(StrategyInvalid, match="decide must be a function"):
        Strategy(inputs={"p": CurrentWeights()}, decide=3, parameters={})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "My Study"}, "use a-z"),
        ({"research": Period(start=date(2001, 1, 2), end=date(2003, 1, 2))}, "leave the holdout"),
        ({"benchmark": "cash"}, "benchmark 'cash' is unknown"),
        ({"warm_up": 0}, "warm_up must be >= 1"),
        ({"costs": -0.1}, "costs must be in"),
        ({"invested": 1.5}, "invested must be in"),
        ({"search_space": {"top": ()}}, "search space of top is empty"),
        ({"search_space": {"top": (3, 3)}}, "must be distinct"),
        ({"search_space": {"top": (3, 5.0)}}, "of one type"),
        ({"search_space": {"a b": (1,)}}, "not a parameter name"),
    ],
)
def test_a_study_that_contradicts_itself_is_refused(changes, words):
    with pytest.raises(StudyInvalid, match=words):
        small_study(**changes)


def test_a_period_must_end_after_it_starts():
    with pytest.raises(StudyInvalid, match="must end after it starts"):
        Period(start=date(2001, 1, 2), end=date(2001, 1, 2))


def test_configurations_are_the_whole_grid_in_declared_order():
    assert small_study().configurations() == (
        {"lookback": 21, "top": 3},
        {"lookback": 21, "top": 5},
        {"lookback": 63, "top": 3},
        {"lookback": 63, "top": 5},
    )


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"lookback": 22, "top": 3}, "lookback=22 is not in the declared search space"),
        ({"lookback": 21}, "a trial sets"),
        ({"lookback": 21, "top": 3, "extra": 1}, "a trial sets"),
        ({"lookback": 21.0, "top": 3}, "lookback=21.0 is not"),
    ],
)
def test_a_trial_outside_the_declared_space_is_refused(parameters, words):
    with pytest.raises(StudyInvalid, match=words):
        small_study().check(parameters)


def test_every_point_of_the_space_is_accepted_and_costs_reach_the_sizing_policy():
    study = small_study(costs=0.001, invested=0.9)
    for configuration in study.configurations():
        study.check(configuration)
    assert (study.sizing.cost_rate, study.sizing.invested) == (0.001, 0.9)
