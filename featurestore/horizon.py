"""The end of the known world: inside it, every reader this process opens forgets what came later.

The look-ahead gate runs a notebook's definition cells in such a world. Whatever they read, by
whichever way through the store, ends at the same instant.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

_END: ContextVar[datetime | None] = ContextVar("world_end", default=None)


@contextmanager
def world_ends(at: datetime) -> Iterator[None]:
    """Cut every reader opened inside off at `at`, UTC; nested worlds end at the earlier instant."""
    before = _END.get()
    token = _END.set(at if before is None else min(at, before))
    try:
        yield
    finally:
        _END.reset(token)


def earlier_end(truncated_at: datetime | None) -> datetime | None:
    """Return the earlier one of a reader's own end and the world's; None = no end."""
    ends = [end for end in (truncated_at, _END.get()) if end is not None]
    return min(ends) if ends else None
