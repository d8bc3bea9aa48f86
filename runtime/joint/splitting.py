"""Splits amounts exactly: floor and largest remainders, ties by name in alphabetical order.

Parts always add up, and no result depends on the order in which names are listed.
Source: market-rules, section 8.
"""

from collections.abc import Mapping
from decimal import Decimal
from math import gcd

import msgspec

from runtime.errors import OrderInvalid
from runtime.journal.exact import quantity, units

ZERO = Decimal(0)


def split(total: int, weights: Mapping[str, int], *, grain: int = 1) -> dict[str, int]:
    """Share a whole number in proportion to weights.

    Args:
        total: what is shared, a multiple of `grain`; its sign is that of every part.
        weights: id -> weight, none negative, not all zero.
        grain: every part is a multiple of it.

    Returns:
        id -> part, in alphabetical order; they add up to `total`. No part exceeds its weight if
        the total does not exceed their sum and every weight is a multiple of `grain`.

    Raises:
        OrderInvalid: there is something to share and nobody to take it.
    """
    whole = sum(weights.values())
    if total and (whole <= 0 or min(weights.values()) < 0 or total % grain):
        raise OrderInvalid(f"{total} cannot be shared by {dict(weights)} in parts of {grain}")
    sign, count = (-1 if total < 0 else 1), abs(total) // grain
    parts, remainders = {}, []
    for name in sorted(weights):
        parts[name], rest = divmod(count * weights[name], whole) if count else (0, 0)
        remainders.append((-rest, name))
    left = count - sum(parts.values())
    for _, name in sorted(remainders)[:left]:
        parts[name] += 1
    return {name: sign * part * grain for name, part in parts.items()}


def split_money(amount: Decimal, fractions: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Share USD, whole cents, in proportion to exact fractions; the parts add up to the cent."""
    cents = amount.scaleb(2)
    if cents != cents.to_integral_value():
        raise OrderInvalid(f"only whole cents can be shared, was {amount}")
    scale = max((-int(one.as_tuple().exponent) for one in fractions.values()), default=0)
    weights = {name: int(one.scaleb(max(scale, 0))) for name, one in fractions.items()}
    return {name: Decimal(part).scaleb(-2) for name, part in split(int(cents), weights).items()}


class Netted(msgspec.Struct, frozen=True, kw_only=True):
    """What several changes of one symbol come to; signed units, buys positive."""

    net: Decimal  # what is ordered
    crossed: Mapping[str, Decimal]  # role -> what it trades inside; adds up to zero
    left: Mapping[str, Decimal]  # role -> its share of the order; adds up to `net`


def net_changes(changes: Mapping[str, Decimal]) -> Netted:
    """Offset what bundles want of one symbol.

    Args:
        changes: role -> units wanted, signed; zeros may be left out.

    Returns:
        For every role that wants something: what it crosses plus its share of the order is what it
        asked for.
    """
    asked: dict[str, int] = {}
    net = against = 0
    for role in sorted(changes):
        change = _signed(changes[role], role)
        if change:
            asked[role] = change
            net += change
    side = 1 if net >= 0 else -1
    larger, crossed = {}, dict[str, int]()
    for role, change in asked.items():
        if change * side > 0:
            larger[role] = change * side
        else:
            crossed[role] = change
            against -= change * side
    if crossed:
        shared = split(against, larger, grain=gcd(against, *larger.values()))
        crossed |= {role: side * part for role, part in shared.items()}
    return Netted(
        net=quantity(net),
        crossed={role: quantity(crossed[role]) for role in asked if crossed.get(role)},
        left={
            role: quantity(part)
            for role, change in asked.items()
            if (part := change - crossed.get(role, 0))
        },
    )


def share_fill(filled: Decimal, left: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Share one execution by what each bundle still waits for.

    Args:
        filled: units, signed; not more than everything that is waited for, on the same side.
        left: role -> units it waits for, all on that side.

    Returns:
        role -> units, signed; they add up to `filled` and none exceeds what it waits for. Once all
        is filled everyone has exactly what was left for it, however it came in.

    Raises:
        OrderInvalid: more was filled than anybody waits for.
    """
    count = _signed(filled, "a fill")
    waiting = {role: _signed(part, role) for role, part in left.items() if part}
    whole = sum(waiting.values())
    if count * whole < 0 or abs(count) > abs(whole):
        raise OrderInvalid(f"{filled} executed, but only {quantity(whole)} is waited for")
    weights = {role: abs(part) for role, part in waiting.items()}
    grain = gcd(count, *weights.values())
    return {role: quantity(p) for role, p in split(count, weights, grain=grain).items() if p}


def _signed(value: Decimal, name: str) -> int:
    """Return signed units as a whole number of 1e-6."""
    return units(value, name) if value else 0
