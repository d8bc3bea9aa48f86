"""What becomes of one order when a bar is published: one pure function, for venue and backtest.

1. a halted name does not trade; a stop that the close did not reach does not either
2. a venue with a model fills by it, one without at its close moved by half the spread
3. nothing fills beyond the limit; an order that must fill whole fills whole or not at all
4. the fee is rounded to the cent, as the venue books it
"""

from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

from runtime.brokers.terms import EXACT, PRICE, VenueTerms
from runtime.domain import Bar, OrderType, Side, TimeInForce
from runtime.fills import MarketState, Style, execute, luck_of

_CENT, _NONE = Decimal("0.01"), Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An order as a venue sees it."""

    side: Side
    quantity: Decimal  # units, positive
    limit_price: Decimal  # quote currency per unit, the worst it accepts
    style: Style = Style.MARKET
    trigger: Decimal | None = None  # a stop sleeps until the close is there or beyond it
    whole: bool = False  # all or nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """What a bar did to an order."""

    quantity: Decimal  # units; 0 = nothing
    price: Decimal  # quote currency per unit, 6 places; the close where nothing filled
    fee: Decimal  # quote currency, whole cents
    reason: str  # one sentence
    asleep: bool = False  # a stop that was not reached


def style_of(order_type: OrderType, time_in_force: TimeInForce) -> Style:
    """Return how an order of a type meets the market; the one table from orders to fills."""
    match order_type, time_in_force:
        case ((OrderType.MARKET | OrderType.LIMIT), TimeInForce.IOC):
            return Style.IOC
        case ((OrderType.MARKET | OrderType.LIMIT), TimeInForce.DAY):
            return Style.MARKET


def match_bar(asked: Asked, bar: Bar, terms: VenueTerms, state: MarketState) -> Matched:
    """Return what a bar does to an order.

    Args:
        asked: the order.
        bar: of its symbol; names symbol and session, which the luck is derived from.
        terms: of the venue.
        state: of the market at the bar; what it shows is the venue's depth unless it says so.
    """
    if state.halted:
        return _nothing(bar, "the name is halted; nothing trades")
    if asked.trigger is not None and not reached(bar.close, asked.trigger, asked.side):
        return _nothing(bar, f"the stop at {asked.trigger} was not reached", asleep=True)
    units, price, why = asked.quantity, terms.price(bar.close, asked.side), "at the venue's quote"
    if terms.model is not None:
        if state.shown is None:
            state = replace(state, shown=float(terms.shown(bar.close)))
        name = luck_of(bar.symbol, bar.event_time.date())
        whole = float(asked.quantity)
        done = execute(name, asked.side, whole, asked.style, state, terms.model)
        price = Decimal(repr(done.price)).quantize(PRICE, rounding=ROUND_HALF_EVEN)
        why = done.reason
        if done.quantity < whole:
            units = Decimal(repr(done.quantity)).quantize(Decimal(1), rounding=ROUND_DOWN)
    if not units:
        return _nothing(bar, why)
    if asked.side.sign * (price - asked.limit_price) > 0:
        return _nothing(bar, f"{price} is beyond the limit {asked.limit_price}")
    if asked.whole and units < asked.quantity:
        return _nothing(bar, f"only {units} of {asked.quantity} could fill, all were asked for")
    fee = cents(EXACT.multiply(EXACT.multiply(units, price), terms.fee_rate))
    return Matched(quantity=units, price=price, fee=fee, reason=why)


def reached(close: Decimal, trigger: Decimal, side: Side) -> bool:
    """Say whether a close wakes a stop: a sell stop from above, a buy stop from below."""
    return close <= trigger if side is Side.SELL else close >= trigger


def cents(amount: Decimal) -> Decimal:
    """Round to the cent, halves away from zero."""
    return amount.quantize(_CENT, rounding=ROUND_HALF_UP, context=EXACT)


def _nothing(bar: Bar, reason: str, *, asleep: bool = False) -> Matched:
    return Matched(quantity=_NONE, price=bar.close, fee=_NONE, reason=reason, asleep=asleep)
