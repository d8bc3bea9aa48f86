"""The frontier of a view: one look-up table, and a join that never sorts the spine.

1. Sort by entity and knowledge; a row stays if its event time is at or above the running maximum
   of its entity (`featurestore.pit` says why those rows, and no others, answer).
2. Cut time into buckets of equal width, about as many as an entity has rows, and remember for each
   entity and bucket how many rows lie before it.
3. A spine row finds its bucket by one division and its row within it by bisection; buckets hold
   about one row, so that all spine rows together take a few passes over memory, in any order.
4. What a row holds lies side by side, eight bytes a column, so that an answer is one stretch of
   memory, or of a file that is mapped into it (`featurestore.frontier_files`).
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from featurestore.extent import Extent, extent_of
from featurestore.grid import Index, Micros
from featurestore.views import KEY_COLUMNS

Cells: TypeAlias = NDArray[np.int64]

_DAY = 86_400_000_000  # microseconds
_CHUNK = 16_384  # spine rows looked up at a time
_CELLS_PER_ROW = 4  # size of the look-up table, at most, in cells per row held
_TOGETHER = 8  # columns laid out at a time: as many as fill a cache line


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """The rows of one view that are the answer at some instant, by entity and knowledge."""

    entities: dict[str, int]  # entity -> code
    known: Micros  # (m,), ascending within an entity
    first: Index  # (E + 1,): where each entity's rows start
    starts: NDArray[np.int32]  # (E * buckets + 1,): rows before each entity's bucket
    origin: int  # microseconds since 1970, where bucket 0 begins
    width: int  # microseconds
    buckets: int
    deepest: int  # rows of the fullest bucket
    columns: dict[str, pl.DataType]  # event_time, known_at and the fields, in the order of cells
    cells: Cells  # (m, C): the bits of each value; 0 where there is none
    absent: dict[str, NDArray[np.bool_]]  # columns with gaps -> (m,), where there is none
    extent: Extent  # of the observations it was made from

    def join(self, spine: pl.DataFrame, fields: list[str]) -> pl.DataFrame:
        """Return what was known at each spine row, in its order.

        Args:
            spine: columns entity and at (UTC, microseconds), no nulls.
            fields: fields wanted.

        Returns:
            event_time, known_at and the fields; null where nothing was known.
        """
        wanted = ["event_time", "known_at", *fields]
        if not self.known.size:
            schema = {name: self.columns[name] for name in wanted}
            return pl.DataFrame(schema=schema).clear(spine.height)
        places = self.find(self._codes(spine["entity"]), spine["at"].to_physical().to_numpy())
        found = self._gathered(places, wanted)
        unknown = places < 0
        some = bool(unknown.any())
        frame = {}
        for name, bits in zip(wanted, found, strict=True):
            held = bits.view(np.float64) if self.columns[name] == pl.Float64 else bits
            column = pl.Series(name, held).cast(self.columns[name])
            gone = unknown | self.absent[name][places] if name in self.absent else unknown
            if some or name in self.absent:
                column = column.zip_with(pl.Series(~gone), pl.Series([None], dtype=column.dtype))
            frame[name] = column
        return pl.DataFrame(frame)

    def _gathered(self, places: Index, wanted: list[str]) -> Cells:
        """Return the bits of columns at rows, (columns, N); anything where the row is -1."""
        order = list(self.columns)
        picks = [order.index(name) for name in wanted]
        every = picks == list(range(len(order)))
        out = np.empty((len(picks), places.size), dtype=np.int64)
        whole = np.empty((min(_CHUNK, places.size), len(order)), dtype=np.int64)
        for i in range(0, places.size, _CHUNK):
            rows = places[i : i + _CHUNK]
            if 2 * len(picks) < len(order):  # a few of many columns: leave the others alone
                for k, pick in enumerate(picks):
                    out[k, i : i + _CHUNK] = self.cells[rows, pick]
            else:
                answers = whole[: rows.size]
                np.take(self.cells, rows, axis=0, out=answers, mode="clip")
                out[:, i : i + _CHUNK] = (answers if every else answers[:, picks]).T
        return out

    def find(self, codes: Index, at: Micros) -> Index:
        """Return the row that answers each question; -1 where nothing was known.

        Args:
            codes: (N,), of the entities; -1 for strangers.
            at: (N,), microseconds since 1970, in any order.
        """
        found: Index = np.full(codes.size, -1, dtype=np.intp)
        if self.known.size:
            for i in range(0, codes.size, _CHUNK):
                found[i : i + _CHUNK] = self._find(codes[i : i + _CHUNK], at[i : i + _CHUNK])
        return found

    def _find(self, codes: Index, at: Micros) -> Index:
        """Answer a chunk of questions small enough for everything to stay in the cache."""
        bucket = (at - self.origin) // self.width
        np.clip(bucket, 0, self.buckets - 1, out=bucket)
        bucket += codes * self.buckets
        np.maximum(bucket, 0, out=bucket)  # strangers
        low: Index = self.starts.take(bucket).astype(np.intp)
        bucket += 1
        high = self.starts.take(bucket)
        for _ in range(self.deepest.bit_length()):
            middle = (low + high) >> 1
            seen = (self.known.take(middle, mode="clip") <= at) & (low < high)
            low = np.where(seen, middle + 1, low)
            high = np.where(seen, high, middle)
        low -= 1
        low[(low < self.first.take(codes, mode="clip")) | (codes < 0)] = -1
        return low

    def _codes(self, names: pl.Series) -> Index:
        coded = names.cast(pl.Enum(list(self.entities)), strict=False).to_physical()
        codes: Index = coded.cast(pl.Int64).fill_null(-1).to_numpy().astype(np.intp, copy=False)
        return codes


def build_frontier(rows: pl.DataFrame) -> Frontier:
    """Arrange observations for joins.

    Args:
        rows: entity, event_time, known_at, revision and fields, in any order.
    """
    names = rows["entity"].unique().sort()
    codes = rows["entity"].cast(pl.Enum(names)).to_physical()
    order = _sorted(codes.to_numpy(), rows)
    code = codes.to_numpy()[order]
    known = rows["known_at"].to_physical().to_numpy()[order]
    kept = _answers(code, known, rows["event_time"].to_physical().to_numpy()[order])
    code, known = code[kept].astype(np.intp), known[kept]
    places = order[kept]
    first: Index = np.searchsorted(code, np.arange(names.len() + 1)).astype(np.intp)
    origin = int(known.min()) if known.size else 0
    span = int(known.max()) - origin + 1 if known.size else 1
    longest = int(np.diff(first).max()) if known.size else 1
    room = max(1, _CELLS_PER_ROW * known.size // max(1, names.len()))
    width = max(1, span // max(1, min(2 * longest, room)))
    width = _DAY if _DAY // 2 < width < 2 * _DAY else width
    buckets = span // width + 1
    cells = code * buckets + (known - origin) // width
    counts = np.bincount(cells, minlength=max(1, names.len()) * buckets)
    starts = np.zeros(counts.size + 1, dtype=np.int32)
    np.cumsum(counts, out=starts[1:])
    columns = ["event_time", "known_at"]
    columns += [c for c in rows.columns if c not in (*KEY_COLUMNS, "year")]
    return Frontier(
        entities={name: i for i, name in enumerate(names)},
        known=known,
        first=first,
        starts=starts,
        origin=origin,
        width=width,
        buckets=buckets,
        deepest=int(counts.max()) if counts.size else 0,
        columns={name: rows[name].dtype for name in columns},
        cells=_laid_out(rows, columns, places),
        absent={
            name: rows[name].is_null().to_numpy()[places]
            for name in columns
            if rows[name].null_count()
        },
        extent=extent_of(rows),
    )


def _laid_out(rows: pl.DataFrame, columns: list[str], places: Index) -> Cells:
    """Return the bits of some rows side by side, a few columns at a time to spare memory."""
    cells = np.empty((places.size, len(columns)), dtype=np.int64)
    for first in range(0, len(columns), _TOGETHER):
        held = [_bits(rows[name]) for name in columns[first : first + _TOGETHER]]
        for i in range(0, places.size, _CHUNK):
            chunk = places[i : i + _CHUNK]
            for k, bits in enumerate(held, first):
                cells[i : i + _CHUNK, k] = bits[chunk]
    return cells


def _bits(column: pl.Series) -> Cells:
    physical = column.to_physical().fill_null(0).rechunk().to_numpy()
    return physical.view(np.int64)


def _sorted(code: NDArray[np.uint32], rows: pl.DataFrame) -> Index:
    """Return the order by entity, knowledge, event and revision.

    Files lie in order of knowledge, so that a merge of their runs and a counting sort by entity
    will do, unless something became known together in another order.
    """
    known = rows["known_at"].to_physical().to_numpy()
    order = np.argsort(known, kind="stable")
    narrow = code.astype(np.uint16) if code.size and int(code.max()) < 65_536 else code
    order = order[np.argsort(narrow[order], kind="stable")]
    events = rows["event_time"].to_physical().to_numpy()[order]
    revisions = rows["revision"].to_numpy()[order]
    code, known = code[order], known[order]
    together = (code[1:] == code[:-1]) & (known[1:] == known[:-1])
    falls = (events[1:] < events[:-1]) | (
        (events[1:] == events[:-1]) & (revisions[1:] < revisions[:-1])
    )
    if (together & falls).any():
        order = order[np.lexsort((revisions, events, known, code))]
    return order


def _answers(code: NDArray[np.uint32], known: Micros, events: Micros) -> Index:
    """Return which of the sorted rows are on the frontier: one per entity and instant."""
    if not events.size:
        return np.zeros(0, dtype=np.intp)
    low = int(events.min())
    span = int(events.max()) - low + 1
    if (int(code[-1]) + 1) * span < 2**62:
        # Entities lie one after the other, so that one running maximum serves all of them.
        place = code.astype(np.int64) * span + (events - low)
        reached = place >= np.maximum.accumulate(place)
    else:
        frame = pl.DataFrame({"code": code, "event": events})
        highest = frame.select(pl.col("event").cum_max().over("code"))["event"]
        reached = events >= highest.to_numpy()
    kept = np.flatnonzero(reached)
    last = np.ones(kept.size, dtype=np.bool_)
    last[:-1] = (code[kept][1:] != code[kept][:-1]) | (known[kept][1:] != known[kept][:-1])
    return kept[last]
