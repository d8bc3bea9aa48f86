"""Triple-barrier labels and meta-labels: what became of a position, and when that was known.

1. barriers are prices, fixed at the event from its close: p (1 + up) and p (1 - down)
2. the first bar after the event that reaches one ends the label; reaching is enough (ties touch)
3. a bar that opens beyond a barrier is a gap: the label ends at the open, not at the barrier
4. a bar that spans both barriers counts as the worse one for the position's side
5. otherwise the vertical barrier ends it, at the price of the last bar that traded within the
   horizon; until the horizon is over nobody knows that no barrier will be reached
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import LabelInputInvalid
from pipelines.labels.kernels import first_touches

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Codes = NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bars:
    """Open, high, low and close, shape (T, n) each, quote currency per unit; NaN = no trade."""

    open: Array
    high: Array
    low: Array
    close: Array

    @classmethod
    def of_closes(cls, closes: ArrayLike) -> "Bars":
        """Return bars that know their close only; shape (T,) or (T, n)."""
        values = np.asarray(closes, dtype=np.float64)
        column = np.ascontiguousarray(values[:, None] if values.ndim == 1 else values)
        return cls(open=column, high=column, low=column, close=column)

    def __post_init__(self) -> None:
        shapes = {part.shape for part in (self.open, self.high, self.low, self.close)}
        if len(shapes) != 1 or self.close.ndim != 2:
            raise LabelInputInvalid(f"bars need four arrays of one shape (T, n), were {shapes}")
        traded = ~np.isnan(self.close)
        low, high = self.low[traded], self.high[traded]
        for part in (self.open[traded], self.close[traded]):
            if not ((low <= part) & (part <= high) & (part > 0) & np.isfinite(high)).all():
                raise LabelInputInvalid(
                    "bars must be finite and positive with low <= open, close <= high wherever "
                    "there is a close"
                )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BarrierLabels:
    """One label per event, in the order of the events; E events."""

    rows: Indices  # (E,), bar of the event
    columns: Indices  # (E,), its symbol
    ends: Indices  # (E,), bar whose end makes the label known
    touched: Codes  # (E,), 1 upper, -1 lower, 0 vertical
    returns: Array  # (E,), from the event's close to the label's end, of a long position
    side: Codes  # (E,), 1 long, -1 short
    complete: NDArray[np.bool_]  # (E,), False where the data end before the label does

    @property
    def outcome(self) -> Codes:
        """Return 1 profit taken, -1 stopped out, 0 ran out of time; as seen by the side held."""
        return (self.touched * self.side).astype(np.int8)

    @property
    def profit(self) -> Array:
        """Return the return of the position held, shape (E,), before costs."""
        return np.asarray(self.returns * self.side)


def triple_barrier(
    bars: Bars | ArrayLike,
    rows: ArrayLike,
    *,
    profit: ArrayLike,
    stop: ArrayLike,
    horizon: ArrayLike,
    columns: ArrayLike = 0,
    side: ArrayLike = 1,
) -> BarrierLabels:
    """Label events by the barrier that the price reaches first.

    Args:
        bars: prices; an array of shape (T,) or (T, n) is taken as closes.
        rows: bar of each event, shape (E,), 0 <= row < T.
        profit: width of the profit barrier as a fraction of the price, scalar or (E,), > 0;
            np.inf switches it off.
        stop: width of the loss barrier, likewise; below 1 for a long position.
        horizon: bars until the vertical barrier, scalar or (E,), at least 1.
        columns: symbol of each event, scalar or (E,).
        side: 1 long, -1 short, scalar or (E,); profit and stop swap places for shorts.

    Returns:
        Labels with their end bars. An event whose data end before any barrier has
        `complete` False and shows where the data ended.

    Raises:
        LabelInputInvalid: an event lies outside the bars or on a bar without a trade, a width is
            not positive, a horizon is below one, a side is neither 1 nor -1.

    Source: Lopez de Prado (2018), "Advances in Financial Machine Learning", Wiley, section 3.4;
        the rules for gaps and for bars that span both barriers are ours.
    """
    known = bars if isinstance(bars, Bars) else Bars.of_closes(bars)
    at = np.atleast_1d(np.asarray(rows))
    if at.ndim != 1 or at.dtype.kind not in "iu":
        raise LabelInputInvalid(f"rows must be integers of shape (E,), were {at.dtype} {at.shape}")
    at = np.ascontiguousarray(at, dtype=np.int64)
    where = _per_event("columns", columns, at.size, np.int64)
    held = _per_event("side", side, at.size, np.int8)
    up, down = (
        _per_event(name, value, at.size, np.float64)
        for name, value in (("profit", profit), ("stop", stop))
    )
    last = _per_event("horizon", horizon, at.size, np.int64)
    _check(known, at, where, up, down, last, held)
    price = known.close[at, where]
    long = held > 0
    above = price * (1.0 + np.where(long, up, down))
    below = price * (1.0 - np.where(long, down, up))
    ends, touched, reached, complete = _walked(known, at, where, above, below, last, ~long)
    return BarrierLabels(
        rows=at,
        columns=where,
        ends=ends,
        touched=touched,
        returns=reached / price - 1.0,
        side=held,
        complete=complete,
    )


def meta_labels(labels: BarrierLabels, *, costs: float = 0.0) -> Codes:
    """Say for each event whether the primary model's side was worth trading.

    Args:
        labels: made with the side the primary model proposed.
        costs: fraction of notional for the round trip; a profit must exceed it.

    Returns:
        1 = trade, 0 = no trade, shape (E,).

    Source: Lopez de Prado (2018), section 3.6.
    """
    return (labels.profit > costs).astype(np.int8)


def _walked(
    bars: Bars,
    rows: Indices,
    columns: Indices,
    above: Array,
    below: Array,
    horizon: Indices,
    short: NDArray[np.bool_],
) -> tuple[Indices, Codes, Array, NDArray[np.bool_]]:
    """Walk every event's path; return end rows, barriers touched, end prices, completeness."""
    ends, touched = np.empty(rows.size, np.int64), np.empty(rows.size, np.int8)
    reached, complete = np.empty(rows.size), np.empty(rows.size, np.bool_)
    first_touches(
        np.ascontiguousarray(bars.open),
        np.ascontiguousarray(bars.high),
        np.ascontiguousarray(bars.low),
        np.ascontiguousarray(bars.close),
        rows,
        columns,
        above,
        below,
        horizon,
        short,
        ends,
        touched,
        reached,
        complete,
    )
    return ends, touched, reached, complete


