"""What a model learns from: features as known at each date, labels with their ends."""

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from pipelines.models.scoring import Problem
from pipelines.splits import LabelSpans, PurgedKFold

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingSet:
    """What a model learns from: D dates, n symbols each, rows in order of date then symbol."""

    X: Array  # (D * n, k), features as known at the date
    y: Array  # (D * n,), targets
    returns: Array  # (D * n,), the returns behind the targets
    weights: Array  # (D * n,), average uniqueness of each label among its symbol's
    spans: LabelSpans  # per row: session of the decision to session its label is known
    days: tuple[date, ...]  # length D
    symbols: tuple[str, ...]  # length n

    @property
    def groups(self) -> Indices:
        """Return the size of each date's cross-section, shape (D,)."""
        return np.full(len(self.days), len(self.symbols), dtype=np.int64)

    def problem(self, folds: int) -> Problem:
        """Return the rows with purged folds over them."""
        return Problem(
            X=self.X,
            y=self.y,
            dates=self.spans.starts,
            splitter=PurgedKFold(spans=self.spans, folds=folds),
            weights=self.weights,
        )

    @property
    def better(self) -> Array:
        """Return 1 where a row's return beats the median of its date, else 0, shape (D * n,)."""
        returns = self.returns.reshape(len(self.days), -1)
        above = returns > np.median(returns, axis=1, keepdims=True)
        return above.ravel().astype(np.float64)
