"""How a bundle wants its orders executed, and what that makes of one order's prices.

A bundle says it once, in its manifest; a plan prices every order by it, on the day's tick grid and
never worse than was said. Without a word an order is a market order for the next session.
"""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

import msgspec

from runtime.domain import OrderType, Side, TimeInForce, check_terms
from runtime.errors import OrderInvalid
from runtime.execution.ticks import TickGrid

_ONE, _HALF = Decimal(1), Decimal("0.5")
_LIMITED = (OrderType.LIMIT, OrderType.MID_PEG, OrderType.STOP_LIMIT)


def _fraction(name: str, text: str | None) -> Decimal | None:
    """Return a fraction that was given as text; ValueError if it is none, or above a half."""
    if text is None:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{name} must be a decimal, was {text!r}") from None
    if not (value.is_finite() and abs(value) <= _HALF):
        raise ValueError(f"{name} must lie between -0.5 and 0.5, was {text!r}")
    return value


class Execution(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Order type, time in force and prices, as fractions of the reference price.

    Amounts are decimals as text. What makes no order is refused when it is written and when it is
    read; msgspec turns the ValueError into its own.
    """

    order_type: OrderType = OrderType.MARKET
    time_in_force: TimeInForce = TimeInForce.DAY
    # How much worse than the reference (than the stop, for STOP_LIMIT) a limit or a peg's cap may
    # be; negative = it has to be better.
    within: str | None = None
    stop: str | None = None  # how far a stop lies from the reference: above for a buy, else below

    def __post_init__(self) -> None:
        kind = self.order_type
        within, stop = _fraction("within", self.within), _fraction("stop", self.stop)
        if (within is not None) is not (kind in _LIMITED):
            need = "needs its limit" if kind in _LIMITED else "takes the collar for its limit"
            raise ValueError(f"{kind.value} {need}: within was {self.within}")
        if (stop is not None) is not kind.stops:
            raise ValueError(
                f"{kind.value}: stop was {self.stop}; stops need one, others have none"
            )
        if stop is not None and not 0 < stop <= _HALF:
            raise ValueError(f"stop must lie above 0 and at most 0.5, was {self.stop}")
        if self.time_in_force is TimeInForce.OPG:
            raise ValueError("opg: bars show no opening price, so nothing can be traded at it")
        try:
            check_terms(
                "execution",
                kind,
                self.time_in_force,
                side=Side.BUY,
                limit_price=_ONE,
                stop_price=None if stop is None else _ONE,
            )
        except OrderInvalid as error:
            raise ValueError(str(error)) from error


AT_MARKET = Execution()


class Priced(NamedTuple):
    """The prices of one order."""

    limit: Decimal  # USD per unit
    stop: Decimal | None  # USD per unit


def prepare(
    execution: Execution, grid: TickGrid, collar: Decimal
) -> Callable[[Side, Decimal], Priced]:
    """Return what prices one order, on the grid and never further out than was said.

    Args:
        execution: what the bundle wants.
        grid: the day's increments.
        collar: fraction that a market order may be worse than the reference, and a stop, once
            awake, worse than its stop price.

    Returns:
        A function of an order's side and of the price it is sized on, USD per unit.
    """
    within, stop = _fraction("within", execution.within), _fraction("stop", execution.stop)
    limited = grid.prepare(collar if within is None else within)
    if stop is None:
        return lambda side, reference: Priced(limited(reference, side), None)
    stopped = grid.prepare(stop)

    def price(side: Side, reference: Decimal) -> Priced:
        trigger = stopped(reference, side)
        return Priced(limited(trigger, side), trigger)

    return price
