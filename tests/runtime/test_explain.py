"""Ablation says what an input did: nothing if it is ignored, everything if it decides alone."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from runtime.bundles.explain import ablate, neutral
from runtime.bundles.inference import DecisionSession
from runtime.bundles.inputs import CurrentWeights, Latest, Window
from runtime.errors import DecisionInvalid
from tests.fakes.graphs import WINDOW, graph_bytes, tilt_graph

N = 6
INPUTS = {"prices": Window(feature="prices.close", length=WINDOW), "current": CurrentWeights()}


def example() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    return {"prices": random.uniform(50, 150, (N, WINDOW)), "current": np.full(N, 0.9 / N)}


def test_the_changes_are_those_of_the_formula():
    given = example()
    prices, current = ablate(DecisionSession(tilt_graph(inertia=0.1)), INPUTS, given)
    assert (prices.input, current.input) == ("prices", "current")
    score = given["prices"][:, -1] / given["prices"][:, 0] - 1
    median = 1 / np.median(given["prices"][:, 0] / given["prices"][:, -1]) - 1
    np.testing.assert_allclose(prices.score, score - median, rtol=1e-12)
    share = np.exp(8 * score) / np.exp(8 * score).sum()
    np.testing.assert_allclose(prices.weight, 0.9 * (share - 1 / N), atol=1e-12)
    assert prices.moved == pytest.approx(0.45 * np.abs(share - 1 / N).sum())
    np.testing.assert_allclose(current.weight, 0.1 * given["current"], rtol=1e-12)
    assert set(current.score) == {0.0}


def test_an_input_that_is_ignored_moves_nothing():
    graph = tilt_graph(inertia=0.0)
    current = next(
        one for one in ablate(DecisionSession(graph), INPUTS, example()) if one.input == "current"
    )
    assert current.moved == 0.0
    assert set(current.weight) == {0.0}


def test_an_input_without_which_there_is_no_answer_says_so():
    nodes = [
        helper.make_node("Div", ["current", "latest"], ["score"]),
        helper.make_node("Div", ["current", "current"], ["ones"]),
        helper.make_node("Mul", ["ones", "tenth"], ["weight"]),
    ]
    graph = graph_bytes(
        nodes,
        {"tenth": np.array(0.1)},
        inputs={"current": ("n",), "latest": ("n",)},
        outputs={"score": ("n",), "weight": ("n",)},
    )
    inputs = {"current": CurrentWeights(), "latest": Latest(feature="a.b")}
    given = {"current": np.full(N, 0.1), "latest": np.arange(1.0, N + 1)}
    found = {one.input: one for one in ablate(DecisionSession(graph), inputs, given)}
    latest, current = found["latest"], found["current"]
    assert latest.refused == ""
    assert len(latest.score) == N
    assert "not finite" in current.refused
    assert current.weight == ()
    with pytest.raises(DecisionInvalid):
        ablate(DecisionSession(graph), inputs, {**given, "current": np.zeros(N)})


def test_a_neutral_input_tells_no_symbol_from_another():
    window = Window(feature="a.b", length=4)
    prices = np.random.default_rng(1).uniform(10, 20, (5, 4))
    flat, words = neutral(window, prices)
    returns = flat / flat[:, -1:]
    assert np.allclose(returns, returns[0])
    np.testing.assert_array_equal(flat[:, -1], prices[:, -1])
    assert "median symbol" in words
    signed, _ = neutral(window, prices - 15.0)
    np.testing.assert_array_equal(signed, np.tile(np.median(prices - 15.0, axis=0), (5, 1)))
    newest, _ = neutral(Latest(feature="a.b"), np.array([1.0, 2.0, 9.0]))
    assert newest.tolist() == [2.0, 2.0, 2.0]
