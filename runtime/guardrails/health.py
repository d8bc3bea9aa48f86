"""Check 8: are data and features fresh, is the output sane, is the artefact the verified one?"""

import math
from datetime import datetime

from runtime.domain import PlannedOrder, Verdict
from runtime.guardrails.context import Context, Standing, age, blocked, passed_once, unlimited
from runtime.policy import Policy

NAME = "8 health"


def check(order: PlannedOrder, context: Context, standing: Standing, policy: Policy) -> Verdict:
    """Block on an unverified artefact, a drift stop, old data or features, and wild outputs."""
    limits = policy.health
    if limits.max_data_age is None or limits.max_weight is None:
        return unlimited(NAME, "health.max_data_age or max_weight")
    if not context.verified:
        return blocked(NAME, "verified", context.bundle[:12], "the bundle did not verify")
    if context.drift_stopped:
        return blocked(NAME, "no drift stop", "stopped", "the drift monitor stopped this bundle")
    weight = context.weights.get(order.symbol)
    if weight is None or not math.isfinite(weight) or abs(weight) > limits.max_weight:
        return blocked(NAME, f"|weight| <= {limits.max_weight}", f"{weight}", "output out of range")
    stale = _stale(context.at, context.priced_at.get(order.symbol), limits.max_data_age)
    if stale:
        return blocked(NAME, f"{limits.max_data_age} s", stale, "market data too old or missing")
    if standing.features is None or standing.features[0] is not limits:
        standing.features = limits, _features(context, limits.max_data_age)
    old = standing.features[1]
    return old or passed_once(NAME, f"|weight| <= {limits.max_weight}", f"{weight:.6f}")


def _features(context: Context, max_age: int) -> Verdict | None:
    """Block on the first feature that is too old; the same for every order of a tick."""
    for name, feature in context.features.items():
        allowed = max_age if feature.allowed is None else feature.allowed
        stale = _stale(context.at, feature.known_at, allowed)
        if stale:
            return blocked(NAME, f"{allowed:.0f} s", stale, f"feature {name} too old or missing")
    return None


def _stale(at: datetime, then: datetime | None, limit: float) -> str:
    """Return how old something is if that is too old or in the future, else nothing."""
    if then is None:
        return "none"
    seconds = age(at, then)
    return "" if 0 <= seconds <= limit else f"{seconds:.0f} s"
