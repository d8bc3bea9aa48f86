"""Order price increments, as dated configuration."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache
from importlib.resources import files

from runtime.domain import Side
from runtime.errors import PolicyInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class TickRule:
    """From `effective_from` on, prices at or above `from_price` move by `tick`."""

    effective_from: date
    from_price: Decimal  # USD per unit
    tick: Decimal  # USD


@lru_cache(maxsize=1)
def tick_rules() -> tuple[TickRule, ...]:
    """Return the packaged rules, newest first, then highest price first."""
    text = files("runtime.execution").joinpath("ticks.toml").read_text(encoding="utf-8")
    rules = [
        TickRule(
            effective_from=row["effective_from"],
            from_price=Decimal(row["from_price"]),
            tick=Decimal(row["tick"]),
        )
        for row in tomllib.loads(text)["tick"]
    ]
    return tuple(sorted(rules, key=lambda r: (r.effective_from, r.from_price), reverse=True))


@dataclass(frozen=True, slots=True)
class TickGrid:
    """The increments of one day, highest price first."""

    day: date
    steps: tuple[tuple[Decimal, Decimal], ...]  # from this price on, USD: this tick, USD

    def tick(self, price: Decimal) -> Decimal:
        """Return the order increment in USD; PolicyInvalid if the day has none for that price."""
        for floor, tick in self.steps:
            if price >= floor:
                return tick
        raise PolicyInvalid(f"no tick size is known for {price} USD on {self.day.isoformat()}")

    def prepare(self, collar: Decimal) -> Callable[[Decimal, Side], Decimal]:
        """Return what gives the worst acceptable price on the grid, never outside the collar.

        Args:
            collar: fraction, 0 <= collar < 1; a buy may pay up to price * (1 + collar), a sell
                may go down to price * (1 - collar).

        Returns:
            A function of reference, USD per unit, and side.
        """
        up, down = 1 + collar, 1 - collar

        def collared(price: Decimal, side: Side) -> Decimal:
            buy = side is Side.BUY
            bound = price * (up if buy else down)
            tick = self.tick(bound)
            return (bound / tick).to_integral_value(ROUND_FLOOR if buy else ROUND_CEILING) * tick

        return collared


@lru_cache(maxsize=64)
def tick_grid(day: date) -> TickGrid:
    """Return the increments in force on a day."""
    rules = tick_rules()
    effective = next((r.effective_from for r in rules if r.effective_from <= day), None)
    steps = ((r.from_price, r.tick) for r in rules if r.effective_from == effective)
    return TickGrid(day, tuple(steps))


def collared(price: Decimal, side: Side, collar: Decimal, day: date) -> Decimal:
    """Return the worst acceptable price of a day; see `TickGrid.prepare`."""
    return tick_grid(day).prepare(collar)(price, side)
