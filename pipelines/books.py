"""Exact unit and cash accounting of one portfolio that trades towards target weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import StrategyInvalid
from runtime.bundles.contract import SizingPolicy
from runtime.bundles.inputs import Array
from runtime.plan import sized

CAPITAL = 1_000_000.0  # quote currency at the start; the scale of equity, cash and costs

Rows: TypeAlias = NDArray[np.intp]
Target: TypeAlias = Callable[[int, Array], Array]  # (decision index, current weights) -> weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Exact unit and cash accounting of one portfolio; D decisions, T return days, n symbols."""

    equity: Array  # (T + 1,), quote currency; row 0 is the capital before the first fill
    gross: Array  # (T,), daily returns before costs, fractions
    net: Array  # (T,), daily returns after costs, fractions
    orders: Array  # (D, n), signed units traded at the close after each decision
    traded: Array  # (D,), traded notional, quote currency
    costs: Array  # (D,), quote currency
    turnover: Array  # (D,), traded notional / equity before the trade
    current: Array  # (D, n), drifted weights at each decision
    cash: Array  # (D,), quote currency after each fill; negative if prices gapped up


def keep_books(prices: Array, rows: Rows, target: Target, sizing: SizingPolicy) -> Books:
    """Trade towards target weights and account for every unit and cent.

    Args:
        prices: closes, shape (T + 1, n), quote currency per unit.
        rows: rows at whose close is decided, shape (D,), ascending, none the last row.
        target: weights wanted at a decision, given the drifted weights held.
        sizing: fraction invested and cost rate.

    Raises:
        StrategyInvalid: equity fell to nothing.
    """
    decisions, n = len(rows), prices.shape[1]
    units, cash = np.zeros(n), CAPITAL
    equity = np.full(len(prices), CAPITAL)
    orders, current = np.empty((decisions, n)), np.empty((decisions, n))
    traded, costs, before, left = (np.empty(decisions) for _ in range(4))
    fills = rows + 1
    ends = np.append(fills[1:], len(prices))
    for i, (row, fill, end) in enumerate(zip(rows, fills, ends, strict=True)):
        # 1. decide at the close of `row`
        held = units * prices[row]
        worth = cash + held.sum()
        if worth <= 0.0:
            raise StrategyInvalid(f"the portfolio lost everything before decision {i + 1}")
        current[i] = held / worth
        # 2. size on the prices known then, as the plan does
        wanted = sized(target(i, current[i]), sizing) * worth / prices[row]
        # 3. trade at the close of the next session
        orders[i] = wanted - units
        flows = orders[i] * prices[fill]
        traded[i] = np.abs(flows).sum()
        costs[i] = sizing.cost_rate * traded[i]
        before[i] = cash + (units * prices[fill]).sum()
        cash = cash - flows.sum() - costs[i]
        units, left[i] = wanted, cash
        # 4. mark until the next fill
        equity[fill:end] = cash + (prices[fill:end] * units).sum(axis=1)
    if not (equity > 0.0).all():
        raise StrategyInvalid(f"the portfolio lost everything by day {np.argmin(equity > 0.0)}")
    paid = np.zeros(len(prices))
    paid[fills] = costs
    return Books(
        equity=equity,
        gross=(equity[1:] + paid[1:]) / equity[:-1] - 1.0,
        net=equity[1:] / equity[:-1] - 1.0,
        orders=orders,
        traded=traded,
        costs=costs,
        turnover=traded / before,
        current=current,
        cash=left,
    )
