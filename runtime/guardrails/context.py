"""What the eight checks look at: one frozen picture per tick, and what has passed so far."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeAlias

from featurestore.calendars import Session
from runtime.bundles.contract import Stage
from runtime.domain import Order, PlannedOrder, Side, Verdict
from runtime.guardrails.protections import Close
from runtime.market.states import Published

ZERO, BUY, WITHIN = Decimal(0), Side.BUY, "within the limit"
Check: TypeAlias = Callable[[PlannedOrder], Verdict]  # one of the eight, ready for one tick


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureAge:
    """When a feature was last known to change, and how old that may be."""

    known_at: datetime | None  # UTC, newest knowledge of its oldest symbol; None = nothing known
    allowed: float | None  # seconds, the view's freshness; None = the policy's max_data_age


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Everything the checks read, gathered once per tick; what is absent blocks."""

    at: datetime  # UTC, the tick
    session: Session | None  # of the tick; None = the exchange is closed that day
    account: str
    caller: str
    study: str
    bundle: str  # hash of what wants to trade
    approved_bundle: str | None  # hash the registry has in this seat
    stage: Stage
    simulated: bool  # every venue is a paper venue
    verified: bool  # signature, hashes and golden rows held at load
    drift_stopped: bool
    killed: Mapping[str, str]  # scope -> reason
    market: Mapping[str, Published]
    prices: Mapping[str, Decimal]  # reference, USD per unit
    priced_at: Mapping[str, datetime]  # UTC, event time of the reference
    previous_prices: Mapping[str, Decimal]  # a session earlier; absent = first session
    volumes: Mapping[str, Decimal]  # average daily volume, units, where it is known
    positions: Mapping[str, Decimal]  # units
    cash: Decimal  # USD
    equity: Decimal  # USD
    valued_at: datetime | None  # UTC, event time of the oldest mark
    equity_before: Decimal | None  # USD at the last close; None = first session
    equity_peak: Decimal | None  # USD, highest close so far; None = first session
    losing_streak: int  # sessions
    closes: tuple[Close, ...]  # closed sessions, oldest first
    breaks: tuple[str, ...]  # unresolved reconciliation breaks, in words
    broken: frozenset[str] = frozenset()  # symbols with an unexplained position break
    working: tuple[Order, ...]  # journalled and not terminal
    orders_this_session: int
    repeats: Mapping[tuple[str, Side, Decimal], int]  # how often in the last ten decisions
    features: Mapping[str, FeatureAge]  # every feature the decision read
    weights: Mapping[str, float]  # target weights as decided


@dataclass(slots=True)
class Standing:
    """The book as it will stand when all that works and all that passed so far is filled."""

    positions: dict[str, Decimal]  # units
    sellable: dict[str, Decimal]  # units held less pending sales
    values: dict[str, Decimal]  # USD, signed
    gross: Decimal
    net: Decimal
    cash: Decimal
    passed: int = 0
    planned: set[str] = field(default_factory=set)  # symbols with an order in this tick

    @classmethod
    def of(cls, context: Context) -> "Standing":
        """Return the standing before the first order; KeyError if something held has no price."""
        held = {symbol: units for symbol, units in context.positions.items() if units}
        prices = context.prices
        values = {symbol: units * prices[symbol] for symbol, units in held.items()}
        net = sum(values.values(), ZERO)
        short = sum([value for value in values.values() if value.is_signed()], ZERO)
        standing = cls(
            positions=held,
            sellable=dict(held),
            values=values,
            gross=net - 2 * short,
            net=net,
            cash=context.cash,
        )
        for order in context.working:
            standing.add(order.symbol, order.side, order.quantity, context.prices[order.symbol])
        return standing

    def reduces(self, order: PlannedOrder) -> bool:
        """Say whether an order only takes risk off: nearer to zero, never through it."""
        held = self.positions.get(order.symbol)
        if not held:
            return False
        rest = held + order.quantity if order.side is BUY else held - order.quantity
        return abs(rest) < abs(held) and rest * held >= 0

    def add(self, symbol: str, side: Side, quantity: Decimal, price: Decimal) -> None:
        """Count an order as filled at `price`."""
        change = quantity if side is BUY else -quantity
        cost = change * price
        if side is not BUY:
            self.sellable[symbol] = self.sellable.get(symbol, ZERO) - quantity
        before = self.values.get(symbol)
        if before is None:
            self.positions[symbol], self.values[symbol] = change, cost
            self.gross += abs(cost)
        else:
            value = before + cost
            self.positions[symbol] += change
            self.values[symbol] = value
            self.gross += abs(value) - abs(before)
        self.net += cost
        self.cash -= cost

    def let_through(self, order: PlannedOrder, price: Decimal) -> None:
        """Count an order that passed all checks."""
        self.add(order.symbol, order.side, order.quantity, price)
        self.passed += 1
        self.planned.add(order.symbol)


def passed(check: str, limit: str, observed: str, reason: str = WITHIN) -> Verdict:
    """Return a verdict that lets the order through."""
    return Verdict(check=check, passed=True, limit=limit, observed=observed, reason=reason)


def blocked(check: str, limit: str, observed: str, reason: str) -> Verdict:
    """Return a verdict that stops the order."""
    return Verdict(check=check, passed=False, limit=limit, observed=observed, reason=reason)


def unlimited(check: str, name: str) -> Verdict:
    """Return the verdict of a check whose limit is not set: it blocks."""
    return blocked(check, f"{name} is not set", "", f"the policy sets no {name}")


def always(verdict: Verdict) -> Check:
    """Return a check that says the same of every order of a tick."""
    return lambda order: verdict


def age(at: datetime, then: datetime) -> float:
    """Return seconds from `then` to `at`; negative if `then` lies in the future."""
    return (at - then).total_seconds()


def earliest(at: datetime, seconds: float) -> datetime:
    """Return the oldest instant that is at most `seconds` before `at`."""
    try:
        return at - timedelta(seconds=seconds)
    except OverflowError:  # a limit so wide that nothing is too old
        return datetime.min.replace(tzinfo=UTC)
