"""Appends to a chained log whose end is remembered outside its database, change by change."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from runtime.chain import ChainedLog, Head, HeadAnchor
from runtime.database import transaction


@contextmanager
def appending(log: ChainedLog, anchor: HeadAnchor | None) -> Iterator[Connection]:
    """Yield the only writer's transaction; where it leaves the log is then remembered outside.

    Args:
        log: what is appended to.
        anchor: its file of heads; None = nothing is remembered.

    Raises:
        DatabaseUnavailable: the database, or the file once the entries are committed, does not
            take what is written.
    """
    with transaction(log.engine) as connection:
        log.lock(connection)
        before = log.head(connection)
        yield connection
        head = log.head(connection)
    if anchor is not None and head != before:
        anchor.record(head)


def verified(log: ChainedLog, anchor: HeadAnchor | None) -> Head:
    """Recompute the chain and return its head; JournalBroken names the first that does not hold."""
    return log.verify(() if anchor is None else anchor.heads())
