"""Bytes beside a chained log: named by their SHA-256, never changed, checked when read."""

import hashlib
from collections.abc import Sequence

from sqlalchemy import Connection, Engine

from pipelines.errors import LedgerBroken
from runtime.database import reading, transaction

_LOCK = 0x51C1CE  # PostgreSQL advisory lock: two processes may create the table at once


class BlobTable:
    """A table of (hash, content)."""

    def __init__(self, engine: Engine, table: str) -> None:
        """Open the table, making it if it is not there; `table` is a plain lower-case name."""
        self._engine, self._table = engine, table
        postgres = engine.dialect.name == "postgresql"
        self._mark = "%s" if postgres else "?"
        with transaction(engine) as connection:
            if postgres:
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            connection.exec_driver_sql(
                f"CREATE TABLE IF NOT EXISTS {table} (hash TEXT PRIMARY KEY, "
                f"content {'BYTEA' if postgres else 'BLOB'} NOT NULL)"
            )

    def put(self, connection: Connection, content: bytes) -> str:
        """Keep the bytes inside the caller's transaction and return their SHA-256, hex."""
        return self.put_many(connection, [content])[0]

    def put_many(self, connection: Connection, contents: Sequence[bytes]) -> list[str]:
        """Keep several contents inside the caller's transaction; return their SHA-256, in order.

        The same bytes object given twice is hashed and kept once.
        """
        known: dict[int, str] = {}
        fresh: dict[str, bytes] = {}
        for content in contents:
            if id(content) not in known:
                known[id(content)] = hashlib.sha256(content).hexdigest()
                fresh[known[id(content)]] = content
        if fresh:
            connection.exec_driver_sql(
                f"INSERT INTO {self._table} (hash, content) VALUES ({self._mark}, {self._mark}) "
                "ON CONFLICT (hash) DO NOTHING",
                list(fresh.items()),
            )
        return [known[id(content)] for content in contents]

    def get(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return the bytes by name.

        Raises:
            LedgerBroken: one is missing, or its bytes are not what its name says.
        """
        found: dict[str, bytes] = {}
        with reading(self._engine) as connection:
            for name in dict.fromkeys(names):
                row = connection.exec_driver_sql(
                    f"SELECT content FROM {self._table} WHERE hash = {self._mark}", (name,)
                ).fetchone()
                if row is None:
                    raise LedgerBroken(f"{self._table}: {name[:12]} is missing")
                # A row edited by hand may come back as text on SQLite.
                content = row[0].encode() if isinstance(row[0], str) else bytes(row[0])
                if hashlib.sha256(content).hexdigest() != name:
                    raise LedgerBroken(f"{self._table}: the content of {name[:12]} was changed")
                found[name] = content
        return found
