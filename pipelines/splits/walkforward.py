"""Walk-forward: train on what was known, test on what came next, move on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipelines.errors import SplitInvalid
from pipelines.splits.spans import Indices, LabelSpans, check_embargo, check_rows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WalkForward:
    """Consecutive test runs; training rows are those whose labels were known before each.

    The rows are cut into `splits + 1` runs; the first is only ever trained on.
    """

    spans: LabelSpans
    splits: int = 5
    window: int | None = None  # bars of history to train on; None = all of it (expanding)
    embargo: int = 0  # bars between the last training label's end and the test run

    def __post_init__(self) -> None:
        check_embargo(self.embargo)
        if self.window is not None and self.window < 1:
            raise SplitInvalid(f"window must be at least 1 bar, was {self.window}")
        self.spans.folds(self.splits + 1)

    def split(
        self, X: object = None, y: object = None, groups: object = None
    ) -> Iterator[tuple[Indices, Indices]]:
        """Yield (train, test) row numbers, ascending; `y` and `groups` are not looked at.

        Raises:
            SplitInvalid: X has another number of rows, or nothing was known before a test run.
        """
        check_rows(self.spans, X)
        for number, test in enumerate(self.spans.folds(self.splits + 1)[1:]):
            begin = self.spans.starts[test.start]
            known = self.spans.ends + self.embargo < begin
            if self.window is not None:
                known &= self.spans.starts >= begin - self.embargo - self.window
            train = np.flatnonzero(known)
            if not train.size:
                raise SplitInvalid(
                    f"split {number}: no label is known {self.embargo} bars before its test run "
                    f"starts at {begin}; use fewer splits, shorter labels or a longer window"
                )
            yield train, np.arange(test.start, test.stop, dtype=np.int64)

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        """Return the number of test runs."""
        return self.splits
