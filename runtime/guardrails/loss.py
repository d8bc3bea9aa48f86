"""Check 6: has the account lost too much, too often, or does its value rest on sand?"""

from decimal import Decimal
from functools import lru_cache

from runtime.domain import PlannedOrder, Verdict
from runtime.guardrails.context import Context, Standing, age, blocked, passed, percent, unlimited
from runtime.policy import Policy

NAME = "6 loss"


def check(order: PlannedOrder, context: Context, standing: Standing, policy: Policy) -> Verdict:
    """Block after a daily loss, drawdown or losing streak, on breaks, and without a valuation."""
    if standing.reduces(order):
        return passed(NAME, "any", "reduces", "takes risk off, exempt from checks 5 and 6")
    limits = policy.loss
    if (
        limits.max_daily_loss is None
        or limits.max_drawdown is None
        or limits.max_losing_streak is None
        or limits.cooldown_sessions is None
        or limits.max_valuation_age is None
        or limits.allow_unresolved_breaks is None
    ):
        return unlimited(NAME, "loss limit")
    if context.breaks and not limits.allow_unresolved_breaks:
        return blocked(NAME, "no unresolved break", str(len(context.breaks)), context.breaks[0])
    if context.valued_at is None:
        return blocked(NAME, "a valuation", "none", "the account has no valuation")
    seconds = age(context.at, context.valued_at)
    if not 0 <= seconds <= limits.max_valuation_age:
        return blocked(
            NAME, f"{limits.max_valuation_age} s", f"{seconds:.0f} s", "the valuation is stale"
        )
    if context.losing_streak > limits.max_losing_streak:
        return blocked(
            NAME,
            f"{limits.max_losing_streak} sessions",
            str(context.losing_streak),
            "too many losing sessions in a row",
        )
    for name, base, limit in (
        ("daily loss", context.equity_before, limits.max_daily_loss),
        ("drawdown", context.equity_peak, limits.max_drawdown),
    ):
        if base is not None and base - context.equity > limit * base:
            lost = (base - context.equity) / base
            return blocked(NAME, f"{name} {limit:.2%}", f"{lost:.2%}", f"{name} limit reached")
    rest = standing.rest(context, limits)
    if rest is not None:
        return blocked(
            NAME,
            f"a rest of {limits.cooldown_sessions} sessions",
            f"{rest.left} left",
            f"{rest.reason} at the close of {rest.since}",
        )
    return passed(
        NAME,
        f"daily loss {percent(limits.max_daily_loss)}",
        _change(context.equity, context.equity_before or context.equity),
    )


@lru_cache(maxsize=8)
def _change(equity: Decimal, base: Decimal) -> str:
    """Return the day's change as it is written in verdicts."""
    return f"{(equity - base) / base if base else base:+.2%}"
