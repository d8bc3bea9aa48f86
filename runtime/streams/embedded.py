"""A stream in one SQLite file: the same semantics with nothing to operate, and kill -9 survived.

    head     last number given out          message  the log
    reader   group and its cursor           pending  handed out, not acknowledged
    dead     poison messages of a group

A publish is one transaction that is on disk when it returns (WAL, synchronous=FULL). Handing out
and acknowledging use synchronous=NORMAL: a power cut may forget the last of them, and then those
messages come again, which consumers must bear anyway.

Several processes may share the file. They take turns by a lock on a file beside it: the kernel
wakes the next one at once and frees the lock of who dies, where SQLite's own wait sleeps up to 100
milliseconds at a time.
"""

import fcntl
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

BUSY_TIMEOUT = 30.0  # seconds to wait for a program that does not know our lock, e.g. a backup
CHECKPOINT = (
    4000  # pages of the write-ahead log before they are moved; the mover waits for the disk
)
POLL = 0.005  # seconds between looks at the file while waiting; our own publishes wake at once
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TABLES = """
CREATE TABLE IF NOT EXISTS head (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, last INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS message (
    stream INTEGER, seq INTEGER, key TEXT NOT NULL, payload BLOB NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (stream, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reader (
    id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, name TEXT NOT NULL, cursor INTEGER NOT NULL,
    UNIQUE (stream, name));
CREATE TABLE IF NOT EXISTS pending (
    reader INTEGER, seq INTEGER, consumer TEXT NOT NULL, since INTEGER NOT NULL,
    deliveries INTEGER NOT NULL, PRIMARY KEY (reader, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead (
    reader INTEGER, seq INTEGER, key TEXT NOT NULL, payload BLOB NOT NULL,
    deliveries INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (reader, seq)) WITHOUT ROWID;
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
            self._turns = path.with_name(f"{path.name}.lock").open("a")
            self._durable = self._connect("FULL")
            self._quick = self._connect("NORMAL")
            with self._writing(self._durable) as database:
                for statement in _TABLES.strip().split(";\n"):
                    database.execute(statement)
                database.execute("INSERT OR IGNORE INTO head (name, last) VALUES (?, 0)", (name,))
                self._id: int = database.execute(
                    "SELECT id FROM head WHERE name = ?", (name,)
                ).fetchone()[0]

    @property
    def name(self) -> str:
        """Return the stream's name."""
        return self._name

    def publish(self, messages: Sequence[Message]) -> tuple[str, ...]:
        """Append messages, all or none; see the port."""
        if not messages:
            return ()
        stream, at, n = self._id, self._now(), len(messages)
        with self._told(), self._published, self._writing(self._durable) as database:
            last: int = database.execute(
                "UPDATE head SET last = last + ? WHERE id = ? RETURNING last", (n, stream)
            ).fetchall()[0][0]
            places = range(last - n + 1, last + 1)
            database.executemany(
                "INSERT INTO message VALUES (?, ?, ?, ?, ?)",
                [
                    (stream, seq, message.key, message.payload, at)
                    for seq, message in zip(places, messages, strict=True)
                ],
            )
        with self._published:
            self._published.notify_all()
        return tuple([str(seq) for seq in places])

    def subscribe(self, group: str, *, from_start: bool = True) -> None:
        """Make a group; see the port."""
        with self._told(), self._writing(self._durable) as database:
            database.execute(
                "INSERT OR IGNORE INTO reader (stream, name, cursor) VALUES (?, ?, ?)",
                (self._id, checked_name(group), 0 if from_start else self._last()),
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
            reader, _ = self._reader(group)
            places = database.execute(
                "SELECT seq FROM pending WHERE reader = ? AND since <= ? ORDER BY seq LIMIT ?",
                (reader, now - idle // _MICROSECOND, count),
            ).fetchall()
            database.executemany(
                "UPDATE pending SET consumer = ?, since = ?, deliveries = deliveries + 1 "
                "WHERE reader = ? AND seq = ?",
                [(consumer, now, reader, seq) for (seq,) in places],
            )
            return [
                Delivery(str(place), key, payload, deliveries)
                for (place,) in places
                for key, payload, deliveries in database.execute(
                    "SELECT key, payload, deliveries FROM message JOIN pending USING (seq) "
                    "WHERE stream = ? AND reader = ? AND seq = ?",
                    (self._id, reader, place),
                )
            ]

    def release(self, group: str, consumer: str, found: Sequence[Delivery]) -> None:
        """Give messages back uncounted; see the port."""
        with self._told(), self._writing(self._quick) as database:
            reader, _ = self._reader(group)
            database.executemany(
                "UPDATE pending SET since = 0, deliveries = ? "
                "WHERE reader = ? AND seq = ? AND consumer = ?",
                [(each.deliveries - 1, reader, int(each.id), consumer) for each in found],
            )

    def acknowledge(self, group: str, ids: Sequence[str]) -> int:
        """Mark messages as handled; see the port."""
        if not ids:
            return 0
        with self._told(), self._writing(self._quick) as database:
            reader, _ = self._reader(group)
            return database.executemany(
                "DELETE FROM pending WHERE reader = ? AND seq = ?",
                [(reader, int(each)) for each in ids],
            ).rowcount

    def bury(self, group: str, delivery: Delivery, reason: str) -> bool:
        """Set a poison message aside; see the port."""
        with self._told(), self._writing(self._durable) as database:
            place = (self._reader(group)[0], int(delivery.id))
            found = database.execute(
                "DELETE FROM pending WHERE reader = ? AND seq = ?", place
            ).rowcount
            if found:
                facts = (delivery.key, delivery.payload, delivery.deliveries, reason)
                database.execute("INSERT INTO dead VALUES (?, ?, ?, ?, ?, ?)", (*place, *facts))
        return bool(found)

    def buried(self, group: str) -> list[Buried]:
        """Return the group's poison messages; see the port."""
        with self._told(), self._lock:
            rows = self._quick.execute(
                "SELECT seq, key, payload, deliveries, reason FROM dead WHERE reader = ? "
                "ORDER BY seq",
                (self._reader(group)[0],),
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
            reader, _ = self._reader(group)
            database.executemany(
                "DELETE FROM dead WHERE reader = ? AND seq = ?",
                [(reader, int(each.id)) for each in wanted],
            )
        return len(wanted)

    def groups(self) -> tuple[str, ...]:
        """Return the names of all groups, sorted."""
        with self._told(), self._lock:
            rows = self._quick.execute(
                "SELECT name FROM reader WHERE stream = ? ORDER BY name", (self._id,)
            ).fetchall()
        return tuple(name for (name,) in rows)

    def lag(self, group: str, *, now: datetime) -> Lag:
        """Tell how far a group is behind; see the port."""
        with self._told(), self._lock:
            reader, cursor = self._reader(group)
            waiting, first = self._quick.execute(
                "SELECT count(*), min(seq) FROM message WHERE stream = ? AND seq > ?",
                (self._id, cursor),
            ).fetchone()
            pending, oldest = self._quick.execute(
                "SELECT count(*), min(seq) FROM pending WHERE reader = ?", (reader,)
            ).fetchone()
            place = oldest if oldest is not None else first
            row = self._quick.execute(
                "SELECT at FROM message WHERE stream = ? AND seq = ?", (self._id, place)
            ).fetchone()
        age = NO_WAIT if row is None else max(NO_WAIT, now - (_EPOCH + row[0] * _MICROSECOND))
        return Lag(waiting=waiting, pending=pending, age=age)

    def trim(self) -> int:
        """Remove what every group has acknowledged; see the port."""
        with self._told(), self._writing(self._quick) as database:
            return database.execute(
                "DELETE FROM message WHERE stream = :s "
                "AND seq <= (SELECT min(cursor) FROM reader WHERE stream = :s) "
                "AND seq < coalesce((SELECT min(seq) FROM pending WHERE reader IN "
                "(SELECT id FROM reader WHERE stream = :s)), 9223372036854775807)",
                {"s": self._id},
            ).rowcount

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._durable.close()
            self._quick.close()
            self._turns.close()

    def _hand_out(self, group: str, consumer: str, count: int) -> list[Delivery]:
        if self._reader(group)[1] >= self._last():
            return []
        with self._writing(self._quick) as database:
            reader, cursor = self._reader(group)
            rows = database.execute(
                "SELECT seq, key, payload FROM message WHERE stream = ? AND seq > ? "
                "ORDER BY seq LIMIT ?",
                (self._id, cursor, count),
            ).fetchall()
            if not rows:
                return []
            now = self._now()
            database.executemany(
                "INSERT INTO pending VALUES (?, ?, ?, ?, 1)",
                [(reader, seq, consumer, now) for seq, _, _ in rows],
            )
            database.execute("UPDATE reader SET cursor = ? WHERE id = ?", (rows[-1][0], reader))
        return [Delivery(str(seq), key, payload, 1) for seq, key, payload in rows]

    def _reader(self, group: str) -> tuple[int, int]:
        """Return a group's number and cursor."""
        row: tuple[int, int] | None = self._quick.execute(
            "SELECT id, cursor FROM reader WHERE stream = ? AND name = ?", (self._id, group)
        ).fetchone()
        if row is None:
            raise GroupUnknown(
                f"stream {self._name} has no such group: {group}; subscribe it first"
            )
        return row

    def _last(self) -> int:
        row = self._quick.execute("SELECT last FROM head WHERE id = ?", (self._id,))
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
        database.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT}")
        return database

    @contextmanager
    def _writing(self, database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        """Hold our lock and the file's in one transaction: all of the block, or nothing."""
        with self._lock:
            fcntl.flock(self._turns, fcntl.LOCK_EX)
            try:
                database.execute("BEGIN IMMEDIATE")
                try:
                    yield database
                except BaseException:
                    database.execute("ROLLBACK")
                    raise
                database.execute("COMMIT")
            finally:
                fcntl.flock(self._turns, fcntl.LOCK_UN)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StreamUnavailable(
                f"stream {self._name} in {self._path}: {error}; is its folder there, writable and "
                "not full? The same call may be repeated, consumers drop repeats by key"
            ) from error
