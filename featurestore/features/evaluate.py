"""Computed features from a reader: many instants for research, one for a decision, the same bits.

1. Read every source of every window, bar by bar, as known at the window's own instant.
2. Cut all windows to the formula's exact length and evaluate them row by row.
3. Nested features are series of such values over the bars that the outer formula looks at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from featurestore.errors import ContractBroken, FeatureUndefined, HistoryMissing
from featurestore.features.declaration import Feature, Source, Windows
from featurestore.features.reading import (
    Bars,
    Reader,
    clock,
    clocks,
    first_prints,
    missing,
    read,
    read_many,
)
from featurestore.grid import NEVER, Array, Micros, SessionGrid
from featurestore.times import instant

_Number = TypeVar("_Number", np.float64, np.int64)

CELLS = 1_000_000  # numbers held at once while many instants are evaluated
OnMissing = Literal["refuse", "null"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """Values of one feature at some instants."""

    values: Array  # (D, n); NaN only where missing values were allowed
    known: Micros  # (D, n), when the newest figure behind a value became known; NEVER for NaN
    closes: Micros  # (D,), the newest bar a value is about; 0 where there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Values of one node of a declaration on the same number of bars at every instant."""

    values: Array  # (D, n, L), or (D, 1, L) of an entity that stands for every symbol
    known: Micros  # likewise
    closes: Micros  # (D, L)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    reader: Reader
    root: Feature
    on_missing: OnMissing

    def run(
        self, node: Feature, symbols: Sequence[str], ats: Sequence[int], count: int, lag: int
    ) -> _Run:
        """Evaluate a node on `count` bars that end `lag` bars before the newest, per instant."""
        if len(symbols) > 1 and not node.kind.crosses and self._has_own_times(node):
            parts = [self.run(node, [symbol], ats, count, lag) for symbol in symbols]
            return _Run(
                values=np.concatenate([part.values for part in parts], axis=1),
                known=np.concatenate([part.known for part in parts], axis=1),
                closes=parts[0].closes,
            )
        bars, back = count + node.length - 1, lag + node.lag
        if node.kind.reads == "release":
            return self._released(node, symbols, ats, count, back)
        inner = [
            self.run(each, symbols, ats, bars, back)
            for each in node.inputs
            if isinstance(each, Feature)
        ]
        if inner and len(inner) == len(node.inputs):
            closes = inner[0].closes
        else:
            closes = self._closes(node, symbols, ats, bars, back)
        if any(not np.array_equal(each.closes, closes) for each in inner):
            raise ContractBroken(
                f"{node.name}: its inputs do not lie on the same bars; use inputs of one calendar "
                "with the same lag"
            )
        runs = iter(inner)
        read = [
            next(runs) if isinstance(each, Feature) else self._read(each, symbols, ats, closes)
            for each in node.inputs
        ]
        return self._applied(node, read, closes, ats, symbols)

    def _has_own_times(self, node: Feature) -> bool:
        source = node.sources[0]
        return source.entity is None and self.reader.view(source.view).calendar is None

    def _closes(
        self, node: Feature, symbols: Sequence[str], ats: Sequence[int], bars: int, lag: int
    ) -> Micros:
        source = node.sources[0]
        table, _, _ = self.reader.place(source.feature, [source.entity or symbols[0]])
        out, refused = np.zeros((len(ats), bars), dtype=np.int64), np.arange(len(ats))
        if isinstance(table, SessionGrid):
            out, refused = clocks(table, length=bars, lag=lag, ats=np.array(ats, dtype=np.int64))
        for d in map(int, refused):
            at = ats[d]
            try:
                out[d] = clock(
                    self.reader, source, symbols[0], length=bars, lag=lag, at=at,
                    wanted_by=self.root.name,
                )  # fmt: skip
            except HistoryMissing:
                if self.on_missing == "refuse":
                    raise
        return out

    def _read(
        self, source: Source, symbols: Sequence[str], ats: Sequence[int], closes: Micros
    ) -> _Run:
        daily = any(self.reader.view(each.view).calendar is not None for each in self.root.sources)
        names = symbols if source.entity is None else [source.entity]
        shape = (len(ats), len(names), closes.shape[1])
        table, field, rows = self.reader.place(source.feature, names)
        if isinstance(table, SessionGrid) and source.actions is None and closes[:, -1].all():
            instants = np.array(ats, dtype=np.int64)
            found = read_many(table, field, rows, closes, instants)
            if found is not None:
                absent = np.isnan(found[0]).any(axis=(1, 2))
                if absent.any():
                    d = int(np.argmax(absent))
                    one = Bars(values=found[0][d], known=found[1][d], closes=closes[d])
                    self._require(source, symbols, one, ats[d])
                return _Run(values=found[0], known=found[1], closes=closes)
        values, known = np.full(shape, np.nan), np.full(shape, NEVER)
        for d, at in enumerate(ats):
            if closes[d, -1] == 0:
                continue  # too short a history, where that is allowed
            bars = read(self.reader, source, symbols, closes=closes[d], at=at, daily=daily)
            self._require(source, symbols, bars, at)
            values[d], known[d] = bars.values, bars.known
        return _Run(values=values, known=known, closes=closes)

    def _require(self, source: Source, symbols: Sequence[str], bars: Bars, at: int) -> None:
        if self.on_missing == "refuse" and np.isnan(bars.values).any():
            raise missing(source, symbols, bars, at, self.root.name)

    def _released(
        self, node: Feature, symbols: Sequence[str], ats: Sequence[int], count: int, lag: int
    ) -> _Run:
        """Evaluate each bar from the vintage in which it was first printed."""
        sources = [each for each in node.inputs if isinstance(each, Source)]
        if len(sources) != 1 or len(node.inputs) != 1:
            raise ContractBroken(f"{node.name}: a release is read from one source of the lake")
        source, bars = sources[0], count + node.length - 1
        closes = self._closes(node, symbols, ats, bars, lag)
        shape = (len(ats), len(symbols), count)
        values, known = np.full(shape, np.nan), np.full(shape, NEVER)
        for d, at in enumerate(ats):
            if closes[d, -1] == 0:
                continue
            newest = closes[d, node.length - 1 :]
            printed = first_prints(self.reader, source, symbols[0], events=newest)
            for k in range(count):
                span, then = closes[d, k : k + node.length], int(printed[k])
                vintage = read(self.reader, source, symbols, closes=span, at=then, daily=False)
                self._require(source, symbols, vintage, then)
                run = _Run(
                    values=np.broadcast_to(vintage.values, (1, len(symbols), span.size)),
                    known=np.broadcast_to(vintage.known, (1, len(symbols), span.size)),
                    closes=span[None, :],
                )
                one = self._applied(node, [run], run.closes, [at], symbols)
                values[d, :, k], known[d, :, k] = one.values[0, :, 0], one.known[0, :, 0]
        return _Run(values=values, known=known, closes=closes[:, node.length - 1 :])

    def _applied(
        self,
        node: Feature,
        inputs: Sequence[_Run],
        closes: Micros,
        ats: Sequence[int],
        symbols: Sequence[str],
    ) -> _Run:
        """Evaluate a formula on every run of `node.length` bars."""
        length = node.length
        count = closes.shape[1] - length + 1
        n, dates = len(symbols), len(ats)
        cut = [_cut(each.values, length) for each in inputs]
        if node.kind.crosses:  # an entity of its own stands for every symbol
            cut = [np.ascontiguousarray(np.broadcast_to(c, (len(c), n, length))) for c in cut]
        about = sliding_window_view(closes, length, axis=1).reshape(-1, length)
        with np.errstate(all="ignore"):
            out = node.kind.formula(
                Windows(values=tuple(cut), closes=np.ascontiguousarray(about)), **node.given
            )
        out = np.broadcast_to(out, (dates * count, n))
        absent = np.zeros((dates * count, n), dtype=np.bool_)
        known = np.zeros((dates * count, n), dtype=np.int64)
        for each, windows in zip(inputs, cut, strict=True):
            absent |= np.isnan(windows).any(axis=2)
            known = np.maximum(known, _cut(each.known, length).max(axis=2))
        if node.kind.crosses:
            latest = np.where(known == NEVER, 0, known).max(axis=1, keepdims=True)
            known = np.maximum(known, latest)
        bad = ~np.isfinite(out) & ~absent
        if bad.any() and self.on_missing == "refuse":
            row, i = (int(each) for each in np.argwhere(bad)[0])
            raise FeatureUndefined(
                f"{node.name} of {symbols[i]} at {instant(ats[row // count]).isoformat()} is "
                f"{out[row, i]}: its window allows no finite value; leave the symbol out or "
                "choose another window"
            )
        lost = absent | bad
        values = np.where(lost, np.nan, out).reshape(dates, count, n)
        known = np.where(lost, NEVER, known).reshape(dates, count, n)
        return _Run(
            values=np.ascontiguousarray(values.transpose(0, 2, 1)),
            known=np.ascontiguousarray(known.transpose(0, 2, 1)),
            closes=closes[:, length - 1 :],
        )


