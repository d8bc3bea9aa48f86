"""An account to which everything happens within three months: refusals, halts, stops, overrides.

What decides and what it is told are real; only the market is made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np

from featurestore.calendars import Session
from runtime.bundles.contract import SizingPolicy
from runtime.bundles.inputs import MarketReader
from runtime.domain import OrderType, TimeInForce
from runtime.engine import Engine, fund
from runtime.execution.style import Execution
from runtime.journal.actions import Charge, ChargeKind, Correction, Dividend, Split
from runtime.journal.adjustments import Adjustments
from runtime.market.states import Bands, MarketState, Published
from runtime.policies.policy import Policy, default_policy
from tests.fakes.graphs import SYMBOLS, tilt_manifest
from tests.fakes.market import CAPITAL, XNYS, Bench, SyntheticMarket, open_bench

FIRST, LAST = date(2016, 12, 1), date(2017, 2, 28)
SESSIONS = XNYS.sessions(FIRST, LAST)  # the first four have too little history
RESTING = Execution(order_type=OrderType.LIMIT, within="-0.002", time_in_force=TimeInForce.GTC)


@dataclass
class Faulty(MarketReader):
    """The market's data with a hole on one day and a value that is no number on another."""

    market: SyntheticMarket
    torn: frozenset[date] = frozenset()

    def window(self, feature, symbols, *, length, at):
        values = self.market.window(feature, symbols, length=length, at=at)
        if length > 1 and at.date() in self.torn:
            values[0, 0] = np.nan
        return values

    def latest(self, feature, symbols, *, at):
        return self.market.latest(feature, symbols, at=at)


@dataclass
class Outside:
    """What the desk is told from outside, by day."""

    bench: Bench

    def limits(self, at: datetime) -> Policy:
        """Return narrow limits for a fortnight, then again the usual ones."""
        usual = default_policy()
        if date(2017, 1, 16) <= at.date() <= date(2017, 1, 27):
            exposure = msgspec.structs.replace(
                usual.exposure, max_position_of_equity=Decimal("0.21")
            )
            return msgspec.structs.replace(usual, name="narrow", exposure=exposure)
        return usual

    def approved(self) -> str | None:
        """Return nothing for one day."""
        today = self.bench.desk.clock.now().date()
        return None if today == date(2017, 2, 7) else self.bench.bundle.hash

    def market(self, at: datetime) -> dict[str, Published]:
        """Halt one symbol for a week, and band another so that collars are pulled in."""
        found = {symbol: Published(state=MarketState.NORMAL, at=at) for symbol in SYMBOLS}
        if date(2017, 2, 13) <= at.date() <= date(2017, 2, 17):
            found["BBB"] = Published(state=MarketState.HALTED, at=at, code="T1")
        row = self.bench.market.latest("prices.close", ["CCC"], at=at)
        mid = Decimal(str(row.values[0]))
        bands = Bands(round(mid * Decimal("0.95"), 2), round(mid * Decimal("1.05"), 2))
        found["CCC"] = replace(found["CCC"], bands=bands, bands_at=at)
        return found


def open_eventful(folder: Path, *, execution: Execution | None = None, **options) -> Bench:
    """Open the account, or open it again."""
    usual = SizingPolicy(invested=0.9)
    sizing = usual if execution is None else msgspec.structs.replace(usual, execution=execution)
    manifest = tilt_manifest(schedule="daily", sizing=sizing)
    bench = open_bench(folder, manifest=manifest, **options)
    outside = Outside(bench)
    bench.changed(
        reader=Faulty(bench.market, frozenset([date(2017, 2, 22)])),
        limits=outside.limits,
        approved=outside.approved,
        market=outside.market,
        freshness={"prices": timedelta(days=6)},
    )
    return bench


def happen(bench: Bench, engine: Engine, day: date) -> None:
    """Let happen what happens before the session of a day is run."""
    stop = bench.folder / "kill" / "symbol.DDD"
    books, noon = Adjustments(bench.desk.journal), datetime.combine(day, time(13), UTC)
    if day == date(2017, 1, 10):
        stop.touch()  # as a person would, beside the process
    elif day == date(2017, 1, 12):
        stop.unlink()
    elif day == date(2017, 1, 19):
        books.record_action(
            Dividend(
                action_id="dividend.AAA",
                symbol="AAA",
                per_unit=Decimal("0.31"),
                effective=noon,
            )
        )
    elif day == date(2017, 1, 24):
        books.record_action(
            Charge(
                action_id="interest",
                kind=ChargeKind.INTEREST,
                symbol="",
                amount=Decimal("12.34"),
                effective=noon,
            )
        )
    elif day == date(2017, 2, 23):  # no venue knows of it: positions no longer agree
        books.record_action(
            Split(action_id="split.BBB", symbol="BBB", new=3, old=2, effective=noon)
        )
    elif day == date(2017, 2, 24):
        first = bench.desk.journal.fills()[0].fill
        books.record_correction(
            Correction(
                venue=first.venue,
                execution_id=first.execution_id,
                replacement=None,
                at=noon,
                by="ada",
                reason="busted by the venue",
            )
        )


def trade(
    bench: Bench,
    *,
    restarts: frozenset[date] = frozenset(),
    sessions: Sequence[Session] = SESSIONS,
) -> Bench:
    """Run every session; begin anew, with everything reopened, before some."""
    fund(bench.desk.journal, CAPITAL, datetime(2016, 11, 30, tzinfo=UTC))
    engine = bench.engine()
    for session in sessions:
        if session.day in restarts:
            engine = Engine(bench.desk)
        happen(bench, engine, session.day)
        bench.desk.clock.advance(session.close)
        engine.run_session(session)
    return bench
