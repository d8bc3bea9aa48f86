"""Check 5: the book after this order, with everything that works counted as filled."""

from decimal import Decimal

from runtime.domain import PlannedOrder, Verdict
from runtime.guardrails.context import (
    BUY,
    WITHIN,
    ZERO,
    Check,
    Context,
    Standing,
    blocked,
    passed,
    unlimited,
)
from runtime.policies.policy import Policy

NAME = "5 exposure"
EXEMPT = passed(NAME, "any", "reduces", "takes risk off, exempt from checks 5 and 6")


def prepare(context: Context, standing: Standing, policy: Policy) -> Check:
    """Block above position, gross, net or buying-power limits; taking risk off is exempt."""
    limits, prices, equity = policy.exposure, context.prices, context.equity
    position, all_gross, all_net, least_cash = (
        limits.max_position_of_equity,
        limits.max_gross_of_equity,
        limits.max_net_of_equity,
        limits.min_cash_of_equity,
    )
    if position is None or all_gross is None or all_net is None or least_cash is None:
        unset = unlimited(NAME, "exposure.max_position, max_gross, max_net or min_cash of equity")
        return lambda order: EXEMPT if standing.reduces(order) else unset
    most, most_gross, most_net = position * equity, all_gross * equity, all_net * equity
    least = least_cash * equity
    shown, held, values = f"gross {all_gross:.2%}", standing.positions, standing.values

    def check(order: PlannedOrder) -> Verdict:
        symbol, buy = order.symbol, order.side is BUY
        if symbol in held and standing.reduces(order):
            return EXEMPT
        price = prices.get(symbol)
        if price is None or equity <= ZERO:
            return blocked(NAME, "a price and equity", f"{equity}", "nothing to compare with")
        cost = order.quantity * price if buy else -order.quantity * price
        before, gross, net = values.get(symbol), standing.gross, abs(standing.net + cost)
        if before is None:
            value = abs(cost)
        else:
            value = abs(before + cost)
            gross -= abs(before)
        gross += value
        if value > most:
            return _too_large("position", value / equity, position)
        if gross > most_gross:
            return _too_large("gross", gross / equity, all_gross)
        if net > most_net:
            return _too_large("net", net / equity, all_net)
        if buy and standing.cash - cost < least:
            left = f"{(standing.cash - cost) / equity:.2%}"
            return blocked(NAME, f"cash {least_cash:.2%}", left, "not enough buying power")
        return Verdict(
            check=NAME, passed=True, limit=shown, observed=f"{gross / equity:.2%}", reason=WITHIN
        )

    return check


def _too_large(name: str, observed: Decimal, limit: Decimal) -> Verdict:
    return blocked(NAME, f"{name} {limit:.2%}", f"{observed:.2%}", f"{name} is too large")
