"""A small decision graph and the bundle around it, made by hand for tests of the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper

from runtime.bundles.bundle import write_bundle
from runtime.bundles.contract import (
    DataSnapshot,
    DeclaredInput,
    GateVerdict,
    Manifest,
    SizingPolicy,
    Stage,
)
from runtime.bundles.golden import GoldenRow, golden_bytes
from runtime.bundles.inference import DecisionSession
from runtime.bundles.inputs import CurrentWeights, Window
from runtime.bundles.signing import Signer, create_key

WINDOW = 5  # bars
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
SIGNED_AT = datetime(2017, 1, 1, tzinfo=UTC)


def tilt_graph(*, window: int = WINDOW, tilt: float = 8.0, inertia: float = 0.1) -> bytes:
    """Return a graph that tilts towards what rose: softmax of tilt * return, part kept as held."""
    double = TensorProto.DOUBLE
    constants = {
        "first": np.array(0, dtype=np.int64),
        "last": np.array(window - 1, dtype=np.int64),
        "one": np.array(1.0),
        "tilt": np.array(tilt),
        "new": np.array(1.0 - inertia),
        "old": np.array(inertia),
        "axis": np.array([0], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["prices", "first"], ["p0"], axis=1),
        helper.make_node("Gather", ["prices", "last"], ["p1"], axis=1),
        helper.make_node("Div", ["p1", "p0"], ["ratio"]),
        helper.make_node("Sub", ["ratio", "one"], ["score"]),
        helper.make_node("Mul", ["score", "tilt"], ["tilted"]),
        helper.make_node("Exp", ["tilted"], ["grown"]),
        helper.make_node("ReduceSum", ["grown", "axis"], ["total"], keepdims=1),
        helper.make_node("Div", ["grown", "total"], ["share"]),
        helper.make_node("Mul", ["share", "new"], ["fresh"]),
        helper.make_node("Mul", ["current", "old"], ["kept"]),
        helper.make_node("Add", ["fresh", "kept"], ["weight"]),
    ]
    return graph_bytes(
        nodes,
        constants,
        inputs={"prices": ("n", window), "current": ("n",)},
        outputs={"score": ("n",), "weight": ("n",)},
        element=double,
    )


def graph_bytes(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    *,
    inputs: dict[str, tuple[str | int, ...]],
    outputs: dict[str, tuple[str | int, ...]],
    element: int = TensorProto.DOUBLE,
    domains: Sequence[tuple[str, int]] = (("", 21),),
) -> bytes:
    """Assemble a model from nodes and constants."""
    graph = helper.make_graph(
        list(nodes),
        "decide",
        [helper.make_tensor_value_info(name, element, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, element, shape) for name, shape in outputs.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in domains]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def tilt_manifest(
    symbols: Sequence[str] = SYMBOLS,
    *,
    stage: Stage = "staging",
    schedule: str = "week_end",
    feature: str = "prices.close",
    sizing: SizingPolicy | None = None,
) -> Manifest:
    """Return the manifest around `tilt_graph`, without the files' hashes."""
    return Manifest(
        schema_version=1,
        study="tilt",
        trial="0" * 64,
        notebook="notebooks/strategies/tilt.ipynb",
        parameters={"window": WINDOW, "tilt": 8.0},
        universe="four",
        symbols=tuple(symbols),
        calendar="XNYS",
        schedule=schedule,
        inputs=(
            DeclaredInput(
                name="prices", source=Window(feature=feature, length=WINDOW), view_hash="1" * 64
            ),
            DeclaredInput(name="current", source=CurrentWeights(), view_hash=None),
        ),
        sizing=sizing or SizingPolicy(),
        price_feature=feature,
        snapshot=DataSnapshot(versions={"prices": 0}, hash="2" * 64),
        files={},
        notebook_hash="3" * 64,
        code_hash="4" * 64,
        git_commit="5" * 40,
        lock_hash="6" * 64,
        trials=3,
        verdicts=(
            GateVerdict(
                gate="spa",
                passed=True,
                statistic=0.01,
                threshold=0.05,
                comparison="<=",
                reason="made by hand",
                would_change="nothing",
            ),
        ),
        stage=stage,
        decide_cell=3,
        research_window=("1991-01-02", "2016-12-30"),
        holdout_window=("2017-01-03", "2022-12-28"),
    )


def tilt_files(symbols: Sequence[str] = SYMBOLS, graph: bytes | None = None) -> dict[str, bytes]:
    """Return every content file of the bundle, golden rows from the graph itself."""
    graph = graph or tilt_graph()
    random = np.random.default_rng(5)
    session = DecisionSession(tilt_graph())
    rows = []
    for day in range(3):
        inputs = {
            "prices": random.uniform(50, 150, (len(symbols), WINDOW)),
            "current": np.full(len(symbols), 0.5 / len(symbols)),
        }
        decided = session.run(inputs)
        rows.append(
            GoldenRow(
                at=f"2016-0{day + 1}-29T21:00:00+00:00",
                inputs=inputs,
                score=decided.score,
                weight=decided.weight,
            )
        )
    return {
        "graph.onnx": graph,
        "golden.parquet": golden_bytes(rows),
        "notebook.ipynb": b'{"cells": []}',
        "report.html": b"<html>report</html>",
        "card.md": b"# card\n",
        "returns.parquet": b"PAR1 not read by the runtime PAR1",
    }


def tilt_signer(folder: Path, name: str = "alice", seed: int = 1) -> Signer:
    """Create a key from a fixed seed; trusted.json lies beside it."""
    return create_key(folder, name, bytes([seed]) * 32)


def tilt_bundle(
    root: Path,
    signer: Signer,
    *,
    manifest: Manifest | None = None,
    files: dict[str, bytes] | None = None,
    version: int = 1,
    signed_at: datetime = SIGNED_AT,
) -> Path:
    """Write a complete bundle and return its folder."""
    manifest = manifest or tilt_manifest()
    return write_bundle(
        root,
        msgspec.structs.replace(manifest, files={}),
        files or tilt_files(manifest.symbols),
        signer=signer,
        signed_at=signed_at,
        version=version,
    )
