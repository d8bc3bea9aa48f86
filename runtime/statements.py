"""Several statements at once: on PostgreSQL in one round trip, many rows in one statement.

A row that is sent by itself costs the server a parse, a plan and a message of its own. Rows go as
one array per column instead, in a statement that is one for any number of them and so prepared.
SQLite is a library: there a statement costs least where it goes to the driver itself, and rows
where some dozens share one statement.
"""

import sqlite3
from collections.abc import Sequence
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
_TOGETHER = 50  # rows of one statement on SQLite: a fifth cheaper than row by row


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
        if isinstance(one, Insert):
            whole = len(rows) - len(rows) % _TOGETHER
            for start in range(0, whole, _TOGETHER):
                values = [value for row in rows[start : start + _TOGETHER] for value in row]
                on_sqlite(connection, _row_by_row(one, _TOGETHER), values)
            rows = rows[whole:]
        if rows:
            on_sqlite(connection, _row_by_row(one), rows, many=True)


def on_sqlite(
    connection: Connection, text: str, given: Sequence[Any] = (), *, many: bool = False
) -> sqlite3.Cursor:
    """Run a statement on SQLite's driver, in the transaction that the connection is in.

    SQLAlchemy's own way takes some twenty microseconds a statement, of the hundred that a small
    commit may take; whoever listens to its statements hears this one too.

    Raises:
        DBAPIError: as a statement of the connection would.
    """
    raw: Any = connection.connection.driver_connection
    cursor: sqlite3.Cursor = raw.cursor()
    for hear in connection.dispatch.before_cursor_execute:
        hear(connection, cursor, text, given, None, many)
    try:
        return cursor.executemany(text, given) if many else cursor.execute(text, given)
    except sqlite3.Error as error:
        raise DBAPIError.instance(
            text, None, error, sqlite3.Error, dialect=connection.dialect
        ) from error


def _row_by_row(write: Write, rows: int = 1) -> str:
    """Return SQLite's statement for one row, or for as many as given of an insertion."""
    if isinstance(write, Update):
        changes = ", ".join(f"{name} = ?" for name in write.columns.split(", "))
        return f"UPDATE {write.table} SET {changes} WHERE {write.key} = ?"
    marks = ", ".join("?" * (write.columns.count(",") + 1))
    values = ", ".join([f"({marks})"] * rows)
    return f"INSERT INTO {write.table} ({write.columns}) VALUES {values}{write.unless}"


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
