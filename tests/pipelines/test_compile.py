"""From decide to graph: what traces, what is refused, and that NumPy and graph agree."""

import hashlib
import math
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipelines.compile import compile_strategy, decide_with_numpy
from pipelines.errors import StrategyInvalid
from pipelines.strategy import History, Strategy
from runtime.bundles.inference import DecisionSession
from runtime.bundles.inputs import CurrentWeights
from tests.fakes.studies import FEATURE, momentum

HIDDEN = 0.03
N = 6


def strategy(decide, **parameters):
    return Strategy(
        inputs={"prices": History(feature=FEATURE, length=10), "current": CurrentWeights()},
        decide=decide,
        parameters=parameters,
    )


def refused(decide, **parameters):
    with pytest.raises(StrategyInvalid) as caught:
        compile_strategy(strategy(decide, **parameters), N)
    return str(caught.value)


def test_constants_that_tell_their_own_type_give_the_bytes_that_inferred_ones_give(monkeypatch):
    from spox.opset.ai.onnx import v21

    def decide(xp, inputs):
        top = xp.asarray([True, True, False, True, True, False])
        score = inputs.prices[:, -1] / inputs.prices[:, 0] - 1
        rank = xp.argsort(xp.argsort(-score, stable=True), stable=True)
        held = xp.where(top & (rank < 2**40), xp.astype(rank < 2, xp.float64), 0.25)
        return score, held / xp.sum(held)

    kinds = [momentum(21, 3), strategy(decide)]
    told = [compile_strategy(kind, N) for kind in kinds]
    for name in ("infer_output_types", "propagate_values"):
        assert name in vars(v21._Constant), "it is not known without being inferred"
        monkeypatch.delattr(v21._Constant, name)
    assert [compile_strategy(kind, N) for kind in kinds] == told


def test_the_same_strategy_gives_the_same_bytes_in_another_process():
    script = (
        "import hashlib\nfrom tests.fakes.studies import momentum\n"
        "from pipelines.compile import compile_strategy\n"
        "print(hashlib.sha256(compile_strategy(momentum(21, 3), 20)).hexdigest())"
    )
    root = Path(__file__).resolve().parents[2]
    there = subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "1", "PATH": ""},  # here it is another
    ).stdout
    here = compile_strategy(momentum(21, 3), 20)
    assert there.strip() == hashlib.sha256(here).hexdigest()


def test_parameters_change_the_graph():
    assert compile_strategy(momentum(21, 3), 20) != compile_strategy(momentum(21, 5), 20)


@given(prices=arrays(np.float64, (20, 22), elements=st.floats(1.0, 500.0)))
def test_numpy_and_graph_agree_even_on_tied_scores(prices):
    graph = DecisionSession(compile_strategy_once())
    score, weight = decide_with_numpy(momentum(21, 3), {"prices": prices})
    decided = graph.run({"prices": np.ascontiguousarray(prices)})
    np.testing.assert_allclose(decided.score, score, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(decided.weight > 0, weight > 0)
    assert decided.weight.sum() == pytest.approx(1.0)


def compile_strategy_once(cache=[]):  # noqa: B006  (kept between examples on purpose)
    if not cache:
        cache.append(compile_strategy(momentum(21, 3), 20))
    return cache[0]


def test_current_weights_and_helpers_of_the_same_file_trace():
    def decide(xp, inputs):
        return inputs.current, half(xp, inputs.prices[:, -1])

    graph = DecisionSession(compile_strategy(strategy(decide), N))
    decided = graph.run({"prices": np.ones((N, 10)), "current": np.arange(N) / 20})
    assert decided.weight == pytest.approx(np.full(N, 0.5 / N))
    assert decided.score == pytest.approx(np.arange(N) / 20)


def half(xp, values):
    return values / xp.sum(values) / 2.0


def test_mathematics_of_the_standard_library_is_allowed():
    def decide(xp, inputs):
        return inputs.current, inputs.current * math.sqrt(0.25)

    compile_strategy(strategy(decide), N)


def test_a_clock_is_refused():
    def decide(xp, inputs):
        return inputs.current, inputs.current * (time.time() % 1)

    assert "uses the module time" in refused(decide)


def test_a_random_number_is_refused():
    def decide(xp, inputs):
        return inputs.current, inputs.current * random.random()

    assert "uses the module random" in refused(decide)


def test_numpy_instead_of_xp_is_refused():
    def decide(xp, inputs):
        return inputs.current, np.sort(inputs.current)

    assert "xp instead of numpy" in refused(decide)


def test_a_file_is_refused():
    def decide(xp, inputs):
        return inputs.current, inputs.current * len(open("x").read())  # noqa: PTH123

    assert "calls open()" in refused(decide)


def test_an_import_inside_is_refused():
    def decide(xp, inputs):
        import socket

        return inputs.current, inputs.current * socket.SOCK_STREAM

    assert "imports socket" in refused(decide)


def test_a_helper_is_held_to_the_same_rules():
    def decide(xp, inputs):
        return inputs.current, impure(inputs.current)

    assert "impure uses the module time" in refused(decide)


def impure(values):
    return values * time.time()


def test_a_change_of_a_global_is_refused():
    def decide(xp, inputs):
        global HIDDEN
        HIDDEN = 1.0
        return inputs.current, inputs.current

    assert "changes the global 'HIDDEN'" in refused(decide)


def test_a_name_that_is_nowhere_is_named():
    def decide(xp, inputs):
        return inputs.current, inputs.current * thershold  # noqa: F821

    assert "reads 'thershold', which is not defined" in refused(decide)


def test_a_bar_beyond_the_window_is_refused_with_its_line():
    def decide(xp, inputs):
        ahead = inputs.prices[:, 10]
        return ahead, ahead

    message = refused(decide)
    line = decide.__code__.co_firstlineno + 1
    assert f"line {line}" in message
    assert "inside the declared windows" in message


def test_an_undeclared_input_is_named():
    def decide(xp, inputs):
        return inputs.volume, inputs.current

    assert "'volume', which is not declared" in refused(decide)


def test_branching_on_a_value_is_refused():
    def decide(xp, inputs):
        if inputs.current[0] > 0.5:
            return inputs.current, inputs.current
        return inputs.current, -inputs.current

    assert "without branching on values" in refused(decide)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda i: i.current, "must return (score, weight)"),
        (lambda i: (i.current, i.current, i.current), "must return (score, weight)"),
        (lambda i: (i.current, i.prices), "weight has shape (6, 10), must be (6,)"),
        (lambda i: (i.current, 1.0), "weight is a float, not an array"),
        (lambda i: ("high", i.current), "score is a str, not an array computed"),
    ],
)
def test_anything_but_a_score_and_a_weight_per_symbol_is_refused(returned, words):
    with pytest.raises(StrategyInvalid) as caught:
        compile_strategy(strategy(lambda xp, inputs: call(returned, inputs)), N)
    assert words in str(caught.value)


def call(function, inputs):
    return function(inputs)


def test_numpy_twin_reports_its_line_too():
    def decide(xp, inputs):
        return inputs.current, xp.linalg.inv(inputs.prices)

    with pytest.raises(StrategyInvalid, match="LinAlgError"):
        decide_with_numpy(strategy(decide), {"prices": np.ones((N, 10)), "current": np.zeros(N)})
