"""The journal beside its floors: a file with fdatasync, bare SQLite, the ORM, PostgreSQL, SHA-256.

Every writer is given the same drafts and leaves the same chained entries with the same durability;
all hash with the platform's own `linked`, so they differ in how they store alone. They take turns
commit by commit on the same disk, so a busy neighbour slows all of them; rates are those of the
median commit. The file is the floor: it keeps no key unique and finds nothing again. The drivers
write the columns and the unique key that ours has, and remember where the chain stands; ours takes
the writer's lock and reads it, since other processes write too.

`/var/tmp` is where files outlive a restart, so it lies on a disk and an fsync there is one.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import msgspec
import psycopg
from sqlalchemy import LargeBinary, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from runtime.chain import ChainedLog, Draft, Row, genesis, linked
from runtime.database import SQLITE_PRAGMAS, open_database, transaction
from runtime.memory import settle
from tests.postgres import private_postgres

AT = datetime(2017, 1, 31, 21, tzinfo=UTC)
COMMITS = {1: 1500, 100: 300}  # rows a commit -> commits timed of each writer
# Commits of a hundred of each writer that nobody times: SQLite's log reaches its size, and is
# written over ever after, which takes less than to make it longer.
BEFORE = 160
INSERT = "INSERT INTO bare VALUES (?, ?, ?, ?, ?, ?)"
ROWS, ROUNDS = 1000, 25  # rows chained in memory; rounds of which the median counts
STORED, READS = 20_000, 7  # rows of a chain on disk; rounds of which the median counts
TURNS = 50  # orders in which the writers come
DISK = Path("/var/tmp")
PREVIOUS = genesis("journal")

Write = Callable[[Sequence[Draft]], object]


class Fill(msgspec.Struct, frozen=True):
    """What is journalled: eight columns beside the four of its entry."""

    order_id: str
    venue: str
    symbol: str
    side: str
    quantity: int
    price: int  # ten-thousandths of USD
    fee: int  # ten-thousandths of USD
    state: str


class Base(DeclarativeBase):
    """Root of the ORM's tables."""


class OrmEntry(Base):
    """An entry as the ORM keeps it."""

    __tablename__ = "orm"
    __table_args__ = (UniqueConstraint("kind", "key"),)
    seq: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    key: Mapped[str]
    at: Mapped[int]
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


def fill_of(number: int) -> Fill:
    """Return a fill unlike any other."""
    return Fill(
        order_id=f"{number:012x}",
        venue="primary",
        symbol=f"S{number % 500:03d}",
        side="BUY" if number % 2 else "SELL",
        quantity=100 + number % 900,
        price=100_000 + number % 7919,
        fee=3_500,
        state="FILLED",
    )


def drafts_of(numbers: range) -> list[Draft]:
    """Return drafts, encoded."""
    encode = msgspec.json.Encoder(order="deterministic").encode
    return [Draft("fill", f"primary/{n:024d}", AT, encode(fill_of(n))) for n in numbers]


class Chain:
    """Where the chain of a peer stands."""

    def __init__(self, table: str) -> None:
        """Begin before the first entry."""
        self.seq, self.previous = 0, genesis(table)

    def rows(self, drafts: Sequence[Draft]) -> list[Row]:
        """Return the next rows."""
        rows = linked(self.seq, self.previous, drafts)
        self.seq, self.previous = rows[-1][0], rows[-1][5]
        return rows


@contextlib.contextmanager
def ours(url: str) -> Iterator[Write]:
    """The platform's own log."""
    engine = open_database(url)
    log = ChainedLog(engine, "journal")

    def write(drafts: Sequence[Draft]) -> None:
        with transaction(engine) as connection:
            log.extend(connection, drafts)

    yield write
    log.verify()
    engine.dispose()


@contextlib.contextmanager
def file(path: Path) -> Iterator[Write]:
    """A file that is appended to, fdatasync after each commit."""
    chain = Chain("file")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(drafts: Sequence[Draft]) -> None:
        pieces: list[bytes] = []
        for seq, kind, key, at, payload, value in chain.rows(drafts):
            pieces += (b"%d %b %b %d " % (seq, kind.encode(), key.encode(), at), payload, value)
        os.write(descriptor, b"".join(pieces))
        os.fdatasync(descriptor)

    yield write
    os.close(descriptor)


@contextlib.contextmanager
def bare_sqlite(path: Path) -> Iterator[Write]:
    """Bare sqlite3 with our settings, synchronous=FULL among them."""
    chain = Chain("bare")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as bare:
        bare.execute("PRAGMA journal_mode=WAL")
        for pragma in SQLITE_PRAGMAS:
            bare.execute(pragma)
        bare.execute(
            "CREATE TABLE bare (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, "
            "at BIGINT NOT NULL, payload BLOB NOT NULL, hash BLOB NOT NULL, UNIQUE (kind, key))"
        )

        def write(drafts: Sequence[Draft]) -> None:
            bare.execute("BEGIN IMMEDIATE")
            bare.executemany(INSERT, chain.rows(drafts))
            bare.execute("COMMIT")

        yield write


