"""One signal run of 500 symbols and 40 features, from the online store to the announcing stream.

Ours is what trades: a signed bundle whose graph holds a LightGBM model, asked by the engine as the
live driver runs it. Features come from the online store in one read; plan, eight guardrails and
routes follow; the decision is committed to the chained journal, durably; the relay finds it there
and publishes its 500 signals on their stream. Wall clock from the features to the server's word
that the signals are in the stream. A tenth of the universe is held and turned over slowly.

The usual way makes the same signals of the same values: one HGETALL per symbol, pandas, LightGBM's
scikit-learn interface, checks on columns, an ORM row and commit per signal, an XADD per signal; it
plans and routes nothing. The parts are an MGET of the same blocks, the bare graph, the eight
guardrails alone, a bare sqlite3 commit of the same bytes and an XADD of the same message. All take
turns session by session on one Valkey and one disk; of three runs the best p95 counts.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
import onnxruntime
import pandas as pd
import redis
from sqlalchemy import create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from benchmarks.bench_tick import RUNS, Bare, Timed, committed, row, run_live, wide_policy
from featurestore.online import OnlineStore, open_online
from featurestore.online.cells import Update, pack
from featurestore.online.layout import Column
from featurestore.online.reader import OnlineReader
from featurestore.times import micros
from pipelines.compile import compile_strategy
from pipelines.models.export import convert
from pipelines.models.learners import Learner
from pipelines.strategy import Strategy
from runtime import guardrails, tick
from runtime.bundles.bundle import LoadedBundle, load_bundle
from runtime.bundles.contract import DeclaredInput
from runtime.bundles.golden import GoldenRow, golden_bytes
from runtime.bundles.inference import OUTPUTS, DecisionSession
from runtime.bundles.inputs import Array, Latest
from runtime.bundles.signing import load_trusted
from runtime.engine import fund
from runtime.journal.queries import JournalQueries
from runtime.streams import Message, Stream, open_stream
from runtime.streams.outbox import Outbox
from runtime.streams.places import Places
from runtime.streams.relay import Relay
from tests.fakes.graphs import tilt_bundle, tilt_files, tilt_manifest
from tests.fakes.market import XNYS, SyntheticMarket, open_bench
from tests.fakes.several import signer_in
from tests.servers import ValkeyServer, private_valkey

SYMBOLS = tuple(f"S{number:04d}" for number in range(500))
FEATURES = tuple(f"bench.f{number:02d}" for number in range(40))
HELD = 50  # symbols
TREES = {"n_estimators": 200, "num_leaves": 31, "learning_rate": 0.05}
SESSIONS = XNYS.sessions(date(2017, 1, 3), date(2017, 3, 10))
WARM = 6  # sessions that are not counted
USUAL_EVERY = 4  # sessions of the first run; the usual way is slow
AT_MOST = 2  # times the sum of the parts
P95_MS = 12.0
PERSISTENCE = 0.995  # of a feature, from one session to the next
Figure = dict[str, object]


@dataclass(frozen=True)
class _Run:
    """Milliseconds of every session counted."""

    ours: list[float]  # features to stream
    durable: list[float]  # features to commit
    usual: list[float]
    parts: dict[str, list[float]]
    orders: list[int]

    @property
    def bare(self) -> list[float]:
        """Return the sum of the parts, session by session."""
        return [sum(one) for one in zip(*self.parts.values(), strict=True)]


class _Signal(DeclarativeBase):
    """Tables of the usual way."""


class SignalRow(_Signal):
    """One signal, as an application with an ORM keeps it."""

    __tablename__ = "signals"
    id: Mapped[int] = mapped_column(primary_key=True)
    tick: Mapped[str]
    symbol: Mapped[str]
    score: Mapped[float]
    weight: Mapped[float]


def run() -> list[Figure]:
    """Return the figures of a signal run."""
    estimator, graph = _model()
    with private_valkey("everysec") as server:
        runs = []
        for number in range(RUNS):
            with TemporaryDirectory() as folder:
                runs.append(_measured(server, Path(folder), estimator, graph, usual=number == 0))
            server.client().flushall()
    return _figures(runs)


def _figures(runs: Sequence[_Run]) -> list[Figure]:
    ours = median([one for each in runs for one in each.ours])
    durable = median([one for each in runs for one in each.durable])
    bare = median([one for each in runs for one in each.bare])
    worst = min(float(np.quantile(each.ours, 0.95)) for each in runs)
    orders = round(median([one for each in runs for one in each.orders]))
    name = f"signal run, {len(SYMBOLS)} symbols x {len(FEATURES)} features, {orders} orders"
    whole = f"{name}, features to stream"
    parts = ", ".join(
        f"{part} {median([one for each in runs for one in each.parts[part]]):.2f}"
        for part in runs[0].parts
    )
    return [
        row(whole, ours, median(runs[0].usual), "HGETALL, pandas, ORM and XADD one by one"),
        row(
            f"{whole}, parts",
            ours,
            AT_MOST * bare,
            f"{AT_MOST} x the sum of its bare parts: {parts}",
        ),
        row(f"{whole}, p95", worst, P95_MS, "limit"),
        row(f"{name}, features to durable", durable, bare, "the sum of its bare parts"),
    ]


def _model() -> tuple[Any, bytes]:
    """Return a trained model and the decision graph that it is part of."""
    random = np.random.default_rng(3)
    rows = random.normal(size=(10_000, len(FEATURES)))
    target = rows[:, 0] - 0.5 * rows[:, 1] * rows[:, 2] + random.normal(size=len(rows))
    learner = Learner(kind="lightgbm", settings=TREES)
    estimator = learner.fit(rows, target)
    held = HELD

    def decide(xp, inputs):  # type: ignore[no-untyped-def]
        score = inputs.ranker(
            xp.stack([inputs[name] for name in inputs if name != "ranker"], axis=1)
        )
        rank = xp.argsort(xp.argsort(-score, stable=True), stable=True)
        return score, xp.astype(rank < held, xp.float64) / held

    strategy = Strategy(
        inputs={_short(name): Latest(feature=name) for name in FEATURES},
        models={"ranker": convert(learner, estimator, len(FEATURES))},
        decide=decide,
        parameters={"held": held},
    )
    return estimator, compile_strategy(strategy, len(SYMBOLS))


def _short(feature: str) -> str:
    return feature.partition(".")[2]


def _values() -> list[Array]:
    """Return the features of every session, shape (n, k) each, slow as features are."""
    random = np.random.default_rng(9)
    shape = len(SYMBOLS), len(FEATURES)
    found = [random.normal(size=shape)]
    noise = (1 - PERSISTENCE**2) ** 0.5
    for _ in SESSIONS[1:]:
        found.append(PERSISTENCE * found[-1] + noise * random.normal(size=shape))
    return found


def _bundle(folder: Path, graph: bytes) -> LoadedBundle:
    """Sign and load a bundle of the graph, as promotion leaves it."""
    session, random, golden = DecisionSession(graph), np.random.default_rng(5), []
    for day in range(3):
        inputs = {_short(name): random.normal(size=len(SYMBOLS)) for name in FEATURES}
        said = session.run(inputs)
        at = f"2016-0{day + 1}-29T21:00:00+00:00"
        golden.append(GoldenRow(at=at, inputs=inputs, score=said.score, weight=said.weight))
    declared = [
        DeclaredInput(name=_short(name), source=Latest(feature=name), view_hash="1" * 64)
        for name in FEATURES
    ]
    manifest = msgspec.structs.replace(
        tilt_manifest(SYMBOLS, schedule="daily"), study="signals", inputs=tuple(declared)
    )
    files = tilt_files(SYMBOLS) | {"graph.onnx": graph, "golden.parquet": golden_bytes(golden)}
    path = tilt_bundle(folder / "bundles", signer_in(folder), manifest=manifest, files=files)
    return load_bundle(path, load_trusted(folder / "keys" / "trusted.json"))


class _Stamped:
    """A stream that notes when its publish has returned."""

    def __init__(self, inner: Stream, done: Callable[[Sequence[Message]], object]) -> None:
        self._inner, self._done = inner, done

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def publish(self, messages: Sequence[Message]) -> tuple[str, ...]:
        """Publish, and say that it is done."""
        places = self._inner.publish(messages)
        self._done(messages)
        return places


@dataclass
class _Announced:
    """What the relay published last, and when."""

    at: float = 0.0  # seconds, of perf_counter
    message: Message | None = None

    def __post_init__(self) -> None:
        self.event = threading.Event()

    def done(self, messages: Sequence[Message]) -> None:
        """Note a publish that the server has acknowledged."""
        self.at, self.message = perf_counter(), messages[-1]
        self.event.set()

    def wait(self) -> tuple[float, Message]:
        """Return when the newest message was acknowledged, and the message."""
        if not self.event.wait(30) or self.message is None:
            raise TimeoutError("a decision was not announced within half a minute")
        self.event.clear()
        return self.at, self.message


def _measured(
    server: ValkeyServer, folder: Path, estimator: Any, graph: bytes, *, usual: bool
) -> _Run:
    """Run every session once, ours and its parts in turn, the usual way now and then."""
    market = SyntheticMarket(SYMBOLS, last=SESSIONS[-1].day)
    bench = open_bench(folder, market=market, policy=wide_policy())
    fund(bench.desk.journal, Decimal("20000000.00"), datetime(2017, 1, 1, tzinfo=UTC))
    store, announced = open_online(server.url, name="bench"), _Announced()
    journal = bench.desk.journal
    relay = Relay(
        outbox=Outbox(
            journal=JournalQueries(journal.engine, journal.account),
            places=Places(journal.engine),
            open_stream=lambda name: _Stamped(open_stream(server.url, name), announced.done),
        )
    )
    bundle = _bundle(folder, graph)
    engine = Timed(
        replace(
            bench.desk,
            bundle=bundle,
            approved=lambda: bundle.hash,
            reader=OnlineReader(store, FEATURES),
            committed=relay.wake,
        )
    )
    relay.start()
    peer, parts = _Usual(server, folder, estimator), _Parts(server, folder, graph)
    found = _Run(ours=[], durable=[], usual=[], parts=parts.times, orders=engine.orders)
    for number, (session, values) in enumerate(zip(SESSIONS, _values(), strict=True)):
        _bring_online(store, values, session.close)
        peer.given(values)
        engine.desk.clock.advance(session.close)  # type: ignore[attr-defined]
        with patch.object(tick, "judge", parts.listen):
            run_live(engine, session)
        at, message = announced.wait()
        found.ours.append(1000 * (at - engine.start))
        found.durable.append(1000 * engine.seconds[-1])
        parts.run(*committed(engine), message)
        if usual and number % USUAL_EVERY == 0:
            found.usual.append(1000 * peer.run(session.day.isoformat()))
    relay.stop()
    parts.bare.close()
    bench.close()
    for taken in (found.ours, found.durable, *found.parts.values()):
        del taken[:WARM]
    del found.orders[:WARM], found.usual[:1]
    return found


def _bring_online(store: OnlineStore, values: Array, close: datetime) -> None:
    """Write a session's features as materializing does."""
    known = np.full(values.shape, micros(close))
    columns = tuple(
        Column(feature=name, version_hash="0" * 64, freshness=10**12, availability=0)
        for name in FEATURES
    )
    packed = pack(values, known, known)
    store.backend.apply(Update(columns=columns, symbols=SYMBOLS, packed=packed, at=micros(close)))


