"""Several statements at once: on PostgreSQL in one round trip, many rows in one statement.

A row that is sent by itself costs the server a parse, a plan and a message of its own. Rows go as
one array per column instead, in a statement that is one for any number of them and so prepared.
SQLite is a library: there a statement costs least where it goes to the driver itself, and rows
where some dozens share one statement.
"""

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

Query: TypeAlias = tuple[str, Sequence[Any]]  # in the driver's own marks, and its arguments
Rows: TypeAlias = Sequence[Any]
# The types of the columns that logs and journal write, by name; all others are text.
_TYPES = {
    **dict.fromkeys(("seq", "at", "decided_at", "created_at"), "bigint"),
    **dict.fromkeys(("updated_at", "executed_at", "effective"), "bigint"),
    **dict.fromkeys(("line", "leg", "breaks"), "integer"),
    **dict.fromkeys(("quantity", "limit_price", "filled", "stop_price"), "numeric"),
    **dict.fromkeys(("price", "fee", "amount", "cash", "equity"), "numeric"),
    **dict.fromkeys(("payload", "hash", "data"), "bytea"),
    "benchmark_return": "double precision",
}
# Rows of one statement on SQLite: insertions are a fifth cheaper than row by row, changes a half.
_TOGETHER = (50, 10)


class Insert(NamedTuple):
    """Rows for a table."""

    table: str
    columns: str  # "a, b, c"
    rows: Sequence[tuple[Any, ...]]  # values in the order of the columns
    again: bool = False  # rows whose key is there already may come again and are left out

    @property
    def unless(self) -> str:
        """How the statement ends."""
        return " ON CONFLICT DO NOTHING" if self.again else ""


class Update(NamedTuple):
    """New values for rows of a table."""

    table: str
    columns: str  # "a, b, c"
    key: str  # the column that says which row
    rows: Sequence[
        tuple[Any, ...]
    ]  # values in the order of the columns, then the key; no key twice


Write: TypeAlias = Insert | Update


def run_all(connection: Connection, queries: Sequence[Query]) -> list[Rows]:
    """Run small queries that return rows, one after the other; return the rows of each."""
    if len(queries) > 1 and connection.dialect.name == "postgresql":
        from runtime import postgres  # the embedded database needs no driver

        return postgres.together(connection, queries)
    if not connection.in_transaction():
        connection.begin()
    return [answer(connection, text, given) for text, given in queries]


def answer(connection: Connection, text: str, given: Sequence[Any] = ()) -> Rows:
    """Return the rows of one small query in the driver's own marks.

    Where no transaction is under way SQLite opens none for it: one query sees one state by itself.

    Raises:
        DBAPIError: as a statement of the connection would.
    """
    if connection.dialect.name == "postgresql":
        return connection.exec_driver_sql(text, tuple(given)).fetchall()
    try:
        return on_sqlite(connection, text, given).fetchall()
    except sqlite3.Error as error:  # met only while its rows were fetched
        raise DBAPIError.instance(
            text, None, error, sqlite3.Error, dialect=connection.dialect
        ) from error


