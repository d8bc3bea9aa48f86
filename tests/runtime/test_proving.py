"""An untrusted graph meets a limited child first: whatever it does there, we hear one sentence."""

from __future__ import annotations

import signal
import subprocess

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from runtime.bundles import child, proving
from runtime.bundles.bundle import load_bundle
from runtime.bundles.proving import Question, prove_apart
from runtime.bundles.signing import load_trusted
from runtime.errors import BundleRefused
from tests.fakes.graphs import graph_bytes, tilt_bundle, tilt_files, tilt_graph, tilt_signer

FILES = tilt_files()


def asked(graph: bytes) -> Question:
    ranks = {"prices": 2, "current": 1}
    return Question(graph=graph, golden=FILES["golden.parquet"], ranks=ranks, symbols=4)


def with_nan() -> bytes:
    model = onnx.load_model_from_string(tilt_graph())
    model.graph.initializer[3].CopyFrom(numpy_helper.from_array(np.array(np.nan), "tilt"))
    return model.SerializeToString()


def with_external_data() -> bytes:
    model = onnx.load_model_from_string(tilt_graph())
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return model.SerializeToString()


def swollen_at_run_time() -> bytes:
    """A graph that asks for 160 GB, by a shape that only its inputs give."""
    model = onnx.load_model_from_string(tilt_graph())
    many = numpy_helper.from_array(np.array([5_000_000_000], dtype=np.int64), "many")
    model.graph.initializer.append(many)
    for node in (
        helper.make_node("Shape", ["current"], ["n"]),
        helper.make_node("Mul", ["n", "many"], ["wanted"]),
        helper.make_node("Expand", ["one", "wanted"], ["swollen"]),
        helper.make_node("ReduceMax", ["swollen"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "tilted"], ["score2"]),
    ):
        model.graph.node.append(node)
    model.graph.output[0].name = "score2"
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = {"score": "plain", "score2": "score"}.get(name, name)
    model.graph.output[0].name = "score"
    return model.SerializeToString()


def nested(depth: int) -> bytes:
    """Branches inside branches, written by hand: no library nests them this deep."""

    def field(number: int, content: bytes) -> bytes:
        size, prefix = len(content), bytes([number << 3 | 2])
        while size > 127:
            prefix, size = prefix + bytes([size & 127 | 128]), size >> 7
        return prefix + bytes([size]) + content

    graph = b""
    for _ in range(depth):  # GraphProto.node, NodeProto.attribute, AttributeProto.g
        graph = field(1, field(4, b"If") + field(5, field(1, b"g") + field(6, graph)))
    return field(7, graph)


def million_nodes() -> bytes:
    """40 MB of empty operators: a graph of 14 million nodes, gigabytes once it is parsed."""
    nodes = b"\x0a\x00" * 20_000_000
    size, prefix = len(nodes), b"\x3a"
    while size > 127:
        prefix, size = prefix + bytes([size & 127 | 128]), size >> 7
    return prefix + bytes([size]) + nodes


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (with_nan(), "graph.onnx: initialiser 'tilt' holds a value that is not finite"),
        (with_external_data(), "keeps its data outside the file"),
        (swollen_at_run_time(), "160000000000"),
        (nested(5000), "is not an ONNX model"),
        (million_nodes(), "graph.onnx: "),
    ],
    ids=["nan", "external", "160 GB", "nested", "million nodes"],
)
def test_a_graph_that_does_harm_is_refused_in_one_sentence(graph, words):
    with pytest.raises(BundleRefused) as refused:
        prove_apart(asked(graph))
    text = str(refused.value)
    assert words in text
    assert "\n" not in text
    assert len(text) < 450


def test_a_child_that_is_killed_or_falls_silent_is_a_refusal(monkeypatch):
    monkeypatch.setattr(proving, "PATIENCE", 0.001)
    with pytest.raises(BundleRefused, match="not proved within"):
        prove_apart(asked(tilt_graph(tilt=7.0)))
    assert "by SIGSEGV (last words)" in proving._ended(-signal.SIGSEGV, "last words")
    assert "30 s of computing" in proving._ended(-signal.SIGXCPU, "")
    assert "status 1" in proving._ended(1, "")


def test_a_graph_that_holds_is_proved_once_and_another_one_again(monkeypatch):
    proofs, start = [], subprocess.Popen
    monkeypatch.setattr(
        proving.subprocess, "Popen", lambda *args, **more: proofs.append(1) or start(*args, **more)
    )
    monkeypatch.setattr(proving, "_proved", set())
    for _ in range(3):
        prove_apart(asked(FILES["graph.onnx"]))
    assert len(proofs) == 1
    with pytest.raises(BundleRefused, match=r"golden\.parquet.*differs"):
        prove_apart(asked(tilt_graph(tilt=8.5)))  # loads, and says something else
    assert len(proofs) == 2


def test_a_child_started_ahead_is_asked_once_and_one_that_died_waiting_not_at_all(monkeypatch):
    started, start = [], subprocess.Popen

    def count(*args, **more):
        started.append(start(*args, **more))
        return started[-1]

    monkeypatch.setattr(child.subprocess, "Popen", count)
    monkeypatch.setattr(proving, "_proved", set())
    child.start_ahead()
    child.start_ahead()
    assert len(started) == 1
    with pytest.raises(BundleRefused, match="not finite"):
        prove_apart(asked(with_nan()))
    assert len(started) == 1
    child.start_ahead()
    started[1].kill()
    started[1].wait()
    prove_apart(asked(FILES["graph.onnx"]))
    assert [one.returncode for one in started] == [proving.REFUSED, -signal.SIGKILL, 0]


def test_a_child_that_is_never_asked_ends_and_has_proved_nothing():
    waiting = child.take()
    waiting.communicate(b"")
    assert waiting.returncode == proving.UNASKED


def test_a_bundle_is_refused_before_its_graph_is_loaded_here(tmp_path, monkeypatch):
    signer = tilt_signer(tmp_path / "keys")
    path = tilt_bundle(
        tmp_path / "bundles", signer, files={**FILES, "graph.onnx": swollen_at_run_time()}
    )
    monkeypatch.setattr(
        "runtime.bundles.bundle.open_graph", lambda question: pytest.fail("was loaded")
    )
    with pytest.raises(BundleRefused, match=r"^golden.*160000000000"):
        load_bundle(path, load_trusted(tmp_path / "keys" / "trusted.json"))


def test_inputs_that_the_manifest_does_not_declare_are_refused():
    double = onnx.TensorProto.DOUBLE
    graph = graph_bytes(
        [helper.make_node("Identity", ["mood"], [name]) for name in ("score", "weight")],
        {},
        inputs={"mood": ("n",)},
        outputs={"score": ("n",), "weight": ("n",)},
        element=double,
    )
    with pytest.raises(BundleRefused, match="the manifest declares"):
        prove_apart(asked(graph))


def test_a_folder_of_our_name_where_we_stand_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime" / "__init__.py").write_text("raise SystemExit('a stranger ran')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(proving, "_proved", set())
    prove_apart(asked(tilt_graph()))
    assert len(proving._proved) == 1
