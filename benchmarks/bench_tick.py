"""A tick from inputs to journalled, durable orders, against the bare parts and against its limit.

The peer runs the same graph with a bare onnxruntime session and commits the same bytes with a
bare sqlite3 connection at the same durability: no plan, no guardrail, no route, no chain. Once
every symbol is traded, as on an account's first day, and once a tenth of them, as on most days
after. Wall clock; the p99 of a few dozen ticks is close to the worst of them.
"""

import sqlite3
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from statistics import median
from time import perf_counter

import msgspec
import numpy as np
import onnxruntime

from runtime.bundles.inference import Decided, DecisionSession
from runtime.bundles.inputs import Array
from runtime.clock import ReplayClock
from runtime.database import open_database
from runtime.desk import Desk
from runtime.engine import fund
from runtime.history import History
from runtime.journal.store import Journal
from runtime.memory import settle
from runtime.policies.policy import Policy, default_policy
from runtime.tick import Moment, decide
from tests.fakes.graphs import tilt_graph, tilt_manifest
from tests.fakes.market import XNYS, SyntheticMarket, open_bench

ROUNDS = {20: 25, 500: 30, 3000: 8}  # symbols -> rounds
LIMITS = {500: 10.0, 3000: 50.0}  # symbols -> p99, ms
SESSION = XNYS.session(date(2017, 1, 6))


@dataclass(frozen=True)
class Few:
    """A decision session that keeps the largest weights alone."""

    inner: DecisionSession
    kept: int

    def run(self, inputs: Mapping[str, Array]) -> Decided:
        """Decide, and let go of all but the largest weights."""
        decided = self.inner.run(inputs)
        weight = decided.weight.copy()
        weight[np.argsort(weight)[: -self.kept]] = 0.0
        return Decided(score=decided.score, weight=weight)


def run() -> list[dict[str, object]]:
    """Time whole ticks on fresh journals, ours and the peer's interleaved."""
    figures = []
    for symbols in ROUNDS:
        for traded in (symbols, symbols // 10):
            with tempfile.TemporaryDirectory() as folder:
                figures += _measured(Path(folder), symbols, traded)
    return figures


def _measured(folder: Path, count: int, traded: int) -> list[dict[str, object]]:
    symbols = tuple(f"S{number:04d}" for number in range(count))
    market = SyntheticMarket(symbols, last=date(2017, 1, 31))
    manifest = tilt_manifest(symbols, schedule="daily")
    bench = open_bench(folder, market=market, manifest=manifest, policy=_wide())
    bundle = replace(bench.bundle, session=Few(bench.bundle.session, traded))  # type: ignore[arg-type]
    bars = bench.desk.feed.bars(symbols, SESSION.close)
    for venue in bench.desk.brokers:
        venue.on_bars(bars, SESSION.close)  # type: ignore[attr-defined]
    bare = onnxruntime.InferenceSession(tilt_graph(), providers=["CPUExecutionProvider"])
    ours, peer = [], []
    for number in range(ROUNDS[count]):
        journal = Journal(open_database(f"sqlite:///{folder / f'tick{number}.db'}"))
        fund(journal, Decimal("20000000.00"), datetime(2017, 1, 1, tzinfo=UTC))
        settle()  # as the live driver does before a session
        desk = replace(bench.desk, bundle=bundle, journal=journal, clock=ReplayClock(SESSION.close))
        seconds, inputs, size = _tick(desk, bars, traded)
        ours.append(seconds)
        peer.append(_bare(bare, inputs, size, folder / f"bare{number}.db"))
        journal.engine.dispose()
    bench.close()
    mine, theirs = 1000 * median(ours[1:]), 1000 * median(peer[1:])
    name = f"tick to durable orders, {count} symbols, {traded} traded"
    figures: list[dict[str, object]] = [
        {
            "name": name,
            "ours": mine,
            "peer": theirs,
            "peer_name": "bare onnxruntime run + bare sqlite3 commit of the same bytes",
            "ratio": theirs / mine,
            "unit": "ms",
        }
    ]
    if count in LIMITS:
        worst = 1000 * float(np.quantile(ours[1:], 0.99))
        figures.append(
            {
                "name": f"{name}, p99",
                "ours": worst,
                "peer": LIMITS[count],
                "peer_name": "limit",
                "ratio": LIMITS[count] / worst,
                "unit": "ms",
            }
        )
    return figures


def _tick(desk: Desk, bars: list, traded: int) -> tuple[float, dict, int]:  # type: ignore[type-arg]
    """Return seconds from inputs to committed orders, the inputs, and the bytes committed."""
    book = desk.journal.book()
    equity = book.equity({bar.symbol: bar.close for bar in bars})
    moment = Moment(
        session=SESSION, at=SESSION.close, bars=bars, book=book, equity=equity, breaks=()
    )
    history = History.of(desk.bundle.manifest, desk.calendar, desk.journal)
    settle()  # as the trading process does before a session
    start = perf_counter()
    record, orders = decide(desk, moment, history)
    committed = desk.journal.record_decision(record, orders)
    seconds = perf_counter() - start
    if not committed or len(orders) < traded:
        raise RuntimeError(f"only {len(orders)} of {traded} symbols were traded")
    size = sum(len(entry.payload) for entry in desk.journal.log.entries("decision"))
    return seconds, dict(record.inputs), size


def _bare(
    session: onnxruntime.InferenceSession,
    inputs: dict,
    size: int,
    path: Path,  # type: ignore[type-arg]
) -> float:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE log (seq INTEGER PRIMARY KEY, payload BLOB)")
    payload = b"x" * size
    start = perf_counter()
    session.run(["score", "weight"], inputs)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO log (payload) VALUES (?)", (payload,))
    connection.execute("COMMIT")
    seconds = perf_counter() - start
    connection.close()
    return seconds


def _wide() -> Policy:
    """The default policy with room for every symbol at once."""
    policy = default_policy()
    rate = msgspec.structs.replace(
        policy.rate, max_orders_per_tick=10_000, max_orders_per_session=10_000
    )
    return msgspec.structs.replace(policy, rate=rate)
