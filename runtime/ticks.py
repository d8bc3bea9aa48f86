"""Order price increments, as dated configuration."""

import tomllib
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
    text = files("runtime").joinpath("ticks.toml").read_text(encoding="utf-8")
    rules = [
        TickRule(
            effective_from=row["effective_from"],
            from_price=Decimal(row["from_price"]),
            tick=Decimal(row["tick"]),
        )
        for row in tomllib.loads(text)["tick"]
    ]
    return tuple(sorted(rules, key=lambda r: (r.effective_from, r.from_price), reverse=True))


def tick_size(price: Decimal, day: date) -> Decimal:
    """Return the order increment in USD; PolicyInvalid if no rule was in force on that day."""
    rules = tick_rules()
    effective = next((r.effective_from for r in rules if r.effective_from <= day), None)
    for rule in rules:
        if rule.effective_from == effective and price >= rule.from_price:
            return rule.tick
    raise PolicyInvalid(f"no tick size is known for {price} USD on {day.isoformat()}")


def collared(price: Decimal, side: Side, collar: Decimal, day: date) -> Decimal:
    """Return the worst acceptable price on the tick grid, never outside the collar.

    Args:
        price: reference, USD per unit.
        side: a buy may pay up to price * (1 + collar), a sell may go down to
            price * (1 - collar).
        collar: fraction, 0 <= collar < 1.
        day: session of the order.
    """
    bound = price * (1 + side.sign * collar)
    tick = tick_size(bound, day)
    rounding = ROUND_FLOOR if side is Side.BUY else ROUND_CEILING
    return (bound / tick).to_integral_value(rounding) * tick
