"""Check 4: is the limit on the tick grid, near a fresh reference, and inside published bands?"""

from collections.abc import Callable

from runtime.domain import PlannedOrder, Verdict
from runtime.guardrails.context import (
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
from runtime.market.phases import regular
from runtime.policy import Policy
from runtime.ticks import tick_grid

NAME = "4 price"


def prepare(context: Context, standing: Standing, policy: Policy) -> Check:
    """Block off-tick limits, limits outside the collar or bands, and references that jumped."""
    limits, at = policy.price, context.at
    collar, move, old, old_bands = (
        limits.max_collar,
        limits.max_move,
        limits.max_reference_age,
        limits.max_band_age,
    )
    if collar is None or move is None or old is None or old_bands is None:
        return always(
            unlimited(NAME, "price.max_collar, max_move, max_reference_age or max_band_age")
        )
    prices, times, previous = context.prices, context.priced_at, context.previous_prices
    oldest, grid, shown = earliest(at, old), tick_grid(at.date()), f"{collar:.2%}"
    beyond_bands = _prepare_bands(context, old_bands)

    def check(order: PlannedOrder) -> Verdict:
        symbol, limit = order.symbol, order.limit_price
        price, priced_at = prices.get(symbol), times.get(symbol)
        if price is None or priced_at is None:
            return blocked(NAME, "a reference price", "none", "no price to compare with")
        if not oldest <= priced_at <= at:
            seconds = f"{age(at, priced_at):.0f} s"
            return blocked(NAME, f"{old} s", seconds, "the reference is stale")
        tick = grid.tick(limit)
        if limit % tick:
            return blocked(NAME, f"ticks of {tick}", str(limit), "off the tick grid")
        away = abs(limit - price) / price
        if away > collar:
            return blocked(NAME, shown, f"{away:.2%}", "outside the collar")
        before = previous.get(symbol)
        if before is not None and abs(price - before) > move * before:
            return blocked(
                NAME,
                f"{move:.2%} in a session",
                f"{(price - before) / before:.2%}",
                "the reference jumped; look at the data first",
            )
        return beyond_bands(order) or passed(NAME, shown, f"{away:.2%}")

    return check


def _prepare_bands(context: Context, max_age: int) -> Callable[[PlannedOrder], Verdict | None]:
    """Return what objects outside the bands, and on a real venue in session without fresh ones."""
    at, market, oldest = context.at, context.market, earliest(context.at, max_age)
    needed = not context.simulated and regular(context.session, at)

    def check(order: PlannedOrder) -> Verdict | None:
        published = market.get(order.symbol)
        if published is None or not published.banded:
            return None  # no state at all is check 2's to block
        bands, told = published.bands, published.bands_at
        if bands is None or told is None:
            if not needed:
                return None
            return blocked(NAME, "published bands", "none", "no price bands were published")
        if not oldest <= told <= at:
            seconds = f"{age(at, told):.0f} s"
            return blocked(NAME, f"{max_age} s", seconds, "the price bands are stale")
        if not bands.lower <= order.limit_price <= bands.upper:
            limit = f"{bands.lower} to {bands.upper}"
            return blocked(NAME, limit, str(order.limit_price), "outside the published band")
        return None

    return check
