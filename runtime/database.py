"""Opens the database of ledger, registry or journal: SQLite embedded, PostgreSQL in production."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Any, Protocol

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
)
from sqlalchemy.exc import OperationalError as Unreachable

from runtime.errors import DatabaseUnavailable
from runtime.statements import on_sqlite

BUSY_TIMEOUT_MS = 30_000  # how long a writer waits for another one
_WAL_ATTEMPTS, _WAL_PAUSE_S = 500, 0.01
ANSWER = 40.0  # seconds; longer than the longest wait for a lock
WRITES = "sluice_writes"  # execution option of a connection that holds the writer's lock
READS = "sluice_reads"  # execution option of a connection that writes nothing
USED = "sluice_used"  # of a connection's info: when it was used last, by `monotonic`
FRESH = 1.0  # seconds since its last use for which a connection is taken without asking the server
_AT_REST = "sluice_at_rest"  # of an engine's options: connections between two uses, by use
_RESTING = 8  # engines at most whose connections rest
SQLITE_PRAGMAS = (
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
    "PRAGMA synchronous=FULL",  # a commit that returned survives a power cut
    "PRAGMA foreign_keys=ON",
    "PRAGMA cache_size=-16384",  # KiB at most; a decision of 3000 orders is written in one go
    "PRAGMA wal_autocheckpoint=2000",  # pages; at the usual 1000 one commit of 100 in 73 waits
)


class Credentials(Protocol):
    """Who connects; a lasting user's name in the URL gives way to it."""

    @property
    def username(self) -> str:
        """The user."""
        ...

    @property
    def password(self) -> str:
        """Its password; never logged."""
        ...


def open_database(
    url: str, *, login: Callable[[], Credentials] | None = None, answer: float = ANSWER
) -> Engine:
    """Open a database and make sure that it answers.

    Args:
        url: "sqlite:////absolute/file.db" or "postgresql://user@host/name".
        login: who connects, asked for each new PostgreSQL connection, so that it may change while
            the engine lives: a connection of an earlier login is replaced before it is used again,
            and who is refused as a login that was replaced while it connected comes as the new one.
        answer: seconds after which a PostgreSQL server that says nothing counts as gone.

    Returns:
        An engine whose SQLite connections use WAL and synchronous=FULL, and whose transactions
        begin where we say so (the driver's own implicit BEGIN is switched off).

    Raises:
        DatabaseUnavailable: the URL is malformed, names another database, or does not answer.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseUnavailable(
            "the database URL cannot be read; write sqlite:////path/file.db or postgresql://host/name"
        ) from None
    shown = parsed.render_as_string(hide_password=True)
    try:
        match parsed.get_backend_name():
            case "sqlite":
                engine = _open_sqlite(parsed, shown)
            case "postgresql":
                engine = _open_postgres(parsed, login, answer)
            case other:
                raise DatabaseUnavailable(
                    f"{shown}: {other} is not supported; use sqlite or postgresql"
                )
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
    except (DBAPIError, sqlite3.Error, NoSuchModuleError) as error:
        if _damaged(error):
            raise DatabaseUnavailable(
                f"{shown} is not a database, or a damaged one: {_cause(error)}; move it away, or "
                "put a good copy in its place"
            ) from error
        file = parsed.get_backend_name() == "sqlite"
        asked = (
            "is its folder there, may this user write in it, is there room on its disk?"
            if file
            else "does the server run?"
        )
        raise DatabaseUnavailable(f"{shown} does not answer: {_cause(error)}; {asked}") from error
    return engine


def _open_postgres(url: URL, login: Callable[[], Credentials] | None, answer: float) -> Engine:
    """Return an engine over a server, whose connections never wait for ever."""
    from runtime import postgres  # the embedded database needs no driver

    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args=postgres.options(answer),
    )
    if login is None:
        _let_rest(engine)
    else:  # the pool is where a login that was replaced is noticed
        postgres.give_up_replaced(engine, login)
    postgres.bound(engine, answer, login)
    postgres.ask_before_use(engine)
    postgres.begin_late(engine)
    return engine


def _open_sqlite(url: URL, shown: str) -> Engine:
    """Return an engine over one SQLite file; a private in-memory database would lose the record."""
    if url.database in (None, "", ":memory:"):
        raise DatabaseUnavailable(f"{shown} would keep the record in memory only; name a file")
    engine = create_engine(url)
    _let_rest(engine)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin on its own
        for pragma in SQLITE_PRAGMAS:
            connection.execute(pragma)
        _switch_to_wal(connection)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITES, False)
        on_sqlite(connection, "BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _switch_to_wal(connection: Any) -> None:
    """Switch a file to its write-ahead log.

    SQLite does not apply the busy timeout to this switch, so two first openers collide: the
    loser tries again.
    """
    for attempt in range(_WAL_ATTEMPTS):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if attempt == _WAL_ATTEMPTS - 1:
                raise
            time.sleep(_WAL_PAUSE_S)
        else:
            return


def _damaged(error: Exception) -> bool:
    """Say whether SQLite opened the file and cannot make sense of it."""
    return type(getattr(error, "orig", None) or error) is sqlite3.DatabaseError


def _cause(error: Exception) -> str:
    """Return the driver's own words on one line, without the statement and its parameters."""
    original = getattr(error, "orig", None) or error
    return " ".join(str(original).split())


