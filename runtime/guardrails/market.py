"""Check 2: is the market in this symbol open and normal, and may the sale be made and marked so?"""

from runtime.domain import PlannedOrder, Verdict
from runtime.guardrails.context import (
    BUY,
    ZERO,
    Check,
    Context,
    Standing,
    age,
    always,
    blocked,
    earliest,
    passed,
    unlimited,
)
from runtime.market.shorts import SaleParts, passes_price_test, sale_parts
from runtime.market.states import MarketState, Published
from runtime.policies.policy import MarketLimits, Policy

NAME, NORMAL = "2 market", MarketState.NORMAL


def prepare(context: Context, standing: Standing, policy: Policy) -> Check:
    """Block unless a fresh NORMAL state is published and a sale is long, or a lawful short one."""
    limits, at, market = policy.market, context.at, context.market
    if limits.max_status_age is None:
        return always(unlimited(NAME, "market.max_status_age"))
    oldest, sellable = earliest(at, limits.max_status_age), standing.sellable
    normal = passed(NAME, "normal", NORMAL)
    long = passed(NAME, "normal", NORMAL, "marked long")

    def check(order: PlannedOrder) -> Verdict:
        published = market.get(order.symbol)
        if published is None:
            return blocked(NAME, "normal", "unknown", "no market state was published")
        if not oldest <= published.at <= at:
            limit, seconds = f"{limits.max_status_age} s", f"{age(at, published.at):.0f} s"
            return blocked(NAME, limit, seconds, "the market state is stale")
        if published.state is not NORMAL:
            code = f", code {published.code}" if published.code else ""
            reason = f"the market takes no new risk{code}"
            return blocked(NAME, "normal", published.state, reason)
        if order.side is BUY:
            return normal
        free = sellable.get(order.symbol, ZERO)
        if order.quantity <= free:
            return long
        return _short(order, sale_parts(order.quantity, free), context, published, limits)

    return check


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
