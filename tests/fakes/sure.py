"""The tilt graph with a third output, and the bundle around it: it says how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.bundles.bundle import LoadedBundle, load_bundle
from runtime.bundles.contract import DeclaredConfidence, Manifest
from runtime.bundles.golden import GoldenRow, golden_bytes
from runtime.bundles.inference import DecisionSession
from runtime.bundles.proving import prove_within
from runtime.bundles.signing import load_trusted
from tests.fakes.graphs import SYMBOLS, WINDOW, tilt_bundle, tilt_files, tilt_graph, tilt_manifest
from tests.fakes.several import signer_in

FLOOR = 0.5
DECLARED = DeclaredConfidence(
    of="crowd", means="the share of symbols that beat the median", abstains_below=FLOOR
)


def sure_graph(*, stretch: float = 1.0, shift: float = 0.0, abstains: bool = True) -> bytes:
    """Return the tilt graph with confidence = stretch * sigmoid(20 * score) + shift.

    Args:
        stretch, shift: leave 0..1 with them.
        abstains: weights below `FLOOR` are zero.
    """
    model = onnx.load_model_from_string(tilt_graph())
    graph = model.graph
    graph.node[-1].output[0] = "wanted"
    constants = {"steep": 20.0, "stretch": stretch, "shift": shift, "floor": FLOOR, "none": 0.0}
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    graph.node.extend(
        [
            helper.make_node("Mul", ["score", "steep"], ["slope"]),
            helper.make_node("Sigmoid", ["slope"], ["chance"]),
            helper.make_node("Mul", ["chance", "stretch"], ["wide"]),
            helper.make_node("Add", ["wide", "shift"], ["confidence"]),
            helper.make_node("Less", ["confidence", "floor"], ["unsure"]),
            helper.make_node("Where", ["unsure", "none", "wanted"], ["weight"])
            if abstains
            else helper.make_node("Identity", ["wanted"], ["weight"]),
        ]
    )
    output = helper.make_tensor_value_info("confidence", TensorProto.DOUBLE, ("n",))
    graph.output.append(output)
    return bytes(model.SerializeToString())


def sure_inputs(day: int, symbols: Sequence[str] = SYMBOLS) -> dict[str, np.ndarray]:
    """Return prices that hardly move, so that every graph of `sure_graph` may answer."""
    random = np.random.default_rng(day)
    steps = random.normal(0, 0.02, (len(symbols), WINDOW)).cumsum(axis=1)
    return {"prices": 100.0 * np.exp(steps), "current": np.full(len(symbols), 0.5 / len(symbols))}


def sure_rows(graph: bytes, symbols: Sequence[str] = SYMBOLS) -> list[GoldenRow]:
    """Return golden rows as the graph decides them."""
    session, rows = DecisionSession(graph), []
    for day in range(3):
        inputs = sure_inputs(day, symbols)
        decided = session.run(inputs)
        rows.append(
            GoldenRow(
                at=f"2016-0{day + 1}-29T21:00:00+00:00",
                inputs=inputs,
                score=decided.score,
                weight=decided.weight,
                confidence=decided.confidence,
            )
        )
    return rows


def sure_manifest(**changes: object) -> Manifest:
    """Return the tilt manifest that declares the third output."""
    return msgspec.structs.replace(tilt_manifest(), **{"confidence": DECLARED} | changes)


def sure_bundle(
    folder: Path,
    graph: bytes,
    *,
    manifest: Manifest | None = None,
    rows: Sequence[GoldenRow] | None = None,
) -> LoadedBundle:
    """Sign and load a bundle around a graph that says how sure it is."""
    files = tilt_files() | {
        "graph.onnx": graph,
        "golden.parquet": golden_bytes(sure_rows(graph) if rows is None else rows),
    }
    path = tilt_bundle(
        folder / "bundles", signer_in(folder), manifest=manifest or sure_manifest(), files=files
    )
    trusted = load_trusted(folder / "keys" / "trusted.json")
    return load_bundle(path, trusted, prove=prove_within)
