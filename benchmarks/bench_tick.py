"""A tick from inputs to journalled, durable orders, against the bare parts and against its limit.

Ticks are measured as the live driver runs them: session after session on one journal that holds
what was traded before; garbage is collected and the database's log emptied before each session and
not during it. From a session's bars to the durable commit, wall clock. Once every symbol is traded
and once a tenth of them.

The peer runs the same graph with a bare onnxruntime session and commits the same bytes with a
bare sqlite3 connection at the same durability: no plan, no guardrail, no route, no chain. Its own
p99 shows how much of ours is the disk's and the machine's. Of three runs the best p99 counts.
"""

import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from statistics import median
from time import perf_counter, thread_time
from typing import Any

import msgspec
import numpy as np
import onnxruntime

from featurestore.calendars import Session
from runtime.bundles.inference import OUTPUTS, Decided, DecisionSession
from runtime.bundles.inputs import Array
from runtime.checkpoint import empty_log
from runtime.desk import Desk
from runtime.domain import Order
from runtime.engine import Engine, fund
from runtime.journal.records import DecisionRecord
from runtime.memory import undisturbed
from runtime.policies.policy import Policy, default_policy
from runtime.tick import Moment
from tests.fakes.graphs import tilt_graph, tilt_manifest
from tests.fakes.market import XNYS, SyntheticMarket, open_bench

RUNS = 3
TICKS = {20: 25, 500: 30, 3000: 6}  # symbols -> ticks a run
WARM = 2  # ticks of each run that are not counted; everything is bought in the first
LIMITS = {500: 10.0, 3000: 50.0}  # symbols -> p99, ms
CAPITAL = Decimal("20000000.00")
BARE = "bare onnxruntime run + bare sqlite3 commit of the same bytes"


@dataclass
class Turning:
    """A decision session that turns over one symbol of `part`, and holds the rest as they are."""

    inner: DecisionSession
    part: int
    ticks: int = 0

    def run(self, inputs: Mapping[str, Array]) -> Decided:
        """Decide; of what the graph says only the scores are kept."""
        score = self.inner.run(inputs).score
        count, price = len(score), inputs["prices"][:, -1]
        half_a_unit = 0.5 * price / float(CAPITAL)
        weight = np.where(inputs["current"] > 0, (inputs["current"] + half_a_unit) / 0.98, 0.0)
        turned = np.arange(count) % self.part == self.ticks % self.part
        weight[turned] = (0.4 if self.ticks // self.part % 2 else 0.8) / count
        if self.ticks == 0:
            weight[:] = 0.6 / count
        self.ticks += 1
        return Decided(score=score, weight=weight)


@dataclass
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


@dataclass
class Timed(Engine):
    """An engine that times its decisions, from a tick's inputs to the commit of its orders."""

    desk: Desk
    seconds: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)  # seconds of CPU of the same ticks
    orders: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        Engine.__init__(self, self.desk)
        self.record: DecisionRecord | None = None
        self.start = self._began = 0.0  # seconds, of perf_counter and of CPU

    def _moment(self, *found: Any, **named: Any) -> Moment:
        self.start, self._began = perf_counter(), thread_time()
        return super()._moment(*found, **named)

    def _decide(self, moment: Moment) -> tuple[DecisionRecord | None, tuple[Order, ...]]:
        record, orders = super()._decide(moment)
        self.seconds.append(perf_counter() - self.start)
        self.busy.append(thread_time() - self._began)
        if record is None or (record.notes and record.notes[0].startswith("refused")):
            raise RuntimeError(f"nothing was decided: {record and record.notes}")
        self.orders.append(len([line for line in record.plan if not line.denied]))
        self.record = record
        return record, orders


