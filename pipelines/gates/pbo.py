"""Probability of backtest overfitting: does the best in one half of history lead in the other?

1. Cut the days into S blocks, keep each block's sums and sums of squares.
2. For every choice of S / 2 blocks, find the best trial there and its rank in the other half.
3. PBO is the share of choices in which that rank is at or below the median.
4. The same with one vote for each cluster of trials that are alike; the worse of both is judged.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.gates.checks import FLAT, returns_matrix
from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.independence import Labels, alike
from pipelines.gates.kernels import split_ranks

Array = NDArray[np.float64]

MOST_BLOCKS = 24  # 2.7 million splits
ROUNDING = 1e-9  # of a vote; sums of fractions that differ by less are level


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overfitting:
    """What combinatorially symmetric cross-validation says of a selection by Sharpe ratio."""

    pbo: float  # share of splits with logit <= 0
    at_or_below_median: int  # splits with logit <= 0
    at_or_below_clustered: int  # splits in which no more votes of clusters lie below than above
    clusters: int  # of trials that are alike; N where each has a vote of its own
    logits: Array  # shape (C,), log of relative rank over its complement; 0 is the median
    in_sample: Array  # shape (C,), Sharpe ratio of the best trial where it was chosen, per period
    out_of_sample: Array  # shape (C,), the same trial's ratio in the other half, per period
    slope: float  # of out-of-sample on in-sample ratio; below 0: better looks worse later
    intercept: float  # per period
    loss_probability: float  # share of splits whose chosen trial loses out of sample
    blocks: int  # S

    @property
    def splits(self) -> int:
        """Return the number of splits C = S over S / 2."""
        return self.logits.size

    @property
    def clustered(self) -> float:
        """Return PBO with one vote for each cluster."""
        return self.at_or_below_clustered / self.splits

    @property
    def judged(self) -> float:
        """Return the worse of PBO by trials and by clusters."""
        return max(self.pbo, self.clustered)


def judged_overfitting(excess: ArrayLike, *, blocks: int) -> Overfitting:
    """Cross-validate a study's trials, copies of one another sharing a vote.

    PBO ranks the chosen trial among all, so whoever records a thousand near copies of a poor trial
    lifts every other one above the median. With one vote for each cluster of trials that are
    alike, copies are in vain: 150 of the worst trial take the plain PBO of a real sweep of 72 from
    0.17 to 0.01 and the judged one to 0.15. It does not see junk that is no copy; that raises the
    hurdle of the deflated Sharpe ratio instead.

    Args:
        excess: shape (T, N), per period, as for `backtest_overfitting`.
        blocks: S.

    Source: as for `backtest_overfitting`; one vote for a cluster as Lopez de Prado & Lewis (2019,
        see `independence`) count one trial for a cluster.
    """
    return backtest_overfitting(excess, blocks=blocks, clusters=alike(excess))


def backtest_overfitting(
    returns: ArrayLike, *, blocks: int, clusters: Labels | None = None
) -> Overfitting:
    """Combinatorially symmetric cross-validation (CSCV) with the Sharpe ratio as performance.

    Null that a PBO near one half speaks for: choosing the best in sample says nothing about rank
    out of sample. Conventions where papers are silent: block sizes differ by at most one day, so
    no day is dropped; level performances share their mean rank; of several trials that are best
    in sample the worst out of sample is taken; rank exactly at the median (logit 0) counts as
    overfit; a trial without spread in a half has ratio 0 there.

    Args:
        returns: shape (T, N), per period, T >= 2 S, N >= 2. Excess returns where selection is by
            excess Sharpe ratio.
        blocks: S, even, 2 to 24.
        clusters: shape (N,), labels from 0; trials of one label share a vote. None = no two do.

    Raises:
        GateInputInvalid: an odd or absurd S, too few days or trials, or a value not finite.

    Source: Bailey, Borwein, Lopez de Prado & Zhu (2017), "The Probability of Backtest
        Overfitting", Journal of Computational Finance 20(4), 39-69, section 3.
    """
    values = returns_matrix(returns, "returns")
    periods, columns = values.shape
    if blocks % 2 or not 2 <= blocks <= MOST_BLOCKS:
        raise GateInputInvalid(f"blocks must be even, from 2 to {MOST_BLOCKS}, was {blocks}")
    if columns < 2:
        raise GateInputInvalid("overfitting is a matter of choice: need two or more trials, had 1")
    if periods < 2 * blocks:
        raise GateInputInvalid(
            f"{periods} days cannot fill {blocks} blocks of two or more days; "
            f"need {2 * blocks} days or fewer blocks"
        )
    half = blocks // 2
    means = values.mean(axis=0)
    sizes = np.ones(columns, dtype=np.int64) if clusters is None else np.bincount(clusters)
    votes = np.empty(0) if clusters is None else 1.0 / sizes[clusters]
    tables = _subset_tables(values, means, blocks)
    ranks = split_ranks(_half_of_splits(blocks), half, *tables, votes)
    relative = ranks[:, 0] / (columns + 1)
    logits = np.log(relative / (1 - relative))
    ratios = np.sign(ranks[:, 1:3]) * np.sqrt(np.abs(ranks[:, 1:3]))
    overfit = int((2 * ranks[:, 0] <= columns + 1).sum())
    slope, intercept = _line(ratios[:, 0], ratios[:, 1])
    return Overfitting(
        pbo=overfit / logits.size,
        at_or_below_median=overfit,
        at_or_below_clustered=int((ranks[:, 3] <= ROUNDING).sum()),
        clusters=sizes.size,
        logits=logits,
        in_sample=ratios[:, 0],
        out_of_sample=ratios[:, 1],
        slope=slope,
        intercept=intercept,
        loss_probability=float((ratios[:, 1] < 0).mean()),
        blocks=blocks,
    )


def _half_of_splits(blocks: int) -> NDArray[np.int64]:
    """Masks with S / 2 bits of S set and the last bit clear: one of each mirrored pair."""
    masks = np.arange(1 << (blocks - 1), dtype=np.int64)
    chosen: NDArray[np.int64] = masks[np.bitwise_count(masks) == blocks // 2]
    return chosen


def _subset_tables(
    values: Array, means: Array, blocks: int
) -> tuple[Array, Array, Array, Array, Array]:
    """Counts, sums and squares over every subset of each half of the blocks, means and floor.

    Any split is then one entry of the first half's tables plus one of the second's, so its sums
    have one fixed order whatever split came before.
    """
    periods, columns = values.shape
    half = blocks // 2
    bounds = np.arange(blocks + 1) * periods // blocks
    block_counts = np.diff(bounds).astype(np.float64)
    block_sums, block_squares = np.empty((2, blocks, columns))
    for block in range(blocks):
        centred = values[bounds[block] : bounds[block + 1]] - means
        block_sums[block] = centred.sum(axis=0)
        block_squares[block] = (centred * centred).sum(axis=0)
    counts = np.zeros((2, 1 << half))
    sums = np.zeros((2, 1 << half, columns))
    squares = np.zeros_like(sums)
    for side in range(2):
        for bit in range(half):  # double the table: every known subset, with this block added
            block, size = side * half + bit, 1 << bit
            counts[side, size : 2 * size] = counts[side, :size] + block_counts[block]
            sums[side, size : 2 * size] = sums[side, :size] + block_sums[block]
            squares[side, size : 2 * size] = squares[side, :size] + block_squares[block]
    floor = (FLAT * np.abs(values).max(axis=0)) ** 2
    return counts, sums, squares, means, floor


def _line(x: Array, y: Array) -> tuple[float, float]:
    """Least squares slope and intercept; slope 0 when x does not vary."""
    centred = x - x.mean()
    spread = float(centred @ centred)
    slope = float(centred @ y) / spread if spread > 0 else 0.0
    return slope, float(y.mean()) - slope * float(x.mean())