def _cut(values: NDArray[_Number], length: int) -> NDArray[_Number]:
    """Turn (D, n, bars) into every window of `length` bars, (D * count, n, length), contiguous."""
    windows = sliding_window_view(values, length, axis=2)  # (D, n, count, length)
    return np.ascontiguousarray(windows.transpose(0, 2, 1, 3)).reshape(-1, values.shape[1], length)


def evaluate(
    reader: Reader,
    feature: Feature,
    symbols: Sequence[str],
    *,
    at: Sequence[datetime],
    on_missing: OnMissing = "refuse",
    cells: int = CELLS,
) -> Evaluated:
    """Evaluate a feature at many instants, each from what was known then.

    Args:
        reader: a snapshot.
        feature: what to compute.
        symbols: entities, distinct; row order.
        at: UTC instants in any order.
        on_missing: "refuse" raises at the first value that cannot be computed, "null" leaves NaN.
        cells: how many numbers to hold at once; changes no bit of the answer.

    Raises:
        HistoryMissing: the history is too short, or a value is absent or was not known.
        FeatureUndefined: a window allows no finite value, such as a z-score of equal values.
        HoldoutSealed: an instant lies at or behind the seal.
    """
    run = _chunked(reader, feature, symbols, at, 1, on_missing, cells)
    return Evaluated(values=run.values[..., 0], known=run.known[..., 0], closes=run.closes[:, 0])


