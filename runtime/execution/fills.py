"""How an order really fills: latency, spread, queue, impact, halts; for backtest and paper alike.

1. a halted name does not trade
2. the order arrives some hundred milliseconds late; the mid has moved by its volatility meanwhile
3. MARKET and IOC cross the spread and move the price by the square root of their size; an order in
   the auction waits for its one price, which it moves too
4. MID_PEG waits at the mid behind a queue; what fills it tends to know more than it does
5. fees come on top

Nothing is drawn from a generator: every chance is derived from the name of the order by SHA-256, so
that backtest, replay and paper venue meet the same luck, today and after a restart.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from statistics import NormalDist

from runtime.domain import Side
from runtime.errors import OrderInvalid
from runtime.execution.impact import square_root_impact
from runtime.market.states import Bands

SESSION_SECONDS = 23_400.0  # 09:30 to 16:00
DAYS_PER_YEAR = 360  # the convention of stock loans
_NORMAL = NormalDist()


class Style(StrEnum):
    """How an order meets the market (market-rules, section 7)."""

    MARKET = "market"
    IOC = "ioc"
    MID_PEG = "mid_peg"
    AUCTION = "auction"  # at the auction's price, whenever it arrived before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds from decision to arrival: measured ones when there are some, else a range."""

    low: float = 200.0  # ms
    high: float = 500.0  # ms
    measured: Sequence[float] = ()  # ms, as the runtime saw them; empty = draw from the range

    def __post_init__(self) -> None:
        if not (0.0 <= self.low <= self.high and all(ms >= 0.0 for ms in self.measured)):
            raise OrderInvalid(f"latency runs from {self.low} to {self.high} ms, none below zero")

    def at(self, chance: float) -> float:
        """Return the latency that a chance in (0, 1) stands for: its quantile."""
        if self.measured:
            ordered = sorted(self.measured)
            return ordered[min(int(chance * len(ordered)), len(ordered) - 1)]
        return self.low + (self.high - self.low) * chance