def tuples(
    connection: Connection, statement: str, arguments: Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    """Return a query's rows as the driver's own tuples: a third cheaper where there are many."""
    cursor = connection.exec_driver_sql(statement, tuple(arguments)).cursor
    return [] if cursor is None else list(cursor.fetchall())


def write_all(connection: Connection, writes: Sequence[Write]) -> None:
    """Write one after the other; what has no rows is left out."""
    writes = [one for one in writes if one.rows]
    if not writes:
        return
    if connection.dialect.name == "postgresql":
        from runtime import postgres  # the embedded database needs no driver

        postgres.together(connection, [_at_once(one) for one in writes], large=True)
        return
    for one in writes:
        rows = one.rows
        for size in _TOGETHER:
            whole = len(rows) - len(rows) % size
            for start in range(0, whole, size):
                values = tuple(chain.from_iterable(rows[start : start + size]))
                on_sqlite(connection, _text(one, size), values)
            rows = rows[whole:]
        if rows:
            on_sqlite(connection, _text(one, 1), rows, many=True)


def on_sqlite(
    connection: Connection, text: str, given: Sequence[Any] = (), *, many: bool = False
) -> sqlite3.Cursor:
    """Run a statement on SQLite's driver, in the transaction that the connection is in.

    SQLAlchemy's own way takes some twenty microseconds a statement, of the hundred that a small
    commit may take; whoever listens to its statements hears this one too.

    Raises:
        DBAPIError: as a statement of the connection would.
    """
    raw: Any = connection.connection
    cursor: sqlite3.Cursor = raw.cursor()
    for hear in connection.engine.dispatch.before_cursor_execute:
        hear(connection, cursor, text, given, None, many)
    try:
        return cursor.executemany(text, given) if many else cursor.execute(text, given)
    except sqlite3.Error as error:
        raise DBAPIError.instance(
            text, None, error, sqlite3.Error, dialect=connection.dialect
        ) from error


def _text(write: Write, rows: int) -> str:
    """Return SQLite's statement for as many rows."""
    if isinstance(write, Insert):
        return _insertion(write.table, write.columns, write.unless, rows)
    return _change(write.table, write.columns, write.key, rows)


@lru_cache
def _insertion(table: str, columns: str, unless: str, rows: int) -> str:
    """Return the statement that inserts.

    A row that is refused leaves those before it to whoever takes the transaction back, as he must
    where rows come in several statements. So SQLite need not be able to take back a part of one: it
    would copy every page first, for a tenth of an insertion.
    """
    values = _values(columns.count(",") + 1, rows)
    return f"INSERT OR FAIL INTO {table} ({columns}) VALUES {values}{unless}"


@lru_cache
def _change(table: str, columns: str, key: str, rows: int) -> str:
    """Return the statement that changes; SQLite looks every given key up in the table's index."""
    names = columns.split(", ")
    if rows == 1:
        return f"UPDATE {table} SET {', '.join(f'{one} = ?' for one in names)} WHERE {key} = ?"
    changes = ", ".join(f"{one} = column{n}" for n, one in enumerate(names, 1))
    return (
        f"UPDATE {table} SET {changes} FROM (VALUES {_values(len(names) + 1, rows)}) "
        f"WHERE {key} = column{len(names) + 1}"
    )


def _values(columns: int, rows: int) -> str:
    """Return "(?, ?), (?, ?), ...", the marks of as many rows."""
    return ", ".join([f"({', '.join('?' * columns)})"] * rows)


def _at_once(write: Write) -> Query:
    """Return PostgreSQL's statement for all rows."""
    names = write.columns.split(", ")
    if isinstance(write, Update):
        names.append(write.key)
    elif len(write.rows) == 1:
        marks = ", ".join(["%s"] * len(names))
        into = f"INSERT INTO {write.table} ({write.columns}) VALUES ({marks}){write.unless}"
        return into, write.rows[0]
    arrays = ", ".join([_array(name) for name in names])
    columnwise = [list(values) for values in zip(*write.rows, strict=True)]
    if isinstance(write, Insert):
        into = f"INSERT INTO {write.table} ({write.columns})"
        return f"{into} SELECT * FROM unnest({arrays}){write.unless}", columnwise
    changes = ", ".join([f"{name} = new_{name}" for name in names[:-1]])
    given = ", ".join([f"new_{name}" for name in names])
    return (
        f"UPDATE {write.table} SET {changes} FROM unnest({arrays}) AS given ({given}) "
        f"WHERE {write.key} = new_{write.key}",
        columnwise,
    )


def _array(name: str) -> str:
    """Return the mark of a whole column; bytes go as they are, all else as text."""
    kind = _TYPES.get(name, "text")
    return f"{'%b' if kind == 'bytea' else '%s'}::{kind}[]"
