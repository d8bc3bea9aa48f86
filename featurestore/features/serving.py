"""Computed features behind the reader's own methods, and what a manifest pins of them."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypedDict

import numpy as np
import polars as pl

from featurestore.contract import UTC_TIME
from featurestore.features.declaration import Array, Feature, Micros, Source
from featurestore.features.evaluate import Evaluated, OnMissing, evaluate, series
from featurestore.features.expression import parse_feature, parse_input, sources_of
from featurestore.features.reading import Reader, clock, read
from featurestore.grid import NEVER, SessionGrid
from featurestore.times import instant, instants, micros
from featurestore.views import FeatureView, is_plain


class Latest(TypedDict):
    """The newest value per symbol, as a reader answers it."""

    values: Array
    event_times: list[datetime]
    known_at: list[datetime]


def computed_windows(
    reader: Reader, feature: str, symbols: Sequence[str], *, length: int, at: Sequence[datetime]
) -> Array:
    """Return the feature on its last `length` bars at every instant, (D, n, length)."""
    return series(reader, parse_input(feature), symbols, length=length, at=at)


def computed_latest(
    reader: Reader, feature: str, symbols: Sequence[str], *, at: datetime
) -> Latest:
    """Return each symbol's newest value: its bar, and when its newest figure became known."""
    node = parse_input(feature)
    if isinstance(node, Feature):
        found = evaluate(reader, node, symbols, at=[at])
        values, known = found.values[0], found.known[0]
        closes = [int(found.closes[0])] * len(symbols)
    else:
        values = series(reader, node, symbols, length=1, at=[at])[0, :, 0]
        closes, known = [], np.empty(len(symbols), dtype=np.int64)
        for i, symbol in enumerate(symbols):
            then = reader.opened(at)
            bars = clock(reader, node, symbol, length=1, lag=0, at=then, wanted_by=node.name)
            found_bar = read(reader, node, [symbol], closes=bars, at=then, daily=False)
            closes.append(int(bars[0]))
            known[i] = found_bar.known[0, 0]
    return Latest(
        values=values,
        event_times=instants(closes),
        known_at=instants(known.tolist()),
    )


def computed_columns(
    reader: Reader, feature: str, keys: pl.DataFrame, *, on_missing: OnMissing
) -> pl.DataFrame:
    """Evaluate a feature for every row of a spine.

    Args:
        reader: a snapshot.
        feature: its name.
        keys: columns entity and at (UTC, microseconds). The symbols of one instant are the
            cross-section that ranks look at.
        on_missing: "refuse" or "null".

    Returns:
        columns `feature` and "`feature`.known_at", in the order of the spine.
    """
    node = parse_feature(feature)
    values, known = np.full(keys.height, np.nan), np.full(keys.height, NEVER)
    # Instants with the same symbols are evaluated together.
    rows = keys.with_row_index("row").group_by("at", maintain_order=True).agg("entity", "row")
    groups: dict[tuple[str, ...], list[tuple[datetime, list[str], list[int]]]] = {}
    for at, entities, places in rows.iter_rows():
        groups.setdefault(tuple(sorted(set(entities))), []).append((at, entities, places))
    for names, asked in groups.items():
        found = evaluate(reader, node, names, at=[each[0] for each in asked], on_missing=on_missing)
        column = {name: i for i, name in enumerate(names)}
        for d, (_, entities, places) in enumerate(asked):
            cells = [column[entity] for entity in entities]
            values[places], known[places] = found.values[d, cells], found.known[d, cells]
    absent = pl.Series(known == NEVER)
    return pl.DataFrame(
        {feature: values, f"{feature}.known_at": pl.Series(known).cast(UTC_TIME)}
    ).select(pl.when(~absent).then(pl.all()).name.keep())


