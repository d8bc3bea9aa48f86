"""Cells of the online store, and the one rule by which a newer one replaces an older one.

A cell is three 64-bit words: value, event time, knowledge time. Cells of n symbols and k columns
lie in one int64 array of shape (n, 3, k). The rule keeps the greater (event time, knowledge time),
and between equals the later materialization. Applying updates in any order, or twice, ends the
same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featurestore.calendars import load_calendar
from featurestore.errors import HistoryMissing
from featurestore.online.layout import Column
from featurestore.times import instant, micros

Packed = NDArray[np.int64]  # (n, 3, k): value bits, event time, knowledge time
Array = NDArray[np.float64]
Micros = NDArray[np.int64]  # microseconds since 1970, UTC

ABSENT = np.iinfo(np.int64).min  # event and knowledge time of a cell that holds nothing
VALUE, EVENT, KNOWN = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The newest bars of one feature of one symbol, oldest first."""

    values: Array  # (L,)
    event: int  # event time of the newest bar
    known: int  # knowledge time of the newest bar
    at: int  # when it was materialized or pushed


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One pushed observation of a field that may be held as a window."""

    column: Column
    symbol: str
    event: int
    known: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What one materialization or push brings."""

    columns: tuple[Column, ...]  # k
    symbols: tuple[str, ...]  # n
    packed: Packed  # (n, 3, k); ABSENT where it says nothing
    at: int  # instant of the materialization or push
    windows: Mapping[tuple[str, str], Window] = field(default_factory=dict)  # column key, symbol
    bars: Sequence[Bar] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of the cells and windows of an update."""

    written: int
    kept: int  # what was there was as new or newer
    late: int = 0  # bars older than the newest of their window; materialize again to place them


def absent(n: int, k: int) -> Packed:
    """Return cells that hold nothing."""
    packed = np.full((n, 3, k), ABSENT, dtype=np.int64)
    packed[:, VALUE] = np.array(np.nan).view(np.int64)
    return packed


def pack(values: Array, events: Micros, known: Micros) -> Packed:
    """Return cells from three arrays of shape (n, k)."""
    value_bits = np.ascontiguousarray(values, dtype=np.float64).view(np.int64)
    return np.ascontiguousarray(np.stack([value_bits, events, known], axis=1))


def merged(
    held: Packed, held_at: Micros, given: Packed, given_at: int
) -> tuple[Packed, Micros, int]:
    """Lay an update over the cells held.

    Args:
        held: (n, 3, k).
        held_at: (n,), when each row was last written; ABSENT if never.
        given: (n, 3, k), same rows and columns.
        given_at: when the update was materialized.

    Returns:
        the cells, when each row was last written, and how many cells were replaced.
    """
    event, known = given[:, EVENT], given[:, KNOWN]
    same_event = event == held[:, EVENT]
    same = same_event & (known == held[:, KNOWN])
    newer = (event > held[:, EVENT]) | (same_event & (known > held[:, KNOWN]))
    newer |= same & (given_at >= held_at)[:, None]
    newer &= event != ABSENT
    out = np.where(newer[:, None, :], given, held)
    touched = newer.any(axis=1)
    at = np.where(touched, np.maximum(held_at, given_at), held_at)
    return out, at, int(newer.sum())


def replaces(given: Window, held: Window | None) -> bool:
    """Tell whether a window is newer than the one held, by the rule of the cells."""
    if held is None:
        return True
    return (given.event, given.known, given.at) >= (held.event, held.known, held.at)


def extended(held: Window, bar: Bar, at: int) -> Window | None:
    """Return the window with one more bar; the one held if that adds nothing; None if it is late.

    Raises:
        HistoryMissing: sessions lie between the window's end and the bar.
    """
    if bar.event < held.event:
        return None
    if bar.event == held.event:
        if bar.known <= held.known:
            return held
        values = np.append(held.values[:-1], bar.value)
    else:
        _require_next(held, bar)
        values = np.append(held.values[1:], bar.value)
    return Window(values=values, event=bar.event, known=bar.known, at=max(at, held.at))


def _require_next(held: Window, bar: Bar) -> None:
    if bar.column.calendar is None:
        return
    calendar = load_calendar(bar.column.calendar)
    following = calendar.next(instant(held.event).date())
    if micros(following.close) != bar.event:
        raise HistoryMissing(
            f"{bar.column.feature}: the window of {bar.symbol} ends with session "
            f"{instant(held.event).date()}, a bar of {instant(bar.event).date()} does not follow "
            f"it; push session {following.day} first, or materialize again"
        )
