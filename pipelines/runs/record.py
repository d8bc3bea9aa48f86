"""The record of a run that executes in this process: opened before, closed whatever happens."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from featurestore.errors import PlatformError
from pipelines.ledger import Ledger, RunClosed, RunOpened
from runtime.clock import Clock


@contextmanager
def recorded(ledger: Ledger, clock: Clock, opened: RunOpened) -> Iterator[None]:
    """Record a run before its first step, and at its end what became of it."""
    started_at = clock.now()
    ledger.open_run(opened)
    closed = RunClosed(
        status="failed", cause="killed", message=f"the {opened.kind} was interrupted"
    )
    try:
        yield
        closed = RunClosed(status="complete")
    except PlatformError as error:
        closed = RunClosed(status="failed", message=str(error))
        raise
    finally:
        seconds = (clock.now() - started_at).total_seconds()
        ledger.close_run(opened.run, msgspec.structs.replace(closed, seconds=seconds))
