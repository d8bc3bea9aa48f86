"""Check 7: are there too many orders, the same ones again, or one against our own?"""

from collections.abc import Sequence

from runtime.domain import Order, PlannedOrder, Verdict
from runtime.guardrails.context import (
    BUY,
    WITHIN,
    Check,
    Context,
    Standing,
    always,
    blocked,
    unlimited,
)
from runtime.policies.policy import Policy

NAME = "7 rate"


def prepare(context: Context, standing: Standing, policy: Policy) -> Check:
    """Block above the throttles, duplicates, endless repeats, and crosses with our own orders."""
    limits, before = policy.rate, context.orders_this_session
    a_tick, a_session, alike = (
        limits.max_orders_per_tick,
        limits.max_orders_per_session,
        limits.max_repeats,
    )
    if a_tick is None or a_session is None or alike is None:
        return always(
            unlimited(NAME, "rate.max_orders_per_tick, max_orders_per_session or max_repeats")
        )
    shown, repeats, planned = f"{a_tick} a tick", context.repeats, standing.planned
    working: dict[str, list[Order]] = {}
    for one in context.working:
        working.setdefault(one.symbol, []).append(one)

    def check(order: PlannedOrder) -> Verdict:
        symbol, number = order.symbol, standing.passed + 1
        if number > a_tick:
            return blocked(NAME, shown, str(number), "too many orders")
        if before + number > a_session:
            return blocked(NAME, f"{a_session} a session", str(before + number), "too many orders")
        if symbol in planned:
            return blocked(NAME, "one order a symbol", symbol, "this tick has an order in it")
        again = repeats.get((symbol, order.side, order.quantity), 0) if repeats else 0
        if again >= alike:
            reason = "the same order again and again; a person must look first"
            return blocked(NAME, f"{alike} alike", str(again + 1), reason)
        clash = _clash(order, working[symbol]) if symbol in working else None
        return clash or Verdict(
            check=NAME, passed=True, limit=shown, observed=str(number), reason=WITHIN
        )

    return check


def _clash(order: PlannedOrder, working: Sequence[Order]) -> Verdict | None:
    """Block a duplicate of what works in the symbol, and what would trade with it."""
    for other in working:
        if other.side is order.side and other.quantity == order.quantity:
            return blocked(NAME, "no duplicate", other.order_id, "the same order is working")
        if other.side is not order.side and _cross(order, other):
            return blocked(NAME, "no self-match", other.order_id, "would trade with ourselves")
    return None


def _cross(order: PlannedOrder, other: Order) -> bool:
    if other.side is BUY:
        return order.limit_price <= other.limit_price
    return order.limit_price >= other.limit_price
