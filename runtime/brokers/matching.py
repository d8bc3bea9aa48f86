"""What becomes of one order when a bar is published: one pure function, for venue and backtest.

1. a halted name does not trade; a stop that the close did not reach does not either
2. a peg meets the middle of the best quotes, where they are known and it may trade there
3. a venue with a model fills by it, one without at its close moved by half the spread
4. nothing fills beyond the limit or the bands; an order that must fill whole fills whole or not
5. the fee is rounded to the cent, as the venue books it; an order's first execution pays its
   ticket, a sale what regulators take, where the venue passes that on
"""

from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

from runtime.brokers.terms import EXACT, PRICE, VenueTerms
from runtime.domain import Bar, OrderType, Side, TimeInForce
from runtime.errors import OrderInvalid
from runtime.execution.fills import MarketState, Style, execute, luck_of
from runtime.market.bands import may_trade
from runtime.market.fees import sale_fees
from runtime.market.pegs import peg

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
    begun: bool = False  # some of it executed at an earlier bar, so its ticket is paid


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """What a bar did to an order."""

    quantity: Decimal  # units; 0 = nothing
    price: Decimal  # quote currency per unit, 6 places; the close where nothing filled
    fee: Decimal  # quote currency, whole cents
    reason: str  # one sentence
    asleep: bool = False  # a stop that was not reached


def style_of(order_type: OrderType, time_in_force: TimeInForce) -> Style:
    """Return how an order of a type meets the market; the one table from orders to fills.

    A stop is met here only once it is awake.

    Raises:
        OrderInvalid: of the opening auction, whose price a bar does not show.
    """
    match order_type, time_in_force:
        case _, TimeInForce.OPG:
            raise OrderInvalid("a bar shows no opening price, so nothing can be traded at it (opg)")
        case OrderType.MID_PEG, _:
            return Style.MID_PEG
        case _, (TimeInForce.IOC | TimeInForce.FOK):
            return Style.IOC
        case _, TimeInForce.CLS:
            return Style.AUCTION
        case _:
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
        asleep = asked.trigger is not None
        return _nothing(bar, "the name is halted; nothing trades", asleep=asleep)
    if asked.trigger is not None and not reached(bar.close, asked.trigger, asked.side):
        return _nothing(bar, f"the stop at {asked.trigger} was not reached", asleep=True)
    if asked.style is Style.MID_PEG and state.quotes is not None:
        bid, offer = state.quotes
        at = peg(asked.side, bid=bid, offer=offer, cap=asked.limit_price, bands=state.bands)
        if at.price is None:
            return _nothing(bar, at.reason)
        state = replace(state, mid=float(at.price))
    units, price, why = asked.quantity, terms.price(bar.close, asked.side), "at the venue's quote"
    if asked.style is Style.AUCTION:
        price, why = bar.close.quantize(PRICE, rounding=ROUND_HALF_EVEN), "at the auction's price"
    if terms.model is None and asked.style is Style.MID_PEG:
        return _nothing(bar, "this venue knows no queue, so no peg can be said to have filled")
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
    if state.bands is not None and not may_trade(price, state.bands):
        return _nothing(bar, f"{price} lies outside {state.bands.lower} to {state.bands.upper}")
    if asked.whole and units < asked.quantity:
        return _nothing(bar, f"only {units} of {asked.quantity} could fill, all were asked for")
    fee = cents(EXACT.multiply(EXACT.multiply(units, price), terms.fee_rate))
    if not asked.begun:
        fee = EXACT.add(fee, terms.ticket_charge)
    if terms.sale_fees == "us" and asked.side is Side.SELL:
        fee = EXACT.add(fee, sale_fees(units, price, bar.event_time.date()))
    return Matched(quantity=units, price=price, fee=fee, reason=why)


def reached(close: Decimal, trigger: Decimal, side: Side) -> bool:
    """Say whether a close wakes a stop: a sell stop from above, a buy stop from below."""
    return close <= trigger if side is Side.SELL else close >= trigger


def cents(amount: Decimal) -> Decimal:
    """Round to the cent, halves away from zero."""
    return amount.quantize(_CENT, rounding=ROUND_HALF_UP, context=EXACT)


def _nothing(bar: Bar, reason: str, *, asleep: bool = False) -> Matched:
    return Matched(quantity=_NONE, price=bar.close, fee=_NONE, reason=reason, asleep=asleep)
