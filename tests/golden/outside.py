"""What made-up accounts trade and are told: bundles, limits, data, switches, markets and quotes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from random import Random
from typing import Any, cast

import msgspec
import numpy as np

from featurestore.calendars import Session, load_calendar
from featurestore.errors import HistoryMissing
from runtime.bundles.bundle import LoadedBundle
from runtime.bundles.contract import Signature, SizingPolicy, manifest_hash
from runtime.bundles.inference import DecisionSession
from runtime.domain import Bar, OrderType, Quote, TimeInForce
from runtime.errors import OrderInvalid
from runtime.execution.style import Execution
from runtime.market.states import Bands, MarketState, Published
from runtime.policies.policy import Policy, default_policy
from tests.fakes.graphs import tilt_graph, tilt_manifest

XNYS = load_calendar("XNYS")
SESSIONS = XNYS.sessions(date(1995, 1, 3), date(2025, 12, 30))
WINDOW = 5  # bars, of the graph
VENUES = ("primary", "alternate", "third")
CENT = Decimal("0.01")
_WIDE = SizingPolicy(invested=0.7)
_STYLES = (
    None,
    Execution(order_type=OrderType.LIMIT, within="-0.002", time_in_force=TimeInForce.GTC),
    Execution(order_type=OrderType.LIMIT, within="0.004"),
    Execution(time_in_force=TimeInForce.IOC),
)
NAMES = ("ADA", "BELL", "CURIE", "EULER")


@dataclass(frozen=True)
class Kind:
    """One bundle: a graph, a universe and a way to trade."""

    symbols: tuple[str, ...]
    tilt: float
    inertia: float
    style: Execution | None

    def load(self) -> LoadedBundle:
        """Return the bundle, its graph loaded anew."""
        sizing = (
            _WIDE if self.style is None else msgspec.structs.replace(_WIDE, execution=self.style)
        )
        manifest = tilt_manifest(self.symbols, schedule="daily", sizing=sizing)
        manifest = msgspec.structs.replace(
            manifest, parameters={"tilt": self.tilt, "inertia": self.inertia}
        )
        name = manifest_hash(manifest)
        graph = tilt_graph(tilt=self.tilt, inertia=self.inertia)
        return LoadedBundle(
            location=cast(Any, None),
            hash=name,
            manifest=manifest,
            signature=Signature(
                manifest_hash=name,
                signer="nobody",
                signed_at="2017-01-01T00:00:00+00:00",
                version=1,
                stage="staging",
                public_key="",
                signature="",
            ),
            session=DecisionSession(graph, checked=True),
        )


KINDS = tuple(
    Kind(
        symbols=NAMES[: 2 + number % 3 * (number % 2)],  # two, now and then three or four
        tilt=20.0 + 9 * number,
        inertia=0.05 * (number % 5),
        style=_STYLES[number % 4],
    )
    for number in range(12)
)


def policies() -> tuple[Policy, ...]:
    """Return limits wide and narrow."""
    usual = default_policy()
    rate = msgspec.structs.replace(usual.rate, max_orders_per_tick=1)
    exposure = msgspec.structs.replace(usual.exposure, max_position_of_equity=Decimal("0.4"))
    loss = msgspec.structs.replace(
        usual.loss, max_daily_loss=Decimal("0.5"), max_drawdown=Decimal("0.9")
    )
    wide = msgspec.structs.replace(
        usual,
        name="wide",
        loss=msgspec.structs.replace(loss, max_losing_streak=99, cooldown_sessions=0),
    )
    return (
        wide,
        usual,
        msgspec.structs.replace(wide, name="few", rate=rate),
        msgspec.structs.replace(wide, name="narrow", exposure=exposure),
    )


POLICIES = policies()


@dataclass
class Outside:
    """Everything an account's desk asks, on one day after the other."""

    chance: Random
    bundle: LoadedBundle
    closes: np.ndarray  # (n, days), USD per unit
    sessions: Sequence[Session]
    banded: bool  # whether a market state is published
    money: bool  # whether its venues trade with money
    day: int = 0
    policy: Policy = POLICIES[0]
    killed: dict[str, str] = field(default_factory=dict)

    def turn(self, day: int) -> None:
        """Begin a day; mostly nothing is unusual."""
        chance, self.day = self.chance, day
        self.policy = POLICIES[0] if chance.random() < 0.8 else chance.choice(POLICIES)
        self.killed = {}
        if chance.random() < 0.02:
            scope = chance.choice(["all", "study.tilt", f"symbol.{NAMES[0]}"])
            self.killed = {scope: f"pulled on day {day}"}

    def engaged(self) -> dict[str, str]:
        """Return what is stopped."""
        return self.killed

    def approved(self) -> str | None:
        """Return the bundle, now and then none."""
        return None if self.chance.random() < 0.01 else self.bundle.hash

    def limits(self, at: datetime) -> Policy:
        """Return the day's policy."""
        return self.policy

    def window(self, feature, symbols, *, length, at):
        """Return closes, sometimes with a hole."""
        draw = self.chance.random()
        if draw < 0.004:
            raise HistoryMissing(f"{feature}: a bar is missing on day {self.day}")
        end = self.day + WINDOW
        values = self.closes[: len(symbols), end - length : end].copy()
        if draw > 0.997:
            values[0, -1] = np.inf
        return values

    def oldest(self, feature, symbols, *, at):
        """Return when the newest values became known."""
        return self.sessions[self.day].close

    def market(self, at: datetime) -> dict[str, Published]:
        """Return a state per symbol, bands for some."""
        found = {}
        for row, symbol in enumerate(self.bundle.manifest.symbols):
            draw = self.chance.random()
            state = MarketState.HALTED if draw < 0.01 else MarketState.NORMAL
            mid = self.price(row)
            bands = Bands(
                (mid * Decimal("0.95")).quantize(CENT), (mid * Decimal("1.05")).quantize(CENT)
            )
            found[symbol] = Published(
                state=state, at=at, bands=bands if draw < 0.5 else None, bands_at=at
            )
        return found

    def price(self, row: int) -> Decimal:
        """Return the day's close."""
        return Decimal(f"{self.closes[row, self.day + WINDOW - 1]:.2f}")

    def quote(self, venue: str, symbol: str, at: datetime) -> Quote:
        """Return what a venue shows, if it shows anything."""
        chance = self.chance
        if chance.random() < 0.003:
            raise OrderInvalid(f"venue {venue} has published no bar of {symbol} yet")
        close = self.price(NAMES.index(symbol))
        half = Decimal(chance.randint(1, 9)) * Decimal("0.005")
        return Quote(
            venue=venue,
            symbol=symbol,
            bid=close - half,
            ask=close + half,
            size=Decimal(chance.randint(20, 4000)),
            fee_rate=Decimal(chance.randint(0, 5)) / 10000,
            at=at,
            ticket_charge=Decimal(chance.choice([0, 0, 1])),
        )


@dataclass
class Exchange:
    """A venue that only shows quotes: what executes is luck."""

    name: str
    outside: Outside

    def quote(self, symbol: str, at: datetime) -> Quote:
        """Return what it shows."""
        return self.outside.quote(self.name, symbol, at)


class Paper(Exchange):
    """The same on paper."""

    def expire_before(self, opened: datetime) -> None:
        """Nothing rests here."""

    def on_bars(self, bars: Sequence[Bar], at: datetime) -> int:
        """Nothing executes here."""
        return 0
