"""Runs the eight checks over a plan: an order passes if all eight say so, and only then.

Each check is prepared once per tick, so that only what differs between orders is looked at again.
"""

from collections.abc import Callable, Sequence

import msgspec

from runtime.domain import PlannedOrder, Verdict
from runtime.guardrails import authority, exposure, health, loss, market, price, rate, size
from runtime.guardrails.context import Check, Context, Standing, always, blocked
from runtime.policies.policy import Policy

Prepare = Callable[[Context, Standing, Policy], Check]

CHECKS: tuple[tuple[str, Prepare], ...] = tuple(
    (module.NAME, module.prepare)
    for module in (authority, market, size, price, exposure, loss, rate, health)
)


class Judged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One planned order and what the eight checks said of it."""

    order: PlannedOrder
    verdicts: tuple[Verdict, ...]  # eight, in order
    passed: bool  # every one of the eight let it through

    @property
    def objections(self) -> str:
        """Return the reasons of the checks that blocked, empty if none did."""
        return "; ".join(f"{v.check}: {v.reason}" for v in self.verdicts if not v.passed)


def judge(
    orders: Sequence[PlannedOrder],
    context: Context,
    policy: Policy,
    checks: Sequence[tuple[str, Prepare]] = CHECKS,
) -> tuple[Judged, ...]:
    """Judge a plan in its order; what passed counts as filled for what follows.

    Args:
        orders: planned orders, sells first.
        context: the tick's picture.
        policy: limits in force.
        checks: the eight; tests put others in.

    Returns:
        One `Judged` per order. A check that raises has not passed: it blocks.
    """
    try:
        standing = Standing.of(context)
    except KeyError as error:
        reason = f"no price for {error.args[0]}, which is held or working"
        verdicts = tuple(blocked(name, "a price", "none", reason) for name, _ in checks)
        return tuple(Judged(order=order, verdicts=verdicts, passed=False) for order in orders)
    ready = [
        (name, _prepared(name, prepare, context, standing, policy)) for name, prepare in checks
    ]
    complete, judged = len(ready) == len(CHECKS), []
    for order in orders:
        found, free = [], complete
        for name, check in ready:
            try:
                verdict = check(order)
            except Exception as error:  # noqa: BLE001 - a check without an answer has not passed
                verdict = _unanswered(name, error)
            found.append(verdict)
            free = free and verdict.passed
        judged.append(Judged(order=order, verdicts=tuple(found), passed=free))
        if free:
            standing.let_through(order, context.prices[order.symbol])
    return tuple(judged)


def _prepared(
    name: str, prepare: Prepare, context: Context, standing: Standing, policy: Policy
) -> Check:
    """Return a check for this tick; one that cannot be prepared blocks every order."""
    try:
        return prepare(context, standing, policy)
    except Exception as error:  # noqa: BLE001 - a check without an answer has not passed
        return always(_unanswered(name, error))


def _unanswered(name: str, error: Exception) -> Verdict:
    return blocked(name, "an answer", type(error).__name__, f"the check failed: {error}")
