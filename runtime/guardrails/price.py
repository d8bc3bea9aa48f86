"""Check 4: is the limit on the tick grid, near a fresh reference, and inside published bands?"""

from runtime.domain import PlannedOrder, Verdict
from runtime.guardrails.context import Context, Standing, age, blocked, passed, percent, unlimited
from runtime.market.phases import regular
from runtime.policy import Policy
from runtime.ticks import tick_size

NAME = "4 price"


def check(order: PlannedOrder, context: Context, standing: Standing, policy: Policy) -> Verdict:
    """Block off-tick limits, limits outside the collar or bands, and references that jumped."""
    limits = policy.price
    if (
        limits.max_collar is None
        or limits.max_move is None
        or limits.max_reference_age is None
        or limits.max_band_age is None
    ):
        return unlimited(NAME, "price.max_collar, max_move, max_reference_age or max_band_age")
    price, priced_at = context.prices.get(order.symbol), context.priced_at.get(order.symbol)
    if price is None or priced_at is None:
        return blocked(NAME, "a reference price", "none", "no price to compare with")
    seconds = age(context.at, priced_at)
    if not 0 <= seconds <= limits.max_reference_age:
        return blocked(
            NAME, f"{limits.max_reference_age} s", f"{seconds:.0f} s", "the reference is stale"
        )
    tick = tick_size(order.limit_price, context.at.date())
    if order.limit_price % tick:
        return blocked(NAME, f"ticks of {tick}", str(order.limit_price), "off the tick grid")
    away = abs(order.limit_price - price) / price
    if away > limits.max_collar:
        return blocked(NAME, f"{limits.max_collar:.2%}", f"{away:.2%}", "outside the collar")
    before = context.previous_prices.get(order.symbol)
    if before is not None and abs(price - before) > limits.max_move * before:
        return blocked(
            NAME,
            f"{limits.max_move:.2%} in a session",
            f"{(price - before) / before:.2%}",
            "the reference jumped; look at the data first",
        )
    outside = _bands(order, context, limits.max_band_age)
    return outside or passed(NAME, percent(limits.max_collar), f"{away:.2%}")


def _bands(order: PlannedOrder, context: Context, max_age: int) -> Verdict | None:
    """Block outside the bands, and in the regular session of a real venue without fresh ones."""
    published = context.market.get(order.symbol)
    if published is None or not published.banded:
        return None  # no state at all is check 2's to block
    bands, told = published.bands, published.bands_at
    if bands is None or told is None:
        if context.simulated or not regular(context.session, context.at):
            return None
        return blocked(NAME, "published bands", "none", "no price bands were published")
    seconds = age(context.at, told)
    if not 0 <= seconds <= max_age:
        return blocked(NAME, f"{max_age} s", f"{seconds:.0f} s", "the price bands are stale")
    if not bands.lower <= order.limit_price <= bands.upper:
        return blocked(
            NAME,
            f"{bands.lower} to {bands.upper}",
            str(order.limit_price),
            "outside the published band",
        )
    return None
