"""From target weights to whole-lot orders: what today's signals ask for, with reasons.

Steps of `make_plan`: 1. target units per symbol, all at once in floats where these leave no doubt;
2. the change from what is held and working, exact;
3. what is too small is left out; 4. sells before buys, each in universe order.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_DOWN, Decimal
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from runtime.bundles.contract import SizingPolicy
from runtime.bundles.inference import Decided
from runtime.bundles.inputs import Array
from runtime.domain import PlannedOrder, Side, Signal
from runtime.errors import DecisionInvalid
from runtime.execution.style import Execution, Priced, prepare
from runtime.execution.ticks import tick_grid
from runtime.journal.exact import UNIT
from runtime.journal.marks import floats_of

ZERO = Decimal(0)
_EXACT = float(1 << 52)  # floats below it carry whole numbers, and their differences


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

    Confidence is what the graph gives. A graph that gives none leaves the rank of |score| within
    the universe, 1 for the largest, ties by order: information only.
    """
    n = len(symbols)
    sure = decided.confidence
    if sure is None:
        sure = np.empty(n)
        sure[np.argsort(np.abs(decided.score), kind="stable")] = np.arange(1, n + 1) / n
    said = zip(symbols, decided.score.tolist(), decided.weight.tolist(), sure.tolist(), strict=True)
    return tuple(
        [
            Signal(symbol=symbol, score=score, weight=weight, confidence=confidence)
            for symbol, score, weight, confidence in said
        ]
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
    counts: Array | None = None,
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
        counts: `positions` of all symbols as `Book.counts` gives them, shape (n,), where they are
            at hand; the plan is the same without, and takes longer.

    Returns:
        Whole-lot orders and what was left out. A full exit is never too small.

    Raises:
        DecisionInvalid: a price or a weight is missing, or equity is not positive.
    """
    rows = _rows_priced(tuple(symbols), prices, equity)
    lot, minimum = Decimal(sizing.lot), Decimal(sizing.minimum_notional)
    price_of = prepare(sizing.asks, tick_grid(day), Decimal(sizing.collar))
    asks = sizing.asks
    sells: list[PlannedOrder] = []
    buys: list[PlannedOrder] = []
    left_out: list[LeftOut] = []
    shares = sized(weights, sizing)
    found = _looked_at(shares, rows, positions, counts)
    sure = _lots(shares[found], floats_of(prices, symbols)[found], float(equity), sizing.lot)
    for row, weight, lots in _moving(found, shares, sure, counts, sizing.lot):
        symbol = symbols[row]
        held = positions.get(symbol, ZERO)
        if lots and (held == (target := lots * sizing.lot) or abs(target - held) < sizing.lot):
            continue
        price = prices[symbol]
        if weight:
            change, leaves = _change(weight, held, price, equity, lot, lots)
        else:
            change, leaves = -held, True  # an exit takes odd lots along
        if not change:
            continue
        if not leaves and (notional := abs(change) * price) < minimum:
            text = f"{notional:.2f} USD is below the minimum of {minimum} USD"
            left_out.append(LeftOut(symbol=symbol, reason=text))
            continue
        before = f"{held * price / equity:.2%}" if held else "0.00%"
        reason = f"from {before} to {weight:.2%} of equity"
        side, orders = (Side.BUY, buys) if change > 0 else (Side.SELL, sells)
        orders.append(_order(symbol, side, abs(change), price, reason, asks, price_of))
    return Plan(orders=(*sells, *buys), left_out=tuple(left_out))


@lru_cache(maxsize=64)  # one entry per universe
def rows_of(symbols: tuple[str, ...]) -> Mapping[str, int]:
    """Return where each symbol of a universe stands."""
    return {symbol: row for row, symbol in enumerate(symbols)}


def _rows_priced(
    symbols: tuple[str, ...], prices: Mapping[str, Decimal], equity: Decimal
) -> Mapping[str, int]:
    """Return symbol -> row; DecisionInvalid if a price is missing or equity is not positive."""
    if equity <= 0:
        raise DecisionInvalid(f"equity is {equity} USD; nothing can be planned without capital")
    rows = rows_of(symbols)
    if not rows.keys() <= prices.keys():
        missing = ", ".join(symbol for symbol in symbols if symbol not in prices)
        raise DecisionInvalid(f"no price for {missing}; the plan needs one per symbol")
    return rows


def _looked_at(
    weights: Array,
    rows: Mapping[str, int],
    positions: Mapping[str, Decimal],
    counts: Array | None,
) -> NDArray[np.intp]:
    """Return the rows of whatever is wanted or held, in universe order."""
    if len(weights) != len(rows):
        raise DecisionInvalid(f"{len(weights)} weights were decided for {len(rows)} symbols")
    found = weights != 0.0
    if counts is not None:
        return np.flatnonzero(found | (counts != 0.0))
    found[[rows[symbol] for symbol, held in positions.items() if held and symbol in rows]] = True
    return np.flatnonzero(found)


def _moving(
    found: NDArray[np.intp], shares: Array, lots: NDArray[np.int64], counts: Array | None, lot: int
) -> Iterator[tuple[int, float, int]]:
    """Return row, weight and whole lots of whoever may have to trade; shapes (m,), (n,), (m,)."""
    if counts is not None:
        moves = _moves(lots, counts[found], lot)
        found, lots = found[moves], lots[moves]
    return zip(found.tolist(), shares[found].tolist(), lots.tolist(), strict=True)


def _moves(lots: NDArray[np.int64], counts: Array, lot: int) -> NDArray[np.bool_]:
    """Return who may have to trade: all but whoever surely is less than a lot away.

    Args:
        lots: shape (m,), whole lots wanted, 0 where floats could not tell.
        counts: shape (m,), whole numbers of 1e-6 units held.
        lot: units.
    """
    wanted = lots * float(lot * UNIT)
    exact = (np.abs(counts) < _EXACT) & (np.abs(wanted) < _EXACT)
    stays: NDArray[np.bool_] = (lots != 0) & exact & (np.abs(wanted - counts) < lot * UNIT)
    return ~stays


def _lots(weights: Array, prices: Array, equity: float, lot: int) -> NDArray[np.int64]:
    """Return how many whole lots are wanted, 0 where floats cannot tell for sure.

    They carry 15 digits. Where the lots wanted lie within 1e-6 of a whole number, or are too many
    for that, or less than one, it takes decimals to tell.

    Args:
        weights: shape (m,), fractions of equity.
        prices: shape (m,), USD per unit.
        equity: USD.
        lot: units.
    """
    lots = weights * equity / (prices * lot)
    size, whole = np.abs(lots), np.trunc(lots)
    beyond = np.abs(lots - whole)
    sure = (size >= 1.0) & (size < 1e8) & (beyond > 1e-6) & (beyond < 1 - 1e-6)
    return np.where(sure, whole, 0.0).astype(np.int64)


def _change(
    weight: float, held: Decimal, price: Decimal, equity: Decimal, lot: Decimal, lots: int
) -> tuple[Decimal, bool]:
    """Return the change in units, signed and in whole lots, and whether it is a full exit.

    Where floats have told how many lots are wanted, decimals would come to the same.
    """
    target = lots * lot
    if not lots:
        wanted = Decimal(repr(weight)) * equity / price  # 0.49 means 0.49, not the float below it
        target = (wanted / lot).to_integral_value(ROUND_DOWN) * lot
        if not target:
            return -held, True
    return ((target - held) / lot).to_integral_value(ROUND_DOWN) * lot, False


def _order(
    symbol: str,
    side: Side,
    quantity: Decimal,
    price: Decimal,
    reason: str,
    asks: Execution,
    price_of: Callable[[Side, Decimal], Priced],
) -> PlannedOrder:
    limit, stop = price_of(side, price)
    return PlannedOrder(
        symbol=symbol,
        side=side,
        quantity=quantity,
        order_type=asks.order_type,
        limit_price=limit,
        reference_price=price,
        reason=reason,
        time_in_force=asks.time_in_force,
        stop_price=stop,
    )
