"""Ten bundles in one account: a tick from shared inputs to one journalled plan, beside its limit.

One peer is what the same ten bundles cost in ten accounts of their own: ten times inputs, plan,
checks, routes and commit. The other runs the ten graphs bare and commits the same bytes bare, see
`bench_tick`. Ticks are daily on an account that has traded before, run as the live driver runs
them; wall clock from the decision to the durable commit. Of three runs the best p99 counts.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from statistics import median

from benchmarks.bench_tick import (
    RUNS,
    Bare,
    Few,
    Measured,
    Timed,
    committed,
    figures_of,
    row,
    run_live,
    wide_policy,
)
from runtime.engine import fund
from tests.fakes.graphs import WINDOW, tilt_graph
from tests.fakes.market import XNYS, SyntheticMarket, open_bench
from tests.fakes.several import joint_desk, members, tilted

BUNDLES = 10
SESSIONS = XNYS.sessions(date(2017, 1, 3), date(2017, 2, 10))
WARM = 5  # sessions that are not counted
KEPT = 20  # symbols that each bundle holds
LIMITS = {100: 20.0, 500: 20.0}  # symbols -> p99, ms


@dataclass(frozen=True)
class _Run:
    """Milliseconds of every tick."""

    together: Measured
    apart: list[float]  # all ten accounts of a session
    orders: int  # a tick


def run() -> list[dict[str, object]]:
    """Time ticks of ten bundles together and apart, interleaved by session."""
    figures = []
    for symbols in LIMITS:
        runs = []
        for number in range(RUNS):
            with tempfile.TemporaryDirectory() as folder:
                runs.append(_measured(Path(folder), symbols, apart=number == 0))
        figures += _figures(symbols, runs)
    return figures


def _figures(count: int, runs: Sequence[_Run]) -> list[dict[str, object]]:
    name = f"tick of {BUNDLES} bundles, {count} symbols, {runs[0].orders} orders"
    mine, alone = median(runs[0].together.ours), median(runs[0].apart)
    beside = row(f"{name}, beside", mine, alone, "the same bundles in ten accounts of their own")
    return [beside, *figures_of(name, [run.together for run in runs], LIMITS[count])]


def _measured(folder: Path, count: int, *, apart: bool) -> _Run:
    """Return one run; with the ten accounts of their own if `apart`."""
    symbols = tuple(f"S{number:04d}" for number in range(count))
    market = SyntheticMarket(symbols, last=date(2017, 3, 31))
    tilts = {f"arm.{number}": (number - 4.5) * 20 for number in range(BUNDLES)}
    bundles = {}
    for role, tilt in tilts.items():
        bundle = tilted(folder, f"s.{role}", tilt=tilt, schedule="daily", symbols=symbols)
        few = Few(bundle.session, KEPT)
        bundles[role] = replace(bundle, session=few)  # type: ignore[arg-type]
    bench = open_bench(folder / "joint", market=market, policy=wide_policy())
    fund(bench.desk.journal, Decimal("20000000.00"), datetime(2017, 1, 1, tzinfo=UTC))
    desk, _ = joint_desk(bench.desk, members(bundles, dict.fromkeys(bundles, "0.1")))
    benches, together, others = [bench], Timed(desk), []
    for role, bundle in bundles.items() if apart else ():
        one = open_bench(folder / role, market=market, policy=wide_policy())
        fund(one.desk.journal, Decimal("2000000.00"), datetime(2017, 1, 1, tzinfo=UTC))
        seat = replace(one.desk, bundle=bundle, approved=lambda bundle=bundle: bundle.hash)
        benches.append(one)
        others.append(Timed(seat))
    bare = Bare([tilt_graph(tilt=tilt) for tilt in tilts.values()], folder / "bare.db")
    for session in SESSIONS:
        for engine in (together, *others):
            engine.desk.clock.advance(session.close)  # type: ignore[attr-defined]
            run_live(engine, session)
        read, payload = committed(together)
        prices = read[f"{WINDOW} of prices.close"]
        bare.tick(
            [{"prices": prices, "current": read[f"current {role}"]} for role in tilts], payload
        )
    bare.close()
    for one in benches:
        one.close()
    return _Run(
        together=Measured.of(together, bare, WARM),
        apart=[1000 * sum(t) for t in zip(*(e.seconds[WARM:] for e in others), strict=True)],
        orders=round(sum(together.orders) / len(SESSIONS)),
    )
