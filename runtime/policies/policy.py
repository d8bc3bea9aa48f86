"""The guardrail policy: every limit of the eight checks in one TOML file, named by its hash."""

import hashlib
import tomllib
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from runtime.bundles.contract import Stage, canonical
from runtime.decoding import from_plain
from runtime.errors import PolicyInvalid


class AuthorityLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Check 1: who may trade what, when."""

    entitled: tuple[str, ...] | None = None
    restricted: tuple[str, ...] | None = None
    submit_after_close: int | None = None  # seconds
    paper_stages: tuple[Stage, ...] | None = None
    live_stages: tuple[Stage, ...] | None = None


class MarketLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Check 2: state of the market and short sales."""

    max_status_age: int | None = None  # seconds
    allow_short: bool | None = None
    locates: tuple[str, ...] | None = None
    max_quote_age: int | None = None  # seconds, of the best bid in a short sale's price test
    max_price_test_age: int | None = None  # seconds, of the Rule 201 state


class SizeLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Check 3: one order's size."""

    max_quantity: Decimal | None = None  # units
    max_notional: Decimal | None = None  # USD
    max_notional_of_equity: Decimal | None = None
    max_share_of_volume: Decimal | None = None
    volume_required: bool | None = None
    lot: int | None = None  # units


class PriceLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Check 4: one order's price and its reference."""

    max_collar: Decimal | None = None  # fraction of the reference
    max_move: Decimal | None = None  # fraction of the session before
    max_reference_age: int | None = None  # seconds
    max_band_age: int | None = None  # seconds


class ExposureLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Check 5: the book after the order, working orders counted as filled."""

    max_position_of_equity: Decimal | None = None
    max_gross_of_equity: Decimal | None = None
    max_net_of_equity: Decimal | None = None
    min_cash_of_equity: Decimal | None = None


class LossLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Check 6: what was lost so far."""

    max_daily_loss: Decimal | None = None  # fraction of equity at the last close
    max_drawdown: Decimal | None = None  # fraction of the highest close
    max_losing_streak: int | None = None  # sessions
    cooldown_sessions: int | None = None  # sessions without new risk after one of the three
    max_valuation_age: int | None = None  # seconds
    allow_unresolved_breaks: bool | None = None


class RateLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Check 7: how many, how often, how alike."""

    max_orders_per_tick: int | None = None
    max_orders_per_session: int | None = None
    max_repeats: int | None = None


class HealthLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Check 8: age of data and range of outputs."""

    max_data_age: int | None = None  # seconds
    max_weight: Decimal | None = None


class OverrideLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What two persons may change for a while; what is left out nobody may."""

    allowed: tuple[str, ...] | None = None  # names of limits, "loss.max_daily_loss"
    max_seconds: int | None = None  # how long at most


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All limits in force; a limit that is None was left out and blocks."""

    name: str
    authority: AuthorityLimits = AuthorityLimits()
    market: MarketLimits = MarketLimits()
    size: SizeLimits = SizeLimits()
    price: PriceLimits = PriceLimits()
    exposure: ExposureLimits = ExposureLimits()
    loss: LossLimits = LossLimits()
    rate: RateLimits = RateLimits()
    health: HealthLimits = HealthLimits()
    overrides: OverrideLimits = OverrideLimits()

    @property
    def hash(self) -> str:
        """Return SHA-256 over the limits, hex; comments and layout do not count."""
        return hashlib.sha256(canonical(self)).hexdigest()


def parse_policy(text: str, source: str = "policy") -> Policy:
    """Read a policy from TOML.

    Args:
        text: the file's content.
        source: how to call it in an error.

    Raises:
        PolicyInvalid: not TOML, an unknown name, a wrong type, or a number that cannot be a limit.
    """
    try:
        raw = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise PolicyInvalid(f"{source}: {error}") from error
    return policy_of(raw, source)


def policy_of(raw: dict[str, Any], source: str) -> Policy:
    """Return the policy that a parsed file says; PolicyInvalid as `parse_policy`."""
    try:
        policy = from_plain(raw, Policy)
    except msgspec.ValidationError as error:
        raise PolicyInvalid(f"{source}: {error}") from error
    for section in Policy.__struct_fields__:
        _check_numbers(source, section, getattr(policy, section))
    for name in policy.overrides.allowed or ():
        section, _, limit = name.partition(".")
        if limit not in getattr(getattr(policy, section, None), "__struct_fields__", ()):
            raise PolicyInvalid(f"{source}: overrides.allowed names {name}, which is no limit")
    return policy


def policy_text(path: Path | None) -> str:
    """Return a policy file's text, the packaged one's for None; PolicyInvalid if unreadable."""
    if path is None:
        return files("runtime.policies").joinpath("policy.toml").read_text("utf-8")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyInvalid(f"{path}: cannot be read ({error})") from error


def load_policy(path: Path) -> Policy:
    """Read a policy file; PolicyInvalid if it is unreadable or invalid."""
    return parse_policy(policy_text(path), str(path))


def default_policy() -> Policy:
    """Return the packaged policy for paper trading."""
    return parse_policy(policy_text(None), "policy.toml")


def _check_numbers(source: str, section: str, limits: Any) -> None:
    """Refuse a number that cannot be a limit, however the file writes it: "inf" is one, too."""
    for name in getattr(limits, "__struct_fields__", ()):
        value = getattr(limits, name)
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            continue
        number = Decimal(value)
        negative_allowed, least = name.startswith("min_"), 1 if name == "lot" else 0
        if not number.is_finite() or (number < least and not negative_allowed):
            raise PolicyInvalid(f"{source}: {section}.{name} cannot be {value}")
