"""The gap between what a backtest foretold of its trades and what the journal shows of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from pipelines.errors import RiskInvalid
from pipelines.pictures import Table
from runtime.domain import Side

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
