"""Fitting a declared model: its members, what unseen rows say of them, and the proof of the export.

1. fit every member on all rows, and export it
2. predict every row by models that did not see it, nor a label that overlaps with its own
3. from those predictions: the members' weights, the calibrated confidence, the interval's radius
4. compare the whole as a graph with the whole in Python
"""

from typing import Any

import numpy as np

from pipelines.door import answered_for
from pipelines.errors import ModelInvalid
from pipelines.models.calibration import Calibration, calibrate
from pipelines.models.declared import Trained
from pipelines.models.ensembles import Array, stack
from pipelines.models.export import ExportFinding, export
from pipelines.models.fitted import Fitted, FittedEnsemble, FittedModel
from pipelines.models.intervals import Conformal, split_conformal
from pipelines.models.learners import Blend, Learner
from pipelines.models.rows import TrainingSet
from pipelines.models.scoring import out_of_fold
from pipelines.models.whole import Part, prove_whole

BINS = 8  # of equally many unseen rows; their means are the knots of the calibration


def fit_rows(declared: Trained, rows: TrainingSet) -> tuple[Fitted, ExportFinding]:
    """Fit a declared model on given rows and export it.

    Returns:
        The model as decisions call it, and how far its graph is from the Python model: of all it
        says, confidence and interval included.

    Raises:
        ExportDiffers: a graph does not say what its model says.
        ModelInvalid: the rows are too few for what is asked.
    """
    with answered_for():  # nobody is shown a score, and the trial is its declaration
        if isinstance(declared.learner, Blend):
            return _blend(declared, declared.learner, rows)
        return _alone(declared, declared.learner, rows)


def _alone(
    declared: Trained, learner: Learner, rows: TrainingSet
) -> tuple[FittedModel, ExportFinding]:
    part, finding = _part(learner, rows)
    if not (declared.calibrated or declared.covered):
        return part.model, finding
    unseen, tested = out_of_fold(learner, rows.problem(declared.folds))
    calibration, conformal = _judgement(declared, rows, unseen, tested)
    model = FittedModel(
        onnx=part.model.onnx,
        features=part.model.features,
        door=part.model.door,
        output=part.model.output,
        column=part.model.column,
        calibration=calibration,
        conformal=conformal,
    )
    return model, prove_whole(model, (part,), rows.X)


def _blend(
    declared: Trained, blend: Blend, rows: TrainingSet
) -> tuple[FittedEnsemble, ExportFinding]:
    weights = np.full(len(blend.members), 1.0 / len(blend.members))
    calibration = conformal = None
    if blend.weighing == "stacked" or declared.calibrated or declared.covered:
        alike = blend.weighing == "alike"
        mixed = stack(blend.members, rows.problem(declared.folds), alike=alike)
        weights = mixed.weights
        calibration, conformal = _judgement(declared, rows, mixed.predicted, mixed.tested)
    # A member that helps nothing on unseen rows is left out: it would be in the graph for nothing.
    taken = [number for number, weight in enumerate(weights) if weight > 0]
    parts = tuple(_part(blend.members[number], rows)[0] for number in taken)
    model = FittedEnsemble(
        members=tuple(part.model for part in parts),
        weights=tuple(weights[taken].tolist()),
        calibration=calibration,
        conformal=conformal,
    )
    return model, prove_whole(model, parts, rows.X)


def _part(learner: Learner, rows: TrainingSet) -> tuple[Part, ExportFinding]:
    """Fit one learner on all rows."""
    estimator: Any = learner.fit(
        rows.X,
        rows.y,
        weights=rows.weights,
        groups=rows.groups if learner.kind == "lightgbm_ranker" else None,
    )
    model, finding = export(learner, estimator, rows.X)
    return Part(learner=learner, estimator=estimator, model=model), finding


def _judgement(
    declared: Trained, rows: TrainingSet, unseen: Array, tested: "np.ndarray[Any, Any]"
) -> tuple[Calibration | None, Conformal | None]:
    """Learn from unseen rows how often one beats its median, and how far outcomes lie away."""
    calibration = conformal = None
    if declared.calibrated:
        calibration = calibrate(unseen[tested], rows.better[tested], bins=BINS)
    if declared.covered is not None:
        conformal = split_conformal(rows.y[tested], unseen[tested], level=declared.covered)
        if not np.isfinite(conformal.radius):
            raise ModelInvalid(
                f"{int(tested.sum())} unseen rows are too few for an interval that holds "
                f"{declared.covered:.0%} of the time; learn from more dates or ask for less"
            )
    return calibration, conformal
