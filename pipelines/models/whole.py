"""The proof of a whole model: value, confidence and interval as a graph against the same in Python.

The graph is traced from what decisions call, members, mixing and calibration included, and run by
onnxruntime. The other side uses nothing of it: estimators of the libraries, NumPy's interpolation.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ExportDiffers
from pipelines.models.export import (
    VISIBLE,
    ExportFinding,
    export_verdict,
    splits_of,
    threshold_rows,
)
from pipelines.models.fitted import Fitted, FittedEnsemble, FittedModel, open_session
from pipelines.models.learners import Learner

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """One member, in Python and as a graph."""

    learner: Learner
    estimator: Any  # as `learner.fit` returned it
    model: FittedModel


def prove_whole(
    model: Fitted, parts: Sequence[Part], rows: Array, *, seed: int = 0
) -> ExportFinding:
    """Compare a whole model with its Python twin on real rows and at its members' thresholds.

    Args:
        model: as decisions call it.
        parts: its members, in its order.
        rows: real feature rows, shape (E, k).
        seed: of the choice of rows that are moved to thresholds.

    Returns:
        The largest difference of value, confidence and ends of the interval.

    Raises:
        ExportDiffers: a difference above the limits; the text carries the figures.
    """
    moved = threshold_rows(_splits(parts), rows, seed=seed)
    every = np.concatenate((rows, moved))
    apart = _apart(said_by_graph(model, every), said_in_python(model, parts, every))
    real, edge = apart[: len(rows)], apart[len(rows) :]
    finding = ExportFinding(
        rows=len(rows),
        worst=float(real.max(initial=0.0)),
        visible=int((real > VISIBLE).sum()),
        threshold_rows=len(moved),
        threshold_worst=float(edge.max(initial=0.0)),
        threshold_visible=int((edge > VISIBLE).sum()),
    )
    if not finding.passed:
        raise ExportDiffers(export_verdict(finding).reason)
    return finding


def said_by_graph(model: Fitted, rows: Array) -> dict[str, Array]:
    """Trace a model to one graph and run it: output name -> shape (E,)."""
    session, _ = open_session(trace(model, len(rows)))
    names = [output.name for output in session.get_outputs()]
    found = session.run(names, {"X": np.ascontiguousarray(rows, dtype=np.float64)})
    return dict(zip(names, found, strict=True))


def trace(model: Fitted, rows: int) -> bytes:
    """Return the graph of all a model says, from features "X" of shape (rows, k), float64."""
    import ndonnx as ndx
    from spox import _future as tracing

    X = ndx.argument(shape=(rows, model.features), dtype=ndx.float64)
    with tracing.value_prop_backend(tracing.ValuePropBackend.REFERENCE):
        value = model(X)
        said = {"value": value}
        if model.calibration is not None:
            said["confidence"] = model.confidence(ndx, value)
        if model.conformal is not None:
            said["lower"], said["upper"] = model.interval(value)
            said["clear"] = model.clear_of_zero(ndx, value)
        graph: bytes = ndx.build({"X": X}, said).SerializeToString(deterministic=True)
    return graph


def said_in_python(model: Fitted, parts: Sequence[Part], rows: Array) -> dict[str, Array]:
    """Return the same from the libraries' estimators and NumPy alone."""
    weights = model.weights if isinstance(model, FittedEnsemble) else (1.0,)
    each = [one.learner.predict(one.estimator, rows) for one in parts]
    value = np.average(np.stack(each), axis=0, weights=weights)
    said = {"value": value}
    if model.calibration is not None:
        said["confidence"] = np.interp(value, model.calibration.knots, model.calibration.levels)
    if model.conformal is not None:
        said["lower"] = value - model.conformal.radius
        said["upper"] = value + model.conformal.radius
    return said


def _splits(parts: Sequence[Part]) -> list[tuple[int, float]]:
    """Return (feature, threshold) of every member, each place once.

    Members that split between the same two rows have one threshold there: LightGBM's in float64,
    XGBoost's its neighbour in float32. The first stands for both, as real values do that are
    prices of rows (decision 60); the other is a value that nothing but a rounding takes.
    """
    every = {s for one in parts for s in splits_of(one.learner, one.estimator, one.model)}
    rounded = {(feature, value) for feature, value in every if float(np.float32(value)) == value}
    exact = sorted(every - rounded)
    kept = list(exact)
    for feature, value in sorted(rounded):
        near = 2.0 * float(np.spacing(np.float32(abs(value))))
        place = bisect_left(exact, (feature, value - near))
        if place == len(exact) or exact[place] > (feature, value + near):
            kept.append((feature, value))
    return sorted(kept)


def _apart(graph: Mapping[str, Array], python: Mapping[str, Array]) -> Array:
    """Return the largest difference of each row over everything that is a number, shape (E,)."""
    apart: Array = np.max([np.abs(graph[name] - python[name]) for name in python], axis=0)
    return apart
