"""Check 3: is the order a valid lot of a size somebody allowed?"""

from collections.abc import Callable
from decimal import Decimal

from runtime.domain import PlannedOrder, Verdict
from runtime.guardrails.context import (
    BUY,
    WITHIN,
    ZERO,
    Check,
    Context,
    Standing,
    always,
    blocked,
    unlimited,
)
from runtime.policies.policy import Policy, SizeLimits

NAME, ONE = "3 size", Decimal(1)


def prepare(context: Context, standing: Standing, policy: Policy) -> Check:
    """Block above quantity, notional or share of volume, and what is not a whole lot."""
    limits, prices, positions = policy.size, context.prices, standing.positions
    largest, most, share, lot = (
        limits.max_quantity,
        limits.max_notional,
        limits.max_notional_of_equity,
        limits.lot,
    )
    if largest is None or most is None or share is None or lot is None:
        return always(
            unlimited(NAME, "size.max_quantity, max_notional, max_notional_of_equity or lot")
        )
    allowed, whole = min(most, share * context.equity), Decimal(lot)
    shown = f"{allowed:.2f} USD"
    of_volume = _prepare_volume(context, limits)

    def check(order: PlannedOrder) -> Verdict:
        price, quantity = prices.get(order.symbol), order.quantity
        if price is None:
            return blocked(NAME, "a price", "none", "the order cannot be valued")
        if quantity > largest:
            return blocked(NAME, f"{largest} units", str(quantity), "too many units")
        if quantity % whole:
            exit_of = -quantity if order.side is BUY else quantity
            if positions.get(order.symbol, ZERO) != exit_of:
                return blocked(NAME, f"lots of {lot}", str(quantity), "not a whole lot")
        reference = order.reference_price
        notional = quantity * (price if price > reference else reference)
        if notional > allowed:
            return blocked(NAME, shown, f"{notional:.2f} USD", "the order is too large")
        return of_volume(order) or Verdict(
            check=NAME, passed=True, limit=shown, observed=f"{notional:.2f} USD", reason=WITHIN
        )

    return check


def _prepare_volume(
    context: Context, limits: SizeLimits
) -> Callable[[PlannedOrder], Verdict | None]:
    """Return what objects to an order that is too large for its market, or of unknown volume."""
    share, required = limits.max_share_of_volume, limits.volume_required
    if share is None or required is None:
        return always(unlimited(NAME, "size.max_share_of_volume or volume_required"))
    volumes = context.volumes
    unknown = blocked(NAME, "a known volume", "none", "average daily volume is unknown")

    def check(order: PlannedOrder) -> Verdict | None:
        volume = volumes.get(order.symbol)
        if volume is None:
            return unknown if required else None
        if order.quantity <= share * volume:
            return None
        observed = order.quantity / volume if volume > 0 else ONE
        if observed <= share:
            return None
        limit = f"{share:.2%} of volume"
        return blocked(NAME, limit, f"{observed:.2%}", "too large for the market")

    return check
