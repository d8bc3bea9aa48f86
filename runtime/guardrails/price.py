"""Check 4: are limit and stop on the tick grid, near a fresh reference, and inside the bands?

The limit of a stop is compared with its stop price, which is where it will be in the market then;
the stop price is compared with the reference, and has to lie on the side that is not traded yet.
"""

from collections.abc import Callable
from decimal import Decimal

from runtime.domain import PlannedOrder, Verdict
from runtime.execution.ticks import TickGrid, tick_grid
from runtime.guardrails.context import (
    WITHIN,
    Check,
    Context,
    Standing,
    age,
    always,
    blocked,
    earliest,
    unlimited,
)
from runtime.market.phases import regular
from runtime.policies.policy import Policy

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
        stop = order.stop_price
        if stop is None:
            away = (limit - price).copy_abs() / price
        else:
            objection = _stop(order, stop, price, grid, collar)
            if objection is not None:
                return objection
            away = (limit - stop).copy_abs() / stop
        if away > collar:
            return blocked(NAME, shown, f"{away:.2%}", "outside the collar")
        before = previous.get(symbol)
        if before is not None and (price - before).copy_abs() > move * before:
            return blocked(
                NAME,
                f"{move:.2%} in a session",
                f"{(price - before) / before:.2%}",
                "the reference jumped; look at the data first",
            )
        return beyond_bands(order) or Verdict(
            check=NAME, passed=True, limit=shown, observed=f"{away:.2%}", reason=WITHIN
        )

    return check


def _stop(
    order: PlannedOrder, stop: Decimal, price: Decimal, grid: TickGrid, collar: Decimal
) -> Verdict | None:
    """Return what objects to a stop price, if anything does."""
    tick = grid.tick(stop)
    if stop % tick:
        return blocked(NAME, f"ticks of {tick}", str(stop), "the stop is off the tick grid")
    away = order.side.sign * (stop - price) / price
    if away <= 0:
        reason = "the stop is reached already; it would trade at once"
        return blocked(NAME, f"beyond {price}", str(stop), reason)
    if away > collar:
        return blocked(NAME, f"{collar:.2%}", f"{away:.2%}", "the stop is outside the collar")
    return None


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
        stop = order.stop_price
        if stop is not None and not bands.lower <= stop <= bands.upper:
            limit = f"{bands.lower} to {bands.upper}"
            return blocked(NAME, limit, str(stop), "the stop is outside the published band")
        return None

    return check
