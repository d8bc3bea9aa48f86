"""Online cells in one memory-mapped file that processes of one host share.

1. A writer holds the lock file, lays its update over the current state and writes a new file.
2. It renames that over the old one: readers see the old or the new state, never a mixture, and a
   writer that dies in between changes nothing.
3. A reader asks the file system which file has the name; it maps again only when that changed.
   The mapping keeps the old file's inode, so the same inode number is the same file.

File: magic, length of the header, header (JSON), cells, windows; all words little-endian 64 bit.
"""

import fcntl
import json
import mmap
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from featurestore.errors import OnlineUnavailable
from featurestore.online.cells import Applied, Update, Window
from featurestore.online.layout import Column, Layout, decode_layout
from featurestore.online.memory import State, windows_of
from featurestore.online.port import Cells

MAGIC = b"SLUICE01"
_WORD = 8  # bytes


class FileOnline:
    """Online cells shared through `path`; its folder must exist."""

    def __init__(self, path: Path) -> None:
        if sys.byteorder != "little":
            raise OnlineUnavailable("the shared file of the online store is little-endian only")
        self.path = path
        self._seen: tuple[int, int] | None = None  # device and inode that `_held` maps
        self._held = State()

    def apply(self, update: Update) -> Applied:
        """Lay an update over what is held; see the port."""
        try:
            with self._locked():
                state, applied = self._state().updated(update)
                self._replace(state)
        except OSError as error:
            raise self._unavailable(error) from error
        return applied

    def read(self, features: Sequence[str], symbols: Sequence[str]) -> Cells:
        """Return cells; see the port."""
        return self._state().read(features, symbols)

    def windows(
        self, feature: str, symbols: Sequence[str]
    ) -> tuple[Column, tuple[Window | None, ...]]:
        """Return a feature's windows; see the port."""
        return windows_of(self._state(), feature, symbols)

    def layout(self) -> Layout:
        """Return the columns held now."""
        return self._state().layout

    def symbols(self) -> tuple[str, ...]:
        """Return the symbols held now, sorted."""
        return tuple(sorted(self._state().index))

    def _state(self) -> State:
        try:
            found = os.stat(self.path)  # noqa: PTH116 - half the time of Path.stat, every read
        except FileNotFoundError:
            return State()
        except OSError as error:
            raise self._unavailable(error) from error
        seen = (found.st_dev, found.st_ino)
        if seen != self._seen:
            try:
                self._held, self._seen = _mapped(self.path)
            except OSError as error:
                raise self._unavailable(error) from error
        return self._held

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the writers' lock; the kernel frees it if the holder dies."""
        with self.path.with_name(f"{self.path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _replace(self, state: State) -> None:
        descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}-", dir=self.path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for part in _parts(state):
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise

    def _unavailable(self, error: OSError) -> OnlineUnavailable:
        return OnlineUnavailable(
            f"online store {self.path}: {error.strerror or error}; "
            "is its folder there, writable and not full?"
        )


def _parts(state: State) -> Iterator[bytes]:
    """Yield the file's content."""
    windows = [
        [key, symbol, window.event, window.known, window.at, window.values.size]
        for (key, symbol), window in state.windows.items()
    ]
    header = json.dumps(
        {
            "layout": state.layout.encoded(),
            "symbols": list(state.index),
            "written_at": state.written_at.tolist(),
            "windows": windows,
        }
    ).encode()
    header += b" " * (-len(header) % _WORD)
    yield MAGIC
    yield len(header).to_bytes(_WORD, "little")
    yield header
    yield state.packed.tobytes()
    for window in state.windows.values():
        yield window.values.tobytes()


def _mapped(path: Path) -> tuple[State, tuple[int, int]]:
    """Map a file; the arrays of the state lie in the mapping and keep it alive.

    Raises:
        OnlineUnavailable: the file is not one of ours, or is cut short.
    """
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        if found.st_size < 2 * _WORD:
            raise OnlineUnavailable(
                f"online store {path} is cut short; remove it, materialize again"
            )
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    length = int.from_bytes(memory[_WORD : 2 * _WORD], "little")
    start = 2 * _WORD + length
    if memory[:_WORD] != MAGIC or start > found.st_size:
        raise OnlineUnavailable(
            f"online store {path} is not a file of this store's kind; remove it, materialize again"
        )
    header = json.loads(memory[2 * _WORD : start])
    layout = decode_layout(header["layout"])
    n, k = len(header["symbols"]), len(layout.columns)
    words = n * 3 * k + sum(each[-1] for each in header["windows"])
    if start + words * _WORD != found.st_size:
        raise OnlineUnavailable(f"online store {path} is cut short; remove it, materialize again")
    packed = np.frombuffer(memory, np.int64, count=n * 3 * k, offset=start).reshape(n, 3, k)
    at = start + packed.nbytes
    windows = {}
    for key, symbol, event, known, written, size in header["windows"]:
        values = np.frombuffer(memory, np.float64, count=size, offset=at)
        windows[key, symbol] = Window(values=values, event=event, known=known, at=written)
        at += values.nbytes
    state = State(
        layout=layout,
        index={symbol: i for i, symbol in enumerate(header["symbols"])},
        packed=packed,
        written_at=np.array(header["written_at"], dtype=np.int64),
        windows=windows,
    )
    return state, (found.st_dev, found.st_ino)
