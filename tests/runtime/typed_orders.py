"""Names of order types and times in force, which of them fit, and an order of each."""

from decimal import Decimal

from msgspec.structs import replace as changed

from runtime.domain import Order, OrderType, Side, TimeInForce
from tests.runtime.journal.trading import make_order

D = Decimal
DAY, GTC, IOC, FOK, OPG, CLS = TimeInForce
MARKET, LIMIT, MID_PEG, STOP, STOP_LIMIT = OrderType
BUY, SELL = Side
FITS = {
    MARKET: {DAY, IOC, OPG, CLS},
    LIMIT: set(TimeInForce),
    MID_PEG: {DAY, GTC},
    STOP: {DAY, GTC},
    STOP_LIMIT: {DAY, GTC},
}


def order(
    kind: OrderType = LIMIT,
    time: TimeInForce = DAY,
    *,
    side: Side = BUY,
    limit: str = "110",
    stop: str | None = None,
    units: int = 100,
    leg: int = 0,
) -> Order:
    plain = make_order(units * side.sign, "AAA", limit=limit, leg=leg)
    return changed(
        plain, order_type=kind, time_in_force=time, stop_price=None if stop is None else D(stop)
    )
