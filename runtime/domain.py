"""The nouns of trading: signals, orders, fills, verdicts; frozen and exact, none invalid.

What a tick makes hundreds of is a `msgspec.Struct`: as strict as a dataclass, a tenth of its cost,
and with `gc=False` not looked at by the garbage collector; a leaf cannot be part of a cycle.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256

import msgspec

from runtime.errors import OrderInvalid


class Side(StrEnum):
    """Direction of an order or fill; quantities are always positive."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """Return +1 for a buy and -1 for a sell."""
        return 1 if self is _BUY else -1


_BUY = Side.BUY  # looking a member up in its class takes longer than most of what is done with it


class OrderType(StrEnum):
    """How an order is priced (market-rules, section 7)."""

    MARKET = "market"  # leaves as a marketable limit with a collar
    LIMIT = "limit"
    MID_PEG = "mid_peg"  # rests hidden at the middle of the best quotes, no worse than its limit
    STOP = "stop"  # sleeps until a trade at its stop price, then MARKET
    STOP_LIMIT = "stop_limit"  # the same, then LIMIT

    @property
    def stops(self) -> bool:
        """Say whether it sleeps until its stop price is traded."""
        return self in (OrderType.STOP, OrderType.STOP_LIMIT)


class TimeInForce(StrEnum):
    """How long an order may rest."""

    DAY = "day"  # ends with its session, even after a halt
    GTC = "gtc"  # until it is cancelled
    IOC = "ioc"  # what does not fill at once is cancelled; nothing at all is a normal end
    FOK = "fok"  # all of it at once, or nothing
    OPG = "opg"  # in the opening auction alone
    CLS = "cls"  # in the closing auction alone


class OrderState(StrEnum):
    """Where an order stands; UNKNOWN is not REJECTED."""

    PENDING = "pending"  # journalled, not yet acknowledged by a venue
    WORKING = "working"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"  # by the venue
    DENIED = "denied"  # by a guardrail, never sent
    UNKNOWN = "unknown"  # no answer: ask by client order id

    @property
    def terminal(self) -> bool:
        """Say whether no further fill is expected."""
        return self not in _OPEN


_OPEN = (OrderState.PENDING, OrderState.WORKING, OrderState.UNKNOWN)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise OrderInvalid(message)


_MARKET, _DAY, _ZERO = OrderType.MARKET, TimeInForce.DAY, Decimal(0)  # nearly every order's terms
_TIMES: dict[OrderType, tuple[frozenset[TimeInForce], str]] = {
    OrderType.MARKET: (
        frozenset((TimeInForce.DAY, TimeInForce.IOC, TimeInForce.OPG, TimeInForce.CLS)),
        "a market order takes what is there and rests for no longer than its session",
    ),
    OrderType.LIMIT: (frozenset(TimeInForce), ""),
    **dict.fromkeys(
        (OrderType.MID_PEG, OrderType.STOP, OrderType.STOP_LIMIT),
        (frozenset((TimeInForce.DAY, TimeInForce.GTC)), "an order of this type has to rest"),
    ),
}


def check_terms(
    name: str,
    order_type: OrderType,
    time_in_force: TimeInForce,
    *,
    side: Side,
    limit_price: Decimal,
    stop_price: Decimal | None,
) -> None:
    """Refuse a type, a time in force and prices that make no order together.

    Raises:
        OrderInvalid: says which of them do not fit and why.
    """
    times, why = _TIMES[order_type]
    if time_in_force not in times:
        known = ", ".join(one for one in TimeInForce if one in times)
        raise OrderInvalid(
            f"{name}: {order_type.value} cannot be {time_in_force.value}, {why}; use one of {known}"
        )
    if not order_type.stops:
        _require(stop_price is None, f"{name}: {order_type.value} takes no stop price")
        return
    if stop_price is None or not stop_price > 0:
        raise OrderInvalid(f"{name}: {order_type.value} needs a positive stop price")
    if order_type is OrderType.STOP and side.sign * (limit_price - stop_price) < 0:
        raise OrderInvalid(
            f"{name}: the collar {limit_price} of a stop at {stop_price} lies before the stop, so "
            "it could never fill; use stop_limit if that is what is wanted"
        )


def order_id(account: str, bundle: str, tick: str, symbol: str, leg: int) -> str:
    """Derive the client order id: the same decision always asks for the same order.

    Args:
        account: whose order it is; a replay and live trading never share one.
        bundle: bundle hash, hex.
        tick: tick name, e.g. "2017-01-31".
        symbol: instrument.
        leg: 0-based index of the child order within its route.

    Returns:
        24 hex digits of SHA-256 over the five, separated by unit separators.
    """
    text = f"{account}\x1f{bundle}\x1f{tick}\x1f{symbol}\x1f{leg}"
    return sha256(text.encode()).hexdigest()[:24]


def order_ids(account: str, bundle: str, tick: str, symbol: str, legs: int) -> list[str]:
    """Derive the client order ids of a route's legs, 0 to `legs` - 1; see `order_id`."""
    stem = sha256(f"{account}\x1f{bundle}\x1f{tick}\x1f{symbol}\x1f".encode())
    found = []
    for leg in range(legs):
        whole = stem.copy()  # what the legs share is hashed once
        whole.update(b"%d" % leg)
        found.append(whole.hexdigest()[:24])
    return found


