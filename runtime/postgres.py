"""PostgreSQL connections that never wait for ever: a server that is frozen counts as gone.

The server's own limits stop what it works on; they are silent when the server itself stands still,
its sockets open. So every wait for an answer is bounded here, on our side, commits included.
"""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError, InvalidatePoolError

from runtime.database import FRESH, READS, USED, Credentials
from runtime.statements import Query, Rows

T = TypeVar("T")
_BEGINS = "sluice_begins"  # of a connection's info: its transaction begins with the next statement

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


def bound(engine: Engine, answer: float, login: Callable[[], Credentials] | None = None) -> None:
    """Let every new connection of an engine wait no longer than `answer` seconds at a time.

    With a login, connect as whom it names then: see `give_up_replaced`.
    """

    def opened(arguments: list[Any], named: dict[str, Any]) -> Bounded:
        connection = Bounded.connect(*arguments, **named)
        connection.answer = answer
        return connection

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, record: Any, arguments: list[Any], named: dict[str, Any]) -> Any:
        if login is None:
            return opened(arguments, named)
        asked = login()
        try:
            made = opened(arguments, named | _as(asked))
        except errors.OperationalError as error:
            # Whoever connects slowly may be refused as a user that was dropped meanwhile. Silence
            # says nothing about the user, and was waited for long enough.
            later = asked if isinstance(error, errors.ConnectionTimeout) else login()
            if later.username == asked.username:
                raise
            asked, made = later, opened(arguments, named | _as(later))
        record.info.update(user=asked.username, unused=True)
        return made


def _as(login: Credentials) -> dict[str, Any]:
    return {"user": login.username, "password": login.password}


def give_up_replaced(engine: Engine, login: Callable[[], Credentials]) -> None:
    """Replace a pooled connection of an earlier login before it is used again."""

    @event.listens_for(engine, "checkout")
    def check(_connection: object, record: Any, _proxy: object) -> None:
        # Whoever was just connected may go on for once, however fast logins change.
        if not record.info.pop("unused", False) and record.info["user"] != login().username:
            raise DisconnectionError("the database login was replaced")


def ask_before_use(engine: Engine) -> None:
    """Let a pooled connection that has rested ask its server whether it is still there.

    A round trip per transaction is a third of a small one; a connection that was good a moment ago
    is taken as it is. If the server went away since, the first statement says so and the pool is
    renewed, as it is whenever a server goes away inside a transaction.
    """

    @event.listens_for(engine, "checkin")
    def used(_connection: object, record: Any) -> None:
        record.info.setdefault(USED, monotonic())  # of one that rested it says since when

    @event.listens_for(engine, "checkout")
    def ask(connection: Any, record: Any, _proxy: object) -> None:
        used_at = record.info.pop(USED, None)
        if used_at is None or monotonic() - used_at < FRESH:
            return
        try:
            engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise InvalidatePoolError("the database connection is gone") from error


def begin_late(engine: Engine) -> None:
    """Let a transaction begin with its first statement, in one round trip where that can carry it.

    The driver's own BEGIN is a round trip of its own. Reads of committed data need none at all:
    each statement sees what is committed when it begins, in a transaction as outside.
    """

    @event.listens_for(engine, "checkout")
    def check_out(connection: Any, _record: object, _proxy: object) -> None:
        if not connection.autocommit:
            connection.autocommit = True  # the driver must not begin on its own

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()  # a level that is asked for begins by itself
        connection.info[_BEGINS] = not (options.get(READS) or options.get("isolation_level"))

    @event.listens_for(engine, "before_cursor_execute")
    def before(connection: Connection, cursor: Any, *_: object) -> None:
        for text, _none in begin_of(connection):
            cursor.execute(text)


def begin_of(connection: Connection) -> list[Query]:
    """Return what begins the transaction, once; nothing if it has begun or is none."""
    return [("BEGIN", ())] if connection.info.pop(_BEGINS, False) else []


def together(
    connection: Connection, queries: Sequence[Query], *, large: bool = False
) -> list[Rows]:
    """Run queries in order in one round trip.

    Small ones go as one text, their arguments written into it by the driver: the client's work is
    half that of a pipeline. Large ones go as a pipeline, bytes as bytes. Each is a statement of its
    own, so one that follows a lock sees what was committed before the lock was had.

    Args:
        connection: in a transaction.
        queries: each with its arguments; several small ones that all return rows.
        large: whether they carry many rows; then none returns any.

    Returns:
        The rows of each.

    Raises:
        DBAPIError: as a statement of the connection would.
    """
    raw: Any = connection.connection.driver_connection
    try:
        first = begin_of(connection)
        if large and len(first) + len(queries) == 1:
            raw.execute(*queries[0])
            return [()]
        if large:
            with raw.pipeline():
                for text, given in [*first, *queries]:
                    raw.execute(text, tuple(given))
            return [() for _ in queries]
        with psycopg.ClientCursor(raw) as cursor:
            given = [one for _, arguments in queries for one in arguments]
            # A text without arguments is not searched for marks: a tenth of a round trip.
            cursor.execute("; ".join([text for text, _ in [*first, *queries]]), given or None)
            for _ in first:
                cursor.nextset()
            return [one.fetchall() for one in cursor.results()]
    except psycopg.Error as error:
        gone = bool(raw.closed or raw.broken)
        if gone:
            connection.invalidate(error)
        raise DBAPIError.instance(
            queries[0][0],
            None,
            error,
            psycopg.Error,
            connection_invalidated=gone,
            dialect=connection.dialect,
        ) from error
