"""Shape and finiteness checks that every statistic shares; constant columns are told apart here."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.gates.errors import GateInputInvalid

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

FLAT = 1e-12  # a column whose spread is below this share of its size is rounding noise


def returns_matrix(values: ArrayLike, name: str) -> Array:
    """Return `values` as C-contiguous float64 of shape (T, N); one dimension means one column.

    Raises:
        GateInputInvalid: not two-dimensional, empty, or a value is not finite (named by place).
    """
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim == 1:
        matrix = matrix[:, None]
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise GateInputInvalid(f"{name} must be days x trials, was given shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        row, column = (int(place[0]) for place in np.nonzero(~np.isfinite(matrix)))
        raise GateInputInvalid(
            f"{name}: day {row} of trial {column} is {matrix[row, column]}, not a finite return"
        )
    return np.ascontiguousarray(matrix)


def flat_columns(values: Array) -> Flags:
    """Say which columns of a (T, N) matrix never move, but for rounding; shape (N,)."""
    spread = values.max(axis=0) - values.min(axis=0)
    flat: Flags = spread <= FLAT * np.abs(values).max(axis=0)
    return flat


def refuse_riskless_gain(values: Array, name: str) -> Flags:
    """Return the flat columns of a (T, N) matrix, shape (N,); none of them may gain.

    Raises:
        GateInputInvalid: a column gains the same on every day, which no traded strategy does.
    """
    flat = flat_columns(values)
    gains = np.flatnonzero(flat & (values[0] > 0))
    if gains.size:
        raise GateInputInvalid(
            f"{name}: trial {gains[0]} gains exactly {values[0, gains[0]]:.3g} on every day; "
            "returns without risk point to an error in the backtest"
        )
    return flat