class _Parts:
    """What a signal run cannot do without, each part bare."""

    def __init__(self, server: ValkeyServer, folder: Path, graph: bytes) -> None:
        self._client: Any = server.client()
        self._keys = [f"sluice:{{bench}}:b:{symbol}" for symbol in SYMBOLS]
        self._session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        self.bare = Bare([], folder / "bare.db")
        self.times: dict[str, list[float]] = {
            name: [] for name in ("read", "graph", "checks", "commit", "publish")
        }
        self._asked: tuple[Any, ...] = ()
        self._judge = guardrails.judge

    def listen(self, *asked: Any) -> Any:
        """Judge, and remember what was asked."""
        self._asked = asked
        return self._judge(*asked)

    def run(self, inputs: Mapping[str, Array], payload: bytes, message: Message) -> None:
        """Time each part on what the run before it saw."""
        given = dict(inputs)
        self._timed("read", lambda: self._client.mget(self._keys))
        self._timed("graph", lambda: self._session.run(OUTPUTS, given))
        self._timed("checks", lambda: self._judge(*self._asked))
        self.bare.tick([], payload)
        self.times["commit"].append(1000 * self.bare.seconds[-1])
        body = {"k": message.key, "p": message.payload}
        self._timed("publish", lambda: self._client.xadd("bare", body))

    def _timed(self, name: str, work: Callable[[], object]) -> None:
        start = perf_counter()
        work()
        self.times[name].append(1000 * (perf_counter() - start))


