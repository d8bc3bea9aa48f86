"""A stream in SQLite: the same semantics with nothing to operate, and kill -9 survived.

    streams.db          head     last number given out       message  the log
    streams.db-readers  reader   group and its cursor        pending  handed out, not acknowledged
                        dead     poison messages of a group

Two files, so that a reader never waits while a publisher waits for the disk. A publish is one
transaction that is on disk when it returns (WAL, synchronous=FULL). Handing out and acknowledging
use synchronous=NORMAL: a power cut may forget the last of them, and then those messages come again,
which consumers must bear anyway. Several processes may share the files.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Condition

from runtime.clock import Clock, WallClock
from runtime.errors import GroupUnknown, StreamUnavailable
from runtime.streams.port import NO_WAIT, Buried, Delivery, Lag, Message, checked_name
from runtime.streams.shelf import Shelf

# Seconds between looks at the file while waiting; our own publishes wake at once. While messages
# flow the next one is near, so looks begin close together and drift apart as the wait goes on.
SHORTEST_POLL, LONGEST_POLL = 0.0005, 0.005
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LOG = """
CREATE TABLE IF NOT EXISTS head (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, last INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS message (
    stream INTEGER, seq INTEGER, key TEXT NOT NULL, payload BLOB NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (stream, seq)) WITHOUT ROWID;
"""
_READERS = """
CREATE TABLE IF NOT EXISTS reader (
    id INTEGER PRIMARY KEY, stream TEXT NOT NULL, name TEXT NOT NULL, cursor INTEGER NOT NULL,
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
        self._published, self._news = Condition(), 0  # publishes of this object so far
        with self._told():
            self._log = Shelf(path, _LOG, synchronous="FULL")
            self._readers = Shelf(
                path.with_name(f"{path.name}-readers"), _READERS, synchronous="NORMAL"
            )
            with self._log.writing() as log:
                log.execute("INSERT OR IGNORE INTO head (name, last) VALUES (?, 0)", (name,))
            self._id: int = self._log.rows("SELECT id FROM head WHERE name = ?", (name,))[0][0]

    @property
    def name(self) -> str:
        """Return the stream's name."""
        return self._name

    @property
    def connection(self) -> int:
        """Return 0: a commit that returned is on disk, nothing is ever forgotten."""
        return 0

    def publish(self, messages: Sequence[Message]) -> tuple[str, ...]:
        """Append messages, all or none; see the port."""
        if not messages:
            return ()
        stream, at, n = self._id, self._now(), len(messages)
        with self._told(), self._log.writing() as log:
            last: int = log.execute(
                "UPDATE head SET last = last + ? WHERE id = ? RETURNING last", (n, stream)
            ).fetchall()[0][0]
            places = range(last - n + 1, last + 1)
            log.executemany(
                "INSERT INTO message VALUES (?, ?, ?, ?, ?)",
                [
                    (stream, seq, message.key, message.payload, at)
                    for seq, message in zip(places, messages, strict=True)
                ],
            )
        with self._published:
            self._news += 1
            self._published.notify_all()
        return tuple([str(seq) for seq in places])

    def subscribe(self, group: str, *, from_start: bool = True) -> None:
        """Make a group; see the port."""
        with self._told():
            with self._readers.writing() as readers:
                readers.execute(
                    "INSERT OR IGNORE INTO reader (stream, name, cursor) VALUES (?, ?, ?)",
                    (self._name, checked_name(group), 0 if from_start else self._last()),
                )
            self._readers.settle()

    def read(
        self, group: str, consumer: str, *, count: int, wait: timedelta = NO_WAIT
    ) -> list[Delivery]:
        """Hand out new messages; see the port."""
        began = time.monotonic()
        while True:
            seen = self._news
            with self._told():
                found = self._hand_out(group, consumer, count)
            waited = time.monotonic() - began
            left = wait.total_seconds() - waited
            if found or left <= 0:
                return found
            pause = min(LONGEST_POLL, max(SHORTEST_POLL, waited / 10))
            with self._published:
                if self._news == seen:
                    self._published.wait(min(left, pause))

    def recover(self, group: str, consumer: str, *, idle: timedelta, count: int) -> list[Delivery]:
        """Hand out pending messages again; see the port."""
        now = self._now()
        with self._told(), self._readers.writing() as readers:
            reader, _ = self._reader(group)
            due = readers.execute(
                "SELECT seq, deliveries + 1 FROM pending WHERE reader = ? AND since <= ? "
                "ORDER BY seq LIMIT ?",
                (reader, now - idle // _MICROSECOND, count),
            ).fetchall()
            readers.executemany(
                "UPDATE pending SET consumer = ?, since = ?, deliveries = ? "
                "WHERE reader = ? AND seq = ?",
                [(consumer, now, deliveries, reader, seq) for seq, deliveries in due],
            )
            return [
                Delivery(str(seq), key, payload, deliveries)
                for seq, deliveries in due
                for key, payload in self._log.rows(
                    "SELECT key, payload FROM message WHERE stream = ? AND seq = ?", (self._id, seq)
                )
            ]

    def release(self, group: str, consumer: str, found: Sequence[Delivery]) -> None:
        """Give messages back uncounted; see the port."""
        with self._told(), self._readers.writing() as readers:
            reader, _ = self._reader(group)
            readers.executemany(
                "UPDATE pending SET since = 0, deliveries = ? "
                "WHERE reader = ? AND seq = ? AND consumer = ?",
                [(each.deliveries - 1, reader, int(each.id), consumer) for each in found],
            )

    def acknowledge(self, group: str, ids: Sequence[str]) -> int:
        """Mark messages as handled; see the port."""
        if not ids:
            return 0
        with self._told(), self._readers.writing() as readers:
            reader, _ = self._reader(group)
            return readers.executemany(
                "DELETE FROM pending WHERE reader = ? AND seq = ?",
                [(reader, int(each)) for each in ids],
            ).rowcount

    def bury(self, group: str, delivery: Delivery, reason: str) -> bool:
        """Set a poison message aside; see the port."""
        with self._told(), self._readers.writing() as readers:
            place = (self._reader(group)[0], int(delivery.id))
            found = readers.execute(
                "DELETE FROM pending WHERE reader = ? AND seq = ?", place
            ).rowcount
            if found:
                facts = (delivery.key, delivery.payload, delivery.deliveries, reason)
                readers.execute("INSERT INTO dead VALUES (?, ?, ?, ?, ?, ?)", (*place, *facts))
        return bool(found)

    def buried(self, group: str) -> list[Buried]:
        """Return the group's poison messages; see the port."""
        with self._told():
            rows = self._readers.rows(
                "SELECT seq, key, payload, deliveries, reason FROM dead WHERE reader = ? "
                "ORDER BY seq",
                (self._reader(group)[0],),
            )
        return [
            Buried(id=str(seq), key=key, payload=payload, deliveries=number, reason=reason)
            for seq, key, payload, number, reason in rows
        ]

    def revive(self, group: str, ids: Sequence[str]) -> int:
        """Publish poison messages once more; other groups drop them by key; see the port."""
        wanted = [each for each in self.buried(group) if each.id in set(ids)]
        self.publish([Message(each.key, each.payload) for each in wanted])
        with self._told(), self._readers.writing() as readers:
            reader, _ = self._reader(group)
            readers.executemany(
                "DELETE FROM dead WHERE reader = ? AND seq = ?",
                [(reader, int(each.id)) for each in wanted],
            )
        return len(wanted)

    def groups(self) -> tuple[str, ...]:
        """Return the names of all groups, sorted."""
        with self._told():
            rows = self._readers.rows(
                "SELECT name FROM reader WHERE stream = ? ORDER BY name", (self._name,)
            )
        return tuple(name for (name,) in rows)

    def lag(self, group: str, *, now: datetime) -> Lag:
        """Tell how far a group is behind; see the port."""
        with self._told():
            reader, cursor = self._reader(group)
            [(waiting, first)] = self._log.rows(
                "SELECT count(*), min(seq) FROM message WHERE stream = ? AND seq > ?",
                (self._id, cursor),
            )
            [(pending, oldest)] = self._readers.rows(
                "SELECT count(*), min(seq) FROM pending WHERE reader = ?", (reader,)
            )
            place = oldest if oldest is not None else first
            row = self._log.rows(
                "SELECT at FROM message WHERE stream = ? AND seq = ?", (self._id, place)
            )
        age = max(NO_WAIT, now - (_EPOCH + row[0][0] * _MICROSECOND)) if row else NO_WAIT
        return Lag(waiting=waiting, pending=pending, age=age)

    def trim(self) -> int:
        """Remove what every group has acknowledged; see the port."""
        with self._told(), self._readers.writing() as readers:  # no group may begin meanwhile
            [(needed,)] = readers.execute(
                "SELECT min(coalesce((SELECT min(seq) FROM pending WHERE reader = reader.id), "
                "cursor + 1)) FROM reader WHERE stream = ?",
                (self._name,),
            ).fetchall()
            if needed is None:
                return 0
            with self._log.writing() as log:
                return log.execute(
                    "DELETE FROM message WHERE stream = ? AND seq < ?", (self._id, needed)
                ).rowcount

    def close(self) -> None:
        """Close the files."""
        self._log.close()
        self._readers.close()

    def _hand_out(self, group: str, consumer: str, count: int) -> list[Delivery]:
        if self._reader(group)[1] >= self._last():
            return []
        with self._readers.writing() as readers:
            reader, cursor = self._reader(group)
            rows = self._log.rows(
                "SELECT seq, key, payload FROM message WHERE stream = ? AND seq > ? "
                "ORDER BY seq LIMIT ?",
                (self._id, cursor, count),
            )
            if not rows:
                return []
            now = self._now()
            readers.executemany(
                "INSERT INTO pending VALUES (?, ?, ?, ?, 1)",
                [(reader, seq, consumer, now) for seq, _, _ in rows],
            )
            readers.execute("UPDATE reader SET cursor = ? WHERE id = ?", (rows[-1][0], reader))
        return [Delivery(str(seq), key, payload, 1) for seq, key, payload in rows]

    def _reader(self, group: str) -> tuple[int, int]:
        """Return a group's number and cursor."""
        found = self._readers.rows(
            "SELECT id, cursor FROM reader WHERE stream = ? AND name = ?", (self._name, group)
        )
        if not found:
            raise GroupUnknown(
                f"stream {self._name} has no such group: {group}; subscribe it first"
            )
        reader, cursor = found[0]
        return reader, cursor

    def _last(self) -> int:
        return int(self._log.rows("SELECT last FROM head WHERE id = ?", (self._id,))[0][0])

    def _now(self) -> int:
        return (self._clock.now() - _EPOCH) // _MICROSECOND

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


def names_in(path: Path) -> tuple[str, ...]:
    """Return the names of the streams in a file, sorted; none if there is no file."""
    if not path.is_file():
        return ()
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as log:
            rows = log.execute("SELECT name FROM head ORDER BY name").fetchall()
    except sqlite3.Error as error:
        raise StreamUnavailable(
            f"streams in {path}: {error}; is this the file that SLUICE_STREAMS_URL should name?"
        ) from error
    return tuple(name for (name,) in rows)
