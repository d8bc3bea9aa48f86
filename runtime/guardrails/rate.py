"""Check 7: are there too many orders, the same ones again, or one against our own?"""

from decimal import Decimal

from runtime.domain import PlannedOrder, Side, Verdict
from runtime.guardrails.context import Context, Standing, blocked, passed_once, unlimited
from runtime.policy import Policy

NAME = "7 rate"


def check(order: PlannedOrder, context: Context, standing: Standing, policy: Policy) -> Verdict:
    """Block above the throttles, duplicates, endless repeats, and crosses with our own orders."""
    limits = policy.rate
    if (
        limits.max_orders_per_tick is None
        or limits.max_orders_per_session is None
        or limits.max_repeats is None
    ):
        return unlimited(NAME, "rate.max_orders_per_tick, max_orders_per_session or max_repeats")
    if standing.passed >= limits.max_orders_per_tick:
        return blocked(
            NAME,
            f"{limits.max_orders_per_tick} a tick",
            str(standing.passed + 1),
            "too many orders",
        )
    today = context.orders_this_session + standing.passed + 1
    if today > limits.max_orders_per_session:
        return blocked(
            NAME, f"{limits.max_orders_per_session} a session", str(today), "too many orders"
        )
    if order.symbol in standing.planned:
        return blocked(NAME, "one order a symbol", order.symbol, "this tick has an order in it")
    repeats = context.repeats.get((order.symbol, order.side, order.quantity), 0)
    if repeats >= limits.max_repeats:
        return blocked(
            NAME,
            f"{limits.max_repeats} alike",
            str(repeats + 1),
            "the same order again and again; a person must look first",
        )
    for working in context.working:
        if working.symbol != order.symbol:
            continue
        if working.side is order.side and working.quantity == order.quantity:
            return blocked(NAME, "no duplicate", working.order_id, "the same order is working")
        if working.side is not order.side and _cross(order, working.limit_price, working.side):
            return blocked(NAME, "no self-match", working.order_id, "would trade with ourselves")
    return passed_once(NAME, f"{limits.max_orders_per_tick} a tick", str(standing.passed + 1))


def _cross(order: PlannedOrder, price: Decimal, side: Side) -> bool:
    return order.limit_price <= price if side is Side.BUY else order.limit_price >= price
