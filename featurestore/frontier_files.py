"""Frontiers kept in local files, mapped into memory: derived, named by content, dispensable.

A file is `view/<what the table held>-<what a reader may load of it>.frontier`. The first half is
the fingerprint of a table version (`Lake.fingerprint`), the second covers the columns and the seal,
so that nothing behind a reader's seal lies in a file that it maps. Files are written beside,
flushed and renamed; one that is absent, of another make or cut short counts as not there. Whatever
fails here costs time, never an answer: the frontier is then computed from the table.

Layout: MAGIC; arrays, each at a multiple of 64; what they are (JSON); its SHA-256 and its length,
in eight bytes, at the end: a file that was cut short has no end that fits.
"""

import hashlib
import json
import mmap
import os
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from featurestore.contract import UTC_TIME
from featurestore.extent import Extent
from featurestore.frontier import Frontier, build_frontier
from featurestore.views import KEY_COLUMNS

MAGIC = b"sluice frontier 1\n"
LEAST_CELLS = 4_000_000  # smaller frontiers are computed sooner than they are looked for
KEPT = 4  # files per view: versions and seals in use; the least recently used goes first

_ALIGNED = 64  # bytes
_TAIL = 32 + 8  # bytes at the end: a SHA-256 and a length
_GAPS = "absent."
_DTYPES: dict[str, pl.DataType] = {
    "float64": pl.Float64(),
    "int64": pl.Int64(),
    "instant": UTC_TIME,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loadable:
    """What a reader may load of one view; equal ones have equal frontiers."""

    view: str
    fingerprint: str  # of the table version, hex
    fields: tuple[str, ...]
    sealed_from: datetime | None  # UTC; rows known from then on are left out

    @property
    def file_name(self) -> str:
        """Return the name under which its frontier is kept."""
        seal = None if self.sealed_from is None else self.sealed_from.isoformat()
        rest = json.dumps([self.fields, seal]).encode()
        return f"{self.fingerprint[:32]}-{hashlib.sha256(rest).hexdigest()[:16]}.frontier"


@dataclass(frozen=True, slots=True)
class FrontierFiles:
    """A folder of frontiers; any number of processes may use it at once."""

    folder: Path

    def find(self, wanted: Loadable) -> Frontier | None:
        """Map the frontier of what a reader may load; None if none is held, or it is damaged."""
        path = self.folder / wanted.view / wanted.file_name
        memory = _mapped(path)
        found = None if memory is None else _read(memory, wanted)
        if found is not None:
            _touch(path)
        return found

    def keep(self, made: Frontier, of: Loadable) -> bool:
        """Write a frontier for the next reader; False if it is not worth it or cannot be done."""
        if made.cells.size < LEAST_CELLS:
            return False
        folder = self.folder / of.view
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, beside = tempfile.mkstemp(prefix=".", suffix=".part", dir=folder)
        except OSError:  # a read-only disk, or none at all
            return False
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), 0o644)  # as open to others as the tables are
                _write(file, made, of)
                file.flush()
                os.fsync(file.fileno())
            Path(beside).replace(folder / of.file_name)
        except OSError:  # the disk is full
            Path(beside).unlink(missing_ok=True)
            return False
        self._forget_oldest(folder)
        return True

    def false(self, view: str, fingerprint: str, rows: pl.DataFrame) -> list[Path]:
        """Return the files of a table version that are not what its rows give.

        Args:
            view: name.
            fingerprint: of the table version.
            rows: everything it holds, in any order.
        """
        wrong = []
        for path in _files(self.folder / view):
            if path.suffix != ".frontier" or path.name[:32] != fingerprint[:32]:
                continue
            memory = _mapped(path)
            about = None if memory is None else _about(memory)
            if memory is None or about is None:
                wrong.append(path)
                continue
            names, seal = tuple(about["fields"]), _instant(about["sealed_from"])
            kept = rows if seal is None else rows.filter(pl.col("known_at") < seal)
            loadable = Loadable(view=view, fingerprint=fingerprint, fields=names, sealed_from=seal)
            found = _read(memory, loadable)
            made = build_frontier(kept.select(*KEY_COLUMNS, *names))
            if path.name != loadable.file_name or found is None or not _same(found, made):
                wrong.append(path)
        return wrong

    def forget(self, view: str, *, but: Collection[str]) -> int:
        """Delete a view's files but those of table versions with these fingerprints."""
        kept = {fingerprint[:32] for fingerprint in but}
        gone = [path for path in _files(self.folder / view) if path.name[:32] not in kept]
        for path in gone:
            path.unlink(missing_ok=True)
        return len(gone)

    def _forget_oldest(self, folder: Path) -> None:
        """Keep the newest few; who has mapped another one keeps it until he is done."""
        held = [path for path in _files(folder) if path.suffix == ".frontier"]
        for path in sorted(held, key=_used, reverse=True)[KEPT:]:
            path.unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    """Return finished and unfinished frontiers in a folder."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.suffix in (".frontier", ".part")]


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process was faster
        return 0.0


def _touch(path: Path) -> None:
    """Remember that a file was used; on a disk that takes no writing it keeps its age."""
    try:
        os.utime(path)
    except OSError:
        return


def _write(file: IO[bytes], made: Frontier, of: Loadable) -> None:
    named: dict[str, NDArray[Any]] = {
        "known": made.known,
        "first": made.first.astype(np.int64),
        "starts": made.starts,
        "cells": made.cells,
        **{_GAPS + name: gaps for name, gaps in made.absent.items()},
    }
    file.write(MAGIC)
    places: dict[str, Any] = {}
    for name, array in named.items():
        file.write(bytes(-file.tell() % _ALIGNED))
        places[name] = {"offset": file.tell(), "shape": array.shape, "dtype": array.dtype.str}
        file.write(np.ascontiguousarray(array).data)
    about = {
        **_question(of),
        "entities": list(made.entities),
        "origin": made.origin,
        "width": made.width,
        "buckets": made.buckets,
        "deepest": made.deepest,
        "columns": {name: _NAMES[dtype] for name, dtype in made.columns.items()},
        "rows": made.extent.rows,
        "events": [_text(made.extent.first), _text(made.extent.last)],
        "arrays": places,
    }
    told = json.dumps(about).encode()
    file.write(told + hashlib.sha256(told).digest() + len(told).to_bytes(8, "little"))


def _mapped(path: Path) -> mmap.mmap | None:
    """Map a file; None if it is not there, empty or closed to this process."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None


