"""A backtest with real fills, and the gap between what it promised and what the journal shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from pipelines.backtest import Backtest
from pipelines.books import CAPITAL
from pipelines.errors import RiskInvalid, StrategyInvalid
from pipelines.pictures import Table
from pipelines.study import Study
from runtime.domain import Side
from runtime.fills import Execution, FillTerms, MarketState, Style, borrow_cost, execute, luck_of
from runtime.inputs import Array
from runtime.plan import sized

WITHIN = 0.10  # of the slippage seen: a trade whose gap is smaller counts as foretold
SHARE = 0.80  # of trades that must be


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """One fill: what was asked at which price, and what it got."""

    symbol: str
    day: date  # of the fill
    side: Side
    asked: float  # units
    filled: float  # units
    reference: float  # quote currency per unit, the mid that the order met
    price: float  # quote currency per unit
    fee: float  # quote currency

    @property
    def slippage(self) -> float:
        """Return price and fee against the order, a fraction of the reference."""
        if self.filled == 0.0:
            return 0.0
        moved = self.side.sign * (self.price - self.reference) / self.reference
        return moved + self.fee / (self.filled * self.reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class RealisticRun:
    """Returns with every order filled by the model; T days."""

    dates: tuple[date, ...]
    net: Array  # (T,), fractions
    trades: tuple[Trade, ...]
    borrow: float  # quote currency, over the whole span
    unfilled: float  # share of asked notional that did not fill


def states_of(
    result: Backtest, *, daily_volume: Array | None = None, window: int = 63
) -> list[list[MarketState]]:
    """Return the market of each name at each fill: its price and its volatility until then.

    Args:
        result: prices stand in it; a fill sees none later than its own session.
        daily_volume: shape (n,), units a day; None = unknown.
        window: sessions behind the volatility.
    """
    returns = np.zeros(result.prices.shape)
    returns[1:] = result.prices[1:] / result.prices[:-1] - 1.0
    states = []
    for row in result.fill_rows:
        seen = returns[max(1, row - window + 1) : row + 1]
        sigma = seen.std(axis=0) if len(seen) > 1 else np.zeros(len(result.symbols))
        states.append(
            [
                MarketState(
                    mid=float(result.prices[row, i]),
                    daily_volatility=float(sigma[i]),
                    daily_volume=None if daily_volume is None else float(daily_volume[i]),
                )
                for i in range(len(result.symbols))
            ]
        )
    return states


def realistic(
    result: Backtest,
    study: Study,
    terms: FillTerms,
    states: Sequence[Sequence[MarketState]],
    *,
    style: Style = Style.MARKET,
    halted: Mapping[date, frozenset[str]] | None = None,
) -> RealisticRun:
    """Trade a backtest's decisions again, every order through the fill model.

    Sizes follow the equity that these fills leave. What does not fill is asked for again at the
    next decision, as part of the new target.

    Raises:
        StrategyInvalid: equity fell to nothing.
    """
    prices, n = result.prices, len(result.symbols)
    stopped = halted or {}
    units, cash, borrowed = np.zeros(n), CAPITAL, 0.0
    asked_notional = filled_notional = 0.0
    equity = np.full(len(prices) + 1, CAPITAL)
    trades: list[Trade] = []
    ends = np.append(result.fill_rows[1:], len(prices))
    for i, (row, end) in enumerate(zip(result.fill_rows, ends, strict=True)):
        before = max(int(row) - 1, 0)
        worth = cash + float(units @ prices[before])
        if worth <= 0.0:
            raise StrategyInvalid(f"the portfolio lost everything before {result.dates[row]}")
        wanted = sized(result.weights[i], study.sizing) * worth / prices[before] - units
        day = result.dates[row]
        for at in np.flatnonzero(wanted).tolist():
            symbol, state = result.symbols[at], states[i][at]
            if symbol in stopped.get(day, frozenset()):
                state = MarketState(mid=state.mid, halted=True)
            side = Side.BUY if wanted[at] > 0 else Side.SELL
            size = float(abs(wanted[at]))
            done = execute(luck_of(symbol, day), side, size, style, state, terms)
            units[at] += side.sign * done.quantity
            cash -= side.sign * done.quantity * done.price + done.fee
            asked_notional += size * state.mid
            filled_notional += done.quantity * state.mid
            trades.append(_trade(symbol, day, side, size, state, done))
        span = max((result.dates[min(int(end), len(prices) - 1)] - day).days, 1)
        short = float(-np.minimum(units * prices[row], 0.0).sum())
        lent = borrow_cost(short, terms, days=span)
        cash, borrowed = cash - lent, borrowed + lent
        equity[row + 1 : end + 1] = cash + prices[row:end] @ units
    return RealisticRun(
        dates=result.dates,
        net=equity[1:] / equity[:-1] - 1.0,
        trades=tuple(trades),
        borrow=borrowed,
        unfilled=1.0 - filled_notional / asked_notional if asked_notional else 0.0,
    )


def _trade(
    symbol: str, day: date, side: Side, asked: float, state: MarketState, done: Execution
) -> Trade:
    return Trade(
        symbol=symbol,
        day=day,
        side=side,
        asked=asked,
        filled=done.quantity,
        reference=state.mid,
        price=done.price,
        fee=done.fee,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """One trade as foretold and as it was."""

    foretold: Trade
    seen: Trade

    @property
    def difference(self) -> float:
        """Return how much more slippage was seen than foretold, a fraction of the reference."""
        return self.seen.slippage - self.foretold.slippage

    @property
    def relative(self) -> float:
        """Return the difference over the slippage seen; infinite if none was seen but foretold."""
        if self.difference == 0.0:
            return 0.0
        return abs(self.difference) / abs(self.seen.slippage) if self.seen.slippage else np.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class RealityGap:
    """Backtest against journal, trade by trade."""

    pairs: tuple[Gap, ...]
    only_foretold: tuple[Trade, ...]  # in the backtest and not in the journal
    only_seen: tuple[Trade, ...]  # in the journal and not in the backtest

    @property
    def within(self) -> float:
        """Return the share of trades, matched or not, whose gap is within 10 %."""
        total = len(self.pairs) + len(self.only_foretold) + len(self.only_seen)
        return sum(gap.relative <= WITHIN for gap in self.pairs) / total if total else 0.0

    @property
    def holds(self) -> bool:
        """Say whether the aim is met: 80 % of trades within 10 %."""
        return self.within >= SHARE

    def table(self, count: int = 10) -> Table:
        """Tabulate the summary and the trades with the widest gap, in basis points."""
        widest = sorted(self.pairs, key=lambda gap: -abs(gap.difference))[:count]
        rows = [
            ("trades matched", f"{len(self.pairs)}", "", ""),
            ("only in the backtest", f"{len(self.only_foretold)}", "", ""),
            ("only in the journal", f"{len(self.only_seen)}", "", ""),
            ("within 10 % of the slippage seen", f"{self.within:.0%}", "", ""),
        ]
        rows += [
            (
                f"{gap.seen.day} {gap.seen.side} {gap.seen.symbol}",
                f"{1e4 * gap.foretold.slippage:.2f}",
                f"{1e4 * gap.seen.slippage:.2f}",
                f"{1e4 * gap.difference:+.2f}",
            )
            for gap in widest
        ]
        return Table(("Slippage, bp", "Foretold", "Seen", "Gap"), rows)


def assumed(seen: Sequence[Trade], cost_rate: float) -> tuple[Trade, ...]:
    """Return the trades as the plain backtest has them: at the reference, one all-in cost rate."""
    return tuple(
        replace(one, price=one.reference, fee=cost_rate * one.filled * one.reference)
        for one in seen
    )


def reality_gap(foretold: Sequence[Trade], seen: Sequence[Trade]) -> RealityGap:
    """Match trades by session, symbol and side; several fills of one order are one trade.

    Raises:
        RiskInvalid: neither side traded at all.
    """
    if not foretold and not seen:
        raise RiskInvalid("no trade was foretold and none was seen; there is no gap to measure")
    ours, theirs = _by_order(foretold), _by_order(seen)
    return RealityGap(
        pairs=tuple(
            Gap(foretold=ours[key], seen=theirs[key]) for key in sorted(ours.keys() & theirs.keys())
        ),
        only_foretold=tuple(ours[key] for key in sorted(ours.keys() - theirs.keys())),
        only_seen=tuple(theirs[key] for key in sorted(theirs.keys() - ours.keys())),
    )


def _by_order(trades: Sequence[Trade]) -> dict[tuple[date, str, str], Trade]:
    """Add up fills by session, symbol and side; what never filled is left out."""
    found: dict[tuple[date, str, str], Trade] = {}
    for one in trades:
        if one.filled == 0.0:
            continue
        key = (one.day, one.symbol, one.side.value)
        known = found.get(key)
        if known is None:
            found[key] = one
            continue
        filled = known.filled + one.filled
        found[key] = Trade(
            symbol=one.symbol,
            day=one.day,
            side=one.side,
            asked=max(known.asked, one.asked),
            filled=filled,
            reference=known.reference,
            price=(known.filled * known.price + one.filled * one.price) / filled,
            fee=known.fee + one.fee,
        )
    return found
