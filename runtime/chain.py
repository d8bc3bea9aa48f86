"""An append-only log chained by SHA-256, under the journal, the registry and the ledger.

Hash of an entry = SHA-256(previous hash || seq || at || kind || key || payload), each text and the
payload preceded by its length. Sequence numbers start at 1 and have no gap.
"""

import hashlib
import struct
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from runtime.database import WRITES, reading, transaction
from runtime.errors import EntryConflict, JournalBroken
from runtime.heads import Head, HeadAnchor, remembered
from runtime.statements import Insert, Query, Rows, Write, answer, run_all, tuples, write_all

__all__ = [
    "ChainedLog",
    "Draft",
    "Entry",
    "Head",
    "HeadAnchor",
    "genesis",
    "instant",
    "link",
    "linked",
    "micros",
]

_PAGE = 20_000  # entries read at a time
_HEADER = struct.Struct(">QqIII")  # seq, at, length of kind, key and payload
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_COLUMNS = "seq, kind, key, at, payload, hash"
_HEADS = "sluice_heads"  # of a connection's info: its transaction, and the heads read in it
Row: TypeAlias = tuple[int, str, str, int, bytes, bytes]  # in the order of the columns


class Draft(NamedTuple):  # a tuple: made once per row on the journal's hottest path
    """What a caller wants appended; (kind, key) is unique for ever."""

    kind: str
    key: str
    at: datetime  # UTC, from the caller's clock
    payload: bytes


class Entry(NamedTuple):
    """One entry as it stands in the log."""

    seq: int  # 1, 2, 3, ... without a gap
    kind: str
    key: str
    at: datetime  # UTC
    payload: bytes
    hash: str  # hex
    fresh: bool  # True if the call that returned it wrote it, False if it was there before


def micros(at: datetime) -> int:
    """Return microseconds since 1970 in UTC, exactly; ValueError if `at` carries no time zone."""
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} must carry a time zone")
    return (at - _EPOCH) // _MICROSECOND


def instant(at: int) -> datetime:
    """Return the UTC instant of `at` microseconds since 1970."""
    return _EPOCH + at * _MICROSECOND


def genesis(table: str) -> bytes:
    """Return the hash that stands before the first entry of a log; no two logs share it."""
    return hashlib.sha256(f"sluice chain of {table}".encode()).digest()


def link(previous: bytes, seq: int, at: int, kind: str, key: str, payload: bytes) -> bytes:
    """Return the hash of an entry; `at` is in microseconds since 1970 UTC."""
    kind_bytes, key_bytes = kind.encode(), key.encode()
    header = _HEADER.pack(seq, at, len(kind_bytes), len(key_bytes), len(payload))
    return hashlib.sha256(b"".join((previous, header, kind_bytes, key_bytes, payload))).digest()


def linked(seq: int, previous: bytes, drafts: Iterable[Draft]) -> list[Row]:
    """Return the rows that follow the entry `seq` of hash `previous`; `link`, for many at once."""
    pack, sha256, rows = _HEADER.pack, hashlib.sha256, list[Row]()
    known, at, last, kind_bytes = None, 0, None, b""  # rows mostly share both with the one before
    for kind, key, when, payload in drafts:
        seq += 1
        if when is not known:
            known, at = when, micros(when)
        if kind is not last:
            last, kind_bytes = kind, kind.encode()
        key_bytes = key.encode()
        header = pack(seq, at, len(kind_bytes), len(key_bytes), len(payload))
        previous = sha256(b"".join((previous, header, kind_bytes, key_bytes, payload))).digest()
        rows.append((seq, kind, key, at, payload, previous))
    return rows


def _heads(connection: Connection) -> dict[str, tuple[int, bytes]]:
    """Return the heads of the logs that a connection's transaction has locked, by table."""
    now, held = connection.get_transaction(), connection.info.get(_HEADS)
    if now is None:
        return {}
    if held is None or held[0]() is not now:
        held = connection.info[_HEADS] = (weakref.ref(now), {})
    heads: dict[str, tuple[int, bytes]] = held[1]
    return heads