def _about(memory: mmap.mmap) -> dict[str, Any] | None:
    """Return what a file says of itself; None if it was cut short or is of another make."""
    end = len(memory) - _TAIL
    start = end - int.from_bytes(memory[-8:], "little")
    if start < len(MAGIC) or memory[: len(MAGIC)] != MAGIC:
        return None
    told = memory[start:end]
    if hashlib.sha256(told).digest() != memory[end:-8]:
        return None
    about: dict[str, Any] = json.loads(told)
    return about


def _read(memory: mmap.mmap, wanted: Loadable) -> Frontier | None:
    """Read a mapped file; None if it is damaged or answers another question."""
    about = _about(memory)
    if about is None or not _question(wanted).items() <= about.items():
        return None
    arrays = {
        name: np.frombuffer(
            memory, place["dtype"], int(np.prod(place["shape"])), place["offset"]
        ).reshape(place["shape"])
        for name, place in about["arrays"].items()
    }
    first, last = map(_instant, about["events"])
    return Frontier(
        entities={name: i for i, name in enumerate(about["entities"])},
        known=arrays["known"],
        first=arrays["first"].astype(np.intp),
        starts=arrays["starts"],
        origin=about["origin"],
        width=about["width"],
        buckets=about["buckets"],
        deepest=about["deepest"],
        columns={name: _DTYPES[dtype] for name, dtype in about["columns"].items()},
        cells=arrays["cells"],
        absent={
            name.removeprefix(_GAPS): array
            for name, array in arrays.items()
            if name.startswith(_GAPS)
        },
        extent=Extent(rows=about["rows"], first=first, last=last),
    )


def _question(of: Loadable) -> dict[str, Any]:
    return {
        "view": of.view,
        "fingerprint": of.fingerprint,
        "fields": list(of.fields),
        "sealed_from": _text(of.sealed_from),
    }


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _same(one: Frontier, other: Frontier) -> bool:
    """Say whether two frontiers are equal to the bit."""
    pairs = [(getattr(one, each.name), getattr(other, each.name)) for each in fields(Frontier)]
    gaps = one.absent.keys() == other.absent.keys() and all(
        np.array_equal(one.absent[name], other.absent[name]) for name in one.absent
    )
    return gaps and all(
        np.array_equal(left, right) if isinstance(left, np.ndarray) else left == right
        for left, right in pairs
        if not (isinstance(left, dict) and left is one.absent)
    )
