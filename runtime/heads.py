"""Where a chain stands, and the file outside its database that remembers it."""

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import DatabaseUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where a log stands: its last sequence number (0 = empty) and that entry's hash."""

    seq: int
    hash: str  # hex


def remembered(heads: Iterable[Head]) -> dict[int, set[str]]:
    """Return every hash that was remembered of an entry, by its number; what is empty is left out.

    An entry that was remembered by two hashes meets neither: after the first, the end of its chain
    was cut off and written on.
    """
    found: dict[int, set[str]] = {}
    for head in heads:
        if head.seq:
            found.setdefault(head.seq, set()).add(head.hash)
    return found


def write_whole(descriptor: int, data: bytes) -> None:
    """Write all of some bytes; OSError if the disk takes only a part of them, as a full one may."""
    if (taken := os.write(descriptor, data)) < len(data):
        raise OSError(errno.ENOSPC, f"only {taken} of {len(data)} bytes were taken")


@dataclass(frozen=True, slots=True)
class HeadAnchor:
    """A small file outside the database that remembers heads, so that a cut-off tail is noticed."""

    path: Path

    def record(self, head: Head) -> None:
        """Append a head durably; the same head twice in a row is written once.

        Raises:
            DatabaseUnavailable: the file cannot be written; the entry itself is committed.
        """
        try:
            self._append(f"{head.seq} {head.hash}\n".encode())
        except OSError as error:
            raise DatabaseUnavailable(
                f"{self.path}: cannot remember the head of the log ({error.strerror}); what was "
                "written stands, make the file writable"
            ) from error

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            tail = os.pread(descriptor, len(line) + 1, max(0, size - len(line) - 1))
            if tail in (line, b"\n" + line):
                return
            torn = b"\n" if tail and not tail.endswith(b"\n") else b""
            write_whole(descriptor, torn + line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def heads(self) -> tuple[Head, ...]:
        """Return every complete head recorded; a line that was torn or spoilt is left out."""
        if not self.path.exists():
            return ()
        pairs = [line.split() for line in self.path.read_bytes().splitlines()]
        return tuple(
            [
                Head(seq=int(pair[0]), hash=pair[1].decode())
                for pair in pairs
                if len(pair) == 2 and pair[0].isdigit() and len(pair[1]) == 64 and pair[1].isalnum()
            ]
        )
