"""The journal: chained appends beside the bare driver, proof beside SHA-256, a split beside an LP.

Batches of both sides alternate on the same disk with the same durability (WAL, synchronous=FULL),
so a busy neighbour slows both; figures are medians over batches.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
from scipy.optimize import linprog

from runtime.chain import ChainedLog, Draft, micros
from runtime.database import open_database, transaction
from runtime.domain import OrderType, PlannedOrder, Quote, Side
from runtime.routing.router import route

AT = datetime(2017, 1, 31, 21, tzinfo=UTC)
BATCH, BATCHES = 100, 200
COLUMNS = "seq INTEGER PRIMARY KEY, kind TEXT, key TEXT, at BIGINT, payload BLOB, hash BLOB"
PAYLOAD = b'{"account":"paper","fill":{"price":"10.123456","quantity":"100","fee":"0.25"}}' * 2


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = perf_counter()
    work()
    return perf_counter() - start


def _append(folder: Path) -> tuple[list[dict[str, object]], ChainedLog]:
    """Append in batches of 100, chain included, beside sqlite3 writing the same columns."""
    engine = open_database(f"sqlite:///{folder / 'ours.db'}")
    log = ChainedLog(engine, "journal")
    bare = sqlite3.connect(folder / "bare.db", isolation_level=None)
    bare.execute("PRAGMA journal_mode=WAL")
    bare.execute("PRAGMA synchronous=FULL")
    bare.execute(f"CREATE TABLE journal ({COLUMNS}, UNIQUE (kind, key))")

    def ours(start: int) -> None:
        names = range(start, start + BATCH)
        drafts = [Draft("fill", f"primary/{name:024d}", AT, PAYLOAD) for name in names]
        with transaction(engine) as connection:
            log.extend(connection, drafts)

    def peer(start: int) -> None:
        names, at = range(start, start + BATCH), micros(AT)
        rows = [
            (name + 1, "fill", f"primary/{name:024d}", at, PAYLOAD, b"0" * 32) for name in names
        ]
        bare.execute("BEGIN IMMEDIATE")
        bare.executemany("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)", rows)
        bare.execute("COMMIT")

    mine, theirs = [], []
    for number in range(BATCHES):
        mine.append(seconds(lambda n=number: ours(n * BATCH)))  # type: ignore[misc]
        theirs.append(seconds(lambda n=number: peer(n * BATCH)))  # type: ignore[misc]
    bare.close()
    rates = BATCH / median(mine), BATCH / median(theirs)
    return [
        {
            "name": f"journal append, batches of {BATCH}, hash chain included",
            "ours": rates[0],
            "peer": rates[1],
            "peer_name": "bare sqlite3, no chain, same durability",
            "ratio": rates[0] / rates[1],
            "unit": "rows/s",
        }
    ], log


def _verify(log: ChainedLog) -> list[dict[str, object]]:
    """Prove the chain beside SHA-256 over the same bytes."""
    rows = log.head().seq
    blocks = [PAYLOAD + number.to_bytes(96, "big") for number in range(rows)]
    start = process_time()
    log.verify()
    ours = process_time() - start
    start = process_time()
    for block in blocks:
        hashlib.sha256(block).digest()
    peer = process_time() - start
    return [
        {
            "name": f"journal proof, per million entries (timed on {rows})",
            "ours": ours / rows * 1e6,
            "peer": peer / rows * 1e6,
            "peer_name": "SHA-256 alone over the same bytes",
            "ratio": peer / ours,
            "unit": "CPU s",
        }
    ]


def _books(random: np.random.Generator) -> list[Quote]:
    """Ten venues with five levels each."""
    return [
        Quote(
            venue=f"v{venue}",
            symbol="AAA",
            bid=Decimal(int(9_990 - 2 * level - random.integers(0, 5))) / 100,
            ask=Decimal(int(10_010 + 2 * level + random.integers(0, 5))) / 100,
            size=Decimal(int(random.integers(1, 10) * 100)),
            fee_rate=Decimal(int(random.integers(0, 30))) / 100_000,
            at=AT,
        )
        for venue in range(10)
        for level in range(5)
    ]


def _linear(quotes: Sequence[Quote], size: int) -> float:
    prices = [float(quote.ask * (1 + quote.fee_rate)) for quote in quotes]
    bounds = [(0.0, float(quote.size)) for quote in quotes]
    return float(linprog(prices, A_eq=[[1.0] * len(quotes)], b_eq=[size], bounds=bounds).fun)


def _routing() -> list[dict[str, object]]:
    """Split orders over 10 venues x 5 levels beside the linear programme; costs must agree."""
    random = np.random.default_rng(7)
    mine, theirs = [], []
    for _ in range(200):
        quotes, size = _books(random), int(random.integers(5, 120) * 100)
        planned = PlannedOrder(
            symbol="AAA",
            side=Side.BUY,
            quantity=Decimal(size),
            order_type=OrderType.MARKET,
            limit_price=Decimal(200),
            reference_price=Decimal(100),
            reason="bench",
        )
        start = perf_counter()
        chosen = route(planned, quotes)
        mine.append(perf_counter() - start)
        start = perf_counter()
        best = _linear(quotes, size)
        theirs.append(perf_counter() - start)
        if abs(float(chosen.cost) / best - 1) > 1e-9:
            raise AssertionError(f"the split costs {chosen.cost}, the linear programme {best}")
    ours, peer = 1e6 * median(mine), 1e6 * median(theirs)
    return [
        {
            "name": "exact split over 10 venues x 5 levels, explained",
            "ours": ours,
            "peer": peer,
            "peer_name": "linear programme (HiGHS), same cost",
            "ratio": peer / ours,
            "unit": "us",
        }
    ]


def run() -> list[dict[str, object]]:
    """Return the figures of chain, proof and router."""
    with TemporaryDirectory() as name:
        appended, log = _append(Path(name))
        proved = _verify(log)
        log.engine.dispose()
    return appended + proved + _routing()


if __name__ == "__main__":
    for figure in run():
        print(figure)
