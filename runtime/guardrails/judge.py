"""Runs the eight checks over a plan: an order passes if all eight say so, and only then."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runtime.domain import PlannedOrder, Verdict
from runtime.guardrails import authority, exposure, health, loss, market, price, rate, size
from runtime.guardrails.context import Context, Standing, blocked
from runtime.policy import Policy

Check = Callable[[PlannedOrder, Context, Standing, Policy], Verdict]

CHECKS: tuple[tuple[str, Check], ...] = tuple(
    (module.NAME, module.check)
    for module in (authority, market, size, price, exposure, loss, rate, health)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One planned order and what the eight checks said of it."""

    order: PlannedOrder
    verdicts: tuple[Verdict, ...]  # eight, in order

    @property
    def passed(self) -> bool:
        """Say whether every check let it through."""
        return len(self.verdicts) == len(CHECKS) and all(v.passed for v in self.verdicts)

    @property
    def objections(self) -> str:
        """Return the reasons of the checks that blocked, empty if none did."""
        return "; ".join(f"{v.check}: {v.reason}" for v in self.verdicts if not v.passed)


def judge(
    orders: Sequence[PlannedOrder],
    context: Context,
    policy: Policy,
    checks: Sequence[tuple[str, Check]] = CHECKS,
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
        return tuple(
            Judged(
                order=order,
                verdicts=tuple(blocked(name, "a price", "none", reason) for name, _ in checks),
            )
            for order in orders
        )
    judged = []
    for order in orders:
        found, free = [], len(checks) == len(CHECKS)
        for name, check in checks:
            try:
                verdict = check(order, context, standing, policy)
            except Exception as error:  # noqa: BLE001 - a check without an answer has not passed
                reason = f"the check failed: {error}"
                verdict = blocked(name, "an answer", type(error).__name__, reason)
            found.append(verdict)
            free = free and verdict.passed
        judged.append(Judged(order=order, verdicts=tuple(found)))
        if free:
            standing.let_through(order, context.prices[order.symbol])
    return tuple(judged)
