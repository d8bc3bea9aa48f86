"""A small synthetic market: seeded walks on real XNYS sessions, and a desk that trades it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np

from featurestore.calendars import Session, load_calendar
from featurestore.errors import HistoryMissing
from runtime.brokers.paper import ALTERNATE, PRIMARY, PaperVenue
from runtime.bundles.bundle import LoadedBundle, load_bundle
from runtime.bundles.contract import Manifest
from runtime.bundles.inputs import MarketReader
from runtime.bundles.signing import load_signer, load_trusted
from runtime.clock import ReplayClock
from runtime.database import open_database
from runtime.desk import Desk
from runtime.engine import Engine
from runtime.feeds import LakeFeed
from runtime.journal.store import Journal
from runtime.kill.switch import KillSwitch
from runtime.policies.policy import Policy, default_policy
from tests.fakes.graphs import SYMBOLS, tilt_bundle, tilt_manifest, tilt_signer

XNYS = load_calendar("XNYS")
FIRST = date(2016, 12, 1)  # prices begin here, so that the first decisions have a window
LAST = date(2020, 12, 31)


@dataclass(frozen=True)
class LatestOfMarket:
    values: np.ndarray
    event_times: list[datetime]
    known_at: list[datetime]


class SyntheticMarket(MarketReader):
    """Closes per session and symbol; implements what engine and feed ask of a store."""

    def __init__(
        self,
        symbols: Sequence[str] = SYMBOLS,
        *,
        seed: int = 7,
        first: date = FIRST,
        last: date = LAST,
        volatility: float = 0.01,
    ) -> None:
        self.sessions: tuple[Session, ...] = XNYS.sessions(first, last)
        self._closes_at = [session.close for session in self.sessions]
        self._rows = {symbol: row for row, symbol in enumerate(symbols)}
        random = np.random.default_rng(seed)
        steps = random.normal(0.0004, volatility, (len(symbols), len(self.sessions)))
        start = random.uniform(20, 200, (len(symbols), 1))
        self.closes = np.round(start * np.exp(np.cumsum(steps, axis=1)), 2)

    def _count(self, at: datetime) -> int:
        """Number of sessions whose close is known at `at`."""
        return bisect_right(self._closes_at, at)

    def window(self, feature: str, symbols: Sequence[str], *, length: int, at: datetime):
        count = self._count(at)
        if count < length or any(symbol not in self._rows for symbol in symbols):
            raise HistoryMissing(f"{feature}: {length} bars are not known at {at.isoformat()}")
        rows = [self._rows[symbol] for symbol in symbols]
        return self.closes[rows, count - length : count].copy()

    def latest(self, feature: str, symbols: Sequence[str], *, at: datetime) -> LatestOfMarket:
        last = self._count(at) - 1
        if last < 0:
            raise HistoryMissing(f"{feature}: nothing is known at {at.isoformat()}")
        times = [self._closes_at[last]] * len(symbols)
        rows = [self._rows[symbol] for symbol in symbols]
        return LatestOfMarket(self.closes[rows, last], times, list(times))


@dataclass
class Bench:
    """Everything around an engine in one folder; opening it again is a restart."""

    folder: Path
    market: SyntheticMarket
    bundle: LoadedBundle
    desk: Desk

    def engine(self) -> Engine:
        return Engine(self.desk)

    def changed(self, **changes: object) -> Engine:
        self.desk = replace(self.desk, **changes)  # type: ignore[arg-type]
        return Engine(self.desk)

    def close(self) -> None:
        for broker in self.desk.brokers:
            if isinstance(broker, PaperVenue):
                broker.close()
        self.desk.journal.engine.dispose()


def make_bundle(folder: Path, manifest: Manifest | None = None) -> LoadedBundle:
    """Sign and load the tilt bundle, once per folder."""
    keys = folder / "keys"
    signer = load_signer(keys / "signing.key") if keys.exists() else tilt_signer(keys)
    path = tilt_bundle(folder / "bundles", signer, manifest=manifest or tilt_manifest())
    return load_bundle(path, load_trusted(keys / "trusted.json"))


def open_bench(
    folder: Path,
    *,
    database_url: str | None = None,
    market: SyntheticMarket | None = None,
    manifest: Manifest | None = None,
    policy: Policy | None = None,
    approved: Callable[[], str | None] | None = None,
) -> Bench:
    """Open (or open again) a desk over the synthetic market in `folder`."""
    (folder / "venues").mkdir(parents=True, exist_ok=True)
    bundle = make_bundle(folder, manifest)
    market = market or SyntheticMarket()
    journal = Journal(open_database(database_url or f"sqlite:///{folder / 'runtime.db'}"))
    desk = Desk(
        bundle=bundle,
        reader=market,
        feed=LakeFeed(market, bundle.manifest.price_feature),
        journal=journal,
        brokers=tuple(
            PaperVenue(folder / "venues" / f"{terms.name}.db", terms)
            for terms in (PRIMARY, ALTERNATE)
        ),
        policy=policy or default_policy(),
        calendar=XNYS,
        clock=ReplayClock(datetime(2000, 1, 1, tzinfo=UTC)),
        kill=KillSwitch.create(folder / "kill"),
        approved=approved or (lambda: bundle.hash),
    )
    return Bench(folder=folder, market=market, bundle=bundle, desk=desk)


CAPITAL = Decimal("1000000.00")
