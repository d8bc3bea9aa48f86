"""Exact money: decimals become integers of a fixed scale at the door, decimals again on leaving.

Prices, quantities and fees have at most 6 places, so they are whole numbers of 1e-6 ("units"); a
price times a quantity is a whole number of 1e-12 ("parts"). All sums are sums of integers.
Source: market-rules, section 8 (scales, refusals, rounding once at posting).
"""

from decimal import Context, Decimal

from runtime.errors import OrderInvalid

PLACES = 6
UNIT = 1_000_000  # units in 1
PART = UNIT * UNIT  # parts in 1 USD
CENT = PART // 100  # parts in 0.01 USD
_LARGEST = 15  # decimal digits before the point
_WIDE = Context(prec=80)  # more digits than any sum here has


def units(value: Decimal, name: str) -> int:
    """Return a decimal as a whole number of 1e-6.

    Raises:
        OrderInvalid: not a Decimal, not finite, minus zero, more than 6 places or out of range.
    """
    if type(value) is not Decimal:
        raise OrderInvalid(f"{name} must be an exact Decimal, was {type(value).__name__} {value!r}")
    if not value.is_finite():
        raise OrderInvalid(f"{name} must be finite, was {value}")
    if value.adjusted() >= _LARGEST:
        raise OrderInvalid(f"{name} must be below 1e{_LARGEST}, was {value}")
    if value.adjusted() < -PLACES - 1 and value:
        raise OrderInvalid(f"{name} may have {PLACES} decimal places, was {value}")
    numerator, denominator = value.as_integer_ratio()
    if UNIT % denominator:
        raise OrderInvalid(f"{name} may have {PLACES} decimal places, was {value}")
    if numerator == 0 and value.is_signed():
        raise OrderInvalid(f"{name} must not be minus zero")
    return numerator * (UNIT // denominator)


def quantity(count: int) -> Decimal:
    """Return a whole number of 1e-6 as a decimal without superfluous zeros."""
    return _trimmed(count, PLACES, 0)


def money(parts: int) -> Decimal:
    """Return a whole number of 1e-12 USD as a decimal, to the cent if it is a whole one."""
    return _trimmed(parts, 2 * PLACES, 2)


def _trimmed(number: int, places: int, least: int) -> Decimal:
    while places > least and number % 10 == 0:
        number //= 10
        places -= 1
    return Decimal(number).scaleb(-places, _WIDE)


def posted(parts: int) -> int:
    """Round parts of a dollar to whole cents, halves away from zero; still in parts."""
    cents = (abs(parts) + CENT // 2) // CENT * CENT
    return cents if parts >= 0 else -cents


def text(value: Decimal) -> str:
    """Return the one way a decimal is written: no exponent, no superfluous zeros."""
    return format(value.normalize(_WIDE), "f")
