"""From declared targets to labels with their ends: forward returns and first touched barriers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ModelInvalid
from pipelines.labels import average_uniqueness, ewm_volatility, triple_barrier
from pipelines.models.declared import Barriers, ForwardReturn

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """Labels of n symbols on D dates; rows are bars of the closes they were made from."""

    y: Array  # (D, n), targets
    returns: Array  # (D, n), from fill to the label's end
    ends: Indices  # (D, n), bar at whose close the label is known
    weights: Array  # (D, n), average uniqueness among the symbol's labels


def labelled(target: ForwardReturn | Barriers, closes: Array, starts: Indices) -> Labelled:
    """Label every symbol at every decision.

    Args:
        target: what is learned.
        closes: shape (T, n); for barriers with `target.span` bars before the first decision.
        starts: bars of the decisions, shape (D,); starts + delay + horizon < T.
    """
    fills = starts + target.delay
    names = closes.shape[1]
    if isinstance(target, ForwardReturn):
        ends = np.repeat((fills + target.horizon)[:, None], names, axis=1)
        returns = closes[fills + target.horizon] / closes[fills] - 1.0
        alone = average_uniqueness(fills + 1, fills + target.horizon)
        return Labelled(
            y=_compared(returns, target),
            returns=returns,
            ends=ends,
            weights=np.repeat(alone[:, None], names, axis=1),
        )
    sigma = ewm_volatility(closes, span=target.span)[starts]
    if not (np.isfinite(sigma).all() and (sigma > 0).all()):
        raise ModelInvalid(f"a volatility over {target.span} sessions is missing or zero")
    width = sigma.ravel() * np.sqrt(target.horizon)
    columns = np.tile(np.arange(names), len(starts))
    found = triple_barrier(
        closes,
        np.repeat(fills, names),
        columns=columns,
        profit=target.profit * width,
        stop=target.stop * width,
        horizon=target.horizon,
    )
    won = found.touched == 1 if target.kind == "won" else found.touched
    alone = average_uniqueness(found.rows + 1, found.ends, groups=columns)
    shape = (len(starts), names)
    return Labelled(
        y=won.astype(np.float64).reshape(shape),
        returns=found.returns.reshape(shape),
        ends=found.ends.reshape(shape),
        weights=alone.reshape(shape),
    )


def _compared(returns: Array, target: ForwardReturn) -> Array:
    """Turn returns (D, n) into targets of the same shape, date by date."""
    count = returns.shape[1]
    ranks = np.argsort(np.argsort(returns, axis=1, kind="stable"), axis=1, kind="stable")
    match target.kind:
        case "excess":
            values = returns - returns.mean(axis=1, keepdims=True)
        case "rank":
            values = ranks / max(count - 1, 1) - 0.5
        case "grade":
            values = np.floor(ranks * target.grades / count)
        case "up":
            values = (returns > np.median(returns, axis=1, keepdims=True)).astype(np.float64)
    return np.asarray(values, dtype=np.float64)
