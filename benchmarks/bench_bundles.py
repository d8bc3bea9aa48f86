"""Ten bundles in one account: a tick from shared inputs to one journalled plan, beside its limit.

The peer is what the same ten bundles cost in ten accounts of their own: ten times inputs, plan,
checks, routes and commit. Ticks are daily on an account that has traded before; wall clock from
the engine's decision to the durable commit.
"""

import tempfile
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from benchmarks.bench_tick import Few, _wide
from runtime.desk import Desk
from runtime.domain import Order
from runtime.engine import Engine, fund
from runtime.journal.records import DecisionRecord
from runtime.memory import settle
from runtime.tick import Moment
from tests.fakes.market import XNYS, SyntheticMarket, open_bench
from tests.fakes.several import joint_desk, members, tilted

BUNDLES = 10
SESSIONS = XNYS.sessions(date(2017, 1, 3), date(2017, 2, 10))
WARM = 5  # sessions that are not counted
KEPT = 20  # symbols that each bundle holds
LIMITS = {100: 20.0, 500: 20.0}  # symbols -> p99, ms


@dataclass
class Timed(Engine):
    """An engine that times its decisions."""

    desk: Desk
    seconds: list[float] = field(default_factory=list)
    orders: int = 0

    def __post_init__(self) -> None:
        Engine.__init__(self, self.desk)

    def _decide(self, moment: Moment) -> tuple[DecisionRecord | None, tuple[Order, ...]]:
        settle()  # as the trading process does before a session
        start = perf_counter()
        record, orders = super()._decide(moment)
        self.seconds.append(perf_counter() - start)
        if record is None or (record.notes and record.notes[0].startswith("refused")):
            raise RuntimeError(f"nothing was decided: {record and record.notes}")
        self.orders += len(orders)
        return record, orders


def run() -> list[dict[str, object]]:
    """Time ticks of ten bundles together and apart, interleaved by session."""
    figures = []
    for symbols in LIMITS:
        with tempfile.TemporaryDirectory() as folder:
            figures += _measured(Path(folder), symbols)
    return figures


def _measured(folder: Path, count: int) -> list[dict[str, object]]:
    symbols = tuple(f"S{number:04d}" for number in range(count))
    market = SyntheticMarket(symbols, last=date(2017, 3, 31))
    bundles = {}
    for number in range(BUNDLES):
        bundle = tilted(
            folder, f"s{number}", tilt=(number - 4.5) * 20, schedule="daily", symbols=symbols
        )
        few = Few(bundle.session, KEPT)
        bundles[f"arm.{number}"] = replace(bundle, session=few)  # type: ignore[arg-type]
    benches, apart = [], []
    for role, bundle in bundles.items():
        bench = open_bench(folder / role, market=market, policy=_wide())
        benches.append(bench)
        fund(bench.desk.journal, Decimal("2000000.00"), datetime(2017, 1, 1, tzinfo=UTC))
        desk = replace(bench.desk, bundle=bundle, approved=lambda bundle=bundle: bundle.hash)
        apart.append(Timed(desk))
    bench = open_bench(folder / "joint", market=market, policy=_wide())
    benches.append(bench)
    fund(bench.desk.journal, Decimal("20000000.00"), datetime(2017, 1, 1, tzinfo=UTC))
    desk, _ = joint_desk(bench.desk, members(bundles, dict.fromkeys(bundles, "0.1")))
    together = Timed(desk)
    for session in SESSIONS:
        for engine in (together, *apart):
            engine.desk.clock.advance(session.close)  # type: ignore[attr-defined]
            engine.run_session(session)
    for one in benches:
        one.close()
    ours = [1000 * one for one in together.seconds[WARM:]]
    theirs = [1000 * sum(ticks) for ticks in zip(*(e.seconds[WARM:] for e in apart), strict=True)]
    worst = float(np.quantile(ours, 0.99))
    per_tick = round(together.orders / len(SESSIONS))
    name = f"tick of {BUNDLES} bundles, {count} symbols, {per_tick} orders"
    return [
        {
            "name": name,
            "ours": median(ours),
            "peer": median(theirs),
            "peer_name": "the same bundles in ten accounts of their own",
            "ratio": median(theirs) / median(ours),
            "unit": "ms",
        },
        {
            "name": f"{name}, p99",
            "ours": worst,
            "peer": LIMITS[count],
            "peer_name": "limit",
            "ratio": LIMITS[count] / worst,
            "unit": "ms",
        },
    ]
