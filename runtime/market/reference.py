"""The LULD reference price: a mean of recent trades that moves in steps."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from runtime.market.rules import Luld


@dataclass(slots=True)
class ReferencePrice:
    """One symbol's reference price through a session; fed in the order of time.

    It begins with the previous close. An opening trade on the primary market in the first five
    minutes takes its place; without one the mean of trades takes over after those minutes.
    """

    rules: Luld
    opens: datetime  # UTC, start of the regular session
    price: Decimal  # USD per unit
    since: datetime = field(init=False)  # UTC, when it became the reference
    _opened: bool = False
    _trades: deque[tuple[datetime, Decimal]] = field(default_factory=deque)
    _sum: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        self.since = self.opens

    def trade(self, price: Decimal, at: datetime, *, opening: bool = False) -> Decimal:
        """Count an eligible trade; `opening` marks the primary market's opening trade."""
        soon = at < self.opens + timedelta(seconds=self.rules.opening_within)
        if opening and soon and not self._opened:
            return self._begin(price, at)
        self._trades.append((at, price))
        self._sum += price
        return self.move(at)

    def reopened(self, price: Decimal, at: datetime) -> Decimal:
        """Begin again with the price of a reopening auction; earlier trades leave the window."""
        return self._begin(price, at)

    def move(self, at: datetime) -> Decimal:
        """Return the reference at `at`, replaced by the mean if that is far enough away."""
        oldest = at - timedelta(seconds=self.rules.window)
        while self._trades and self._trades[0][0] < oldest:
            self._sum -= self._trades.popleft()[1]
        n = len(self._trades)
        waiting = at < self.opens + timedelta(seconds=self.rules.opening_within)
        if not n or (waiting and not self._opened):
            return self.price
        if at - self.since < timedelta(seconds=self.rules.stands):
            return self.price
        # |mean - price| >= share x price, without a division that would round
        if abs(self._sum - n * self.price) >= self.rules.replace_at * self.price * n:
            self.price, self.since = self._sum / n, at
        return self.price

    def _begin(self, price: Decimal, at: datetime) -> Decimal:
        self._trades.clear()
        self._trades.append((at, price))
        self._sum = self.price = price
        self.since, self._opened = at, True
        return price
