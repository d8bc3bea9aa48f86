"""Ensembles: members weighed by what they predicted of rows they did not see.

In a decision an ensemble is arithmetic, part of the one graph: declare a `Blend` as a model's
learner, or members as models of their own and write `0.6 * inputs.trees(x) + 0.4 * inputs.line(x)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ModelInvalid
from pipelines.models.learners import Learner
from pipelines.models.scoring import Problem, out_of_fold

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ensemble:
    """How members are mixed, judged on rows none of them saw."""

    weights: Array  # (m,), >= 0, adding up to one
    predicted: Array  # (E,), out-of-fold predictions mixed by weights of other folds; NaN untested
    members: Array  # (m, E), each member's own
    tested: NDArray[np.bool_]  # (E,)


def stack(learners: Sequence[Learner], problem: Problem, *, alike: bool = False) -> Ensemble:
    """Weigh members by non-negative least squares on predictions of rows they did not see.

    Members whose predictions help nothing get weight zero; if all get zero, all are weighed alike.
    The mix itself is out of sample too: each split's test rows are mixed by weights learnt on its
    training rows only, so what is calibrated on it has not been chosen on it.

    Args:
        learners: the members.
        problem: rows, and the splitter that hides them.
        alike: mix in equal parts instead.

    Source: Breiman (1996), "Stacked Regressions", Machine Learning 24, 49-64.
    """
    if not learners:
        raise ModelInvalid("an ensemble needs a member")
    found = [out_of_fold(learner, problem) for learner in learners]
    tested = np.logical_and.reduce([part[1] for part in found])
    members = np.stack([part[0] for part in found])
    total, times = np.zeros(len(problem.y)), np.zeros(len(problem.y))
    for training, test in problem.splitter.split(problem.X):
        rows, asked = training[tested[training]], test[tested[test]]
        total[asked] += _weights(members[:, rows], problem.y[rows], alike=alike) @ members[:, asked]
        times[asked] += 1
    mixed = np.full(len(problem.y), np.nan)
    mixed[tested] = total[tested] / times[tested]
    weights = _weights(members[:, tested], problem.y[tested], alike=alike)
    return Ensemble(weights=weights, predicted=mixed, members=members, tested=tested)


def _weights(members: Array, y: Array, *, alike: bool) -> Array:
    """Return weights (m,) that add up to one, for members (m, E) and outcomes (E,)."""
    from scipy.optimize import nnls

    even = np.full(len(members), 1.0 / len(members))
    if alike or not y.size:
        return even
    raw, _ = nnls(members.T, y)
    total = raw.sum()
    return np.asarray(raw / total) if total > 0 else even
