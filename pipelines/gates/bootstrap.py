"""Stationary bootstrap as blocks, not indices: a draw of T rows is some T / mean block sums."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.gates.errors import GateInputInvalid
from pipelines.gates.kernels import cut_blocks

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blocks:
    """B resamples of T rows, each a run of blocks that wrap past the last row to the first."""

    periods: int  # rows T in each draw
    starts: Indices  # shape (M,), first row of each block, 0 <= start < T
    lengths: Indices  # shape (M,), rows in each block, 1 <= length <= T
    cuts: Indices  # shape (B + 1,), draw b owns blocks cuts[b] .. cuts[b + 1] - 1

    @property
    def draws(self) -> int:
        """Return the number of resamples B."""
        return self.cuts.size - 1


def stationary_blocks(periods: int, *, mean_block: float, draws: int, seed: int) -> Blocks:
    """Draw stationary-bootstrap resamples: uniform starts, geometric lengths, circular wrap.

    Args:
        periods: T, rows of the sample.
        mean_block: expected block length in rows, 1 <= mean_block <= T; 1 is the plain bootstrap.
        draws: B.
        seed: of a PCG64 generator; the same seed gives the same resamples everywhere.

    Raises:
        GateInputInvalid: an argument is out of range.

    Source: Politis & Romano (1994), "The Stationary Bootstrap", Journal of the American
        Statistical Association 89(428), 1303-1313.
    """
    if not 1 <= mean_block <= periods:
        raise GateInputInvalid(f"mean block of {mean_block} days does not fit {periods} days")
    if draws < 1:
        raise GateInputInvalid(f"need one or more bootstrap draws, was given {draws}")
    generator = np.random.Generator(np.random.PCG64(seed))
    expected = draws * (1 + (periods - 1) / mean_block)
    starts, lengths = np.empty(0, np.int64), np.empty(0, np.int64)
    cuts = np.empty(draws + 1, np.int64)
    while cut_blocks(starts, lengths, periods, draws, cuts) < draws:
        more = int(expected + 4 * np.sqrt(expected)) + 1  # nearly always enough at once
        starts = np.concatenate((starts, generator.integers(0, periods, more)))
        lengths = np.concatenate((lengths, generator.geometric(1 / mean_block, more)))
    used = int(cuts[draws])
    return Blocks(periods=periods, starts=starts[:used], lengths=lengths[:used], cuts=cuts)


def blocks_of(indices: Indices) -> Blocks:
    """Return the blocks of given resamples: runs of consecutive rows on the circle.

    Args:
        indices: shape (B, T), rows drawn, each in 0 .. T - 1.

    Raises:
        GateInputInvalid: not two-dimensional, empty, or a row outside the sample.
    """
    if indices.ndim != 2 or indices.size == 0:
        raise GateInputInvalid(f"indices must be draws x days, was given shape {indices.shape}")
    draws, periods = indices.shape
    if indices.min() < 0 or indices.max() >= periods:
        raise GateInputInvalid(f"indices must lie between 0 and {periods - 1}")
    opens = np.ones((draws, periods), dtype=np.bool_)
    opens[:, 1:] = indices[:, 1:] != (indices[:, :-1] + 1) % periods
    places = np.flatnonzero(opens.ravel())
    return Blocks(
        periods=periods,
        starts=indices.ravel()[places].astype(np.int64),
        lengths=np.diff(np.append(places, draws * periods)).astype(np.int64),
        cuts=np.concatenate(([0], np.cumsum(opens.sum(axis=1)))).astype(np.int64),
    )