class _Usual:
    """The same signals as most programs make them."""

    def __init__(self, server: ValkeyServer, folder: Path, estimator: Any) -> None:
        self._client: Any = redis.Redis.from_url(server.url, protocol=2, decode_responses=True)
        self._estimator = estimator
        self._engine = create_engine(f"sqlite:///{folder / 'usual.db'}")
        event.listen(self._engine, "connect", _durable)
        _Signal.metadata.create_all(self._engine)

    def given(self, values: Array) -> None:
        """Write a session's features, one hash per symbol."""
        pipeline = self._client.pipeline(transaction=False)
        for symbol, each in zip(SYMBOLS, values.tolist(), strict=True):
            named = dict(zip(FEATURES, map(repr, each), strict=True))
            pipeline.hset(f"features:{symbol}", mapping=named)
        pipeline.execute()

    def run(self, day: str) -> float:
        """Make, check, keep and publish the signals of a session; return the seconds taken."""
        start = perf_counter()
        rows = [self._client.hgetall(f"features:{symbol}") for symbol in SYMBOLS]
        frame = pd.DataFrame(rows, index=pd.Index(SYMBOLS))[list(FEATURES)].astype(float)
        signals = pd.DataFrame({"score": self._estimator.predict(frame)}, index=frame.index)
        rank = signals["score"].rank(ascending=False, method="first")
        signals["weight"] = np.where(rank <= HELD, 1.0 / HELD, 0.0)
        _check(frame, signals)
        with Session(self._engine) as session:
            for symbol, one in signals.iterrows():
                session.add(
                    SignalRow(tick=day, symbol=symbol, score=one["score"], weight=one["weight"])
                )
                session.commit()
        for symbol, one in signals.iterrows():
            said = {"tick": day, "symbol": symbol, "score": one["score"], "weight": one["weight"]}
            self._client.xadd("usual", said)
        return perf_counter() - start


def _durable(connection: Any, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _check(frame: pd.DataFrame, signals: pd.DataFrame) -> None:
    """Eight checks on columns, as a script has them."""
    passed = (
        np.isfinite(frame).all(axis=None),
        (frame.std() > 0).all(),
        (frame.abs().max() < 10).all(),
        np.isfinite(signals).all(axis=None),
        signals["weight"].abs().max() <= 0.1,
        signals["weight"].abs().sum() <= 1.0 + 1e-9,
        signals.index.is_unique,
        (signals["weight"] > 0).sum() <= 100,
    )
    if not all(passed):
        raise RuntimeError(f"a check failed: {passed}")


if __name__ == "__main__":
    for each in run():
        print(each)
