"""How much of a label is its own: labels that share bars share information."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import LabelInputInvalid
from pipelines.labels.kernels import sequential_draws

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def concurrency(starts: ArrayLike, ends: ArrayLike, *, bars: int | None = None) -> Indices:
    """Count the labels that are alive at each bar, both of their ends included.

    Args:
        starts, ends: first and last bar of each label, shape (E,), 0 <= start <= end.
        bars: length of the result; None = up to the last end.

    Source: Lopez de Prado (2018), section 4.3.
    """
    first, last = _spans(starts, ends)
    length = int(last.max()) + 1 if bars is None else bars
    if bars is not None and last.max() >= bars:
        raise LabelInputInvalid(f"a label ends at bar {last.max()}, there are {bars}")
    change = np.zeros(length + 1, dtype=np.int64)
    np.add.at(change, first, 1)
    np.add.at(change, last + 1, -1)
    return np.cumsum(change[:-1])


def average_uniqueness(
    starts: ArrayLike, ends: ArrayLike, *, groups: ArrayLike | None = None
) -> Array:
    """Average over a label's bars of 1 / (labels alive), shape (E,), in (0, 1].

    Args:
        starts, ends: first and last bar of each label, shape (E,).
        groups: labels share bars only within a group (a symbol, say); None = all do.

    Raises:
        LabelInputInvalid: a label that ends before it starts, or shapes that differ.

    Source: Lopez de Prado (2018), section 4.4.
    """
    first, last = _spans(starts, ends)
    out = np.empty(first.size)
    kinds = np.zeros(first.size) if groups is None else np.asarray(groups)
    if kinds.shape != first.shape:
        raise LabelInputInvalid(f"groups have shape {kinds.shape}, labels {first.shape}")
    for kind in np.unique(kinds):
        chosen = np.flatnonzero(kinds == kind)
        alive = concurrency(first[chosen], last[chosen])
        shares = np.where(alive > 0, 1.0 / np.maximum(alive, 1), 0.0)
        before = np.concatenate(([0.0], np.cumsum(shares)))
        width = last[chosen] + 1 - first[chosen]
        out[chosen] = (before[last[chosen] + 1] - before[first[chosen]]) / width
    return out


def sequential_bootstrap(starts: ArrayLike, ends: ArrayLike, *, draws: int, seed: int) -> Indices:
    """Draw labels with replacement, each in proportion to its uniqueness given those drawn.

    Args:
        starts, ends: first and last bar of each label, shape (E,).
        draws: how many.
        seed: of the draw.

    Returns:
        Positions of the labels drawn, shape (draws,).

    Source: Lopez de Prado (2018), section 4.5.
    """
    first, last = _spans(starts, ends)
    uniforms = np.random.Generator(np.random.PCG64(seed)).random(draws)
    out = np.empty(draws, dtype=np.int64)
    sequential_draws(first, last, int(last.max()) + 1, uniforms, out)
    return out


def _spans(starts: ArrayLike, ends: ArrayLike) -> tuple[Indices, Indices]:
    first, last = np.asarray(starts, dtype=np.int64), np.asarray(ends, dtype=np.int64)
    if first.shape != last.shape or first.ndim != 1 or not first.size:
        raise LabelInputInvalid(
            f"starts and ends must be of one shape (E,), E >= 1, were {first.shape}, {last.shape}"
        )
    bad = (first < 0) | (last < first)
    if bad.any():
        label = int(np.argmax(bad))
        raise LabelInputInvalid(
            f"label {label} runs from bar {first[label]} to bar {last[label]}; "
            f"it must not end before it starts"
        )
    return first, last
