"""The equal-weighted universe beside the account: same dates, same costs, fills on the next bar."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from runtime.bundles.contract import SizingPolicy
from runtime.bundles.inputs import Array
from runtime.journal.actions import Dividend, Split
from runtime.journal.marks import floats_of


@dataclass(slots=True)
class EqualWeighted:
    """What an account would have earned by holding everything alike; fractional units.

    Steps of a session: 0. take splits and dividends in effect, where prices are as traded;
    1. trade what the last decision asked for, costs included; 2. mark; 3. on a decision date ask
    for equal weights, sized like the account's.
    """

    symbols: Sequence[str]
    sizing: SizingPolicy
    name: str = "equal-weighted universe"
    equity: float = 1.0  # multiple of the start
    _cash: float = 1.0
    _units: Array = field(init=False)
    _wanted: Array | None = None

    def __post_init__(self) -> None:
        self._units = np.zeros(len(self.symbols))

    def entitle(self, actions: Iterable[Split | Dividend]) -> None:
        """Scale and pay what is held for actions in effect, in their order; before `step`."""
        places = {symbol: place for place, symbol in enumerate(self.symbols)}
        for one in actions:
            place = places.get(one.symbol)
            if place is None:
                continue
            if isinstance(one, Split):
                for units in (self._units, self._wanted):
                    if units is not None:
                        units[place] *= one.new / one.old
            else:
                self._cash += float(self._units[place]) * float(one.per_unit)

    def step(self, marks: Mapping[str, Decimal], *, decides: bool) -> float:
        """Return the session's return, fraction.

        Args:
            marks: closes of this session, USD per unit, one per symbol.
            decides: whether the account's bundle decides at this close.
        """
        prices = floats_of(marks, self.symbols)
        if self._wanted is not None:  # 1
            flows = (self._wanted - self._units) * prices
            self._cash -= float(flows.sum()) + self.sizing.cost_rate * float(np.abs(flows).sum())
            self._units, self._wanted = self._wanted, None
        before = self.equity
        self.equity = self._cash + float((self._units * prices).sum())  # 2
        if decides:  # 3
            alike = 1.0 / len(self.symbols) * self.sizing.invested  # of every symbol
            self._wanted = alike * self.equity / prices
        return self.equity / before - 1.0
