"""Four parts that add up to every day's net return, and to the compound return of any span.

market   what the benchmark's holdings earned before costs
signal   what the decided weights would have earned beyond that, traded at the deciding close
timing   what waiting for the next bar added or took: the real holdings against those
costs    what trading cost

The first decision's fill starts both portfolios, so its wait is in neither.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np

from pipelines.backtest import Backtest
from pipelines.errors import RiskInvalid
from pipelines.holdings import held_weights, name_returns
from pipelines.study import Study
from runtime.bundles.inputs import Array
from runtime.plan import sized

PARTS = ("market", "signal", "timing", "costs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Daily parts of the net return; T days, the first fill's day included."""

    days: tuple[date, ...]
    parts: Array  # (T, 4), fractions, in the order of PARTS; each row sums to net
    net: Array  # (T,), fractions
    by_name: Array  # (T, n), active weight times return: sums to gross minus the benchmark's gross
    symbols: tuple[str, ...]

    def total(self) -> dict[str, float]:
        """Return each part's share of the compound net return of the whole span."""
        values = linked(self.parts, self.net)
        return dict(zip(PARTS, values.tolist(), strict=True))

    def yearly(self) -> tuple[tuple[int, ...], Array]:
        """Return calendar years and, per year, the four linked parts, shape (years, 4)."""
        years = np.array([day.year for day in self.days])
        found = np.unique(years)
        rows = [linked(self.parts[years == y], self.net[years == y]) for y in found]
        return tuple(int(y) for y in found), np.array(rows)

    def names(self) -> dict[str, float]:
        """Return each name's linked contribution to the excess before costs."""
        values = linked(self.by_name, self.net)
        return dict(zip(self.symbols, values.tolist(), strict=True))


def linked(parts: Array, net: Array) -> Array:
    """Add up daily parts so that together they give the compound return exactly.

        k_t = ln(1 + r_t) / r_t,   K = ln(1 + R) / R,   part = sum_t part_t k_t / K

    Args:
        parts: shape (T, m), daily fractions.
        net: shape (T,), the returns that are compounded.

    Returns:
        Shape (m,). If the parts of each day sum to `net`, these sum to prod(1 + net) - 1.

    Raises:
        RiskInvalid: a day that loses everything cannot be linked.

    Source: Carino (1999), "Combining attribution effects over time", Journal of Performance
        Measurement 3(4), 5-14.
    """
    if not (net > -1.0).all():
        raise RiskInvalid("a day that loses everything cannot be linked with others")
    daily = _log_slope(net)
    whole = _log_slope(np.array([np.prod(1.0 + net) - 1.0]))[0]
    return np.asarray((parts * (daily / whole)[:, None]).sum(axis=0), dtype=np.float64)


def attribute(result: Backtest, study: Study) -> Attribution:
    """Split every day's net return of a backtest into market, signal, timing and costs."""
    market = result.benchmark_books.gross
    ideal = _filled_at_decision(result, study)
    gross, net = result.gross, result.net
    parts = np.column_stack([market, ideal - market, gross - ideal, net - gross])
    units = np.zeros(result.prices.shape)
    units[result.fill_rows] = result.benchmark_books.orders
    equal = np.cumsum(units, axis=0) * result.prices / result.benchmark_books.equity[1:, None]
    active = held_weights(result) - equal
    by_name = np.zeros(result.prices.shape)
    by_name[1:] = active[:-1] * name_returns(result)
    return Attribution(
        days=result.dates, parts=parts, net=net, by_name=by_name, symbols=result.symbols
    )


def _filled_at_decision(result: Backtest, study: Study) -> Array:
    """Return gross returns had every decision but the first been filled at its own close, (T,)."""
    prices, returns = result.prices, np.zeros(len(result.dates))
    rows = np.maximum(result.fill_rows - 1, 0)
    units, cash = np.zeros(prices.shape[1]), 1.0
    ends = np.append(rows[1:], len(prices) - 1)
    for i, (row, end) in enumerate(zip(rows, ends, strict=True)):
        worth = cash + float(units @ prices[row])
        if worth <= 0.0:
            raise RiskInvalid("the portfolio that trades at the deciding close lost everything")
        units = sized(result.weights[i], study.sizing) * worth / prices[row]
        cash = worth - float(units @ prices[row])
        values = cash + prices[row + 1 : end + 1] @ units
        steps = np.concatenate([[worth], values])
        returns[row + 1 : end + 1] = steps[1:] / steps[:-1] - 1.0
    return returns


def _log_slope(returns: Array) -> Array:
    """Return ln(1 + r) / r, and its limit 1 where r is 0."""
    out = np.ones_like(returns)
    return np.divide(np.log1p(returns), returns, out=out, where=returns != 0.0)
