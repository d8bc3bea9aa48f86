"""Money enters as exact decimals or not at all."""

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import OrderInvalid
from runtime.journal.exact import PART, money, posted, quantity, text, units


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, "must be an exact Decimal, was float"),
        (1, "must be an exact Decimal, was int"),
        ("1", "must be an exact Decimal, was str"),
        (Decimal("NaN"), "must be finite"),
        (Decimal("sNaN"), "must be finite"),
        (Decimal("Infinity"), "must be finite"),
        (Decimal("-Infinity"), "must be finite"),
        (Decimal("-0"), "minus zero"),
        (Decimal("-0.000"), "minus zero"),
        (Decimal("0.0000001"), "6 decimal places"),
        (Decimal("1E-400000000"), "6 decimal places"),
        (Decimal("1E+15"), "below 1e15"),
        (Decimal("1E+400000000"), "below 1e15"),
    ],
)
def test_what_is_not_exact_is_refused_with_its_value(value, message):
    with pytest.raises(OrderInvalid, match=f"fee .*{message}"):
        units(value, "fee")


@given(st.decimals(min_value="-1e9", max_value="1e9", places=6, allow_nan=False))
def test_units_come_back_as_the_same_amount(value):
    value = value + 0  # no minus zero
    assert quantity(units(value, "x")) == value
    assert Decimal(text(value)) == value


def test_trailing_zeros_do_not_make_another_amount():
    assert units(Decimal("1.50000000"), "x") == units(Decimal("1.5"), "x") == 1_500_000
    assert text(Decimal("1E+2")) == text(Decimal("100.00")) == "100"
    assert text(Decimal("0.0")) == "0"
    assert str(money(PART * 3 // 2)) == "1.50"


@given(st.integers(-(10**18), 10**18))
def test_posting_rounds_halves_away_from_zero_to_the_cent(parts):
    exact = Decimal(parts).scaleb(-12)
    assert money(posted(parts)) == exact.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
