"""Compiled loops of the labels: one pass per event, no allocation, exact comparisons."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Codes = NDArray[np.int8]

LOWER, VERTICAL, UPPER = -1, 0, 1


@njit(cache=True)
def first_touches(  # pragma: no cover - compiled
    opens: Array,
    highs: Array,
    lows: Array,
    closes: Array,
    rows: Indices,
    columns: Indices,
    above: Array,
    below: Array,
    horizons: Indices,
    short: NDArray[np.bool_],
    ends: Indices,
    touched: Codes,
    prices: Array,
    complete: NDArray[np.bool_],
) -> None:
    """Find where each event's path first touches a barrier; results go into the last four.

    Args:
        opens, highs, lows, closes: shape (T, n); NaN = no trade.
        rows, columns: of each event, shape (E,).
        above, below: barrier prices, shape (E,); inf and -inf switch one off.
        horizons: bars to the vertical barrier, shape (E,), >= 1.
        short: True where a rise is the loss, shape (E,).
        ends: row of the bar whose end makes the label known.
        touched: UPPER, LOWER or VERTICAL.
        prices: at which the label ends.
        complete: False when the data end before any barrier was reached.
    """
    periods = closes.shape[0]
    for event in range(rows.size):
        column, start = columns[event], rows[event]
        last = start + horizons[event]
        complete[event] = last < periods
        last = min(last, periods - 1)
        ends[event], touched[event], prices[event] = last, VERTICAL, closes[start, column]
        for row in range(start + 1, last + 1):
            close = closes[row, column]
            if np.isnan(close):
                continue
            first = opens[row, column]
            prices[event] = close
            # A bar that opens beyond a barrier is a gap: it ends at the open, not at the barrier.
            if first <= below[event]:
                touched[event], prices[event] = LOWER, first
            elif first >= above[event]:
                touched[event], prices[event] = UPPER, first
            else:
                falls = lows[row, column] <= below[event]
                rises = highs[row, column] >= above[event]
                if not (falls or rises):
                    continue
                # The order inside a bar that spans both is unknown: it counts as the worse one.
                if rises and (short[event] or not falls):
                    touched[event], prices[event] = UPPER, above[event]
                else:
                    touched[event], prices[event] = LOWER, below[event]
            ends[event], complete[event] = row, True
            break


@njit(cache=True)
def sequential_draws(  # pragma: no cover - compiled
    starts: Indices, ends: Indices, bars: int, uniforms: Array, out: Indices
) -> None:
    """Draw labels one by one, each with probability proportional to its uniqueness so far."""
    count = np.zeros(bars)
    weights = np.empty(starts.size)
    for draw in range(uniforms.size):
        total = 0.0
        for label in range(starts.size):
            share = 0.0
            for bar in range(starts[label], ends[label] + 1):
                share += 1.0 / (1.0 + count[bar])
            weights[label] = share / (ends[label] + 1 - starts[label])
            total += weights[label]
        target, chosen = uniforms[draw] * total, 0
        while chosen < starts.size - 1 and target >= weights[chosen]:
            target -= weights[chosen]
            chosen += 1
        out[draw] = chosen
        for bar in range(starts[chosen], ends[chosen] + 1):
            count[bar] += 1.0
