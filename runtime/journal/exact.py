"""Exact money: decimals become integers of a fixed scale at the door, decimals again on leaving.

Prices, quantities and fees have at most 6 places, so they are whole numbers of 1e-6 ("units"); a
price times a quantity is a whole number of 1e-12 ("parts"). All sums are sums of integers.
Source: market-rules, section 8 (scales, refusals, rounding once at posting).
"""

from collections.abc import Sequence
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache

from runtime.errors import OrderInvalid

PLACES = 6
UNIT = 1_000_000  # units in 1
PART = UNIT * UNIT  # parts in 1 USD
CENT = PART // 100  # parts in 0.01 USD
_UNIT = Decimal(1).scaleb(-PLACES)
LARGEST = 15  # decimal digits before the point
_TOO_LARGE = Decimal(10) ** LARGEST
_WIDE = Context(prec=80)  # more digits than any sum here has


def units(value: Decimal, name: str) -> int:
    """Return a decimal as a whole number of 1e-6.

    Raises:
        OrderInvalid: not a Decimal, not finite, minus zero, more than 6 places or out of range.
    """
    if type(value) is Decimal and -PLACES <= value.adjusted() < LARGEST:
        try:
            numerator, denominator = value.as_integer_ratio()
        except (ValueError, OverflowError):  # NaN and the infinities
            raise _refusal(value, name) from None
        if numerator and not UNIT % denominator:
            return numerator * (UNIT // denominator)
    if type(value) is Decimal and value.is_zero() and not value.is_signed():
        return 0
    raise _refusal(value, name)


def mark_units(value: Decimal, name: str) -> int:
    """Return `units` of a price; within a session the same ones are asked for again and again."""
    try:
        if type(value) is Decimal and value and value.is_finite():
            return _remembered(value)
    except OrderInvalid:
        pass
    return units(value, f"{name} mark")


@lru_cache(maxsize=16_384)  # no zeros, which are equal whatever their sign
def _remembered(value: Decimal) -> int:
    return units(value, "a mark")


def check_units(value: Decimal, subject: str, name: str) -> None:
    """Refuse what `units` refuses, as "subject name", at a third of its cost for the rest."""
    try:
        fits = type(value) is Decimal and -PLACES <= value.adjusted() < LARGEST
        if fits and value and not value % _UNIT:
            return
    except InvalidOperation:  # an infinity has no remainder
        pass
    units(value, f"{subject} {name}")


def all_exact(values: Sequence[Decimal]) -> bool:
    """Say whether many amounts all are positive and what `units` takes, at a third of its cost.

    Where it says no, they are to be looked at one by one, to say which of them is not.
    """
    try:
        rests = [value % _UNIT for value in values]
        within = not any(rests) and (not rests or 0 < min(values) <= max(values) < _TOO_LARGE)
    except (InvalidOperation, TypeError):  # an infinity, or no number at all
        return False
    return within and set(map(type, values)) <= {Decimal}


def _refusal(value: Decimal, name: str) -> OrderInvalid:
    """Say what is wrong with an amount that is not a whole number of 1e-6."""
    if type(value) is not Decimal:
        return OrderInvalid(
            f"{name} must be an exact Decimal, was {type(value).__name__} {value!r}"
        )
    if not value.is_finite():
        return OrderInvalid(f"{name} must be finite, was {value}")
    if value.is_zero():
        return OrderInvalid(f"{name} must not be minus zero")
    if value.adjusted() >= LARGEST:
        return OrderInvalid(f"{name} must be below 1e{LARGEST}, was {value}")
    return OrderInvalid(f"{name} may have {PLACES} decimal places, was {value}")


def quantity(count: int) -> Decimal:
    """Return a whole number of 1e-6 as a decimal without superfluous zeros."""
    whole, rest = divmod(count, UNIT)
    return Decimal(count).scaleb(-PLACES, _WIDE).normalize(_WIDE) if rest else Decimal(whole)


def money(parts: int) -> Decimal:
    """Return a whole number of 1e-12 USD as a decimal, with two places if it is whole cents."""
    cents, rest = divmod(parts, CENT)
    if rest:
        return Decimal(parts).scaleb(-2 * PLACES, _WIDE).normalize(_WIDE)
    return Decimal(cents).scaleb(-2, _WIDE)


def shown(parts: int) -> str:
    """Return `format(money(parts), "f")`, a good deal sooner where it is whole cents."""
    cents, rest = divmod(parts, CENT)
    if rest:
        return format(money(parts), "f")
    if not cents:
        return "0.00"
    if -100 < cents < 100:
        return f"{'-' if cents < 0 else ''}0.{abs(cents):02d}"
    written = str(cents)
    return f"{written[:-2]}.{written[-2:]}"


def posted(parts: int) -> int:
    """Round parts of a dollar to whole cents, halves away from zero; still in parts."""
    if not parts % CENT:
        return parts
    cents = (abs(parts) + CENT // 2) // CENT * CENT
    return cents if parts >= 0 else -cents


def one_form(value: Decimal, subject: str, name: str) -> Decimal:
    """Return an amount in the one form that is written; OrderInvalid if it is not exact."""
    if type(value) is Decimal and value and _bare(str(value)):
        check_units(value, subject, name)
        return value
    return quantity(units(value, f"{subject} {name}"))


def text(value: Decimal) -> str:
    """Return the one way a decimal is written: no exponent, no superfluous zeros."""
    written = str(value)
    return written if _bare(written) else format(value.normalize(_WIDE), "f")


def _bare(written: str) -> bool:
    """Say whether a decimal is written without exponent and superfluous zeros."""
    return "E" not in written and not (written[-1] == "0" and "." in written)


def plain(value: Decimal) -> str:
    """Return a decimal that has its one form already, such as `money` gives, without exponent."""
    written = str(value)
    return format(value, "f") if "E" in written else written
