"""Combinatorial purged cross-validation: every pair (triple, ...) of folds tests once.

1. cut the rows into N folds; every choice of k of them is one test set: C(N, k) splits
2. purge and embargo the training rows around each test fold
3. each fold is tested C(N-1, k-1) times: dealt out, that makes as many whole paths through time
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import SplitInvalid
from pipelines.splits.spans import Indices, LabelSpans, check_embargo, check_rows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CombinatorialPurged:
    """C(folds, tested) purged splits, and the paths their predictions make.

    Source: Lopez de Prado (2018), "Advances in Financial Machine Learning", section 12.4.
    """

    spans: LabelSpans
    folds: int = 6  # N
    tested: int = 2  # k, folds per test set, 1 <= k < N
    embargo: int = 0  # bars after each test fold's last label in which no training row may start

    def __post_init__(self) -> None:
        check_embargo(self.embargo)
        if not 1 <= self.tested < self.folds:
            raise SplitInvalid(f"tested must be in 1..{self.folds - 1}, was {self.tested}")
        self.spans.folds(self.folds)

    @property
    def test_sets(self) -> tuple[tuple[int, ...], ...]:
        """Return the folds of each split's test set, in the order of the splits."""
        return tuple(combinations(range(self.folds), self.tested))

    @property
    def n_paths(self) -> int:
        """Return the number of paths, C(N-1, k-1)."""
        return comb(self.folds - 1, self.tested - 1)

    def split(
        self, X: object = None, y: object = None, groups: object = None
    ) -> Iterator[tuple[Indices, Indices]]:
        """Yield (train, test) row numbers, ascending; `y` and `groups` are not looked at.

        Raises:
            SplitInvalid: X has another number of rows, or purging leaves nothing to train on.
        """
        check_rows(self.spans, X)
        runs = self.spans.folds(self.folds)
        allowed = np.stack([~self.spans.excluded(run, self.embargo) for run in runs])
        rows = np.arange(self.spans.size, dtype=np.int64)
        parts = [rows[run] for run in runs]
        for chosen in self.test_sets:
            train = np.flatnonzero(allowed[list(chosen)].all(axis=0))
            if not train.size:
                raise SplitInvalid(
                    f"test folds {chosen}: purging and an embargo of {self.embargo} bars leave no "
                    f"row to train on; test fewer folds at a time"
                )
            yield train, np.concatenate([parts[fold] for fold in chosen])

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        """Return the number of splits, C(N, k)."""
        return comb(self.folds, self.tested)

    def path_splits(self) -> Indices:
        """Return which split predicts each fold of each path, shape (paths, N).

        The j-th split that tests a fold, in the order of the splits, serves path j.
        """
        out = np.empty((self.n_paths, self.folds), dtype=np.int64)
        used = [0] * self.folds
        for number, chosen in enumerate(self.test_sets):
            for fold in chosen:
                out[used[fold], fold] = number
                used[fold] += 1
        return out

    def paths(self, predictions: Sequence[ArrayLike]) -> NDArray[np.float64]:
        """Put the splits' test predictions together to whole paths.

        Args:
            predictions: one array per split, aligned with the test rows that `split` yielded.

        Returns:
            Shape (paths, E): every path holds every row once, each predicted out of sample.

        Raises:
            SplitInvalid: a split is missing, or has another number of predictions than test rows.
        """
        runs, splits = self.spans.folds(self.folds), self.test_sets
        if len(predictions) != len(splits):
            raise SplitInvalid(f"{len(predictions)} splits were predicted, there are {len(splits)}")
        lengths = [run.stop - run.start for run in runs]
        placed: dict[tuple[int, int], NDArray[np.float64]] = {}
        for number, (chosen, given) in enumerate(zip(splits, predictions, strict=True)):
            values = np.asarray(given, dtype=np.float64)
            cuts = np.cumsum([0, *(lengths[fold] for fold in chosen)])
            if values.shape != (cuts[-1],):
                raise SplitInvalid(
                    f"split {number} has {cuts[-1]} test rows, predictions of {values.shape}"
                )
            for place, fold in enumerate(chosen):
                placed[number, fold] = values[cuts[place] : cuts[place + 1]]
        return np.stack(
            [
                np.concatenate([placed[int(number), fold] for fold, number in enumerate(path)])
                for path in self.path_splits()
            ]
        )
