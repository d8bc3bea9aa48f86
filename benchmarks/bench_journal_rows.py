"""Journal rows beside the bare driver at the same durability, on SQLite and PostgreSQL.

Both sides write the same columns in the same batches, in turn on the same disk or server, so a busy
neighbour slows both; figures are medians over batches. The peer writes prepared rows: it computes
no hash, no key and no double entry.

A fill is more than a row: it leaves its entry on the chain, its row with four indexes, a posting
for every account it touches and the new state of its order. The peer writes those very rows into
tables with the same keys and indexes. Ours alone takes the writer's lock, looks for executions that
are booked already, reads the orders, books FIFO and average cost in integers, encodes and hashes.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

from sqlalchemy import Engine

from runtime.chain import ChainedLog, Draft, micros
from runtime.database import SQLITE_PRAGMAS, open_database, transaction
from runtime.domain import Fill
from runtime.journal.store import Journal
from runtime.journal.tables import FILL, POSTING, Sql
from runtime.memory import settle
from tests.postgres import private_postgres
from tests.runtime.journal.trading import make_decision, make_fill, make_order

AT = datetime(2017, 1, 31, 21, tzinfo=UTC)
PAYLOAD = b'{"account":"paper","fill":{"price":"10.123456","quantity":"100","fee":"0.25"}}' * 2
BATCHES = {1: 200, 100: 60, 1000: 15}  # rows a commit -> commits timed on each side
FILLS, FILL_BATCH = 20_000, 100
ENTRY = "seq, kind, key, at, payload, hash"
AMOUNTS = ("quantity", "price", "fee", "amount", "filled")
LIMIT = 10.0  # seconds for a million rows

Run = Callable[[str, list[tuple[Any, ...]]], None]


@contextlib.contextmanager
def _driver(url: str) -> Iterator[tuple[Callable[[], None], Run, Callable[[], None]]]:
    """Yield begin, executemany and commit of the driver itself."""
    if url.startswith("sqlite"):
        bare = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        bare.execute("PRAGMA journal_mode=WAL")
        for pragma in SQLITE_PRAGMAS:
            bare.execute(pragma)
        yield (
            lambda: void(bare.execute("BEGIN IMMEDIATE")),
            lambda statement, rows: void(bare.executemany(statement, rows)),
            lambda: void(bare.execute("COMMIT")),
        )
        bare.close()
        return
    import psycopg

    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("SET synchronous_commit = on")
        with connection.cursor() as cursor:
            yield (
                lambda: void(cursor.execute("BEGIN")),
                lambda statement, rows: cursor.executemany(
                    statement.replace("?", "%s").encode(), rows
                ),
                lambda: void(cursor.execute("COMMIT")),
            )


def void(_: object) -> None:
    """Drop a result."""


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = perf_counter()
    work()
    return perf_counter() - start


def _appends(engine: Engine, url: str, name: str) -> list[dict[str, object]]:
    """Chained appends beside the same rows without a chain."""
    log, figures, blob = ChainedLog(engine, "journal"), [], "BLOB"
    if engine.dialect.name == "postgresql":
        blob = "BYTEA"
    with _driver(url) as (begin, many, commit):
        with transaction(engine) as connection:
            connection.exec_driver_sql(
                "CREATE TABLE bare (seq BIGINT PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, "
                f"at BIGINT NOT NULL, payload {blob} NOT NULL, hash {blob} NOT NULL, "
                "UNIQUE (kind, key))"
            )
        written = 0
        for batch, count in BATCHES.items():
            mine, theirs = [], []
            for _ in range(count):
                keys = [f"primary/{number:024d}" for number in range(written, written + batch)]
                rows = [
                    (written + n + 1, "fill", key, micros(AT), PAYLOAD, b"0" * 32)
                    for n, key in enumerate(keys)
                ]

                def ours(keys: list[str] = keys) -> None:
                    drafts = [Draft("fill", key, AT, PAYLOAD) for key in keys]
                    with transaction(engine) as connection:
                        log.extend(connection, drafts)

                def peer(rows: list[tuple[Any, ...]] = rows) -> None:
                    begin()
                    many("INSERT INTO bare VALUES (?, ?, ?, ?, ?, ?)", rows)
                    commit()

                mine.append(seconds(ours))
                theirs.append(seconds(peer))
                written += batch
            figures.append(
                _rates(f"journal append on {name}, {batch} a commit", batch, mine, theirs)
            )
    return figures


def _orders(journal: Journal, count: int) -> list[Fill]:
    """Journal orders enough and return two fills of each."""
    fills: list[Fill] = []
    for number in range(count // FILL_BATCH):
        tick, sign = f"t{number:06d}", 1 if number % 2 else -1
        orders = [make_order(sign * 100, f"S{n}", tick=tick) for n in range(FILL_BATCH // 2)]
        journal.record_decision(make_decision(orders, tick), orders)
        for order in orders:
            for size in (40, 60):
                price = f"{10 + len(fills) % 977 / 100:.2f}"
                fills.append(make_fill(size, price, "0.35", number=len(fills), of=order))
    return fills


def _fills(engine: Engine, url: str, name: str, count: int) -> list[dict[str, object]]:
    """Fills booked in double entry beside the bare driver writing the rows that resulted."""
    journal = Journal(engine)
    fills = _orders(journal, count)
    ChainedLog(engine, "bare")
    sql = Sql(engine.dialect.name)
    with transaction(engine) as connection:
        sql.create(connection, prefix="bare_")  # the same tables, keys and indexes
        connection.exec_driver_sql("INSERT INTO bare_orders SELECT * FROM journal_orders")
    mine, theirs, written = [], [], 0
    settle()  # as the live driver does, so that garbage of other things is not looked for here
    with _driver(url) as (begin, many, commit):
        for start in range(0, len(fills), FILL_BATCH):
            part, before = fills[start : start + FILL_BATCH], journal.head().seq
            mine.append(seconds(lambda part=part: journal.record_fills(part)))  # type: ignore[misc]
            entries = _written(engine, sql, "journal", ENTRY, before)
            rows = _written(engine, sql, "journal_fills", FILL, before)
            sides = _written(engine, sql, "journal_postings", POSTING, before)
            orders = _changed(engine, sql, {fill.order_id for fill in part})
            written += len(entries) + len(rows) + len(sides) + len(orders)

            def peer(
                entries: list[Any] = entries,
                rows: list[Any] = rows,
                sides: list[Any] = sides,
                orders: list[Any] = orders,
            ) -> None:
                begin()
                many(_insertion("bare", ENTRY), entries)
                many(_insertion("bare_fills", FILL), rows)
                many(_insertion("bare_postings", POSTING), sides)
                many(
                    "UPDATE bare_orders SET state = ?, filled = ?, updated_at = ? "
                    "WHERE order_id = ?",
                    orders,
                )
                commit()

            theirs.append(seconds(peer))
    each = written / len(fills)
    title = f"fills booked in double entry on {name}, {FILL_BATCH} a commit"
    said = f"bare driver, the same {each:.1f} prepared rows a fill into the same tables"
    return [{**_rates(title, FILL_BATCH, mine, theirs), "peer_name": said}, *_proof(journal, name)]


def _insertion(table: str, columns: str) -> str:
    marks = ", ".join("?" * (columns.count(",") + 1))
    return f"INSERT INTO {table} ({columns}) VALUES ({marks})"


def _written(engine: Engine, sql: Sql, table: str, columns: str, after: int) -> list[Any]:
    """Return the rows that a table has of entries above `after`, as the driver takes them."""
    query = f"SELECT {sql.texts(columns, AMOUNTS)} FROM {table} WHERE seq > ? ORDER BY seq"
    with engine.connect() as connection:
        return sql.tuples(connection, query, (after,))


def _changed(engine: Engine, sql: Sql, names: set[str]) -> list[Any]:
    """Return what orders were changed to, and which."""
    marks = ", ".join("?" * len(names))
    columns = sql.texts("state, filled, updated_at, order_id", AMOUNTS)
    query = f"SELECT {columns} FROM journal_orders WHERE order_id IN ({marks}) ORDER BY order_id"
    with engine.connect() as connection:
        return sql.tuples(connection, query, sorted(names))


def _proof(journal: Journal, name: str) -> list[dict[str, object]]:
    """Prove the chain, then chain, every row and every cent; CPU time beside the limit."""
    with journal.engine.connect() as connection:
        rows = sum(
            int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() or 0)
            for table in ("journal", "journal_fills", "journal_orders", "journal_postings")
        )
    entries = journal.head().seq
    found = []
    for what, deep, count in (
        ("chain entries", False, entries),
        ("rows, each derived again from the chain", True, rows),
    ):
        start = process_time()
        journal.verify(rows=deep)
        spent = (process_time() - start) / count * 1e6
        found.append(
            {
                "name": f"proof of a million {what}, {name} (timed on {count})",
                "ours": spent,
                "peer": LIMIT,
                "peer_name": "limit",
                "ratio": LIMIT / spent,
                "unit": "CPU s",
            }
        )
    return found


def _rates(name: str, batch: int, mine: list[float], theirs: list[float]) -> dict[str, object]:
    ours, peer = batch / median(mine), batch / median(theirs)
    return {
        "name": name,
        "ours": ours,
        "peer": peer,
        "peer_name": "bare driver, same columns and durability, no chain",
        "ratio": ours / peer,
        "unit": "rows/s",
    }


def run(fills: int = FILLS) -> list[dict[str, object]]:
    """Return the figures of both databases."""
    figures: list[dict[str, object]] = []
    with TemporaryDirectory() as name:
        for what, count in (("appends", 0), ("fills", fills)):
            url = f"sqlite:///{Path(name) / what}.db"
            engine = open_database(url)
            figures += (
                _fills(engine, url, "SQLite", count) if count else _appends(engine, url, "SQLite")
            )
            engine.dispose()
    with private_postgres(durable=True) as server:
        for count in (0, fills):
            with server.database() as url:
                engine = open_database(url)
                one = "PostgreSQL"
                figures += _fills(engine, url, one, count) if count else _appends(engine, url, one)
                engine.dispose()
    return figures


if __name__ == "__main__":
    for figure in run():
        print(figure)
