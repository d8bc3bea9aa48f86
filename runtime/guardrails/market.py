"""Check 2: is the market in this symbol open and normal, and may the sale be made and marked so?"""

from runtime.domain import PlannedOrder, Side, Verdict
from runtime.guardrails.context import (
    ZERO,
    Context,
    Standing,
    age,
    blocked,
    passed,
    unlimited,
)
from runtime.market.shorts import SaleParts, passes_price_test, sale_parts
from runtime.market.states import MarketState, Published
from runtime.policy import MarketLimits, Policy

NAME = "2 market"


def check(order: PlannedOrder, context: Context, standing: Standing, policy: Policy) -> Verdict:
    """Block unless a fresh NORMAL state is published and a sale is long, or a lawful short one."""
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
        code = f", code {published.code}" if published.code else ""
        return blocked(NAME, "normal", published.state, f"the market takes no new risk{code}")
    if order.side is Side.SELL:
        parts = sale_parts(order.quantity, standing.sellable.get(order.symbol, ZERO))
        if parts.short:
            return _short(order, parts, context, published, limits)
        return passed(NAME, "normal", published.state, "marked long")
    return passed(NAME, "normal", published.state)


def _short(
    order: PlannedOrder,
    parts: SaleParts,
    context: Context,
    published: Published,
    limits: MarketLimits,
) -> Verdict:
    observed = f"sell {order.quantity}, {parts.long} held and free"
    if (
        limits.allow_short is None
        or limits.locates is None
        or limits.max_quote_age is None
        or limits.max_price_test_age is None
    ):
        return unlimited(NAME, "market.allow_short, locates, max_quote_age or max_price_test_age")
    if not limits.allow_short:
        return blocked(NAME, "no short sale", observed, "the sale is larger than what is held")
    if parts.mixed:
        return blocked(
            NAME,
            "one mark an order",
            observed,
            f"long and short in one (200(g)): sell {parts.long} first, then {parts.short} short",
        )
    if order.symbol not in limits.locates:
        return blocked(NAME, "a locate", observed, "a short sale needs a locate (203(b)(1))")
    told = published.restricted_at
    if published.restricted is None or told is None:
        return blocked(NAME, "a price test state", "none", "nobody said if Rule 201 is in force")
    if not 0 <= age(context.at, told) <= limits.max_price_test_age:
        return blocked(
            NAME, f"{limits.max_price_test_age} s", told.isoformat(), "the Rule 201 state is stale"
        )
    if published.restricted:
        quoted = published.quoted_at
        if quoted is None or not 0 <= age(context.at, quoted) <= limits.max_quote_age:
            return blocked(
                NAME,
                f"a best bid of the last {limits.max_quote_age} s",
                "none" if quoted is None else quoted.isoformat(),
                "the price test has no fresh bid to compare with",
            )
        if not passes_price_test(order.limit_price, bid=published.bid, offer=published.offer):
            return blocked(
                NAME,
                f"above the best bid {published.bid}",
                str(order.limit_price),
                "Rule 201: a short sale at or below the best bid",
            )
    return passed(NAME, "short with a locate", observed, "marked short")
