"""Structured logs: one JSON document a line, or a plain line for people, times in UTC.

A line that belongs to a decision carries `correlation`, the decision's id: the same id leads
from the tick through orders and fills to the cents that were posted, and into `sluice why`.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def _without_rich() -> Iterator[None]:
    """Keep structlog from loading rich, for tracebacks in boxes; whoever has it already keeps it.

    That is most of what structlog takes to load. Afterwards rich can be imported as ever.
    """
    if "rich" in sys.modules:
        yield
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # documented: importing it then fails
    try:
        yield
    finally:
        del sys.modules["rich"]


with _without_rich():
    import structlog

JSON, PLAIN = "json", "plain"


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of this name; what it is bound to stands in every line."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound


def configure(form: str) -> None:
    """Send every log of the process to stderr in one form; the libraries' too.

    Args:
        form: `json` or `plain`.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    last: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
        if form == JSON
        else [
            structlog.dev.ConsoleRenderer(
                colors=False,
                exception_formatter=structlog.dev.plain_traceback,  # rich's would show all locals
            )
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("apscheduler").setLevel(logging.WARNING)  # it logs every look at its clock