class Bare:
    """The parts of a tick that cannot be left out, on their own."""

    def __init__(self, graphs: Sequence[bytes], path: Path) -> None:
        """Open sessions and a database file."""
        self._sessions = [
            onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
            for graph in graphs
        ]
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("CREATE TABLE log (seq INTEGER PRIMARY KEY, payload BLOB)")
        self.seconds: list[float] = []
        self.busy: list[float] = []

    def tick(self, inputs: Sequence[Mapping[str, Array]], payload: bytes) -> None:
        """Run each graph on its inputs and commit some bytes, the log emptied before as ours is."""
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        start, began = perf_counter(), thread_time()
        for session, given in zip(self._sessions, inputs, strict=True):
            session.run(OUTPUTS, dict(given))
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("INSERT INTO log (payload) VALUES (?)", (payload,))
        self._connection.execute("COMMIT")
        self.seconds.append(perf_counter() - start)
        self.busy.append(thread_time() - began)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def run() -> list[dict[str, object]]:
    """Time whole ticks, ours and the peer's interleaved."""
    figures = []
    for symbols in TICKS:
        for part in (1, 10):
            runs = [_measured(symbols, part) for _ in range(RUNS)]
            figures += _figures(symbols, symbols // part, runs)
    return figures


@dataclass(frozen=True)
class Measured:
    """Milliseconds of every tick of one run."""

    ours: list[float]
    bare: list[float]
    busy: list[float]  # of CPU, ours
    bare_busy: list[float]

    @classmethod
    def of(cls, engine: Timed, bare: Bare, warm: int) -> "Measured":
        """Return what was timed, but for the first ticks."""
        every = (engine.seconds, bare.seconds, engine.busy, bare.busy)
        return cls(*([1000 * one for one in taken[warm:]] for taken in every))


def _measured(count: int, part: int) -> Measured:
    """Run ticks of one size once, ours and the peer's in turn."""
    symbols = tuple(f"S{number:04d}" for number in range(count))
    first, last = date(2017, 1, 6), date(2017, 3, 31)
    market = SyntheticMarket(symbols, last=last)
    manifest = tilt_manifest(symbols, schedule="daily")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = open_bench(folder, market=market, manifest=manifest, policy=wide_policy())
        fund(bench.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
        turning = Turning(bench.bundle.session, part)
        bundle = replace(bench.bundle, session=turning)  # type: ignore[arg-type]
        engine = Timed(replace(bench.desk, bundle=bundle))
        bare = Bare([tilt_graph()], folder / "bare.db")
        for session in XNYS.sessions(first, last)[: WARM + TICKS[count]]:
            engine.desk.clock.advance(session.close)  # type: ignore[attr-defined]
            run_live(engine, session)
            inputs, payload = committed(engine)
            bare.tick([inputs], payload)
        bare.close()
        bench.close()
    wanted = count // part
    if min(engine.orders) < wanted or max(engine.orders[1:]) > wanted:
        raise RuntimeError(f"{engine.orders} orders in ticks of {wanted}")
    return Measured.of(engine, bare, WARM)


def run_live(engine: Timed, session: Session) -> None:
    """Run a session as the live driver does."""
    empty_log(engine.desk.journal.engine)
    with undisturbed():
        engine.run_session(session)


def committed(engine: Timed) -> tuple[Mapping[str, Array], bytes]:
    """Return what the graph was given at the newest tick, and what was chained for it."""
    record, journal = engine.record, engine.desk.journal
    if record is None:
        raise RuntimeError("nothing was decided")
    entry = journal.log.find("decision", f"{journal.account}/{record.bundle}/{record.tick}")
    if entry is None:
        raise RuntimeError(f"the decision of {record.tick} is not in the journal")
    return record.inputs, entry.payload


def _figures(count: int, traded: int, runs: Sequence[Measured]) -> list[dict[str, object]]:
    name = f"tick to durable orders, {count} symbols, {traded} traded"
    return figures_of(name, runs, LIMITS.get(count))


def figures_of(name: str, runs: Sequence[Measured], limit: float | None) -> list[dict[str, object]]:
    """Return the rows of one size: medians over all runs, and the best of their p99."""

    def middle(side: str) -> float:
        return median([one for run in runs for one in getattr(run, side)])

    figures = [
        row(name, middle("ours"), middle("bare"), BARE),
        row(f"{name}, CPU", middle("busy"), middle("bare_busy"), BARE, unit="CPU ms"),
    ]
    if limit is not None:
        worst, bare = (min(p99(getattr(run, side)) for run in runs) for side in ("ours", "bare"))
        figures.append(row(f"{name}, p99", worst, limit, "limit"))
        figures.append(row(f"{name}, p99 beside the bare one", worst, bare, f"{BARE}, p99"))
    return figures


def p99(values: list[float]) -> float:
    """Return the 99th percentile; of a few dozen values close to the largest."""
    return float(np.quantile(values, 0.99))


def row(name: str, ours: float, peer: float, peer_name: str, unit: str = "ms") -> dict[str, object]:
    """Return one figure; a ratio above 1 is better than the peer."""
    return {
        "name": name,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "ratio": peer / ours,
        "unit": unit,
    }


def wide_policy() -> Policy:
    """The default policy with room for every symbol at once, again and again."""
    policy = default_policy()
    rate = msgspec.structs.replace(
        policy.rate, max_orders_per_tick=10_000, max_orders_per_session=10_000, max_repeats=100
    )
    return msgspec.structs.replace(policy, rate=rate)