@dataclass(frozen=True, slots=True, kw_only=True)
class FillTerms:
    """What trading costs and how long it takes; fractions of the price unless said otherwise."""

    half_spread: float  # paid by who crosses
    fee_rate: float  # of notional
    borrow_rate: float = 0.0  # of short notional, per year
    impact: float = 1.0  # coefficient of the square-root law; 0 = none
    latency: Latency = Latency()
    queue_share: float = 0.1  # share of a mid-pegged order's window volume that trades at the mid
    adverse: float = 0.5  # of the half spread, lost after a passive fill
    peg_seconds: float = 1_800.0  # how long a mid-pegged order waits

    def __post_init__(self) -> None:
        bounded = (self.half_spread, self.fee_rate, self.borrow_rate, self.queue_share)
        if not all(0.0 <= value < 1.0 for value in bounded):
            raise OrderInvalid("spread, fee, borrow rate and queue share must lie in [0, 1)")
        if min(self.impact, self.adverse, self.peg_seconds) < 0.0:
            raise OrderInvalid("impact, adverse selection and waiting time must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketState:
    """What the market of one name is like when an order comes to it."""

    mid: float  # quote currency per unit, at the decision
    daily_volatility: float = 0.0  # standard deviation of daily returns, a fraction
    daily_volume: float | None = None  # units a day; None = unknown, no impact is charged
    shown: float | None = None  # units at the best price; None = as many as asked for
    halted: bool = False
    quotes: tuple[Decimal | None, Decimal | None] | None = None  # best bid, offer; None = unknown
    bands: Bands | None = None  # no trade happens beyond them; None = there are none

    def __post_init__(self) -> None:
        numbers = (self.daily_volatility, self.daily_volume or 0.0, self.shown or 0.0)
        if not (math.isfinite(self.mid) and self.mid > 0.0):
            raise OrderInvalid(f"a mid must be positive, was {self.mid}")
        if any(not math.isfinite(value) or value < 0.0 for value in numbers):
            raise OrderInvalid("volatility, volume and shown size must be finite, none below zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What became of an order; the parts are fractions of the mid against the order, or for it."""

    quantity: float  # units filled; 0 = none
    price: float  # quote currency per unit, the mid where nothing filled
    fee: float  # quote currency
    latency_ms: float
    drift: float  # mid at arrival against the mid at the decision
    spread: float
    impact: float
    adverse: float
    reason: str  # one sentence

    @property
    def slippage(self) -> float:
        """Return all price parts together, a fraction of the mid; positive = against the order."""
        return self.drift + self.spread + self.impact + self.adverse


def chance(name: str, purpose: str) -> float:
    """Return a number in (0, 1) that depends on a name and a purpose alone."""
    digest = hashlib.sha256(f"{name}\x1f{purpose}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") + 0.5) / 2.0**64


def execute(
    name: str,
    side: Side,
    quantity: float,
    style: Style,
    state: MarketState,
    terms: FillTerms,
    *,
    limit: float | None = None,
) -> Execution:
    """Fill an order against a market state.

    Args:
        name: what the luck is derived from, e.g. symbol and session.
        side: buy or sell.
        quantity: units, positive.
        style: how it meets the market.
        state: of its name's market at the decision.
        terms: what trading costs.
        limit: worst price it accepts; None = any.

    Returns:
        The execution; its quantity may be less than asked for, or 0.

    Raises:
        OrderInvalid: a quantity or limit that is not positive.
    """
    if not quantity > 0.0 or (limit is not None and not limit > 0.0):
        raise OrderInvalid(f"{name}: quantity and limit must be positive")
    waited = terms.latency.at(chance(name, "latency"))
    if state.halted:
        return _unfilled(state.mid, waited, "the name is halted; nothing trades")
    share = math.sqrt(waited / 1000.0 / SESSION_SECONDS)
    moved = state.daily_volatility * share * _NORMAL.inv_cdf(chance(name, "drift"))
    auction = style is Style.AUCTION
    drift = 0.0 if auction else side.sign * moved
    filled, why = _available(name, quantity, style, state, terms)
    passive = style is Style.MID_PEG
    spread = 0.0 if passive or auction else terms.half_spread
    adverse = terms.adverse * terms.half_spread if passive else 0.0
    impact = 0.0
    if not passive and state.daily_volume:
        part = filled / state.daily_volume
        impact = float(square_root_impact(part, state.daily_volatility, coefficient=terms.impact))
    price = state.mid * (1.0 + side.sign * (drift + spread + impact + adverse))
    if filled <= 0.0:
        return _unfilled(state.mid, waited, why)
    if limit is not None and side.sign * (price - limit) > 0.0:
        return _unfilled(state.mid, waited, f"{price:.4f} is beyond the limit {limit:.4f}")
    return Execution(
        quantity=filled,
        price=price,
        fee=filled * price * terms.fee_rate,
        latency_ms=waited,
        drift=drift,
        spread=spread,
        impact=impact,
        adverse=adverse,
        reason=why,
    )


def luck_of(symbol: str, day: date) -> str:
    """Return the name that the luck of a symbol's fills on a session is derived from."""
    return f"{symbol} {day.isoformat()}"


def _available(
    name: str, quantity: float, style: Style, state: MarketState, terms: FillTerms
) -> tuple[float, str]:
    """Return how many units can fill, and why so many."""
    match style:
        case Style.MARKET:
            return quantity, "crosses the spread, whole"
        case Style.AUCTION:
            return quantity, "at the auction's price, whole"
        case Style.IOC:
            seen = quantity if state.shown is None else min(quantity, state.shown)
            whole = "whole" if seen == quantity else "as far as size was shown"
            return seen, f"crosses the spread, {whole}"
        case Style.MID_PEG:
            if state.daily_volume is None:
                return 0.0, "no volume is known, so no queue would move"
            ahead = chance(name, "queue") * (state.shown or 0.0)
            window = min(terms.peg_seconds / SESSION_SECONDS, 1.0)
            passing = state.daily_volume * window * terms.queue_share
            filled = min(quantity, max(0.0, passing - ahead))
            return filled, f"waits at the mid behind {ahead:.0f} units; {passing:.0f} trade there"


def _unfilled(mid: float, waited: float, reason: str) -> Execution:
    return Execution(
        quantity=0.0,
        price=mid,
        fee=0.0,
        latency_ms=waited,
        drift=0.0,
        spread=0.0,
        impact=0.0,
        adverse=0.0,
        reason=reason,
    )


def borrow_cost(short_notional: float, terms: FillTerms, *, days: float) -> float:
    """Return what lending stock for calendar days costs, quote currency; actual/360."""
    if short_notional < 0.0 or days < 0.0:
        raise OrderInvalid("borrowed notional and days must not be negative")
    return short_notional * terms.borrow_rate * days / DAYS_PER_YEAR


def stop_distance(
    daily_volatility: float,
    multiple: float,
    *,
    announced: Sequence[tuple[float, float]] = (),
    known_at: float,
    now: float,
    horizon: float,
) -> float:
    """Return how far below its entry a stop stands, widened for announced events alone.

    Args:
        daily_volatility: a fraction.
        multiple: of the volatility.
        announced: (time of the event, time it became known), in any one unit.
        known_at: events that became known after this are not seen, whatever they are.
        now: time of the decision, same unit.
        horizon: how far ahead an event matters, same unit.

    Returns:
        A fraction of the price; doubled while a known event lies within the horizon.
    """
    near = any(known <= known_at and now <= at <= now + horizon for at, known in announced)
    return multiple * daily_volatility * (2.0 if near else 1.0)
