"""Ensembles: members weighed by what they predicted of rows they did not see.

In a decision an ensemble is arithmetic, part of the one graph: declare its members as models and
write `0.6 * inputs.trees(x) + 0.4 * inputs.line(x)`.
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
    predicted: Array  # (E,), mixed out-of-fold predictions; NaN where untested
    members: Array  # (m, E), each member's own
    tested: NDArray[np.bool_]  # (E,)

    @property
    def disagreement(self) -> Array:
        """Return the deviation of members around the mix, shape (E,)."""
        spread = (self.members - self.predicted) ** 2
        return np.asarray(np.sqrt((self.weights[:, None] * spread).sum(axis=0)))


def stack(learners: Sequence[Learner], problem: Problem) -> Ensemble:
    """Weigh members by non-negative least squares on their out-of-fold predictions.

    Members whose predictions help nothing get weight zero; if all get zero, all are weighed alike.

    Source: Breiman (1996), "Stacked Regressions", Machine Learning 24, 49-64.
    """
    from scipy.optimize import nnls

    if not learners:
        raise ModelInvalid("an ensemble needs a member")
    found = [out_of_fold(learner, problem) for learner in learners]
    tested = np.logical_and.reduce([part[1] for part in found])
    members = np.stack([part[0] for part in found])
    raw, _ = nnls(members[:, tested].T, problem.y[tested])
    total = raw.sum()
    weights = raw / total if total > 0 else np.full(len(learners), 1.0 / len(learners))
    mixed = np.full(len(problem.y), np.nan)
    mixed[tested] = weights @ members[:, tested]
    return Ensemble(weights=weights, predicted=mixed, members=members, tested=tested)
