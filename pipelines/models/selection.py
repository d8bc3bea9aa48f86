"""Feature selection, clusters at a time, each subset a counted try."""

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.door import answered_for, require_record
from pipelines.models.counting import CountsTries
from pipelines.models.importance import clustered_importance
from pipelines.models.learners import Learner
from pipelines.models.scoring import Problem, Score, information_coefficient, split_scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """The subset that scored best, and everything that was tried."""

    columns: tuple[int, ...]
    score: float  # mean over splits
    tried: tuple[tuple[tuple[int, ...], float], ...]  # (columns, score), in order


def select_features(
    learner: Learner,
    problem: Problem,
    *,
    name: str,
    seed: int,
    counter: CountsTries | None,
    score: Score = information_coefficient,
) -> Selected:
    """Drop the least important cluster of features, again and again, and keep the best subset.

    Args:
        learner: scored by cross-validation on each subset.
        problem: rows and splitter.
        name: of the selection, for the ledger.
        seed: of the shuffles behind importances.
        counter: who counts each subset; None only where no study is concerned, never
            in a kernel or at a prompt.
        score: larger is better; of equal scores the smaller subset is kept.

    Raises:
        EvaluationUnrecorded: in a kernel or at a prompt without a counter.
    """
    if counter is None:
        require_record("select_features without counter=count_tries(study, strategy)")
    left: NDArray[np.int64] = np.arange(problem.X.shape[1], dtype=np.int64)
    tried: list[tuple[tuple[int, ...], float]] = []
    while True:
        part = problem.columns(left)
        columns = tuple(map(int, left))
        asked = {"selection": name, "columns": " ".join(map(str, columns))}
        key = counter.open(asked) if counter else ""
        with answered_for() if counter else nullcontext():
            value = float(np.mean(split_scores(learner, part, score)))
            found = clustered_importance(learner, part, seed=seed, repeats=2, score=score)
        if counter:
            counter.close(key, f"selection {name}: inner score {value:.6g}")
        tried.append((columns, value))
        if len(found.groups) < 2:
            break
        weakest = found.groups[int(found.order[-1])]
        left = np.delete(left, list(weakest))
    best = max(tried, key=lambda one: (one[1], -len(one[0])))
    return Selected(columns=best[0], score=best[1], tried=tuple(tried))