class ChainedLog:
    """One hash-chained table in a database; several logs may share the database."""

    def __init__(self, engine: Engine, table: str) -> None:
        """Open the log, making its table if it is not there; `table` is a plain lower-case name."""
        if not (table.isascii() and table.isidentifier() and table == table.lower()):
            raise ValueError(f"{table!r} is not a plain lower-case table name")
        self.engine, self.table = engine, table
        self._genesis = genesis(table)
        self._postgres = engine.dialect.name == "postgresql"
        self._mark = "%s" if self._postgres else "?"
        self._columns = f"SELECT {_COLUMNS} FROM {table}"
        self._last = f"SELECT seq, hash FROM {table} ORDER BY seq DESC LIMIT 1"
        lock = int.from_bytes(self._genesis[:8], "big") >> 1
        self._lock = f"SELECT pg_advisory_xact_lock({lock})"  # of one writer, on PostgreSQL
        self._create()

    def _create(self) -> None:
        whole, blob = ("BIGINT", "BYTEA") if self._postgres else ("INTEGER", "BLOB")
        with transaction(self.engine) as connection:
            if self._postgres:
                connection.exec_driver_sql(self._lock)
            connection.exec_driver_sql(
                f"CREATE TABLE IF NOT EXISTS {self.table} (seq {whole} PRIMARY KEY, "
                "kind TEXT NOT NULL, key TEXT NOT NULL, at BIGINT NOT NULL, "
                f"payload {blob} NOT NULL, hash {blob} NOT NULL, UNIQUE (kind, key))"
            )

    def lock(self, connection: Connection, beside: Sequence[Query] = ()) -> list[Rows]:
        """Become the only writer of this log until the caller's transaction ends.

        Where the log stands is read with it, once a transaction: nobody else can move it then.

        Args:
            connection: inside `runtime.database.transaction`.
            beside: further statements in the same round trip, run once the lock is held.

        Returns:
            The rows of each of `beside`.

        Raises:
            JournalBroken: the connection is not inside `runtime.database.transaction`.
        """
        if not connection.get_execution_options().get(WRITES, False):
            raise JournalBroken(
                f"{self.table}: an append needs a writing transaction, runtime.database.transaction"
            )
        heads = _heads(connection)
        if self.table in heads:
            return run_all(connection, beside) if beside else []
        asked: list[Query] = [(self._lock, ())] if self._postgres else []
        answers = run_all(connection, [*asked, (self._last, ()), *beside])
        head = answers[len(asked)]
        if not connection.in_nested_transaction():  # a lock ends with the savepoint it came after
            heads[self.table] = (head[0][0], bytes(head[0][1])) if head else (0, self._genesis)
        return answers[len(asked) + 1 :]

    def standing(self, connection: Connection) -> int | None:
        """Return the last sequence number in the caller's locked transaction; None = not known."""
        head = _heads(connection).get(self.table)
        return None if head is None else head[0]

    def append(
        self, connection: Connection, kind: str, key: str, at: datetime, payload: bytes
    ) -> Entry:
        """Append one entry inside the caller's transaction; see `append_many`."""
        return self.append_many(connection, [Draft(kind=kind, key=key, at=at, payload=payload)])[0]

    def append_many(self, connection: Connection, drafts: Sequence[Draft]) -> list[Entry]:
        """Append entries in order inside the caller's transaction; repeats change nothing.

        Args:
            connection: from `runtime.database.transaction`.
            drafts: what to append.

        Returns:
            One entry per draft, in order; `fresh` is False where (kind, key) was there already.

        Raises:
            EntryConflict: (kind, key) is there already with another payload.
        """
        self.lock(connection)
        try:
            with connection.begin_nested():
                return [_entry(row, fresh=True) for row in self._write(connection, drafts)]
        except IntegrityError:
            return self._write_missing(connection, drafts)

    def extend(
        self, connection: Connection, drafts: Sequence[Draft], beside: Sequence[Write] = ()
    ) -> range:
        """Append entries whose keys the caller has found to be free, in its locked transaction.

        Returns:
            Their sequence numbers; `beside` is written with them, in the same round trip.

        Raises:
            EntryConflict: a key was not free.
        """
        self.lock(connection)
        try:
            rows = self._write(connection, drafts, beside)
        except IntegrityError as error:
            raise EntryConflict(
                f"{self.table}: one of {len(drafts)} entries, the first {drafts[0].kind} "
                f"{drafts[0].key}, is there already"
            ) from error
        return range(rows[0][0], rows[-1][0] + 1) if rows else range(0)

    def _write(
        self, connection: Connection, drafts: Sequence[Draft], beside: Sequence[Write] = ()
    ) -> list[Row]:
        heads = _heads(connection)
        seq, previous = heads.get(self.table) or self._raw_head(connection)
        heads.pop(self.table, None)  # until what follows is written
        rows = linked(seq, previous, drafts)
        write_all(connection, [Insert(self.table, _COLUMNS, rows), *beside])
        if not connection.in_nested_transaction():
            heads[self.table] = rows[-1][::5] if rows else (seq, previous)
        return rows

    def _write_missing(self, connection: Connection, drafts: Sequence[Draft]) -> list[Entry]:
        """Append one by one, answering repeats with what stands."""
        entries = []
        for draft in drafts:
            standing = self.find(draft.kind, draft.key, connection)
            if standing is None:
                entries += [_entry(row, fresh=True) for row in self._write(connection, [draft])]
            elif standing.payload != draft.payload:
                raise EntryConflict(
                    f"{self.table}: entry {standing.seq} already holds {draft.kind} {draft.key} "
                    "with other content; entries are never changed, append a correction instead"
                )
            else:
                entries.append(standing)
        return entries

    def _raw_head(self, connection: Connection) -> tuple[int, bytes]:
        row = connection.exec_driver_sql(self._last).fetchone()
        return (0, self._genesis) if row is None else (row[0], bytes(row[1]))

    def _connection(self, connection: Connection | None) -> AbstractContextManager[Connection]:
        return reading(self.engine) if connection is None else nullcontext(connection)

    def head(self, connection: Connection | None = None) -> Head:
        """Return where the log stands; on a connection of its own if none is given."""
        with self._connection(connection) as open_connection:
            seq, value = self._raw_head(open_connection)
        return Head(seq=seq, hash=value.hex())

    def find(self, kind: str, key: str, connection: Connection | None = None) -> Entry | None:
        """Return the entry under (kind, key), or None."""
        query = f"{self._columns} WHERE kind = {self._mark} AND key = {self._mark}"
        with self._connection(connection) as open_connection:
            rows = answer(open_connection, query, (kind, key))
        return _entry(rows[0], fresh=False) if rows else None

    def entries(
        self, kind: str | None = None, after: int = 0, connection: Connection | None = None
    ) -> Iterator[Entry]:
        """Yield entries in order, of one kind or all, with a sequence number above `after`."""
        only = "" if kind is None else f" AND kind = {self._mark}"
        query = f"{self._columns} WHERE seq > {self._mark}{only} ORDER BY seq LIMIT {_PAGE}"
        while True:
            arguments = (after,) if kind is None else (after, kind)
            with self._connection(connection) as open_connection:
                rows = open_connection.exec_driver_sql(query, arguments).fetchall()
            yield from (_entry(row, fresh=False) for row in rows)
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

    def verify(self, anchors: Iterable[Head] = ()) -> Head:
        """Recompute the whole chain and return its head; see `proved` for what it raises."""
        head = Head(seq=0, hash=self._genesis.hex())
        for page in self.proved(anchors):
            head = Head(seq=page[-1][0], hash=bytes(page[-1][5]).hex())
        return head

    def proved(
        self, anchors: Iterable[Head] = (), connection: Connection | None = None
    ) -> Iterator[Sequence[Sequence[Any]]]:
        """Recompute the whole chain, yielding its rows page by page once they are proved.

        Args:
            anchors: heads remembered outside the database (`HeadAnchor.heads`); each must be met.
            connection: one to read on; a new one per page if none is given.

        Yields:
            Rows (seq, kind, key, at in microseconds, payload, hash), oldest first, none empty.

        Raises:
            JournalBroken: names the first sequence number that is missing, changed or cut off.
        """
        expected = remembered(anchors)
        seq, previous = 0, self._genesis
        query = f"{self._columns} WHERE seq > {self._mark} ORDER BY seq LIMIT {_PAGE}"
        while True:
            with self._connection(connection) as open_connection:
                rows = tuples(open_connection, query, (seq,))
            for row in rows:
                seq += 1
                if row[0] != seq:
                    raise JournalBroken(f"{self.table}: entry {seq} is missing, {row[0]} follows")
                recomputed = _recomputed(previous, row)
                if recomputed is None:
                    raise JournalBroken(
                        f"{self.table}: entry {seq} ({row[1]} {row[2]}) was changed"
                    )
                previous = recomputed
                if seq in expected and expected.pop(seq) != {previous.hex()}:
                    raise JournalBroken(
                        f"{self.table}: entry {seq} is not the one that was anchored outside"
                    )
            if rows:
                yield rows
            if len(rows) < _PAGE:
                break
        if expected:
            raise JournalBroken(
                f"{self.table}: entry {min(expected)} was anchored outside but the log ends at "
                f"{seq}"
            )


def _recomputed(previous: bytes, row: Sequence[Any]) -> bytes | None:
    """Return the entry's hash if what is stored still gives it, None if anything was changed."""
    seq, kind, key, at, payload, value = row
    try:  # a forger may have stored another type than the column's; SQLite lets him
        expected = link(previous, seq, at, kind, key, payload)
        return expected if expected == value else None
    except (TypeError, ValueError, AttributeError, struct.error):
        return None


def _entry(row: Sequence[Any], *, fresh: bool) -> Entry:
    seq, kind, key, at, payload, value = row
    return Entry(seq, kind, key, instant(at), bytes(payload), bytes(value).hex(), fresh)
