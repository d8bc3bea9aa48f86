"""Which features matter: permutation on purged folds, alone and by clusters of substitutes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ModelInvalid
from pipelines.models.counting import CountsTries, counted
from pipelines.models.learners import Learner
from pipelines.models.scoring import Problem, Score, fitted_splits, information_coefficient

Array = NDArray[np.float64]
Groups: TypeAlias = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Importance:
    """Loss of score when features are shuffled on test rows; one entry per group of features."""

    groups: Groups  # columns shuffled together
    loss: Array  # (g,), mean over folds and repeats, in units of the score
    error: Array  # (g,), standard error over folds
    baseline: float  # mean score over folds, nothing shuffled

    @property
    def order(self) -> NDArray[np.intp]:
        """Return groups by importance, most important first."""
        return np.argsort(-self.loss, kind="stable")


def permutation_importance(
    learner: Learner,
    problem: Problem,
    *,
    seed: int,
    repeats: int = 5,
    groups: Groups | None = None,
    score: Score = information_coefficient,
    counter: CountsTries | None = None,
) -> Importance:
    """Shuffle features on the test rows of every fold and see what the score loses.

    What nothing is shuffled of is a score of the learner, so this counts as `cross_score` does:
    the same learner on the same rows is one try.

    Args:
        learner, problem: fitted on each fold's training rows only.
        seed: of the shuffles.
        repeats: shuffles per fold and group.
        groups: columns that are shuffled together, by the same permutation; None = each alone.
        score: larger is better.
        counter: who counts; None only where no study is concerned, never in a kernel or at a
            prompt.

    Raises:
        EvaluationUnrecorded: in a kernel or at a prompt without a counter.

    Source: Breiman (2001), "Random Forests", Machine Learning 45, 5-32; on purged folds ("mean
        decrease accuracy") Lopez de Prado (2018), section 8.3.2.
    """
    width = problem.X.shape[1]
    shuffled = groups or tuple((column,) for column in range(width))
    if any(not 0 <= c < width for group in shuffled for c in group) or repeats < 1:
        raise ModelInvalid(f"groups name columns 0 to {width - 1}, repeats >= 1")
    generator = np.random.Generator(np.random.PCG64(seed))
    return counted(
        "permutation_importance",
        {"scored": learner.described, "rows": problem.rows},
        lambda: _shuffled(learner, problem, generator, repeats, shuffled, score),
        lambda found: f"mean score {found.baseline:.6g}",
        counter,
    )


def _shuffled(
    learner: Learner,
    problem: Problem,
    generator: np.random.Generator,
    repeats: int,
    shuffled: Groups,
    score: Score,
) -> Importance:
    losses, base = [], []
    for fitted, test in fitted_splits(learner, problem):
        X, y, dates = problem.X[test], problem.y[test], problem.dates[test]
        before = score(y, learner.predict(fitted, X), dates)
        base.append(before)
        row = []
        for group in shuffled:
            after = []
            for _ in range(repeats):
                moved = X.copy()
                order = generator.permutation(len(X))
                moved[:, list(group)] = X[order][:, list(group)]
                after.append(score(y, learner.predict(fitted, moved), dates))
            row.append(before - float(np.mean(after)))
        losses.append(row)
    table = np.array(losses)
    folds = len(table)
    error = table.std(axis=0, ddof=1) / np.sqrt(folds) if folds > 1 else np.full(len(row), np.nan)
    return Importance(
        groups=shuffled, loss=table.mean(axis=0), error=error, baseline=float(np.mean(base))
    )


def feature_clusters(X: Array, *, alike: float = 0.5) -> Groups:
    """Group features that say the same: average linkage on |rank correlation|.

    Args:
        X: shape (E, k).
        alike: clusters are joined while their features' average |correlation| is at least this.

    Returns:
        Columns of each cluster, ascending; every column is in one.

    Source: the idea is Lopez de Prado (2020), "Machine Learning for Asset Managers", section
        6.5.2; a fixed cut instead of silhouettes, which push features without likeness together.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform
    from scipy.stats import rankdata

    width = X.shape[1]
    if width < 2 or not 0 < alike < 1:
        return tuple((column,) for column in range(width))
    ranks = np.asarray(rankdata(X, axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.asarray(np.nan_to_num(np.corrcoef(ranks.T)))
    distance = 1 - np.abs(correlation)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), method="average")
    labels = fcluster(tree, 1 - alike, criterion="distance")
    found = [tuple(map(int, np.flatnonzero(labels == label))) for label in np.unique(labels)]
    return tuple(sorted(found))


def clustered_importance(
    learner: Learner,
    problem: Problem,
    *,
    seed: int,
    repeats: int = 5,
    score: Score = information_coefficient,
    counter: CountsTries | None = None,
) -> Importance:
    """Shuffle each cluster of substitutes at once (clustered MDA), so that none hides another.

    Source: Lopez de Prado (2020), section 6.5.2.
    """
    return permutation_importance(
        learner,
        problem,
        seed=seed,
        repeats=repeats,
        groups=feature_clusters(problem.X),
        score=score,
        counter=counter,
    )


def named(importance: Importance, names: Sequence[str]) -> tuple[tuple[str, float, float], ...]:
    """Return (features, loss, standard error), most important first."""
    return tuple(
        (
            ", ".join(names[column] for column in importance.groups[group]),
            float(importance.loss[group]),
            float(importance.error[group]),
        )
        for group in importance.order
    )