def _per_event(name: str, value: ArrayLike, events: int, dtype: type) -> NDArray[Any]:
    given = np.asarray(value)
    if given.ndim > 1 or (given.ndim == 1 and given.size != events):
        raise LabelInputInvalid(
            f"{name} must be one value or one per event ({events}), had shape {given.shape}"
        )
    return np.ascontiguousarray(np.broadcast_to(given, (events,)).astype(dtype))


def _check(
    bars: Bars,
    rows: Indices,
    columns: Indices,
    profit: Array,
    stop: Array,
    horizon: Indices,
    side: Codes,
) -> None:
    periods, symbols = bars.close.shape
    outside = (rows < 0) | (rows >= periods) | (columns < 0) | (columns >= symbols)
    if outside.any():
        event = int(np.argmax(outside))
        raise LabelInputInvalid(
            f"event {event} is at row {rows[event]}, column {columns[event]}; "
            f"the bars have {periods} rows and {symbols} columns"
        )
    untraded = np.isnan(bars.close[rows, columns])
    if untraded.any():
        event = int(np.argmax(untraded))
        raise LabelInputInvalid(f"event {event} is at row {rows[event]}, which has no close")
    if not ((profit > 0).all() and (stop > 0).all()):
        raise LabelInputInvalid("profit and stop must be positive fractions of the price")
    if not (horizon >= 1).all():
        raise LabelInputInvalid(f"horizon must be at least 1 bar, was {horizon.min()}")
    if not np.isin(side, (-1, 1)).all():
        raise LabelInputInvalid("side must be 1 (long) or -1 (short)")
