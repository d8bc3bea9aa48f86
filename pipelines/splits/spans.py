"""Label spans: from the bar a row is about to the bar its label is known, and what overlaps."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import SplitInvalid

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, init=False, eq=False)
class LabelSpans:
    """When each of E rows starts and when its label is known, both ends included.

    Rows that start at the same bar (a cross-section of symbols) always share a fold.
    """

    starts: Indices  # (E,), ascending; session numbers or anything else that counts bars
    ends: Indices  # (E,), >= starts

    def __init__(self, starts: ArrayLike, ends: ArrayLike) -> None:
        """Check both; datetime64 counts as its integer unit.

        Raises:
            SplitInvalid: rows are not in order of their start, or end before they start.
        """
        first, last = (np.asarray(part) for part in (starts, ends))
        if first.ndim != 1 or first.shape != last.shape or not first.size:
            raise SplitInvalid(
                f"starts and ends must be of one shape (E,), were {first.shape} and {last.shape}"
            )
        if first.dtype.kind not in "iuM" or first.dtype.kind != last.dtype.kind:
            raise SplitInvalid("starts and ends must both be integers or both datetime64")
        first, last = first.astype(np.int64), last.astype(np.int64)
        if (np.diff(first) < 0).any():
            row = int(np.argmax(np.diff(first) < 0)) + 1
            raise SplitInvalid(f"row {row} starts before row {row - 1}; sort rows by their start")
        if (last < first).any():
            row = int(np.argmax(last < first))
            raise SplitInvalid(f"row {row} starts at {first[row]} and ends at {last[row]}")
        object.__setattr__(self, "starts", first)
        object.__setattr__(self, "ends", last)

    @property
    def size(self) -> int:
        """Return E."""
        return self.starts.size

    def folds(self, count: int) -> tuple[slice, ...]:
        """Cut the rows into `count` runs of nearly equal size that never part equal starts.

        Raises:
            SplitInvalid: fewer distinct starts than folds.
        """
        firsts = np.flatnonzero(np.diff(self.starts, prepend=self.starts[0] - 1))
        if count < 2 or firsts.size < count:
            raise SplitInvalid(
                f"{count} folds were asked for; 2 to {firsts.size} are possible, since rows "
                f"start at {firsts.size} distinct bars"
            )
        # Cuts by distinct starts: every fold gets its share of them, the first ones one more.
        sizes = np.full(count, firsts.size // count) + (np.arange(count) < firsts.size % count)
        cuts = [*firsts[np.concatenate(([0], np.cumsum(sizes[:-1])))].tolist(), self.size]
        return tuple(slice(a, b) for a, b in pairwise(cuts))

    def excluded(self, test: slice, embargo: int) -> Mask:
        """Return the rows that may not train beside this test run, its own rows included, (E,).

        A row is excluded if its span meets the test run's, from the first start to the last label's
        end, or if it starts within `embargo` bars after that end.
        """
        begin, end = self.starts[test.start], self.ends[test].max()
        met: Mask = (self.starts <= end + embargo) & (self.ends >= begin)
        return met


def check_rows(spans: LabelSpans, X: object) -> None:
    """Refuse data that are not the rows the spans describe; SplitInvalid tells both counts."""
    rows = len(X) if hasattr(X, "__len__") else getattr(X, "shape", (spans.size,))[0]
    if X is not None and rows != spans.size:
        raise SplitInvalid(f"the data have {rows} rows, the labels {spans.size}")


def check_embargo(embargo: int) -> None:
    """Refuse a negative embargo."""
    if embargo < 0:
        raise SplitInvalid(f"embargo must be at least 0 bars, was {embargo}")
