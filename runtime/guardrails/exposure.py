"""Check 5: the book after this order, with everything that works counted as filled."""

from runtime.domain import PlannedOrder, Side, Verdict
from runtime.guardrails.context import (
    ZERO,
    Context,
    Standing,
    blocked,
    passed,
    passed_once,
    percent,
    unlimited,
)
from runtime.policy import Policy

NAME = "5 exposure"


def check(order: PlannedOrder, context: Context, standing: Standing, policy: Policy) -> Verdict:
    """Block above position, gross, net or buying-power limits; taking risk off is exempt."""
    if standing.reduces(order):
        return passed(NAME, "any", "reduces", "takes risk off, exempt from checks 5 and 6")
    limits = policy.exposure
    if (
        limits.max_position_of_equity is None
        or limits.max_gross_of_equity is None
        or limits.max_net_of_equity is None
        or limits.min_cash_of_equity is None
    ):
        return unlimited(NAME, "exposure.max_position, max_gross, max_net or min_cash of equity")
    price = context.prices.get(order.symbol)
    if price is None or context.equity <= ZERO:
        return blocked(NAME, "a price and equity", f"{context.equity}", "nothing to compare with")
    equity = context.equity
    value, gross, net = standing.after(order, price)
    cash = standing.cash - order.quantity * price * order.side.sign
    for name, observed, limit in (
        ("position", abs(value), limits.max_position_of_equity),
        ("gross", gross, limits.max_gross_of_equity),
        ("net", abs(net), limits.max_net_of_equity),
    ):
        if observed > limit * equity:
            return blocked(
                NAME, f"{name} {limit:.2%}", f"{observed / equity:.2%}", f"{name} is too large"
            )
    if order.side is Side.BUY and cash < limits.min_cash_of_equity * equity:
        return blocked(
            NAME,
            f"cash {limits.min_cash_of_equity:.2%}",
            f"{cash / equity:.2%}",
            "not enough buying power",
        )
    return passed_once(
        NAME, f"gross {percent(limits.max_gross_of_equity)}", f"{gross / equity:.2%}"
    )
