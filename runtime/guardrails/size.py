"""Check 3: is the order a valid lot of a size somebody allowed?"""

from decimal import Decimal

from runtime.domain import PlannedOrder, Verdict
from runtime.guardrails.context import ZERO, Context, Standing, blocked, passed, unlimited, usd
from runtime.policy import Policy

NAME = "3 size"


def check(order: PlannedOrder, context: Context, standing: Standing, policy: Policy) -> Verdict:
    """Block above quantity, notional or share of volume, and what is not a whole lot."""
    limits = policy.size
    if (
        limits.max_quantity is None
        or limits.max_notional is None
        or limits.max_notional_of_equity is None
        or limits.lot is None
    ):
        return unlimited(NAME, "size.max_quantity, max_notional, max_notional_of_equity or lot")
    price = context.prices.get(order.symbol)
    if price is None:
        return blocked(NAME, "a price", "none", "the order cannot be valued")
    if order.quantity > limits.max_quantity:
        return blocked(NAME, f"{limits.max_quantity} units", str(order.quantity), "too many units")
    exits = standing.positions.get(order.symbol, ZERO) == -order.quantity * order.side.sign
    if order.quantity % limits.lot and not exits:
        return blocked(NAME, f"lots of {limits.lot}", str(order.quantity), "not a whole lot")
    allowed = min(limits.max_notional, limits.max_notional_of_equity * context.equity)
    notional = order.quantity * max(price, order.reference_price)
    if notional > allowed:
        return blocked(NAME, f"{allowed:.2f} USD", f"{notional:.2f} USD", "the order is too large")
    volume = _volume(order, context, policy)
    return volume or passed(NAME, usd(allowed), f"{notional:.2f} USD")


def _volume(order: PlannedOrder, context: Context, policy: Policy) -> Verdict | None:
    share, required = policy.size.max_share_of_volume, policy.size.volume_required
    if share is None or required is None:
        return unlimited(NAME, "size.max_share_of_volume or volume_required")
    volume = context.volumes.get(order.symbol)
    if volume is None:
        if required:
            return blocked(NAME, "a known volume", "none", "average daily volume is unknown")
        return None
    observed = order.quantity / volume if volume > 0 else Decimal(1)
    if observed > share:
        return blocked(
            NAME, f"{share:.2%} of volume", f"{observed:.2%}", "too large for the market"
        )
    return None
