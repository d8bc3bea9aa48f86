"""PostgreSQL connections that never wait for ever: a server that is frozen counts as gone.

The server's own limits stop what it works on; they are silent when the server itself stands still,
its sockets open. So every wait for an answer is bounded here, on our side, commits included.
"""

from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from sqlalchemy import Engine, event

T = TypeVar("T")

CONNECT = 10  # seconds until a server that does not accept counts as gone
LOCK = 30  # seconds that a statement waits for another one's lock
IDLE = 15  # seconds after which the server ends a transaction of which nothing more comes
KEEPALIVE = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
_POLL = 0.1  # seconds between two looks for an interrupt while waiting


class Bounded(psycopg.Connection[Any]):
    """A connection whose every wait for the server ends after `answer` seconds."""

    answer: float = 0.0  # seconds; 0 = as long as it takes

    def wait(self, gen: PQGen[T], interval: float = _POLL, timeout: float | None = None) -> T:
        """Wait for the server; OperationalError, and a closed connection, if it does not answer."""
        limit = self.answer or None if timeout is None else timeout
        try:
            return super().wait(gen, interval, limit)
        except errors._WaitTimeout:
            self.close()
            raise errors.OperationalError(
                f"the server has not answered within {limit:g} s"
            ) from None


def options(answer: float) -> dict[str, Any]:
    """Return the arguments of every connection to a server that answers within `answer` seconds."""
    settings = {
        # A commit that returned survives a crash, whatever the server's default is.
        "synchronous_commit": "on",
        "lock_timeout": f"{LOCK}s",
        "idle_in_transaction_session_timeout": f"{IDLE}s",
    }
    said = " ".join(f"-c {name}={value}" for name, value in settings.items())
    connect = max(1, min(CONNECT, int(answer)))
    return {"connect_timeout": connect, "options": said, **KEEPALIVE}


def bound(engine: Engine, answer: float) -> None:
    """Let every new connection of an engine wait no longer than `answer` seconds at a time."""

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: list[Any], named: dict[str, Any]) -> Any:
        connection = Bounded.connect(*arguments, **named)
        connection.answer = answer
        return connection
