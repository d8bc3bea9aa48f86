"""Check 8: are data and features fresh, is the output sane, is the artefact the verified one?"""

import math
from decimal import Decimal

from runtime.domain import PlannedOrder, Verdict
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
from runtime.policies.policy import Policy

NAME = "8 health"


def prepare(context: Context, standing: Standing, policy: Policy) -> Check:
    """Block on an unverified artefact, a drift stop, old data or features, and wild outputs."""
    limits, at = policy.health, context.at
    if limits.max_data_age is None or limits.max_weight is None:
        return always(unlimited(NAME, "health.max_data_age or max_weight"))
    if not context.verified:
        return always(blocked(NAME, "verified", context.bundle[:12], "the bundle did not verify"))
    if context.drift_stopped:
        reason = "the drift monitor stopped this bundle"
        return always(blocked(NAME, "no drift stop", "stopped", reason))
    weights, times, max_age = context.weights, context.priced_at, limits.max_data_age
    largest, oldest = _floor(limits.max_weight), earliest(at, max_age)
    shown, old = f"|weight| <= {limits.max_weight}", _features(context, max_age)

    def check(order: PlannedOrder) -> Verdict:
        symbol = order.symbol
        weight, priced_at = weights.get(symbol), times.get(symbol)
        if weight is None or not abs(weight) <= largest:  # NaN is not below anything
            return blocked(NAME, shown, f"{weight}", "output out of range")
        if priced_at is None or not oldest <= priced_at <= at:
            observed = "none" if priced_at is None else f"{age(at, priced_at):.0f} s"
            return blocked(NAME, f"{max_age} s", observed, "market data too old or missing")
        return old or Verdict(
            check=NAME, passed=True, limit=shown, observed=f"{weight:.6f}", reason=WITHIN
        )

    return check


def _floor(limit: Decimal) -> float:
    """Return the largest finite float that is not above a limit."""
    nearest = float(limit)
    return nearest if Decimal(nearest) <= limit else math.nextafter(nearest, -math.inf)


def _features(context: Context, max_age: int) -> Verdict | None:
    """Block on the first feature that is too old; the same for every order of a tick."""
    for name, feature in context.features.items():
        allowed = max_age if feature.allowed is None else feature.allowed
        seconds = None if feature.known_at is None else age(context.at, feature.known_at)
        if seconds is None or not 0 <= seconds <= allowed:
            observed = "none" if seconds is None else f"{seconds:.0f} s"
            return blocked(NAME, f"{allowed:.0f} s", observed, f"feature {name} too old or missing")
    return None