class Signal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the decision function says about one symbol."""

    symbol: str
    score: float
    weight: float  # target fraction of equity before sizing policy; negative = short
    confidence: float  # 0..1, as the graph gives it; else the rank of |score| among the symbols


class PlannedOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What today's plan asks for, before guardrails and routing."""

    symbol: str
    side: Side
    quantity: Decimal  # units, positive
    order_type: OrderType
    limit_price: Decimal  # USD per unit; the collar for MARKET and STOP, the cap for MID_PEG
    reference_price: Decimal  # USD per unit, the close the plan was sized on
    reason: str  # in words: from which weight to which
    time_in_force: TimeInForce = TimeInForce.DAY
    stop_price: Decimal | None = None  # USD per unit; what wakes a STOP or STOP_LIMIT

    def __post_init__(self) -> None:
        if not (
            self.quantity > _ZERO and self.limit_price > _ZERO and self.reference_price > _ZERO
        ):
            raise OrderInvalid(
                f"{self.symbol}: quantity, limit and reference price must be positive, were "
                f"{self.quantity}, {self.limit_price} and {self.reference_price}"
            )
        if not (
            self.order_type is _MARKET and self.time_in_force is _DAY and self.stop_price is None
        ):
            check_terms(
                self.symbol,
                self.order_type,
                self.time_in_force,
                side=self.side,
                limit_price=self.limit_price,
                stop_price=self.stop_price,
            )

    @property
    def notional(self) -> Decimal:
        """Return quantity times reference price, USD."""
        return self.quantity * self.reference_price


class Verdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One guardrail's answer about one order."""

    check: str  # "1 authority" ... "8 health"
    passed: bool
    limit: str  # the limit in force, as text
    observed: str  # the figure that was compared
    reason: str


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A child order as it leaves for a venue."""

    order_id: str
    bundle: str
    tick: str
    symbol: str
    leg: int
    venue: str
    side: Side
    quantity: Decimal  # units, positive
    order_type: OrderType
    limit_price: Decimal  # USD per unit
    time_in_force: TimeInForce
    created_at: datetime  # UTC
    stop_price: Decimal | None = None  # USD per unit; what wakes a STOP or STOP_LIMIT

    def __post_init__(self) -> None:
        if not (self.quantity > _ZERO and self.limit_price > _ZERO):
            raise OrderInvalid(
                f"{self.symbol}: quantity and limit price must be positive, were "
                f"{self.quantity} and {self.limit_price}"
            )
        if self.created_at.tzinfo is None:
            raise OrderInvalid(f"{self.symbol}: created_at must carry a time zone")
        if not (
            self.order_type is _MARKET and self.time_in_force is _DAY and self.stop_price is None
        ):
            check_terms(
                self.symbol,
                self.order_type,
                self.time_in_force,
                side=self.side,
                limit_price=self.limit_price,
                stop_price=self.stop_price,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReport:
    """Where an order stands, with its quantities: filled + leaves + cancelled = ordered."""

    order_id: str
    state: OrderState
    ordered: Decimal  # units
    filled: Decimal
    leaves: Decimal  # may still fill
    cancelled: Decimal  # never will: cancelled, expired, rejected or denied

    def __post_init__(self) -> None:
        parts = (self.filled, self.leaves, self.cancelled)
        if min(parts) < 0 or sum(parts) != self.ordered:
            raise OrderInvalid(
                f"order {self.order_id}: {self.filled} filled, {self.leaves} left and "
                f"{self.cancelled} cancelled do not make the {self.ordered} that were ordered"
            )

    @classmethod
    def of(
        cls, order_id: str, state: OrderState, ordered: Decimal, filled: Decimal
    ) -> "OrderReport":
        """Return the report of an order that stands at `state` with `filled` of its units done."""
        rest = ordered - filled
        leaves = Decimal(0) if state.terminal else rest
        return cls(
            order_id=order_id,
            state=state,
            ordered=ordered,
            filled=filled,
            leaves=leaves,
            cancelled=rest - leaves,
        )


class Fill(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One execution, as the venue reports it; (venue, execution_id) identifies it for ever."""

    venue: str
    execution_id: str
    order_id: str
    symbol: str
    side: Side
    quantity: Decimal  # units, positive
    price: Decimal  # USD per unit, up to 6 places
    fee: Decimal  # USD, rounded to the cent by the venue's schedule, >= 0
    executed_at: datetime  # UTC

    def __post_init__(self) -> None:
        if not (self.quantity > _ZERO and self.price > _ZERO):
            raise OrderInvalid(
                f"{self.symbol}: fill quantity and price must be positive, were {self.quantity} "
                f"and {self.price}"
            )
        if self.fee < _ZERO:
            raise OrderInvalid(f"{self.symbol}: fee must not be negative, was {self.fee}")
        if self.executed_at.tzinfo is None:
            raise OrderInvalid(f"{self.symbol}: executed_at must carry a time zone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One symbol's bar at a session's close, as the feed published it."""

    symbol: str
    close: Decimal  # USD per unit
    event_time: datetime  # UTC
    known_at: datetime  # UTC


class Quote(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a venue shows for one symbol: best price each way, size, fee."""

    venue: str
    symbol: str
    bid: Decimal  # USD per unit
    ask: Decimal  # USD per unit
    size: Decimal  # units available at each side
    fee_rate: Decimal  # fraction of notional
    at: datetime  # UTC
    ticket_charge: Decimal = Decimal(0)  # USD per child order that executes
