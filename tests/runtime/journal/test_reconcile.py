"""Every difference between two statements is its own break; nothing is netted."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from runtime.domain import Side
from runtime.journal.reconcile import BreakClass, reconcile
from runtime.ports import Statement
from tests.runtime.journal.trading import make_fill

DAY = date(2017, 2, 1)
ONE, TWO = make_fill(10, "5.00", "0.01", number=1), make_fill(-4, "6.00", "0.02", number=2)


def statement(*fills, positions=None, cash="-26.03", venue="primary", day=DAY) -> Statement:
    held = {"AAA": Decimal(6)} if positions is None else positions
    return Statement(
        venue=venue, day=day, positions=held, cash_flow=Decimal(cash), fills=tuple(fills)
    )


OURS = statement(ONE, TWO)


def kinds(theirs) -> list[BreakClass]:
    return [one.kind for one in reconcile(OURS, theirs)]


def test_equal_statements_have_no_break_whatever_the_order_or_the_zeros():
    assert reconcile(OURS, statement(TWO, changed(ONE, price=Decimal("5.000000")))) == ()


def test_an_absent_statement_is_not_reconciled_and_never_matched():
    assert kinds(None) == [BreakClass.NOT_RECONCILED]
    assert kinds(replace(OURS, day=DAY + timedelta(days=1))) == [BreakClass.NOT_RECONCILED]
    assert kinds(replace(OURS, venue="alternate")) == [BreakClass.NOT_RECONCILED]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"quantity": Decimal(9)}, BreakClass.QUANTITY),
        ({"price": Decimal("5.000001")}, BreakClass.PRICE),
        ({"fee": Decimal("0.02")}, BreakClass.FEE),
        ({"executed_at": ONE.executed_at + timedelta(seconds=1)}, BreakClass.TIMING),
        ({"side": Side.SELL}, BreakClass.TERMS),
        ({"order_id": "other"}, BreakClass.TERMS),
    ],
)
def test_a_fill_that_differs_is_one_break_of_its_kind(change, kind):
    (found,) = reconcile(OURS, statement(changed(ONE, **change), TWO))
    assert (found.kind, found.execution_id, found.symbol) == (kind, ONE.execution_id, "AAA")


def test_missing_here_and_missing_there_are_told_apart():
    assert kinds(statement(ONE)) == [BreakClass.MISSING_THERE]
    extra = make_fill(1, "1.00", number=3)
    (found,) = reconcile(OURS, statement(ONE, TWO, extra))
    assert found.kind is BreakClass.MISSING_HERE
    assert (found.ours, found.theirs) == ("", "buy 1 at 1.00, fee 0.00")


def test_an_execution_reported_twice_is_a_duplicate():
    assert kinds(statement(ONE, ONE, TWO)) == [BreakClass.DUPLICATE]


def test_breaks_that_would_cancel_out_are_both_reported():
    dearer, cheaper = changed(ONE, fee=Decimal("0.02")), changed(TWO, fee=Decimal("0.01"))
    assert kinds(statement(dearer, cheaper)) == [BreakClass.FEE, BreakClass.FEE]
    swapped = statement(ONE, TWO, positions={"BBB": Decimal(6)})
    assert kinds(swapped) == [BreakClass.POSITION] * 2


def test_cash_must_agree_to_the_last_cent():
    (found,) = reconcile(OURS, statement(ONE, TWO, cash="-26.02"))
    assert (found.kind, found.ours, found.theirs) == (BreakClass.CASH, "-26.03", "-26.02")


def test_a_position_that_one_side_does_not_list_counts_as_zero():
    assert (
        reconcile(OURS, statement(ONE, TWO, positions={"AAA": Decimal(6), "B": Decimal(0)})) == ()
    )
    (found,) = reconcile(OURS, statement(ONE, TWO, positions={}))
    assert (found.symbol, found.ours, found.theirs) == ("AAA", "6", "0")


def test_what_both_sides_hold_twice_is_not_taken_for_agreement():
    found = reconcile(statement(ONE, ONE, TWO), statement(ONE, TWO, ONE))
    assert [(one.kind, one.ours, one.theirs) for one in found] == [
        (BreakClass.DUPLICATE, "2 times", "2 times")
    ]


@given(st.lists(st.sampled_from(["same", "price", "fee", "here", "there"]), max_size=12))
def test_each_difference_is_found_among_executions_that_agree_and_no_other(what):
    fills = [make_fill(10, "5.00", "0.01", number=number) for number in range(len(what))]
    changes = {"price": {"price": Decimal("5.01")}, "fee": {"fee": Decimal("0.02")}}
    ours = [fill for fill, one in zip(fills, what, strict=True) if one != "there"]
    theirs = [
        changed(fill, **changes.get(one, {}))
        for fill, one in zip(fills, what, strict=True)
        if one != "here"
    ]
    found = reconcile(statement(*ours), statement(*theirs[::-1]))
    assert found == reconcile(statement(*ours), statement(*theirs)), "whatever their order"
    kinds = {
        "price": BreakClass.PRICE,
        "fee": BreakClass.FEE,
        "here": BreakClass.MISSING_THERE,
        "there": BreakClass.MISSING_HERE,
    }
    expected = {
        (fill.execution_id, kinds[one])
        for fill, one in zip(fills, what, strict=True)
        if one in kinds
    }
    assert {(one.execution_id, one.kind) for one in found} == expected
    assert len(found) == len(expected)
