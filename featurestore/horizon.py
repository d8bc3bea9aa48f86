"""The end of the known world: inside it, every reader this process opens forgets what came later.

The look-ahead gate runs a notebook's definition cells in such a world. Whatever they read, by
whichever way through the store and in whichever thread, ends at the same instant.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

_lock = threading.Lock()
_ends: list[datetime] = []  # of the worlds this process is in
_asked = 0  # how often a reader asked where the world ends


@contextmanager
def world_ends(at: datetime) -> Iterator[None]:
    """Cut every reader opened meanwhile off at `at`, UTC; of several worlds the earliest counts."""
    with _lock:
        _ends.append(at)
    try:
        yield
    finally:
        with _lock:
            _ends.remove(at)


def times_asked() -> int:
    """Return how often this process asked for an end: unchanged, nothing could depend on it."""
    with _lock:
        return _asked


def earlier_end(truncated_at: datetime | None) -> datetime | None:
    """Return the earlier one of a reader's own end and the world's; None = no end."""
    global _asked
    with _lock:
        _asked += 1
        ends = list(_ends)
    if truncated_at is not None:
        ends.append(truncated_at)
    return min(ends) if ends else None
