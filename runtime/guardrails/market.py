"""Check 2: is the market in this symbol open and normal, and is the sale a long one?"""

from runtime.domain import PlannedOrder, Side, Verdict
from runtime.guardrails.context import (
    ZERO,
    Context,
    MarketState,
    Standing,
    age,
    blocked,
    passed,
    unlimited,
)
from runtime.policy import Policy

NAME = "2 market"


def check(order: PlannedOrder, context: Context, standing: Standing, policy: Policy) -> Verdict:
    """Block unless a fresh NORMAL state is published; a short sale needs permission and locate."""
    limits = policy.market
    if limits.max_status_age is None:
        return unlimited(NAME, "market.max_status_age")
    published = context.market.get(order.symbol)
    if published is None:
        return blocked(NAME, "normal", "unknown", "no market state was published")
    seconds = age(context.at, published.at)
    if not 0 <= seconds <= limits.max_status_age:
        return blocked(
            NAME, f"{limits.max_status_age} s", f"{seconds:.0f} s", "the market state is stale"
        )
    if published.state is not MarketState.NORMAL:
        return blocked(NAME, "normal", published.state, "the market takes no new risk")
    if order.side is Side.SELL:
        long = standing.sellable.get(order.symbol, ZERO)
        if order.quantity > long:
            return _short(order, limits.allow_short, limits.locates, f"{long} held and free")
    return passed(NAME, "normal", published.state)


def _short(
    order: PlannedOrder, allowed: bool | None, locates: tuple[str, ...] | None, held: str
) -> Verdict:
    observed = f"sell {order.quantity}, {held}"
    if allowed is None or locates is None:
        return unlimited(NAME, "market.allow_short or locates")
    if not allowed:
        return blocked(NAME, "no short sale", observed, "the sale is larger than what is held")
    if order.symbol not in locates:
        return blocked(NAME, "a locate", observed, "a short sale needs a locate (203(b)(1))")
    return passed(NAME, "short with a locate", observed)
