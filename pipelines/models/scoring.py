"""Out-of-fold predictions and scores of a learner over splits that do not leak."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.door import require_record
from pipelines.errors import ModelInvalid
from pipelines.models.counting import CountsTries, counted
from pipelines.models.learners import Learner

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Score: TypeAlias = Callable[[Array, Array, Indices], float]  # (y, predicted, date of each row)


class Splitter(Protocol):
    """Anything with scikit-learn's splitter interface."""

    def split(
        self, X: object = None, y: object = None, groups: object = None
    ) -> Iterator[tuple[Indices, Indices]]:
        """Yield (train, test) row numbers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """Rows to learn from, and how they may be split."""

    X: Array  # (E, k)
    y: Array  # (E,)
    dates: Indices  # (E,), ascending; rows of one date are one cross-section
    splitter: Splitter
    weights: Array | None = None  # (E,)

    def __post_init__(self) -> None:
        if not len(self.X) == len(self.y) == len(self.dates):
            raise ModelInvalid(
                f"{len(self.X)} feature rows, {len(self.y)} targets, {len(self.dates)} dates"
            )

    @property
    def rows(self) -> str:
        """Return SHA-256 over features and targets, 16 hex digits: what a learner is tried on."""
        digest = hashlib.sha256(str(self.X.shape).encode())
        for part in (self.X, self.y):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:16]

    def columns(self, chosen: NDArray[np.int64]) -> "Problem":
        """Return the same rows with some of the features."""
        return Problem(
            X=self.X[:, chosen],
            y=self.y,
            dates=self.dates,
            splitter=self.splitter,
            weights=self.weights,
        )


def information_coefficient(y: Array, predicted: Array, dates: Indices) -> float:
    """Mean over dates of the rank correlation between prediction and outcome.

    A date whose prediction is constant counts as zero: no opinion is no skill.
    """
    from scipy.stats import rankdata

    cuts = np.flatnonzero(np.diff(dates)) + 1
    sizes = np.diff([0, *cuts, len(dates)])
    if (sizes == sizes[0]).all():  # every name on every date: all dates at once
        a, b = (rankdata(part.reshape(-1, sizes[0]), axis=1) for part in (y, predicted))
        a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
        scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
        return float(np.where(scale > 0, (a * b).sum(axis=1) / np.maximum(scale, 1e-300), 0).mean())
    found = [
        _rank_correlation(a, b)
        for a, b in zip(np.split(y, cuts), np.split(predicted, cuts), strict=True)
    ]
    return float(np.mean(found))


def fit_rows(learner: Learner, problem: Problem, rows: Indices) -> object:
    """Fit a learner on some rows of a problem."""
    groups = None
    if learner.kind == "lightgbm_ranker":
        groups = np.unique(problem.dates[rows], return_counts=True)[1].astype(np.int64)
    weights = None if problem.weights is None else problem.weights[rows]
    return learner.fit(problem.X[rows], problem.y[rows], weights=weights, groups=groups)


def out_of_fold(learner: Learner, problem: Problem) -> tuple[Array, NDArray[np.bool_]]:
    """Predict every row that some split tests, by a model that did not see it.

    Returns:
        Predictions, shape (E,), NaN where no split tested; and which rows were tested. A row that
        several splits test has the mean of their predictions.
    """
    total, times = np.zeros(len(problem.y)), np.zeros(len(problem.y))
    for fitted, test in fitted_splits(learner, problem):
        total[test] += learner.predict(fitted, problem.X[test])
        times[test] += 1
    tested = times > 0
    predicted = np.full(len(problem.y), np.nan)
    predicted[tested] = total[tested] / times[tested]
    return predicted, tested


def fitted_splits(learner: Learner, problem: Problem) -> Iterator[tuple[object, Indices]]:
    """Yield (estimator fitted on the training rows, test rows) of every split.

    Raises:
        EvaluationUnrecorded: in a kernel or at a prompt, by anybody who has not counted the try.
    """
    require_record("a fit on purged folds that no cross_score, tune or select_features counted")
    for training, test in problem.splitter.split(problem.X):
        yield fit_rows(learner, problem, training), test


def cross_score(
    learner: Learner,
    problem: Problem,
    score: Score = information_coefficient,
    *,
    counter: CountsTries | None,
) -> Array:
    """Score a learner on every split's test rows, and count it as a try.

    One learner on the same rows is one try, however they are split and however often it is asked.

    Args:
        learner: what is tried.
        problem: rows and splitter.
        score: larger is better.
        counter: who counts; None only where no study is concerned, never in a kernel or at a
            prompt.

    Returns:
        Shape (splits,).

    Raises:
        EvaluationUnrecorded: in a kernel or at a prompt without a counter.
    """
    return counted(
        "cross_score",
        {"scored": learner.described, "rows": problem.rows},
        lambda: split_scores(learner, problem, score),
        lambda scores: f"mean score {float(np.mean(scores)):.6g}",
        counter,
    )


def split_scores(learner: Learner, problem: Problem, score: Score) -> Array:
    """Return the score of every split's test rows, shape (splits,), for whoever counts the try."""
    return np.array(
        [
            score(problem.y[t], learner.predict(fitted, problem.X[t]), problem.dates[t])
            for fitted, t in fitted_splits(learner, problem)
        ]
    )


def _rank_correlation(a: Array, b: Array) -> float:
    from scipy.stats import rankdata

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