@contextlib.contextmanager
def orm(url: str) -> Iterator[Write]:
    """SQLAlchemy's ORM over the same kind of database."""
    chain, engine = Chain("orm"), open_database(url)
    Base.metadata.create_all(engine)

    def write(drafts: Sequence[Draft]) -> None:
        with Session(engine) as session:
            session.add_all(
                OrmEntry(seq=seq, kind=kind, key=key, at=at, payload=payload, hash=value)
                for seq, kind, key, at, payload, value in chain.rows(drafts)
            )
            session.commit()

    yield write
    engine.dispose()


@contextlib.contextmanager
def bare_postgres(url: str) -> Iterator[Write]:
    """Psycopg's executemany with synchronous_commit on."""
    chain = Chain("bare")
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as bare:
        bare.execute("SET synchronous_commit = on")
        bare.execute(
            "CREATE TABLE bare (seq BIGINT PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, "
            "at BIGINT NOT NULL, payload BYTEA NOT NULL, hash BYTEA NOT NULL, UNIQUE (kind, key))"
        )
        insert = INSERT.replace("?", "%s").encode()

        def write(drafts: Sequence[Draft]) -> None:
            with bare.transaction(), bare.cursor() as cursor:
                cursor.executemany(insert, chain.rows(drafts))

        yield write


def _timed(
    writers: dict[str, Write], batch: int, commits: int, first: int
) -> dict[str, list[float]]:
    """Return seconds of every commit of every writer, the writers in turn.

    Whoever comes after the ORM finds the caches full of its objects, so each comes after each.
    """
    took: dict[str, list[float]] = {name: [] for name in writers}
    mixed = Random(7)
    turns = [dict(mixed.sample(list(writers.items()), len(writers))) for _ in range(TURNS)]
    for number in range(commits):
        drafts = drafts_of(range(first + number * batch, first + (number + 1) * batch))
        for name, write in turns[number % TURNS].items():
            start = perf_counter()
            write(drafts)
            took[name].append(perf_counter() - start)
    return took


def _append() -> list[dict[str, object]]:
    """Durable appends, one and a hundred a commit."""
    found: list[dict[str, object]] = []
    settle()  # what the libraries made is nobody's garbage
    with TemporaryDirectory(dir=DISK) as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        server = stack.enter_context(private_postgres(durable=True))
        writers = {
            "ours": stack.enter_context(ours(f"sqlite:///{folder / 'ours.db'}")),
            "file": stack.enter_context(file(folder / "file.log")),
            "bare": stack.enter_context(bare_sqlite(folder / "bare.db")),
            "orm": stack.enter_context(orm(f"sqlite:///{folder / 'orm.db'}")),
            "postgres": stack.enter_context(bare_postgres(stack.enter_context(server.database()))),
        }
        _timed(writers, 100, BEFORE, 0)
        first = 100 * BEFORE
        for batch, commits in COMMITS.items():
            took = _timed(writers, batch, commits, first)
            first += batch * commits
            found += _rates(batch, took)
    return found


def _rates(batch: int, took: dict[str, list[float]]) -> list[dict[str, object]]:
    """Return the lines of one size of commit."""
    rate = {name: batch / median(seconds) for name, seconds in took.items()}
    what = f"durable journal append, {batch} a commit, hash chain included"
    if batch == 1:
        goals = [("orm", 1.8, "SQLAlchemy ORM"), ("file", 0.55, "append-only file + fdatasync")]
    else:
        goals = [
            ("orm", 7.0, "SQLAlchemy ORM"),
            ("postgres", 1.8, "PostgreSQL executemany"),
            ("file", 0.75, "append-only file + fdatasync"),
        ]
    found = [
        _line(f"{what}, {name}", rate["ours"], times * rate[name], f"{times:g} x {said}", "rows/s")
        for name, times, said in goals
    ]
    driver = "bare sqlite3, chain included"
    found.append(_line(f"{what}, driver", rate["ours"], rate["bare"], driver, "rows/s"))
    found.append(
        _line(
            f"bare sqlite3 beside the floor, {batch} a commit, hash chain included",
            rate["bare"],
            goals[-1][1] * rate["file"],
            f"{goals[-1][1]:g} x {goals[-1][2]}",
            "rows/s",
        )
    )
    tail = {name: 1e3 * quantiles(seconds, n=100)[98] for name, seconds in took.items()}
    found.append(_line(f"{what}, p99", tail["ours"], 2 * tail["file"], "2 x the file's p99", "ms"))
    return found


