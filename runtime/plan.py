"""From target weights to whole-lot orders: what today's signals ask for, with reasons.

Steps of `make_plan`: 1. target units per symbol; 2. the change from what is held and working;
3. what is too small is left out; 4. sells before buys, each in universe order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_DOWN, Decimal

import numpy as np

from runtime.contract import SizingPolicy
from runtime.domain import OrderType, PlannedOrder, Side, Signal
from runtime.errors import DecisionInvalid
from runtime.inference import Decided
from runtime.inputs import Array
from runtime.ticks import tick_grid

ZERO = Decimal(0)


def sized(weights: Array, sizing: SizingPolicy) -> Array:
    """Scale target weights to what is really invested; backtest and runtime both use this.

    Args:
        weights: shape (n,), fractions as decided by the graph.
        sizing: `invested` is the fraction of equity that the weights share.

    Returns:
        Shape (n,), fractions of equity.
    """
    return weights * sizing.invested


def signals(symbols: Sequence[str], decided: Decided) -> tuple[Signal, ...]:
    """Return one signal per symbol, in universe order.

    Confidence is the rank of |score| within the universe, 1 for the largest, ties by order.
    """
    n = len(symbols)
    ranks = np.empty(n)
    ranks[np.argsort(np.abs(decided.score), kind="stable")] = np.arange(1, n + 1) / n
    return tuple(
        Signal(symbol=symbol, score=score, weight=weight, confidence=confidence)
        for symbol, score, weight, confidence in zip(
            symbols, decided.score.tolist(), decided.weight.tolist(), ranks.tolist(), strict=True
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A change that today's plan does not make, and why."""

    symbol: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Today's orders in the order they leave: sells first."""

    orders: tuple[PlannedOrder, ...]
    left_out: tuple[LeftOut, ...]


def make_plan(
    weights: Array,
    symbols: Sequence[str],
    *,
    prices: Mapping[str, Decimal],
    positions: Mapping[str, Decimal],
    equity: Decimal,
    sizing: SizingPolicy,
    day: date,
) -> Plan:
    """Turn target weights into orders.

    Args:
        weights: shape (n,), fractions of equity as decided by the graph.
        symbols: universe, length n.
        prices: reference price per symbol, USD per unit; one for every symbol.
        positions: units held plus what working orders will still add; absent = none.
        equity: USD.
        sizing: the bundle's sizing policy.
        day: session of the tick.

    Returns:
        Whole-lot orders and what was left out. A full exit is never too small.

    Raises:
        DecisionInvalid: a price is missing, or equity is not positive.
    """
    if equity <= 0:
        raise DecisionInvalid(f"equity is {equity} USD; nothing can be planned without capital")
    missing = [symbol for symbol in symbols if symbol not in prices]
    if missing:
        raise DecisionInvalid(f"no price for {', '.join(missing)}; the plan needs one per symbol")
    lot, minimum = Decimal(sizing.lot), Decimal(sizing.minimum_notional)
    grid, collar = tick_grid(day), Decimal(sizing.collar)
    sells: list[PlannedOrder] = []
    buys: list[PlannedOrder] = []
    left_out: list[LeftOut] = []
    for symbol, weight in zip(symbols, sized(weights, sizing).tolist(), strict=True):
        price, held = prices[symbol], positions.get(symbol, ZERO)
        if not (weight or held):
            continue
        wanted = Decimal(repr(weight)) * equity / price  # 0.49 means 0.49, not the float below it
        target = (wanted / lot).to_integral_value(ROUND_DOWN) * lot
        change = ((target - held) / lot).to_integral_value(ROUND_DOWN) * lot
        if not target:
            change = -held  # an exit takes odd lots along
        if not change:
            continue
        quantity = abs(change)
        if target and (notional := quantity * price) < minimum:
            text = f"{notional:.2f} USD is below the minimum of {minimum} USD"
            left_out.append(LeftOut(symbol=symbol, reason=text))
            continue
        side = Side.BUY if change > 0 else Side.SELL
        before = f"{held * price / equity:.2%}" if held else "0.00%"
        order = PlannedOrder(
            symbol=symbol,
            side=side,
            quantity=quantity,
            order_type=OrderType.MARKET,
            limit_price=grid.collared(price, side, collar),
            reference_price=price,
            reason=f"from {before} to {weight:.2%} of equity",
        )
        (buys if change > 0 else sells).append(order)
    return Plan(orders=(*sells, *buys), left_out=tuple(left_out))
