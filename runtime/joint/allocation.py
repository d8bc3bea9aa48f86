"""Several bundles, one account: what they want together, and who gets what of it; exact.

1. Each bundle plans alone, on its own capital and its own holdings (`runtime.plan`).
2. Per symbol their changes are netted: what they offset among themselves crosses inside, only the
   rest is ordered. Everyone on the smaller side crosses completely; the larger side shares what it
   crosses by what each asked for.
3. A limit of turnover scales every order by the same ratio.
4. An execution is shared by what each bundle still waits for.

Orders that bundles share keep the type they agree on; where they do not agree it is a market order
at the most careful of their limits. None outlives its session, since they decide on other days.

Every split is by `runtime.joint.splitting`: parts add up, whatever the order bundles are listed in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from runtime.domain import OrderType, PlannedOrder, Side, TimeInForce
from runtime.joint.splitting import Netted, net_changes, share_fill
from runtime.plan import LeftOut

ZERO = Decimal(0)
_BUY, _GTC = Side.BUY, TimeInForce.GTC  # looked up once: a member of an enum is slow to reach
_AT_MARKET = (OrderType.MARKET, TimeInForce.DAY, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One bundle's plan, made on its own capital and holdings."""

    role: str
    study: str
    orders: Sequence[PlannedOrder]
    left_out: Sequence[LeftOut] = ()
    minimum: Decimal = ZERO  # USD, smallest order it would send


class JointOrder(msgspec.Struct, frozen=True, kw_only=True):
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
    held: Mapping[str, Decimal] = MappingProxyType({}),
    alone: bool = False,
) -> JointPlan:
    """Make one plan of several.

    Args:
        plans: one per bundle, in any order.
        symbols: all of them; the order of the orders.
        equity: of the account, USD.
        lot: units that a scaled order is rounded down to.
        max_turnover: fraction of equity that orders may trade together, None = no limit.
        held: units of the account; no order that leaves a symbol completely is too small.
        alone: one bundle has the whole account, so nobody need be told apart.

    Returns:
        Orders and crosses. Of one bundle alone they are its own plan, word for word.
    """
    in_order = sorted(plans, key=lambda one: one.role)
    wished = _wished(in_order, alone=alone)
    left_out = [
        one if alone else LeftOut(symbol=one.symbol, reason=f"{plan.role}: {one.reason}")
        for plan in in_order
        for one in plan.left_out
    ]
    joined: list[JointOrder] = []
    crossed: dict[str, Mapping[str, Decimal]] = {}
    for symbol in symbols:
        if symbol not in wished:
            continue
        wishes = wished[symbol]
        if len(wishes) == 1:
            joined.append(_own(wishes[0], alone=alone))
            continue
        netted = net_changes({wish.role: wish.change for wish in wishes})
        if netted.crossed:
            crossed[symbol] = netted.crossed
        one = _of_several(wishes, netted, leaves=held.get(symbol, ZERO) == -netted.net)
        if isinstance(one, JointOrder):
            joined.append(one)
        else:
            left_out.append(one)
    if max_turnover is not None:
        joined = _scaled(joined, equity, max_turnover, lot, left_out)
    sells = [one for one in joined if one.order.side is not _BUY]
    buys = [one for one in joined if one.order.side is _BUY]
    return JointPlan(orders=(*sells, *buys), crossed=crossed, left_out=tuple(left_out))


class _Wish(NamedTuple):
    """What one bundle wants of one symbol."""

    role: str
    study: str
    order: PlannedOrder
    change: Decimal  # units, signed
    minimum: Decimal  # USD, smallest order it would send


def _wished(plans: Sequence[Asked], *, alone: bool) -> dict[str, list[_Wish]]:
    """Return what is wanted of each symbol; what is shared ends with its session."""
    found: dict[str, list[_Wish]] = {}
    for plan in plans:
        for order in plan.orders:
            if order.time_in_force is _GTC and not alone:
                order = msgspec.structs.replace(order, time_in_force=TimeInForce.DAY)
            change = order.quantity if order.side is _BUY else -order.quantity
            wish = _Wish(plan.role, plan.study, order, change, plan.minimum)
            if order.symbol in found:
                found[order.symbol].append(wish)
            else:
                found[order.symbol] = [wish]
    return found


def _own(wish: _Wish, *, alone: bool) -> JointOrder:
    """Return the order of the only one who wants anything of a symbol."""
    order = wish.order
    if not alone:
        order = msgspec.structs.replace(order, reason=_words([wish]))
    return JointOrder(order=order, left={wish.role: wish.change})


def _of_several(wishes: Sequence[_Wish], netted: Netted, *, leaves: bool) -> JointOrder | LeftOut:
    """Return the one order for what several want; LeftOut if none is left or it is too small.

    Args:
        wishes: of one symbol, at least two.
        netted: what they come to.
        leaves: the account leaves the symbol completely, so that no order is too small.
    """
    words, symbol = _words(wishes), wishes[0].order.symbol
    if not netted.net:
        return LeftOut(symbol=symbol, reason=f"{words}: all crosses inside")
    one = _joint_order(wishes, netted, words)
    least = min(wish.minimum for wish in wishes)
    if one.order.notional < least and not leaves:
        text = f"{words}: net {one.order.notional:.2f} USD is below {least} USD"
        return LeftOut(symbol=symbol, reason=text)
    return one


def _joint_order(wishes: Sequence[_Wish], netted: Netted, words: str) -> JointOrder:
    """Return the one order for what is left; its price is the most careful of those that ask."""
    side = Side.BUY if netted.net > 0 else Side.SELL
    same = [wish.order for wish in wishes if wish.order.side is side]
    limits = [order.limit_price for order in same]
    kinds = {(order.order_type, order.time_in_force, order.stop_price) for order in same}
    kind, time, stop = kinds.pop() if len(kinds) == 1 else _AT_MARKET
    inside = sum((part for part in netted.crossed.values() if part > 0), ZERO)
    if inside:
        words = f"{words}; {inside.normalize():f} cross inside, net {netted.net.normalize():+f}"
    order = msgspec.structs.replace(
        wishes[0].order,
        side=side,
        quantity=abs(netted.net),
        limit_price=min(limits) if side is Side.BUY else max(limits),
        reason=words,
        order_type=kind,
        time_in_force=time,
        stop_price=stop,
    )
    return JointOrder(order=order, left=netted.left)


def _words(wishes: Sequence[_Wish]) -> str:
    """Say which bundle asks for how much, and why."""
    return ", ".join(
        [f"{wish.role} ({wish.study}) asks {wish.change:+f} {wish.order.reason}" for wish in wishes]
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
        left = share_fill(size * order.side.sign, one.left)
        found.append(JointOrder(order=smaller, left=left))
    return found
