"""One SQLite file that threads and processes share, taking turns to write.

They take turns by a lock on a file beside it: the kernel wakes the next one at once and frees the
lock of who dies, where SQLite's own wait sleeps up to 100 milliseconds at a time.
"""

import fcntl
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, Literal

BUSY_TIMEOUT = 30.0  # seconds to wait for a program that does not know our lock, e.g. a backup
CHECKPOINT = (
    4000  # pages of the write-ahead log before they are moved; the mover waits for the disk
)
_WAL_ATTEMPTS, _WAL_PAUSE = 500, 0.01  # seconds


class Shelf:
    """A file, a connection that writes and one that reads what is committed."""

    def __init__(self, path: Path, tables: str, *, synchronous: Literal["FULL", "NORMAL"]) -> None:
        self._writer_lock, self._reader_lock = RLock(), RLock()
        self._turns = path.with_name(f"{path.name}.lock").open("a")
        self._writer = _connected(path, synchronous)
        self._reader = _connected(path, synchronous)
        with self.writing() as database:
            for statement in tables.strip().split(";\n"):
                database.execute(statement)

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """Return the rows of a query over what is committed; no writer is waited for."""
        with self._reader_lock:
            return self._reader.execute(statement, values).fetchall()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Yield the writing connection in one transaction: all of the block is kept, or nothing."""
        with self._writer_lock:
            fcntl.flock(self._turns, fcntl.LOCK_EX)
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    yield self._writer
                except BaseException:
                    self._writer.execute("ROLLBACK")
                    raise
                self._writer.execute("COMMIT")
            finally:
                fcntl.flock(self._turns, fcntl.LOCK_UN)

    def settle(self) -> None:
        """Wait until what is committed survives a power cut."""
        with self._writer_lock:
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        """Close the file."""
        with self._writer_lock, self._reader_lock:
            self._writer.close()
            self._reader.close()
            self._turns.close()


def _connected(path: Path, synchronous: str) -> sqlite3.Connection:
    database = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )
    for attempt in range(_WAL_ATTEMPTS):  # the busy timeout does not cover this switch
        try:
            database.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError:
            if attempt == _WAL_ATTEMPTS - 1:
                raise
            time.sleep(_WAL_PAUSE)
    database.execute(f"PRAGMA synchronous={synchronous}")
    database.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT}")
    return database
