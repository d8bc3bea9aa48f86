"""From a fitted estimator to a graph, and the gate that compares the two.

1. convert; features enter as float32 for trees, as float64 for linear models
2. compare on real rows, in float64 as decisions have them, and on rows that sit on the model's
   thresholds, one float32 step below and one above
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ExportDiffers
from pipelines.models.fitted import FittedModel
from pipelines.models.learners import Learner
from runtime.bundles.contract import GateVerdict

Array = NDArray[np.float64]

LARGEST = 1e-5  # absolute, on any row
VISIBLE = 1e-4  # a row off by more is another decision; none is allowed
OPSET, ML_OPSET = 18, 3
_SPLITS = frozenset({"BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFinding:
    """How far a graph is from its model; differences are absolute, in the model's units."""

    rows: int  # real rows compared
    worst: float  # largest difference on them
    visible: int  # of them off by more than VISIBLE
    threshold_rows: int  # rows on, just below and just above a threshold
    threshold_worst: float
    threshold_visible: int

    @property
    def passed(self) -> bool:
        """Say whether the graph may stand for the model."""
        near = self.worst <= LARGEST and self.threshold_worst <= LARGEST  # false for NaN too
        return near and not (self.visible or self.threshold_visible)


def export(learner: Learner, estimator: Any, rows: Array) -> tuple[FittedModel, ExportFinding]:
    """Export a fitted estimator and prove that its graph says the same.

    Args:
        learner: what was fitted.
        estimator: as `learner.fit` returned it.
        rows: real feature rows, shape (E, k): those of training, at least.

    Returns:
        The model for decisions, and what the comparison found.

    Raises:
        ExportDiffers: a difference above the limits; the text carries the figures.
    """
    model = convert(learner, estimator, rows.shape[1])
    finding = compare(learner, estimator, model, rows)
    if not finding.passed:
        raise ExportDiffers(export_verdict(finding).reason)
    return model, finding


