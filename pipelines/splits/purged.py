"""Purged and embargoed k-fold: no training label shares a bar with the test labels."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipelines.errors import SplitInvalid
from pipelines.splits.spans import Indices, LabelSpans, check_embargo, check_rows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PurgedKFold:
    """k folds in time order; training rows whose labels touch the test fold are left out.

    Source: Lopez de Prado (2018), "Advances in Financial Machine Learning", sections 7.4.1-7.4.3.
    """

    spans: LabelSpans
    folds: int = 5
    embargo: int = 0  # bars after the last test label's end in which no training row may start

    def __post_init__(self) -> None:
        check_embargo(self.embargo)
        self.spans.folds(self.folds)

    def split(
        self, X: object = None, y: object = None, groups: object = None
    ) -> Iterator[tuple[Indices, Indices]]:
        """Yield (train, test) row numbers, ascending; `y` and `groups` are not looked at.

        Raises:
            SplitInvalid: X has another number of rows, or purging leaves nothing to train on.
        """
        check_rows(self.spans, X)
        for number, test in enumerate(self.spans.folds(self.folds)):
            train = np.flatnonzero(~self.spans.excluded(test, self.embargo))
            if not train.size:
                raise SplitInvalid(
                    f"fold {number} of {self.folds}: purging and an embargo of {self.embargo} bars "
                    f"leave no row to train on; use fewer folds or shorter labels"
                )
            yield train, np.arange(test.start, test.stop, dtype=np.int64)

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        """Return the number of folds."""
        return self.folds