def _chained() -> list[dict[str, object]]:
    """Encode and chain in memory, and check what a database holds; CPU time."""
    fills, drafts = [fill_of(number) for number in range(ROWS)], drafts_of(range(ROWS))
    encode = msgspec.json.Encoder(order="deterministic").encode
    # Of an entry a chain hashes the hash before it, its numbers and lengths, and its texts.
    hashed = [
        PREVIOUS + bytes(28) + draft.kind.encode() + draft.key.encode() + draft.payload
        for draft in drafts
    ]
    plain = _plain(fills)
    parts = [slice(start, start + 100) for start in range(0, ROWS, 100)]

    def ours(part: slice) -> object:
        return [encode(fill) for fill in fills[part]], linked(0, PREVIOUS, drafts[part])

    def alone(part: slice) -> object:
        return [hashlib.sha256(whole).digest() for whole in hashed[part]]

    def usual(part: slice) -> object:
        return _usual(plain[part])

    took: dict[str, list[float]] = {"ours": [], "alone": [], "usual": []}
    for _ in range(ROUNDS):
        for name, work in (("ours", ours), ("alone", alone), ("usual", usual)):
            took[name].append(_cpu(lambda work=work: [work(part) for part in parts]))  # type: ignore[misc]
    mean = {name: 1e6 * median(seconds) / ROWS for name, seconds in took.items()}
    what = f"encode and chain, 100 rows at a time, {len(encode(fills[-1]))} bytes a row"
    return [
        _line(what, mean["ours"], mean["usual"] / 4, "a quarter of json.dumps + hexdigest", "us"),
        _line(
            f"{what}, SHA-256",
            mean["ours"],
            3 * mean["alone"],
            "3 x SHA-256 alone of the same bytes",
            "us",
        ),
        *_verified(),
    ]


def _plain(fills: Sequence[Fill]) -> list[dict[str, Any]]:
    """Return fills as dictionaries of twelve columns, their entry's four included."""
    return [
        {
            "seq": number + 1,
            "at": AT.isoformat(),
            "kind": "fill",
            "key": f"primary/{number:024d}",
            **msgspec.to_builtins(fill),
        }
        for number, fill in enumerate(fills)
    ]


def _usual(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the hashes of a chain as it is usually made: sorted JSON, then a hex digest."""
    previous, hashes = "", []
    for row in rows:
        text = json.dumps({**row, "previous": previous}, sort_keys=True)
        previous = hashlib.sha256(text.encode()).hexdigest()
        hashes.append(previous)
    return hashes


def _verified() -> list[dict[str, object]]:
    """Check a stored chain beside the usual way: the same columns, read and hashed again."""
    plain = _plain([fill_of(number) for number in range(STORED)])
    columns = list(plain[0])
    with TemporaryDirectory(dir=DISK) as name:
        engine = open_database(f"sqlite:///{Path(name) / 'ours.db'}")
        log = ChainedLog(engine, "journal")
        with transaction(engine) as connection:
            log.extend(connection, drafts_of(range(STORED)))
        with contextlib.closing(sqlite3.connect(Path(name) / "usual.db")) as bare:
            bare.execute(f"CREATE TABLE usual ({', '.join(columns)}, hash)")
            marks = ", ".join("?" * (len(columns) + 1))
            bare.executemany(
                f"INSERT INTO usual VALUES ({marks})",
                [(*row.values(), value) for row, value in zip(plain, _usual(plain), strict=True)],
            )
            bare.commit()

            def usual() -> None:
                found = bare.execute("SELECT * FROM usual ORDER BY seq").fetchall()
                again = _usual([dict(zip(columns, row, strict=False)) for row in found])
                if again != [row[-1] for row in found]:
                    raise AssertionError("the usual chain does not hold")

            ours, peer = [], []
            for _ in range(READS):
                ours.append(_cpu(log.verify))
                peer.append(_cpu(usual))
        engine.dispose()
    return [
        _line(
            "chain checked again, read from SQLite",
            1e6 * median(ours) / STORED,
            1e6 * median(peer) / STORED,
            "the same by json.dumps + hexdigest, 12 columns",
            "us",
        )
    ]


def _cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds of one call."""
    start = process_time()
    work()
    return process_time() - start


def _line(name: str, ours: float, peer: float, said: str, unit: str) -> dict[str, object]:
    faster = ours / peer if unit == "rows/s" else peer / ours
    return {
        "name": name,
        "ours": ours,
        "peer": peer,
        "peer_name": said,
        "ratio": faster,
        "unit": unit,
    }


def run() -> list[dict[str, object]]:
    """Return the figures."""
    return _append() + _chained()
