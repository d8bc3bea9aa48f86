"""Money enters as exact decimals or not at all."""

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import OrderInvalid
from runtime.journal.exact import (
    PART,
    all_exact,
    check_units,
    mark_units,
    money,
    posted,
    quantity,
    text,
    units,
)


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


@given(
    st.one_of(
        st.decimals(allow_nan=True, allow_infinity=True),
        st.decimals(min_value=-(10**16), max_value=10**16, places=7),
        st.decimals(min_value=-1000, max_value=1000, places=6),
        st.sampled_from(
            [Decimal("-0"), Decimal("0E+3"), Decimal("1E+14"), Decimal("sNaN"), 1, 0.5]
        ),
    )
)
def test_an_amount_is_checked_exactly_as_it_would_be_taken_apart(value):
    answers = []
    for ask in (lambda: units(value, "AAA fee"), lambda: check_units(value, "AAA", "fee")):
        try:
            ask()
            answers.append("")
        except OrderInvalid as error:
            answers.append(str(error))
    assert answers[0] == answers[1]


AMOUNTS = st.one_of(
    st.decimals(allow_nan=True, allow_infinity=True),
    st.integers(-(10**21), 10**21).map(lambda count: Decimal(count).scaleb(-6)),
    st.sampled_from([1, 1.5, "1", Decimal("-0"), Decimal(10) ** 15, Decimal("1e-7")]),
)


@given(st.lists(AMOUNTS, max_size=4))
def test_many_amounts_are_exact_where_each_is_taken_and_is_positive(values):
    def taken(value: object) -> bool:
        try:
            return units(value, "an amount") > 0
        except OrderInvalid:
            return False

    assert all_exact(values) == all(taken(value) for value in values)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20))
def test_a_decimal_is_written_without_exponent_and_superfluous_zeros(value):
    written = text(value)
    assert Decimal(written) == value
    assert "E" not in written
    assert "." not in written or written[-1] not in ".0"


@given(
    st.decimals(allow_nan=True, allow_infinity=True)
    | st.decimals(1, 1000, places=2)
    | st.sampled_from([Decimal(one) for one in ("0", "-0", "sNaN", "1E+400000000")])
)
def test_a_mark_is_the_same_units_however_often_it_is_asked_for(value):
    def asked(of):
        try:
            return of()
        except OrderInvalid as error:
            return str(error)

    wanted = asked(lambda: units(value, "AAA mark"))
    assert [asked(lambda: mark_units(value, "AAA")) for _ in range(2)] == [wanted, wanted]
    assert asked(lambda: mark_units(5, "AAA")) == asked(lambda: units(5, "AAA mark"))
