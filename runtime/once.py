"""A request that is sent twice takes effect once: its key is stored in the effect's transaction.

While a request is worked on, every writing transaction of its context carries the key along
(`riding`): effect and key are committed together or not at all. Two requests under one key that
run at the same time meet at the key's row, and one of them leaves no effect.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, Engine

from runtime.chain import micros
from runtime.database import carried_along, reading, transaction
from runtime.errors import KeyPending

KEPT = timedelta(days=7)  # for which a key is remembered
_TABLE = (
    "CREATE TABLE IF NOT EXISTS request_keys (name TEXT PRIMARY KEY, what TEXT NOT NULL, "
    "ride TEXT NOT NULL, at BIGINT NOT NULL, status BIGINT, answer {blob})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that may come again."""

    key: str  # as the client chose it
    what: str  # SHA-256 over route and body, hex

    @classmethod
    def of(cls, key: str, method: str, path: str, body: bytes) -> "Asked":
        """Return what identifies a request and its content."""
        said = b"\x1f".join((method.encode(), path.encode(), body))
        return cls(key=key, what=hashlib.sha256(said).hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is remembered under a key."""

    what: str
    status: int | None  # None = the effect is there, its answer is not
    answer: bytes


@dataclass(slots=True)
class DatabaseKeys:
    """Keys of requests whose effect is in the runtime's database."""

    engine: Engine
    _made: bool = field(default=False)

    def find(self, key: str) -> Kept | None:
        """Return what is remembered under a key, None if nothing is."""
        self._make()
        query = f"SELECT what, status, answer FROM request_keys WHERE name = {self._mark}"
        with reading(self.engine) as connection:
            row = connection.exec_driver_sql(query, (key,)).fetchone()
        return (
            None if row is None else Kept(what=row[0], status=row[1], answer=bytes(row[2] or b""))
        )

    @contextmanager
    def riding(self, asked: Asked, at: datetime) -> Iterator[None]:
        """Commit the key with whatever this context commits while the block runs.

        Raises:
            KeyPending: out of a transaction: another request has taken the key meanwhile.
        """
        ride, mark = secrets.token_hex(8), self._mark
        marks = ", ".join([mark] * 4)

        def along(connection: Connection) -> None:
            connection.exec_driver_sql(
                f"INSERT INTO request_keys (name, what, ride, at) VALUES ({marks}) "
                "ON CONFLICT (name) DO NOTHING",
                (asked.key, asked.what, ride, micros(at)),
            )
            query = f"SELECT ride FROM request_keys WHERE name = {mark}"
            if connection.exec_driver_sql(query, (asked.key,)).scalar_one() != ride:
                raise KeyPending(f"key {asked.key!r} was taken by another request just now")

        self._make()
        with carried_along(along):
            yield

    def keep(self, asked: Asked, status: int, answer: bytes, at: datetime) -> None:
        """Remember the answer of a request whose key was committed; forget what is old."""
        mark = self._mark
        with transaction(self.engine) as connection:
            connection.exec_driver_sql(
                f"UPDATE request_keys SET status = {mark}, answer = {mark} "
                f"WHERE name = {mark} AND what = {mark}",
                (status, answer, asked.key, asked.what),
            )
            connection.exec_driver_sql(
                f"DELETE FROM request_keys WHERE at < {mark}", (micros(at - KEPT),)
            )

    @property
    def _mark(self) -> str:
        return "%s" if self.engine.dialect.name == "postgresql" else "?"

    def _make(self) -> None:
        if not self._made:
            postgres = self.engine.dialect.name == "postgresql"
            with transaction(self.engine) as connection:
                if postgres:  # two first processes would both make it
                    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(4917001)")
                blob = "BYTEA" if postgres else "BLOB"
                connection.exec_driver_sql(_TABLE.format(blob=blob))
            self._made = True


@dataclass(frozen=True, slots=True)
class FileKeys:
    """Keys of requests whose effect is in files, the kill switch: no database is needed.

    The key is written after the effect. A request that comes again in between has its effect
    again, which for a switch that is on, or off, is none.
    """

    folder: Path

    def find(self, key: str) -> Kept | None:
        """Return what is remembered under a key, None if nothing is."""
        try:
            kept = json.loads(self._path(key).read_text())
            return Kept(what=kept["what"], status=kept["status"], answer=kept["answer"].encode())
        except (OSError, ValueError, KeyError):
            return None

    @contextmanager
    def riding(self, asked: Asked, at: datetime) -> Iterator[None]:
        """Do nothing: there is no transaction to ride along with."""
        yield

    def keep(self, asked: Asked, status: int, answer: bytes, at: datetime) -> None:
        """Remember the answer, durably and in one step; OSError if the disk does not take it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(asked.key)
        partial = path.with_suffix(f".{secrets.token_hex(4)}")
        said = {"what": asked.what, "status": status, "answer": answer.decode()}
        with partial.open("w") as file:
            json.dump(said | {"at": at.isoformat()}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    def _path(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
