"""The decision session: limits on graphs, determinism, and refusal of what is out of range."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from runtime.bundles.inference import DecisionSession
from runtime.errors import BundleRefused, DecisionInvalid
from tests.fakes.graphs import WINDOW, graph_bytes, tilt_graph

N = 6


def example(n: int = N, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {"prices": random.uniform(50, 150, (n, WINDOW)), "current": np.full(n, 0.9 / n)}


def passthrough(weight: np.ndarray | None = None) -> bytes:
    """A graph whose weights are its input, or a constant."""
    nodes = [helper.make_node("Identity", ["current"], ["score"])]
    if weight is None:
        nodes.append(helper.make_node("Identity", ["current"], ["weight"]))
        constants = {}
    else:
        nodes.append(helper.make_node("Identity", ["fixed"], ["weight"]))
        constants = {"fixed": weight}
    return graph_bytes(
        nodes, constants, inputs={"current": ("n",)}, outputs={"score": ("n",), "weight": ("m",)}
    )


def test_the_graph_says_what_numpy_says():
    inputs = example()
    decided = DecisionSession(tilt_graph()).run(inputs)
    score = inputs["prices"][:, -1] / inputs["prices"][:, 0] - 1
    share = np.exp(8 * score) / np.exp(8 * score).sum()
    np.testing.assert_allclose(decided.score, score, rtol=1e-12)
    np.testing.assert_allclose(decided.weight, 0.9 * share + 0.1 * inputs["current"], rtol=1e-12)


def test_every_repeat_and_every_session_gives_the_same_bits():
    inputs, first = example(), DecisionSession(tilt_graph()).run(example())
    for _ in range(50):
        again = DecisionSession(tilt_graph()).run(inputs)
        assert again.weight.tobytes() == first.weight.tobytes()
        assert again.score.tobytes() == first.score.tobytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda i: i.pop("current"), "wants the inputs"),
        (lambda i: i.update(extra=np.zeros(N)), "wants the inputs"),
        (lambda i: i.update(current=np.zeros(N, dtype=np.float32)), "float64"),
        (lambda i: i.update(current=np.zeros(N + 1)), "rows"),
        (lambda i: i.update(current=np.zeros((N, 2, 2))), "shape"),
        (lambda i: i.update(prices=np.ones((N, WINDOW + 1))), "failed"),
        (lambda i: i["prices"].__setitem__((0, 0), 0.0), "not finite"),
        (lambda i: i["prices"].__setitem__((0, 0), np.nan), "not finite"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(change, words):
    inputs = example()
    change(inputs)
    with pytest.raises(DecisionInvalid, match=words):
        DecisionSession(tilt_graph()).run(inputs)


def test_weights_beyond_gross_one_are_refused_and_one_exactly_is_not():
    session = DecisionSession(passthrough())
    session.run({"current": np.array([0.5, -0.5])})
    with pytest.raises(DecisionInvalid, match="gross"):
        session.run({"current": np.array([0.5, -0.5001])})
    with pytest.raises(DecisionInvalid, match="not finite"):
        session.run({"current": np.array([0.5, np.inf])})


@pytest.mark.parametrize("wild", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("output", ["score", "weight"])
def test_an_output_that_is_not_finite_is_no_decision_whatever_the_other_says(output, wild):
    other = {"score": "weight", "weight": "score"}[output]
    graph = graph_bytes(
        [
            helper.make_node("Identity", ["current"], [output]),
            helper.make_node("Identity", ["fixed"], [other]),
        ],
        {"fixed": np.array([0.1, 0.1])},
        inputs={"current": ("n",)},
        outputs={"score": ("n",), "weight": ("n",)},
    )
    session = DecisionSession(graph)
    assert session.run({"current": np.array([0.2, 0.3])}).score.shape == (2,)
    with pytest.raises(DecisionInvalid, match=f"output {output} holds a value that is not finite"):
        session.run({"current": np.array([0.2, wild])})


@pytest.mark.filterwarnings("ignore:overflow")  # the quick look overflows, the slow one decides
def test_a_score_may_be_as_large_as_a_float_is():
    decided = DecisionSession(passthrough(np.array([0.1]))).run({"current": np.array([1e300])})
    assert decided.score[0] == 1e300


def test_weights_for_another_number_of_symbols_are_refused():
    session = DecisionSession(passthrough(np.array([0.1, 0.1])))
    with pytest.raises(DecisionInvalid, match=r"shape \(3,\)"):
        session.run({"current": np.zeros(3)})


def with_model(change) -> bytes:
    model = onnx.load_model_from_string(tilt_graph())
    change(model)
    return model.SerializeToString()


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


def set_constant(model: onnx.ModelProto, name: str, value: np.ndarray) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))


def hidden_in_a_branch(model: onnx.ModelProto) -> None:
    branch = helper.make_graph(
        [helper.make_node("Leak", [], ["leak"], domain="evil")],
        "branch",
        [],
        [helper.make_tensor_value_info("leak", TensorProto.DOUBLE, ())],
    )
    model.graph.node.append(
        helper.make_node("If", ["flag"], ["unused"], then_branch=branch, else_branch=branch)
    )


def wild_in_a_branch(model: onnx.ModelProto) -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["wild"], ["leak"])],
        "branch",
        [],
        [helper.make_tensor_value_info("leak", TensorProto.DOUBLE, (2,))],
        initializer=[onnx.numpy_helper.from_array(np.array([1.0, np.nan]), "wild")],
    )
    model.graph.node.append(
        helper.make_node("If", ["flag"], ["unused"], then_branch=branch, else_branch=branch)
    )


def also(operator: str, *inputs: str, **attributes: object):
    """Return what adds an operator whose result nobody uses."""
    return lambda m: m.graph.node.append(
        helper.make_node(operator, inputs, ["unused"], **attributes)
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (external, "outside the file"),
        (wild_in_a_branch, "initialiser 'wild' holds a value that is not finite"),
        (also("LeakyRelu", "current", alpha=float("nan")), "not finite in 'alpha'"),
        (also("Constant", value_floats=[1.0, float("inf")]), "not finite in 'value_floats'"),
        (lambda m: m.training_info.add(), "training information"),
        (lambda m: m.graph.sparse_initializer.add(), "holds sparse initialisers, which are"),
        (lambda m: m.graph.node.extend([m.graph.node[3]] * 20_000), "20011 operators, at most"),
        (lambda m: set_constant(m, "tilt", np.array(np.nan)), "not finite"),
        (lambda m: set_constant(m, "tilt", np.array([1.0, np.inf])), "not finite"),
        (lambda m: m.opset_import.append(helper.make_opsetid("evil", 1)), "domain 'evil'"),
        (lambda m: setattr(m.graph.node[0], "domain", "evil"), "unknown domain"),
        (hidden_in_a_branch, "unknown domain"),
        (lambda m: setattr(m.graph.node[5], "op_type", "RandomNormalLike"), "random"),
        (lambda m: m.functions.add(), "functions"),
        (lambda m: m.graph.ClearField("node"), "no operator"),
        (
            lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.FLOAT),
            "float64",
        ),
        (
            lambda m: setattr(
                m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 20_000_000_000
            ),
            "20000000000 values",
        ),
        (lambda m: setattr(m.graph.node[3], "op_type", "NoSuchOperator"), "not known in ai.onnx"),
        (lambda m: setattr(m.graph.node[3], "op_type", "Loop"), "without an end"),
        (lambda m: setattr(m.opset_import[0], "version", 900), "does not load"),
        (lambda m: setattr(m.opset_import[0], "version", 0), "not known in ai.onnx version 0"),
        (lambda m: m.graph.node[3].input.append("one"), "does not load"),
    ],
)
def test_graphs_outside_our_limits_are_refused(change, words):
    with pytest.raises(BundleRefused, match=rf"graph\.onnx.*{words}"):
        DecisionSession(with_model(change))


def test_a_graph_that_is_too_long_is_refused_before_it_is_read():
    with pytest.raises(BundleRefused, match="67108865 bytes, at most 67108864"):
        DecisionSession(bytes(64 * 1024 * 1024 + 1))


@pytest.mark.parametrize("operator", ["ConstantOfShape", "Expand"])
def test_a_graph_that_asks_for_160_gigabytes_is_refused_before_it_runs(operator):
    def swell(model: onnx.ModelProto) -> None:
        shape = onnx.numpy_helper.from_array(np.array([20_000, 1_000_000], dtype=np.int64), "huge")
        model.graph.initializer.append(shape)
        inputs = ["huge"] if operator == "ConstantOfShape" else ["one", "huge"]
        model.graph.node.append(helper.make_node(operator, inputs, ["swollen"]))

    with pytest.raises(BundleRefused, match="20000000000 values"):
        DecisionSession(with_model(swell))


def test_bytes_that_are_no_model_are_refused():
    for junk in (b"", b"not a model", tilt_graph()[:100]):
        with pytest.raises(BundleRefused, match=r"graph\.onnx"):
            DecisionSession(junk)


def test_outputs_under_other_names_are_refused():
    graph = graph_bytes(
        [helper.make_node("Identity", ["current"], ["mood"])],
        {},
        inputs={"current": ("n",)},
        outputs={"mood": ("n",)},
    )
    with pytest.raises(BundleRefused, match="score and weight"):
        DecisionSession(graph)


def test_a_scalar_mask_value_is_allowed_because_outputs_are_checked():
    model = onnx.load_model_from_string(tilt_graph())
    mask = onnx.numpy_helper.from_array(np.array(np.nan), "mask")
    model.graph.node.append(helper.make_node("Constant", [], ["mask"], value=mask))
    DecisionSession(model.SerializeToString()).run(example())
