"""The decision graph at work: one warmed onnxruntime session, one thread, every output checked."""

import re
from collections.abc import Mapping
from functools import lru_cache
from math import isfinite

import msgspec
import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from runtime.bundles.inputs import Array
from runtime.errors import BundleRefused, DecisionInvalid

OUTPUTS = ("score", "weight")
CONFIDENCE = "confidence"  # third output of a graph that says how sure it is
GROSS_LIMIT = 1.0 + 1e-9  # sum of |weight|; the slack is rounding of a sum that is meant to be one

_FLOAT64 = np.dtype(np.float64)  # one object; another byte order is another one
_INNARDS = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |\S+\.(?:cc|h):\d+ .*?\) |Name:'' ")
_ORT_FAULTS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    ort_errors.EPFail,
)


class Decided(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What the graph says at one tick; rows in universe order."""

    score: Array  # shape (n,), no unit; larger = more attractive
    weight: Array  # shape (n,), fraction of equity; negative = short; sum of |weight| <= 1
    confidence: Array | None = None  # shape (n,), 0 to 1; None if the graph gives none


class DecisionSession:
    """One decision graph, loaded once and run date by date by backtest and engine alike.

    A single thread computes in a fixed order, so the same inputs give the same bits.
    """

    def __init__(
        self, graph: bytes, *, checked: bool = False, abstains_below: float | None = None
    ) -> None:
        """Load a graph.

        Args:
            graph: serialised ONNX model.
            checked: our limits on graphs were applied elsewhere; `runtime.bundles.proving` does so
                in a child, and this process never parses the graph but by onnxruntime.
            abstains_below: confidence under which the graph promises no weight; held to at
                every decision.

        Raises:
            BundleRefused: what is wrong with it.
        """
        if not checked:
            from runtime.bundles.graphs import (
                check_graph,  # brings in onnx, which deciding never needs
            )

            check_graph(graph)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.use_deterministic_compute = True
        options.log_severity_level = 4  # failures are raised, not printed
        try:
            self._session = onnxruntime.InferenceSession(
                graph, sess_options=options, providers=["CPUExecutionProvider"]
            )
        except _ORT_FAULTS as error:
            raise BundleRefused(
                f"graph.onnx: onnxruntime does not load it ({_said(error)})"
            ) from error
        # `InferenceSession.run` looks at names, GPUs and foreign values first, which are checked
        # here or cannot be, and tries what failed again on another provider: another computation.
        self._run = self._session._sess.run
        self.input_names = tuple(value.name for value in self._session.get_inputs())
        self._names = frozenset(self.input_names)
        outputs = tuple(value.name for value in self._session.get_outputs())
        self.confident = CONFIDENCE in outputs
        self._outputs = (*OUTPUTS, CONFIDENCE) if self.confident else OUTPUTS
        self._floor = abstains_below
        if sorted(outputs) != sorted(self._outputs):
            raise BundleRefused(
                f"graph.onnx: outputs must be score and weight, and confidence if there is one; "
                f"were {outputs}"
            )
        if abstains_below is not None and not self.confident:
            raise BundleRefused("graph.onnx: is to abstain by a confidence that it does not give")

    def run(self, inputs: Mapping[str, Array]) -> Decided:
        """Decide once.

        Args:
            inputs: name -> float64, C-contiguous; shape (n,) or (n, length), the same n in all.

        Returns:
            Scores, weights and, if the graph gives one, confidence; shape (n,) each, float64.

        Raises:
            DecisionInvalid: an input is missing, surplus, or not float64; the graph fails on
                these shapes; an output is not finite, misshapen, or leaves -1..1 or gross 1; a
                confidence leaves 0..1, or a weight stands where the graph promised to abstain.
        """
        symbols = self._check_inputs(inputs)
        try:
            outputs = self._run(self._outputs, inputs, None)
        except _ORT_FAULTS as error:
            raise DecisionInvalid(f"the graph failed on these inputs: {_said(error)}") from error
        score, weight = outputs[0], outputs[1]
        shape = (symbols,)
        if (
            score.shape != shape
            or weight.shape != shape
            or score.dtype is not _FLOAT64
            or weight.dtype is not _FLOAT64
        ):
            raise _misshapen(score, weight, symbols)
        # A sum is finite only if every term is, and a product of vectors is the cheapest sum.
        gross = np.abs(weight).dot(_ones(symbols))
        if not (gross <= GROSS_LIMIT and isfinite(score.dot(score))):
            _check_finite("score", score)
            _check_finite("weight", weight)
            if gross > GROSS_LIMIT:
                raise DecisionInvalid(f"weights add up to {gross:.9f} gross, at most 1 is allowed")
        if not self.confident:
            return Decided(score=score, weight=weight)
        _check_confidence(outputs[2], weight, self._floor)
        return Decided(score=score, weight=weight, confidence=outputs[2])

    def _check_inputs(self, inputs: Mapping[str, Array]) -> int:
        if inputs.keys() != self._names:
            raise DecisionInvalid(
                f"the graph wants the inputs {sorted(self.input_names)}, was given {sorted(inputs)}"
            )
        symbols = -1
        for name, value in inputs.items():
            if value.dtype is not _FLOAT64 or not 1 <= value.ndim <= 2:
                raise DecisionInvalid(
                    f"input {name} must be float64 of shape (n,) or (n, length), "
                    f"was {value.dtype} {value.shape}"
                )
            rows = len(value)
            if rows != symbols >= 0:
                raise DecisionInvalid(f"input {name} has {rows} rows, others have {symbols}")
            symbols = rows
        return symbols


def _misshapen(score: Array, weight: Array, symbols: int) -> DecisionInvalid:
    """Say which output is not what it must be."""
    name, value = ("score", score)
    if value.shape == (symbols,) and value.dtype is _FLOAT64:
        name, value = ("weight", weight)
    return DecisionInvalid(
        f"output {name} must be float64 of shape ({symbols},), was {value.dtype} {value.shape}"
    )


def _said(error: Exception) -> str:
    """Return onnxruntime's words on one line, without its own file names and signatures."""
    return _INNARDS.sub("", " ".join(str(error).split()))


@lru_cache(maxsize=16)
def _ones(symbols: int) -> Array:
    return np.ones(symbols)


def _check_confidence(confidence: Array, weight: Array, floor: float | None) -> None:
    """Refuse what is no probability, and a weight where the graph promised to abstain."""
    if confidence.shape != weight.shape or confidence.dtype is not _FLOAT64:
        raise DecisionInvalid(
            f"output {CONFIDENCE} must be float64 of shape {weight.shape}, "
            f"was {confidence.dtype} {confidence.shape}"
        )
    least = np.minimum.reduce(confidence, initial=1.0)
    most = np.maximum.reduce(confidence, initial=0.0)
    if not (least >= 0.0 and most <= 1.0):  # false for NaN too
        raise DecisionInvalid(
            f"output {CONFIDENCE} must lie in 0..1, was {least:.6g} to {most:.6g}"
        )
    if floor is not None and least < floor and weight[confidence < floor].any():
        row = int(np.flatnonzero((confidence < floor) & (weight != 0.0))[0])
        raise DecisionInvalid(
            f"row {row} has the weight {weight[row]:.6g} at a confidence of {confidence[row]:.6g}; "
            f"below {floor:g} the graph promised to abstain"
        )


def _check_finite(name: str, value: Array) -> None:
    if not np.isfinite(value).all():
        raise DecisionInvalid(f"output {name} holds a value that is not finite")
