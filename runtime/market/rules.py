"""Reads the market's dated rules; what was in force on a day is looked up, never assumed."""

import tomllib
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from typing import Literal, TypeVar

import msgspec

from runtime.decoding import from_plain
from runtime.errors import MarketRuleUnknown

Effect = Literal["pause", "halted", "none"]


class Dated(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule and the first day it held."""

    effective_from: date


class BandRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Width of the bands for one range of previous closes."""

    tier_1: Decimal  # fraction of the reference
    tier_2: Decimal
    below: Decimal | None = None  # USD, previous close below this
    at_most: Decimal | None = None  # USD, previous close at most this
    cap: Decimal | None = None  # USD, the width is never more


class Luld(Dated, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limit Up / Limit Down (market-rules, section 2); times in seconds."""

    window: int
    replace_at: Decimal  # fraction
    stands: int
    opening_within: int
    limit_lasts: int
    pause_lasts: int
    extension: int
    close_only: int
    doubled_after_open: int
    doubled_before_close: int
    band_tick: Decimal  # USD
    row: tuple[BandRow, ...]
    doubled_tier_2_at_most: Decimal | None = None  # USD; None = tier 2 doubles at every price


class BreakerLevel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One level of the market-wide circuit breaker."""

    drop: Decimal  # fraction of the index's previous close
    code: str
    halt: int | None = None  # seconds
    closes_the_day: bool = False


class Breaker(Dated, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Market-wide circuit breakers (section 3)."""

    cut_off: int  # seconds before the close
    level_tick: Decimal  # index points
    level: tuple[BreakerLevel, ...]


class HaltCodes(Dated, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What each published reason code means (section 4)."""

    codes: dict[str, Effect]


class ShortSale(Dated, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The price test of short sales (section 5)."""

    trigger_at: Decimal  # fraction of the previous close
    sessions_after: int


class LotRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Round lot for one range of average closes."""

    lot: int  # units
    at_most: Decimal | None = None  # USD


class RoundLot(Dated, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Round lots (section 6)."""

    row: tuple[LotRow, ...]


class Section31(Dated, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the SEC takes of sales (section 8)."""

    per_million: Decimal  # USD per million USD sold


class TradingActivity(Dated, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What FINRA takes of sales (section 8)."""

    per_share: Decimal  # USD per unit sold
    at_most: Decimal  # USD per trade


class Hours(Dated, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Extended hours around a session (section 1), in exchange time."""

    calendars: tuple[str, ...]
    zone: str
    before: str  # "04:00"
    after: str


class Settlement(Dated, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sessions between trade and settlement (section 1)."""

    sessions: int


class MarketRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every dated rule, as the file lists them."""

    luld: tuple[Luld, ...]
    breaker: tuple[Breaker, ...]
    halt: tuple[HaltCodes, ...]
    short_sale: tuple[ShortSale, ...]
    round_lot: tuple[RoundLot, ...]
    section_31: tuple[Section31, ...]
    trading_activity: tuple[TradingActivity, ...]
    hours: tuple[Hours, ...]
    settlement: tuple[Settlement, ...]


R = TypeVar("R", bound=Dated)


def in_force(rules: Sequence[R], day: date) -> R:
    """Return the newest rule that held on `day`.

    Raises:
        MarketRuleUnknown: none of them held yet.
    """
    held = [rule for rule in rules if rule.effective_from <= day]
    if not held:
        first = min(rule.effective_from for rule in rules)
        name = type(rules[0]).__name__
        raise MarketRuleUnknown(f"no {name} rule held on {day}; the first known began on {first}")
    return max(held, key=lambda rule: rule.effective_from)


def parse_rules(text: str) -> MarketRules:
    """Read rules from TOML; MarketRuleUnknown if a name or a type is wrong."""
    try:
        return from_plain(tomllib.loads(text, parse_float=Decimal), MarketRules)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise MarketRuleUnknown(f"market rules cannot be read: {error}") from error


@lru_cache(maxsize=1)
def market_rules() -> MarketRules:
    """Return the packaged rules."""
    return parse_rules(files("runtime.market").joinpath("rules.toml").read_text("utf-8"))