_ALONG: ContextVar[Callable[[Connection], None] | None] = ContextVar("along", default=None)


@contextmanager
def carried_along(write: Callable[[Connection], None]) -> Iterator[None]:
    """Write something more into every writing transaction of this context while the block runs."""
    token = _ALONG.set(write)
    try:
        yield
    finally:
        _ALONG.reset(token)


Resting = dict[str, list[Connection]]  # by use
_LATEST: dict[Engine, Resting] = {}  # the engines whose connections rest, oldest first
_CHANGING = threading.Lock()  # held while engines come to that and go


def _let_rest(engine: Engine) -> None:
    """Let a connection wait for the next one of its use outside the pool, one for each use.

    To come from the pool and go back there takes longer than SQLite's own part of a small commit,
    and twice as long as a question by an index.
    """
    resting: Resting = {WRITES: [], READS: []}
    engine.update_execution_options(**{_AT_REST: resting})

    @event.listens_for(engine, "engine_disposed")
    def close(disposed: Engine) -> None:
        with _CHANGING:
            _LATEST.pop(disposed, None)
        _close(resting)


def _close(resting: Resting) -> None:
    for at_rest in resting.values():
        while at_rest:
            connection = at_rest.pop()
            connection.detach()  # closed, and not given back
            connection.close()


def _remember(engine: Engine, resting: Resting) -> None:
    """Note that connections of an engine rest, and close those of the engine noted longest ago.

    The library keeps every connection that is out of its pool, and through it the engine: one that
    nobody disposed of would keep its files open for ever.
    """
    left: Resting = {}
    with _CHANGING:
        _LATEST[engine] = resting
        if len(_LATEST) > _RESTING:
            left = _LATEST.pop(next(iter(_LATEST)))
    _close(left)


def _connected(engine: Engine, use: str) -> Connection:
    """Return a connection to write or to read on: the one at rest, or one from the pool."""
    try:
        at_rest: list[Connection] = engine.get_execution_options()[_AT_REST][use]
        connection = at_rest.pop()
    except (KeyError, IndexError):
        return engine.connect().execution_options(**{use: True})
    if monotonic() - connection.info[USED] < FRESH:
        return connection
    connection.close()  # the pool will ask its server whether it is still there
    return engine.connect().execution_options(**{use: True})


def _put_to_rest(engine: Engine, connection: Connection, use: str) -> None:
    """Keep a connection for the next one of its use; one is enough.

    A level of isolation that somebody asked of it is taken back by the pool alone.
    """
    connection.info[USED] = monotonic()
    resting: Resting | None = engine.get_execution_options().get(_AT_REST)
    levelled = "isolation_level" in connection.get_execution_options()
    if resting is None or resting[use] or levelled:
        connection.close()
        return
    if connection.in_transaction():
        connection.rollback()  # of who read: the next one sees what is there then
    resting[use].append(connection)
    if engine not in _LATEST:
        _remember(engine, resting)


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Yield a connection inside one writing transaction: all of the block is kept, or none of it.

    On SQLite the writer's lock is taken at once (BEGIN IMMEDIATE), so what the block reads cannot
    change under it. On PostgreSQL a `ChainedLog` takes its own lock at its first append.

    Raises:
        DatabaseUnavailable: the database went away, is full, damaged or stayed locked; nothing is
            known to be written, and repeating the same idempotent writes is safe.
    """
    try:
        connection = _connected(engine, WRITES)
        try:
            with connection.begin():
                yield connection
                along = _ALONG.get()
                if along is not None:
                    along(connection)
        except BaseException:
            connection.close()
            raise
        _put_to_rest(engine, connection, WRITES)
    except DBAPIError as error:
        if not (isinstance(error, Unreachable | InterfaceError) or _damaged(error)):
            raise  # a conflict or a mistake of ours: the caller knows what it means
        raise DatabaseUnavailable(
            f"{engine.url.render_as_string(hide_password=True)}: {_cause(error)}; "
            "nothing is known to be written, the same call may be repeated"
        ) from error


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Yield a connection for reads; it never holds the writer's lock.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    try:
        connection = _connected(engine, READS)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        _put_to_rest(engine, connection, READS)
    except DBAPIError as error:
        raise DatabaseUnavailable(
            f"{engine.url.render_as_string(hide_password=True)}: {_cause(error)}"
        ) from error