def series(
    reader: Reader,
    feature: Feature | Source,
    symbols: Sequence[str],
    *,
    length: int,
    at: Sequence[datetime],
) -> Array:
    """Return the feature on its last `length` bars, (D, n, length), all as known at each instant.

    Raises as `evaluate`.
    """
    if isinstance(feature, Feature):
        return _chunked(reader, feature, symbols, at, length, "refuse", CELLS).values
    _require_symbols(feature.name, symbols)
    out = np.empty((len(at), len(symbols), length))
    alone = feature.entity is None and reader.view(feature.view).calendar is None
    for d, each in enumerate(at):
        then = reader.opened(each)
        for i, group in enumerate([[symbol] for symbol in symbols] if alone else [symbols]):
            closes = clock(
                reader, feature, group[0], length=length, lag=0, at=then, wanted_by=feature.name
            )
            bars = read(reader, feature, group, closes=closes, at=then, daily=False)
            if np.isnan(bars.values).any():
                raise missing(feature, group, bars, then, feature.name)
            out[d, i : i + len(group)] = bars.values
    return out


def _require_symbols(name: str, symbols: Sequence[str]) -> None:
    if len(set(symbols)) != len(symbols) or not symbols:
        raise ContractBroken(f"{name}: symbols must be distinct and not empty: {list(symbols)}")


def _chunked(
    reader: Reader,
    feature: Feature,
    symbols: Sequence[str],
    at: Sequence[datetime],
    count: int,
    on_missing: OnMissing,
    cells: int,
) -> _Run:
    _require_symbols(feature.name, symbols)
    if on_missing not in ("refuse", "null"):
        raise ContractBroken(f'missing values are "refuse" or "null", not {on_missing!r}')
    task = _Task(reader=reader, root=feature, on_missing=on_missing)
    instants = [reader.opened(each) for each in at]
    step = max(1, cells // (len(symbols) * (feature.required + count) * feature.length))
    if count == 1 and all(isinstance(each, Source) for each in feature.inputs):
        step = max(1, cells // (len(symbols) * feature.required))
    parts = [
        task.run(feature, symbols, instants[first : first + step], count, 0)
        for first in range(0, len(instants), step)
    ]
    shape = (0, len(symbols), count)
    if not parts:
        return _Run(
            values=np.empty(shape),
            known=np.empty(shape, dtype=np.int64),
            closes=np.empty((0, count), dtype=np.int64),
        )
    return _Run(
        values=np.concatenate([part.values for part in parts]),
        known=np.concatenate([part.known for part in parts]),
        closes=np.concatenate([part.closes for part in parts]),
    )
