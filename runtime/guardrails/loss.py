"""Check 6: has the account lost too much, too often, or does its value rest on sand?"""

from functools import cache

from runtime.domain import PlannedOrder, Verdict
from runtime.guardrails.context import Check, Context, Standing, age, blocked, passed, unlimited
from runtime.guardrails.protections import resting
from runtime.policies.policy import LossLimits, Policy

NAME = "6 loss"
EXEMPT = passed(NAME, "any", "reduces", "takes risk off, exempt from checks 5 and 6")


def prepare(context: Context, standing: Standing, policy: Policy) -> Check:
    """Block after a daily loss, drawdown or losing streak, on breaks, and without a valuation."""
    account = cache(lambda: _account(context, policy.loss))
    held, broken = standing.positions, context.broken

    def check(order: PlannedOrder) -> Verdict:
        symbol = order.symbol
        if symbol in held and standing.reduces(order):
            return EXEMPT
        return _disagreed(order) if symbol in broken else account()

    return check


def _disagreed(order: PlannedOrder) -> Verdict:
    reason = f"a venue holds other units of {order.symbol} than we do; no policy allows that"
    return blocked(NAME, "positions that agree", order.symbol, reason)


def _account(context: Context, limits: LossLimits) -> Verdict:
    """Judge the account; the same for every order of a tick, so asked once."""
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
    rest = resting(context.closes, limits)
    if rest is not None:
        return blocked(
            NAME,
            f"a rest of {limits.cooldown_sessions} sessions",
            f"{rest.left} left",
            f"{rest.reason} at the close of {rest.since}",
        )
    before = context.equity_before or context.equity
    change = (context.equity - before) / before if before else before
    return passed(NAME, f"daily loss {limits.max_daily_loss:.2%}", f"{change:+.2%}")
