"""Compiled loops of the gates; every column is summed alone and in a fixed order.

So results depend neither on the order of the columns nor on the number of threads (there is one).
Callers hand over C-contiguous float64 and int64 arrays; shapes are checked there.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

TILE = 64  # columns at a time: 2500 prefix rows of one tile stay in the second-level cache


@njit(cache=True)
def cut_blocks(  # pragma: no cover - compiled
    starts: Indices, lengths: Indices, periods: int, draws: int, out: Indices
) -> int:
    """Cut one stream of blocks into draws of exactly `periods` rows each.

    Args:
        starts: first row of each block, shape (M,).
        lengths: rows in each block, shape (M,), >= 1; the last block of a draw is shortened.
        periods: rows T per draw.
        draws: B.
        out: shape (B + 1,); draw b owns blocks out[b] to out[b + 1] - 1. `lengths` is cut in place.

    Returns:
        Number of complete draws; fewer than B when the stream was too short.
    """
    block = 0
    out[0] = 0
    for draw in range(draws):
        left = periods
        while left > 0:
            if block == starts.size:
                return draw
            if lengths[block] > left:
                lengths[block] = left
            left -= lengths[block]
            block += 1
        out[draw + 1] = block
    return draws


@njit(cache=True)
def long_run_variance(  # pragma: no cover - compiled
    values: Array, means: Array, decay: float
) -> Array:
    """Variance of sqrt(T) times a stationary-bootstrap mean, exactly and in O(T) per column.

    Hansen's kernel k(i) = (1 - i/T) r^i + (i/T) r^(T-i), r = 1 - 1/mean block, over linear
    autocovariances equals (1 - i/T) r^i over circular ones, whose two sums
    a_t = sum r^i x_(t-i) and b_t = sum i r^i x_(t-i), i = 1..T-1, obey one-step recursions.

    Args:
        values: shape (T, N).
        means: of each column, shape (N,).
        decay: r, in [0, 1).

    Returns:
        omega squared, shape (N,), squared units of `values`, per period.
    """
    periods, columns = values.shape
    a, b, gamma = np.zeros(columns), np.zeros(columns), np.zeros(columns)
    weight = 1.0
    for i in range(1, periods):  # state at t = 0: row T - i is i steps back on the circle
        weight *= decay
        if weight < 1e-300:
            break
        for k in range(columns):
            a[k] += weight * (values[periods - i, k] - means[k])
            b[k] += i * weight * (values[periods - i, k] - means[k])
    leaving = decay**periods
    for t in range(periods):
        after = t + 1 if t + 1 < periods else 0
        for k in range(columns):
            x = values[t, k] - means[k]
            gamma[k] += x * (x + 2.0 * (a[k] - b[k] / periods))
            # to t + 1: lag T would be row t + 1 itself; its weight leaves both sums
            ahead = values[after, k] - means[k]
            step = decay * (x + a[k])
            b[k] = decay * b[k] + step - periods * leaving * ahead
            a[k] = step - leaving * ahead
    gamma /= periods
    return gamma


@njit(cache=True, inline="always")
def sum_of_draw(  # pragma: no cover - compiled
    tile: Array, starts: Indices, lengths: Indices, first: int, last: int, width: int, total: Array
) -> None:
    """Add up the rows of one draw: blocks `first` to `last` - 1, from running sums.

    Args:
        tile: running sums of T rows, shape (T + 1, TILE), first row zero.
        starts, lengths: of all blocks; a block past the end wraps to row 0.
        first, last: the blocks of this draw.
        width: columns of the tile that are used.
        total: shape (TILE,), written.
    """
    periods = tile.shape[0] - 1
    total[:width] = 0.0
    for block in range(first, last):
        begin = starts[block]
        end = begin + lengths[block]
        if end > periods:
            end -= periods
            for k in range(width):
                total[k] += tile[end, k] + (tile[periods, k] - tile[begin, k])
        else:
            for k in range(width):
                total[k] += tile[end, k] - tile[begin, k]


@njit(cache=True)
def bootstrap_maxima(  # pragma: no cover - compiled
    values: Array,
    means: Array,
    starts: Indices,
    lengths: Indices,
    cuts: Indices,
    shifts: Array,
    scale: Array,
    both: bool,
) -> Array:
    """Largest shifted bootstrap mean over the columns, raw and scaled, for every draw.

    Args:
        values: shape (T, N).
        means: of each column, shape (N,); sums run over demeaned values, which keeps them small.
        starts: first row of each block, shape (M,); a block past the end wraps to row 0.
        lengths: rows of each block, shape (M,).
        cuts: shape (B + 1,), the blocks of each draw.
        shifts: what is added to each mean, shape (3, N): lower, consistent, upper.
        scale: factor of the studentised form, shape (N,).
        both: also the studentised form.

    Returns:
        Shape (B, 6): raw lower, consistent, upper, then scaled lower, consistent, upper; the
        scaled ones are minus infinity unless asked for.
    """
    periods, columns = values.shape
    draws = cuts.size - 1
    maxima = np.full((draws, 6), -np.inf)
    tile = np.zeros((periods + 1, TILE))  # running sums, first row zero
    for first in range(0, columns, TILE):
        width = min(TILE, columns - first)
        for t in range(periods):
            for k in range(width):
                tile[t + 1, k] = tile[t, k] + (values[t, first + k] - means[first + k])
        total = np.empty(TILE)
        for draw in range(draws):
            sum_of_draw(tile, starts, lengths, cuts[draw], cuts[draw + 1], width, total)
            for k in range(width):
                mean = total[k] / periods
                for form in range(3):
                    value = mean + shifts[form, first + k]
                    if value > maxima[draw, form]:
                        maxima[draw, form] = value
                    if both:
                        value *= scale[first + k]
                        if value > maxima[draw, 3 + form]:
                            maxima[draw, 3 + form] = value
    return maxima


@njit(cache=True)
def stepdown_counts(  # pragma: no cover - compiled
    values: Array,
    means: Array,
    starts: Indices,
    lengths: Indices,
    cuts: Indices,
    order: Indices,
    shift: Array,
    scale: Array,
    floor: float,
    seen: Array,
) -> Indices:
    """Count, for each column, the draws in which it or any weaker column reaches its statistic.

    Columns are taken from the weakest to the strongest, so one running maximum per draw is the
    maximum over every set that step-down testing asks for.

    Args:
        values, means, starts, lengths, cuts: as for `bootstrap_maxima`.
        order: columns by ascending statistic, shape (N,).
        shift, scale: a bootstrap mean counts as (mean + shift) * scale, shape (N,).
        floor: where the maxima start: 0 truncates them there.
        seen: the statistic of each column, shape (N,).

    Returns:
        Shape (N,).
    """
    periods, columns = values.shape
    draws = cuts.size - 1
    counts = np.zeros(columns, np.int64)
    running = np.full(draws, floor)
    tile = np.zeros((periods + 1, TILE))
    total = np.empty(TILE)
    for first in range(0, columns, TILE):
        width = min(TILE, columns - first)
        mine = order[first : first + width]
        for t in range(periods):
            for k in range(width):
                tile[t + 1, k] = tile[t, k] + (values[t, mine[k]] - means[mine[k]])
        for draw in range(draws):
            sum_of_draw(tile, starts, lengths, cuts[draw], cuts[draw + 1], width, total)
            best = running[draw]
            for k in range(width):
                column = mine[k]
                best = max(best, (total[k] / periods + shift[column]) * scale[column])
                counts[column] += best >= seen[column]
            running[draw] = best
    return counts


@njit(cache=True)
def bootstrap_means(  # pragma: no cover - compiled
    values: Array, means: Array, starts: Indices, lengths: Indices, cuts: Indices
) -> Array:
    """Bootstrap mean of each column in each draw, shape (B, N); arguments as for the maxima."""
    periods, columns = values.shape
    draws = cuts.size - 1
    out = np.empty((draws, columns))
    tile = np.zeros((periods + 1, TILE))
    total = np.empty(TILE)
    for first in range(0, columns, TILE):
        width = min(TILE, columns - first)
        for t in range(periods):
            for k in range(width):
                tile[t + 1, k] = tile[t, k] + (values[t, first + k] - means[first + k])
        for draw in range(draws):
            sum_of_draw(tile, starts, lengths, cuts[draw], cuts[draw + 1], width, total)
            for k in range(width):
                out[draw, first + k] = means[first + k] + total[k] / periods
    return out


@njit(cache=True, error_model="numpy", fastmath={"nnan", "nsz"})
def split_performance(  # pragma: no cover - compiled
    mask: int,
    half: int,
    counts: Array,
    sums: Array,
    squares: Array,
    means: Array,
    floor: Array,
    out: Array,
) -> float:
    """Signed square of each column's Sharpe ratio over the blocks in `mask`; 0 without spread.

    The promise that no value is NaN lets the compiler vectorise; no sum is reordered.

    Args:
        mask: bit s set = block s is in.
        half: number of blocks covered by the first table, S / 2.
        counts: days per subset, shape (2, 2^half).
        sums: subset sums of demeaned columns, shape (2, 2^half, N).
        squares: subset sums of their squares, same shape.
        means: of each column over all days, shape (N,).
        floor: variance at or below which a column counts as constant, shape (N,).
        out: shape (N,), written.

    Returns:
        The largest of `out`.
    """
    low, high = mask & ((1 << half) - 1), mask >> half
    days = counts[0, low] + counts[1, high]
    each, each_but_one = 1.0 / days, 1.0 / (days - 1.0)
    low_sums, high_sums = sums[0, low], sums[1, high]
    low_squares, high_squares = squares[0, low], squares[1, high]
    best = -np.inf
    for k in range(means.size):
        total = low_sums[k] + high_sums[k]
        mean = total * each
        variance = ((low_squares[k] + high_squares[k]) - total * mean) * each_but_one
        mean += means[k]
        moves = variance > floor[k]
        value = (mean * abs(mean) if moves else 0.0) / (variance if moves else 1.0)
        out[k] = value
        best = max(best, value)
    return best


@njit(cache=True, error_model="numpy", fastmath={"nnan", "nsz"})
def split_ranks(  # pragma: no cover - compiled
    masks: Indices,
    half: int,
    counts: Array,
    sums: Array,
    squares: Array,
    means: Array,
    floor: Array,
    votes: Array,
) -> Array:
    """Rank out of sample of the column that is best in sample, for each split and its mirror.

    A rank counts columns below plus half of those level (midrank), from 1 to N. Of several columns
    that are best in sample, the one worst out of sample is taken: order cannot matter.

    Args:
        masks: shape (C,), half of all splits; the mirror of each is its complement.
        half, counts, sums, squares, means, floor: as for `split_performance`.
        votes: shape (N,), of the columns, for the lead; shape (0,) = one each.

    Returns:
        Shape (2 C, 4): rank, performance in sample, out of sample (signed squared Sharpe), and
        lead: votes of the columns below less those of the columns above.
    """
    columns = means.size
    everything = (1 << (2 * half)) - 1
    result = np.empty((2 * masks.size, 4))
    first, second = np.empty(columns), np.empty(columns)
    for c in range(masks.size):
        mask, mirror = masks[c], everything ^ masks[c]
        tops = (
            split_performance(mask, half, counts, sums, squares, means, floor, first),
            split_performance(mirror, half, counts, sums, squares, means, floor, second),
        )
        for side in range(2):
            inside, outside = (first, second) if side == 0 else (second, first)
            best = tops[side]
            chosen = np.inf
            for k in range(columns):
                chosen = min(chosen, outside[k] if inside[k] == best else np.inf)
            twice = 0  # columns below, and columns below or level, itself among them
            for k in range(columns):
                twice += (outside[k] < chosen) + (outside[k] <= chosen)
            lead = float(twice - columns) if votes.size == 0 else 0.0
            for k in range(votes.size):
                lead += votes[k] * (int(outside[k] < chosen) - int(outside[k] > chosen))
            result[2 * c + side, 0] = (twice + 1) / 2
            result[2 * c + side, 1] = best
            result[2 * c + side, 2] = chosen
            result[2 * c + side, 3] = lead
    return result