def computed_history(
    reader: Reader, feature: str, symbols: Sequence[str], first: datetime, end: datetime
) -> pl.DataFrame:
    """Evaluate a feature on every bar held about times from `first` until before `end`, UTC.

    Each value is what was known when its bar was due, or for observations at times of their own
    when they were first printed; bars that allow no value are left out.

    Returns:
        columns symbol, event_time, known_at and `feature`, by symbol and time.

    Raises:
        HistoryMissing: nothing of a symbol is held.
        HoldoutSealed: a bar is due at or behind the seal.
    """
    node = parse_input(feature)
    source = node if isinstance(node, Source) else node.sources[0]
    names = list(symbols)
    table, _, rows = reader.place(source.feature, [source.entity] if source.entity else names)
    begins, ends = micros(first), micros(end)
    asked: list[tuple[list[str], Micros]] = []
    if isinstance(table, SessionGrid):
        held = table.closes[: table.known.shape[1]]
        asked.append((names, table.due[: held.size][(held >= begins) & (held < ends)]))
    else:
        for name, row in zip(names, rows.tolist() * (len(names) // rows.size), strict=True):
            own = table.series[row]
            events, prints = np.unique(own.events, return_index=True)
            due = own.known[prints[(events >= begins) & (events < ends)]]
            asked.append(([name], np.unique(due)))
    told = pl.concat([_told(_evaluated(reader, node, some, due), some) for some, due in asked])
    within = (pl.col("event_time") >= first) & (pl.col("event_time") < end)
    one = told.filter(within).unique(["symbol", "event_time"], keep="first", maintain_order=True)
    return one.sort("symbol", "event_time").rename({"value": feature})


def _evaluated(
    reader: Reader, node: Feature | Source, symbols: Sequence[str], due: Micros
) -> Evaluated:
    """Return the newest value of a feature, or of an adjusted or named source, at each instant."""
    if isinstance(node, Feature):
        at = [instant(int(each)) for each in due]
        return evaluate(reader, node, symbols, at=at, on_missing="null")
    values = np.full((due.size, len(symbols)), np.nan)
    known = np.full(values.shape, NEVER)
    closes = np.zeros(due.size, dtype=np.int64)
    for d, then in enumerate(due.tolist()):
        reader.opened(instant(then))
        bars = clock(reader, node, symbols[0], length=1, lag=0, at=then, wanted_by=node.name)
        found = read(reader, node, symbols, closes=bars, at=then, daily=False)
        values[d], known[d], closes[d] = found.values[:, 0], found.known[:, 0], bars[0]
    return Evaluated(values=values, known=known, closes=closes)


def _told(found: Evaluated, symbols: Sequence[str]) -> pl.DataFrame:
    """Return symbol, event_time, known_at and value, instants without a value left out."""
    frame = pl.DataFrame(
        {
            "symbol": pl.Series(list(symbols) * found.closes.size, dtype=pl.String()),
            "event_time": pl.Series(np.repeat(found.closes, len(symbols))).cast(UTC_TIME),
            "known_at": pl.Series(found.known.reshape(-1)).cast(UTC_TIME),
            "value": found.values.reshape(-1),
        }
    )
    return frame.filter(pl.Series(found.known.reshape(-1) != NEVER))


def contract_hash(feature: str, view_of: Callable[[str], FeatureView]) -> str:
    """Return what a manifest pins of an input: the view's version hash, or the whole feature's.

    Args:
        feature: view.field or a computed feature.
        view_of: view name -> contract.

    Returns:
        The view's own hash for view.field; else SHA-256 over the feature's version hash and that of
        every view it reads, hex.
    """
    if is_plain(feature):
        return view_of(feature.partition(".")[0]).version_hash
    node: Feature | Source = parse_input(feature)
    lines = [node.version_hash if isinstance(node, Feature) else node.name]
    for view in view_names(feature):
        lines.append(f"{view} {view_of(view).version_hash}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def view_names(feature: str) -> tuple[str, ...]:
    """Return the views that a feature reads, actions included, in order of first mention."""
    found: dict[str, None] = {}
    for source in sources_of(feature):
        found[source.view] = None
        if source.actions is not None:
            found[source.actions] = None
    return tuple(found)
