"""Several bundles, one account: what they want together, and who gets what of it; exact.

1. Each bundle plans alone, on its own capital and its own holdings (`runtime.plan`).
2. Per symbol their changes are netted: what they offset among themselves crosses inside, only the
   rest is ordered. Everyone on the smaller side crosses completely; the larger side shares what it
   crosses by what each asked for.
3. A limit of turnover scales every order by the same ratio.
4. An execution is shared by what each bundle still waits for.

Every split is floor and largest remainders, ties by role in alphabetical order, so parts always
add up and no result depends on the order in which bundles are listed.
Source: market-rules, section 8.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from math import gcd

import msgspec

from runtime.domain import PlannedOrder, Side
from runtime.errors import OrderInvalid
from runtime.journal.exact import quantity, units
from runtime.plan import LeftOut

ZERO = Decimal(0)
ONE = Decimal(1)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Netted:
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
    asked = {role: _signed(change, role) for role, change in sorted(changes.items())}
    asked = {role: change for role, change in asked.items() if change}
    net = sum(asked.values())
    if net == 0 and not asked:
        return Netted(net=ZERO, crossed={}, left={})
    sign = 1 if net >= 0 else -1
    larger = {role: abs(change) for role, change in asked.items() if change * sign > 0}
    smaller = {role: change for role, change in asked.items() if change * sign < 0}
    inside = -sum(smaller.values()) * sign
    crossed = dict(smaller)
    if inside:
        grain = gcd(inside, *larger.values())
        shared = split(inside, larger, grain=grain)
        crossed |= {role: sign * part for role, part in shared.items()}
    left = {role: change - crossed.get(role, 0) for role, change in asked.items()}
    return Netted(
        net=quantity(net),
        crossed={role: quantity(part) for role, part in sorted(crossed.items()) if part},
        left={role: quantity(part) for role, part in left.items() if part},
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One bundle's plan, made on its own capital and holdings."""

    role: str
    study: str
    orders: Sequence[PlannedOrder]
    left_out: Sequence[LeftOut] = ()
    minimum: Decimal = ZERO  # USD, smallest order it would send


@dataclass(frozen=True, slots=True, kw_only=True)
class JointOrder:
    """One order for several bundles."""

    order: PlannedOrder
    left: Mapping[str, Decimal]  # role -> its share, signed units


@dataclass(frozen=True, slots=True, kw_only=True)
class JointPlan:
    """What an account does for all its bundles: sells first, in order of symbol as given."""

    orders: tuple[JointOrder, ...]
    crossed: Mapping[str, Mapping[str, Decimal]]  # symbol -> role -> signed units
    left_out: tuple[LeftOut, ...]


def join(
    plans: Sequence[Asked],
    symbols: Sequence[str],
    *,
    equity: Decimal,
    lot: int = 1,
    max_turnover: Decimal | None = None,
    exits: Iterable[str] = (),
    alone: bool = False,
) -> JointPlan:
    """Make one plan of several.

    Args:
        plans: one per bundle, in any order.
        symbols: all of them; the order of the orders.
        equity: of the account, USD.
        lot: units that a scaled order is rounded down to.
        max_turnover: fraction of equity that orders may trade together, None = no limit.
        exits: symbols the account leaves completely; no order of theirs is too small.
        alone: one bundle has the whole account, so nobody need be told apart.

    Returns:
        Orders and crosses. Of one bundle alone they are its own plan, word for word.
    """
    wanted: dict[str, list[tuple[Asked, PlannedOrder]]] = {}
    for plan in sorted(plans, key=lambda one: one.role):
        for order in plan.orders:
            wanted.setdefault(order.symbol, []).append((plan, order))
    left_out = [
        one if alone else LeftOut(symbol=one.symbol, reason=f"{plan.role}: {one.reason}")
        for plan in sorted(plans, key=lambda one: one.role)
        for one in plan.left_out
    ]
    joined: list[JointOrder] = []
    crossed: dict[str, Mapping[str, Decimal]] = {}
    leaving = frozenset(exits)
    for symbol in symbols:
        if symbol not in wanted:
            continue
        asking = wanted[symbol]
        if len(asking) == 1:
            plan, order = asking[0]
            change = order.quantity * order.side.sign
            if not alone:
                order = msgspec.structs.replace(order, reason=_words(asking))
            joined.append(JointOrder(order=order, left={plan.role: change}))
            continue
        netted = net_changes({p.role: o.quantity * o.side.sign for p, o in asking})
        if netted.crossed:
            crossed[symbol] = netted.crossed
        if not netted.net:
            left_out.append(LeftOut(symbol=symbol, reason=f"{_words(asking)}: all crosses inside"))
            continue
        one = _joint_order(asking, netted)
        least = min(plan.minimum for plan, _ in asking)
        if one.order.notional < least and symbol not in leaving:
            text = f"{_words(asking)}: net {one.order.notional:.2f} USD is below {least} USD"
            left_out.append(LeftOut(symbol=symbol, reason=text))
            continue
        joined.append(one)
    if max_turnover is not None:
        joined = _scaled(joined, equity, max_turnover, lot, left_out)
    sells = [one for one in joined if one.order.side is Side.SELL]
    buys = [one for one in joined if one.order.side is Side.BUY]
    return JointPlan(orders=(*sells, *buys), crossed=crossed, left_out=tuple(left_out))


def _joint_order(asking: Sequence[tuple[Asked, PlannedOrder]], netted: Netted) -> JointOrder:
    """Return the one order for what is left; its price is the most careful of those that ask."""
    side = Side.BUY if netted.net > 0 else Side.SELL
    limits = [order.limit_price for _, order in asking if order.side is side]
    inside = sum((part for part in netted.crossed.values() if part > 0), ZERO)
    words = _words(asking)
    if inside:
        words = f"{words}; {inside.normalize():f} cross inside, net {netted.net.normalize():+f}"
    order = msgspec.structs.replace(
        asking[0][1],
        side=side,
        quantity=abs(netted.net),
        limit_price=min(limits) if side is Side.BUY else max(limits),
        reason=words,
    )
    return JointOrder(order=order, left=netted.left)


def _words(asking: Sequence[tuple[Asked, PlannedOrder]]) -> str:
    """Say which bundle asks for how much, and why."""
    return ", ".join(
        f"{plan.role} ({plan.study}) asks {order.quantity * order.side.sign:+f} {order.reason}"
        for plan, order in asking
    )


def _scaled(
    orders: Sequence[JointOrder],
    equity: Decimal,
    limit: Decimal,
    lot: int,
    left_out: list[LeftOut],
) -> list[JointOrder]:
    """Scale all orders by one ratio until together they trade no more than the limit."""
    traded = sum((one.order.notional for one in orders), ZERO)
    allowed = limit * equity
    if traded <= allowed:
        return list(orders)
    ratio = allowed / traded
    words = f"scaled to {ratio:.1%} by the turnover limit of {limit:.1%} of equity"
    found = []
    for one in orders:
        order = one.order
        size = order.quantity * allowed // traded // lot * lot
        if not size:
            left_out.append(LeftOut(symbol=order.symbol, reason=f"{words}: nothing is left"))
            continue
        smaller = msgspec.structs.replace(order, quantity=size, reason=f"{order.reason}; {words}")
        found.append(replace(one, order=smaller, left=share_fill(size * order.side.sign, one.left)))
    return found


def _signed(value: Decimal, name: str) -> int:
    """Return signed units as a whole number of 1e-6."""
    return units(value, name) if value else 0