def convert(learner: Learner, estimator: Any, features: int) -> FittedModel:
    """Return the estimator as a graph, without comparing anything; equal models, equal bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph, output = _converted(learner, estimator, features)
    del graph.metadata_props[:]
    graph.doc_string, graph.producer_name, graph.producer_version = "", "", ""
    graph.graph.name, graph.graph.doc_string = "model", ""
    return FittedModel(
        onnx=graph.SerializeToString(deterministic=True),
        features=features,
        door=learner.door,
        output=output,
        column=1 if learner.classifies else 0,
    )


def compare(
    learner: Learner, estimator: Any, model: FittedModel, rows: Array, *, seed: int = 0
) -> ExportFinding:
    """Compare graph and Python model on real rows and on rows at the graph's thresholds.

    Args:
        learner, estimator: the Python model, which sees the rows in float64.
        model: its graph.
        rows: real rows, shape (E, k).
        seed: of the choice of rows that are moved to thresholds.
    """
    real = np.abs(model(rows) - learner.predict(estimator, rows))
    splits = sorted(set(splits_of(learner, estimator, model)))
    moved = threshold_rows(splits, rows, seed=seed)
    edge = np.abs(model(moved) - learner.predict(estimator, moved)) if len(moved) else np.zeros(1)
    return ExportFinding(
        rows=len(rows),
        worst=float(real.max(initial=0.0)),
        visible=int((real > VISIBLE).sum()),
        threshold_rows=len(moved),
        threshold_worst=float(edge.max(initial=0.0)),
        threshold_visible=int((edge > VISIBLE).sum()),
    )


def threshold_rows(
    splits: Sequence[tuple[int, float]], rows: Array, *, seed: int, most: int = 6000
) -> Array:
    """Return real rows with one feature moved onto a split: at it, one float32 step below, above.

    Args:
        splits: (feature, threshold) of a tree ensemble; linear models have none and give no rows.
        rows: real rows, shape (E, k).
        seed: of the choice of rows.
        most: thresholds above a third of this are sampled.

    Returns:
        Shape (up to `most`, k).
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    if len(splits) > most // 3:
        chosen = generator.permutation(len(splits))[: most // 3]
        splits = [splits[i] for i in sorted(chosen)]
    if not splits:
        return np.empty((0, rows.shape[1]))
    columns = np.repeat([column for column, _ in splits], 3)
    exact = np.array([value for _, value in splits])
    near = exact.astype(np.float32)
    below, above = (np.nextafter(near, np.float32(end)) for end in (-np.inf, np.inf))
    around = np.stack((exact, below, above), axis=1)
    moved = rows[generator.integers(0, len(rows), columns.size)].copy()
    moved[np.arange(columns.size), columns] = around.ravel()
    return moved


def export_verdict(finding: ExportFinding) -> GateVerdict:
    """Judge an export: no row off by more than 1e-5, none of them visibly; gate "export"."""
    worst = max(finding.worst, finding.threshold_worst)
    visible = finding.visible + finding.threshold_visible
    where = f"{finding.rows} real rows and {finding.threshold_rows} rows at the thresholds"
    return GateVerdict(
        gate="export",
        passed=finding.passed,
        statistic=worst if np.isfinite(worst) else None,
        threshold=LARGEST,
        comparison="<=",
        reason=(
            f"The exported graph is within {worst:.1e} of its model on {where}."
            if finding.passed
            else f"The exported graph differs from its model by up to {worst:.1e}, and by more "
            f"than {VISIBLE:.0e} on {visible} of {where}."
        ),
        would_change=(
            "A row that falls on the other side of a split in the graph."
            if finding.passed
            else "Features whose values are apart in float32: returns and ranks, not prices."
        ),
        figures={
            "rows": finding.rows,
            "threshold_rows": finding.threshold_rows,
            "worst_real": finding.worst,
            "worst_threshold": finding.threshold_worst,
            "visible": visible,
        },
    )


def _converted(learner: Learner, estimator: Any, features: int) -> tuple[Any, str]:
    """Call the converter of the learner's library; return its graph and output name."""
    shape = [None, features]
    if learner.kind.startswith("lightgbm"):
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        graph = convert_lightgbm(
            estimator.booster_,
            initial_types=[("X", FloatTensorType(shape))],
            target_opset=15,
            zipmap=False,
        )
    elif learner.kind == "xgboost":
        from onnxmltools import convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        graph = convert_xgboost(
            estimator, initial_types=[("X", FloatTensorType(shape))], target_opset=15
        )
    else:
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

        kind = FloatTensorType if learner.door == "float32" else DoubleTensorType
        options = {id(estimator): {"zipmap": False}} if learner.classifies else None
        graph = convert_sklearn(
            estimator,
            initial_types=[("X", kind(shape))],
            target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
            options=options,
        )
    return graph, graph.graph.output[-1].name


def splits_of(learner: Learner, estimator: Any, model: FittedModel) -> Iterator[tuple[int, float]]:
    """Yield (feature, threshold) of every split, as the Python model has it."""
    if learner.kind.startswith("lightgbm"):  # float64, which the graph rounds
        for tree in estimator.booster_.dump_model()["tree_info"]:
            yield from _walk(tree["tree_structure"])
        return
    import onnx

    for node in onnx.load_model_from_string(model.onnx).graph.node:
        if not node.op_type.startswith("TreeEnsemble"):
            continue
        parts = {attribute.name: attribute for attribute in node.attribute}
        modes = [mode.decode() for mode in parts["nodes_modes"].strings]
        features, values = parts["nodes_featureids"].ints, parts["nodes_values"].floats
        for mode, feature, value in zip(modes, features, values, strict=True):
            if mode in _SPLITS:
                yield int(feature), float(value)


def _walk(node: dict[str, Any]) -> Iterator[tuple[int, float]]:
    if "split_feature" in node:
        yield int(node["split_feature"]), float(node["threshold"])
        yield from _walk(node["left_child"])
        yield from _walk(node["right_child"])
