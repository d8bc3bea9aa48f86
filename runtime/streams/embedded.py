"""A stream in one SQLite file: the same semantics with nothing to operate, and kill -9 survived.

    head     last number given out          message  the log
    reader   group and its cursor           pending  handed out, not acknowledged
    dead     poison messages of a group

A publish is one transaction that is on disk when it returns (WAL, synchronous=FULL). Handing out
and acknowledging use synchronous=NORMAL: a power cut may forget the last of them, and then those
messages come again, which consumers must bear anyway. Several processes may share the file.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Condition, RLock

from runtime.clock import Clock, WallClock
from runtime.errors import GroupUnknown, StreamUnavailable
from runtime.streams.port import NO_WAIT, Buried, Delivery, Lag, Message, checked_name

BUSY_TIMEOUT = 30.0  # seconds to wait for another process
POLL = 0.005  # seconds between looks at the file while waiting; our own publishes wake at once
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TABLES = """
CREATE TABLE IF NOT EXISTS head (stream TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS message (
    stream TEXT, seq INTEGER, key TEXT NOT NULL, payload BLOB NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (stream, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reader (
    stream TEXT, name TEXT, cursor INTEGER NOT NULL, PRIMARY KEY (stream, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pending (
    stream TEXT, reader TEXT, seq INTEGER, consumer TEXT NOT NULL, since INTEGER NOT NULL,
    deliveries INTEGER NOT NULL, PRIMARY KEY (stream, reader, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead (
    stream TEXT, reader TEXT, seq INTEGER, key TEXT NOT NULL, payload BLOB NOT NULL,
    deliveries INTEGER NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (stream, reader, seq)) WITHOUT ROWID;
"""


class EmbeddedStream:
    """One stream in the file `path`; its folder must exist. Threads may share it."""

    def __init__(self, path: Path, name: str, *, clock: Clock | None = None) -> None:
        self._name = checked_name(name)
        self._path = path
        self._clock = clock if clock is not None else WallClock()
        self._lock = RLock()
        self._published = Condition(self._lock)
        with self._told():
            self._durable = self._connect("FULL")
            self._quick = self._connect("NORMAL")
            with self._writing(self._durable):
                for statement in _TABLES.strip().split(";\n"):
                    self._durable.execute(statement)
                self._durable.execute("INSERT OR IGNORE INTO head VALUES (?, 0)", (name,))

    @property
    def name(self) -> str:
        """Return the stream's name."""
        return self._name

    def publish(self, messages: Sequence[Message]) -> tuple[str, ...]:
        """Append messages, all or none; see the port."""
        if not messages:
            return ()
        name, at, n = self._name, self._now(), len(messages)
        with self._told(), self._published, self._writing(self._durable) as database:
            last: int = database.execute(
                "UPDATE head SET last = last + ? WHERE stream = ? RETURNING last", (n, name)
            ).fetchall()[0][0]
            places = range(last - n + 1, last + 1)
            database.executemany(
                "INSERT INTO message VALUES (?, ?, ?, ?, ?)",
                [
                    (name, seq, message.key, message.payload, at)
                    for seq, message in zip(places, messages, strict=True)
                ],
            )
        with self._published:
            self._published.notify_all()
        return tuple([str(seq) for seq in places])

    def subscribe(self, group: str, *, from_start: bool = True) -> None:
        """Make a group; see the port."""
        start = 0 if from_start else "(SELECT last FROM head WHERE stream = ?)"
        with self._told(), self._writing(self._durable) as database:
            database.execute(
                f"INSERT OR IGNORE INTO reader VALUES (?, ?, {start})",
                (self._name, checked_name(group), *(() if from_start else (self._name,))),
            )

    def read(
        self, group: str, consumer: str, *, count: int, wait: timedelta = NO_WAIT
    ) -> list[Delivery]:
        """Hand out new messages; see the port."""
        give_up = time.monotonic() + wait.total_seconds()
        with self._told(), self._published:
            while True:
                found = self._hand_out(group, consumer, count)
                left = give_up - time.monotonic()
                if found or left <= 0:
                    return found
                self._published.wait(min(left, POLL))

    def recover(self, group: str, consumer: str, *, idle: timedelta, count: int) -> list[Delivery]:
        """Hand out pending messages again; see the port."""
        now = self._now()
        with self._told(), self._writing(self._quick) as database:
            self._cursor(group)
            places = database.execute(
                "SELECT seq FROM pending WHERE stream = ? AND reader = ? AND since <= ? "
                "ORDER BY seq LIMIT ?",
                (self._name, group, now - idle // _MICROSECOND, count),
            ).fetchall()
            database.executemany(
                "UPDATE pending SET consumer = ?, since = ?, deliveries = deliveries + 1 "
                "WHERE stream = ? AND reader = ? AND seq = ?",
                [(consumer, now, self._name, group, seq) for (seq,) in places],
            )
            return [
                Delivery(str(seq), key, payload, deliveries)
                for (place,) in places
                for seq, key, payload, deliveries in database.execute(
                    "SELECT seq, key, payload, deliveries FROM pending JOIN message "
                    "USING (stream, seq) WHERE stream = ? AND reader = ? AND seq = ?",
                    (self._name, group, place),
                )
            ]

    def acknowledge(self, group: str, ids: Sequence[str]) -> int:
        """Mark messages as handled; see the port."""
        if not ids:
            return 0
        with self._told(), self._writing(self._quick) as database:
            return database.executemany(
                "DELETE FROM pending WHERE stream = ? AND reader = ? AND seq = ?",
                [(self._name, group, int(each)) for each in ids],
            ).rowcount

    def bury(self, group: str, delivery: Delivery, reason: str) -> bool:
        """Set a poison message aside; see the port."""
        place = (self._name, group, int(delivery.id))
        with self._told(), self._writing(self._durable) as database:
            found = database.execute(
                "DELETE FROM pending WHERE stream = ? AND reader = ? AND seq = ?", place
            ).rowcount
            if found:
                facts = (delivery.key, delivery.payload, delivery.deliveries, reason)
                database.execute("INSERT INTO dead VALUES (?, ?, ?, ?, ?, ?, ?)", (*place, *facts))
        return bool(found)

    def buried(self, group: str) -> list[Buried]:
        """Return the group's poison messages; see the port."""
        with self._told(), self._lock:
            rows = self._quick.execute(
                "SELECT seq, key, payload, deliveries, reason FROM dead "
                "WHERE stream = ? AND reader = ? ORDER BY seq",
                (self._name, group),
            ).fetchall()
        return [
            Buried(id=str(seq), key=key, payload=payload, deliveries=number, reason=reason)
            for seq, key, payload, number, reason in rows
        ]

    def revive(self, group: str, ids: Sequence[str]) -> int:
        """Publish poison messages once more; other groups drop them by key; see the port."""
        wanted = [each for each in self.buried(group) if each.id in set(ids)]
        self.publish([Message(each.key, each.payload) for each in wanted])
        with self._told(), self._writing(self._durable) as database:
            database.executemany(
                "DELETE FROM dead WHERE stream = ? AND reader = ? AND seq = ?",
                [(self._name, group, int(each.id)) for each in wanted],
            )
        return len(wanted)

    def groups(self) -> tuple[str, ...]:
        """Return the names of all groups, sorted."""
        with self._told(), self._lock:
            rows = self._quick.execute(
                "SELECT name FROM reader WHERE stream = ? ORDER BY name", (self._name,)
            ).fetchall()
        return tuple(name for (name,) in rows)

    def lag(self, group: str, *, now: datetime) -> Lag:
        """Tell how far a group is behind; see the port."""
        with self._told(), self._lock:
            cursor = self._cursor(group)
            waiting, first = self._quick.execute(
                "SELECT count(*), min(seq) FROM message WHERE stream = ? AND seq > ?",
                (self._name, cursor),
            ).fetchone()
            pending, oldest = self._quick.execute(
                "SELECT count(*), min(seq) FROM pending WHERE stream = ? AND reader = ?",
                (self._name, group),
            ).fetchone()
            place = oldest if oldest is not None else first
            row = self._quick.execute(
                "SELECT at FROM message WHERE stream = ? AND seq = ?", (self._name, place)
            ).fetchone()
        age = NO_WAIT if row is None else max(NO_WAIT, now - (_EPOCH + row[0] * _MICROSECOND))
        return Lag(waiting=waiting, pending=pending, age=age)

    def trim(self) -> int:
        """Remove what every group has acknowledged; see the port."""
        with self._told(), self._writing(self._quick) as database:
            return database.execute(
                "DELETE FROM message WHERE stream = :s AND seq <= (SELECT min(cursor) FROM reader "
                "WHERE stream = :s) AND seq < coalesce((SELECT min(seq) FROM pending "
                "WHERE stream = :s), 9223372036854775807)",
                {"s": self._name},
            ).rowcount

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._durable.close()
            self._quick.close()

    def _hand_out(self, group: str, consumer: str, count: int) -> list[Delivery]:
        if self._cursor(group) >= self._last():
            return []
        with self._writing(self._quick) as database:
            rows = database.execute(
                "SELECT seq, key, payload FROM message WHERE stream = ? AND seq > ? "
                "ORDER BY seq LIMIT ?",
                (self._name, self._cursor(group), count),
            ).fetchall()
            if not rows:
                return []
            now = self._now()
            database.executemany(
                "INSERT INTO pending VALUES (?, ?, ?, ?, ?, 1)",
                [(self._name, group, seq, consumer, now) for seq, _, _ in rows],
            )
            database.execute(
                "UPDATE reader SET cursor = ? WHERE stream = ? AND name = ?",
                (rows[-1][0], self._name, group),
            )
        return [Delivery(str(seq), key, payload, 1) for seq, key, payload in rows]

    def _cursor(self, group: str) -> int:
        row = self._quick.execute(
            "SELECT cursor FROM reader WHERE stream = ? AND name = ?", (self._name, group)
        ).fetchone()
        if row is None:
            raise GroupUnknown(
                f"stream {self._name} has no such group: {group}; subscribe it first"
            )
        return int(row[0])

    def _last(self) -> int:
        row = self._quick.execute("SELECT last FROM head WHERE stream = ?", (self._name,))
        return int(row.fetchone()[0])

    def _now(self) -> int:
        return (self._clock.now() - _EPOCH) // _MICROSECOND

    def _connect(self, synchronous: str) -> sqlite3.Connection:
        database = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        for attempt in range(500):  # the busy timeout does not cover this switch
            try:
                database.execute("PRAGMA journal_mode=WAL")
                break
            except sqlite3.OperationalError:
                if attempt == 499:
                    raise
                time.sleep(0.01)
        database.execute(f"PRAGMA synchronous={synchronous}")
        return database

    @contextmanager
    def _writing(self, database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        """Hold our lock and the file's in one transaction: all of the block, or nothing."""
        with self._lock:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise StreamUnavailable(
                f"stream {self._name} in {self._path}: {error}; is its folder there, writable and "
                "not full? The same call may be repeated, consumers drop repeats by key"
            ) from error
