"""Cross-validation that does not leak: splits by when labels start and when they are known.

All of them have scikit-learn's splitter interface, so `cross_val_score(..., cv=splitter)` works.
"""

from pipelines.splits.combinatorial import CombinatorialPurged
from pipelines.splits.purged import PurgedKFold
from pipelines.splits.spans import LabelSpans
from pipelines.splits.walkforward import WalkForward

__all__ = ["CombinatorialPurged", "LabelSpans", "PurgedKFold", "WalkForward"]
