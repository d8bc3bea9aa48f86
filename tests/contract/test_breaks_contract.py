"""A break stands in suspense and ages until somebody resolves it, on every database."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from msgspec.structs import replace as changed

from runtime.chain import HeadAnchor
from runtime.database import open_database, transaction
from runtime.errors import BreakUnknown, JournalBroken
from runtime.journal.breaks import RECONCILIATION, Breaks, break_id
from runtime.journal.reconcile import Break, BreakClass, reconcile
from runtime.journal.store import Journal
from runtime.ports import Statement
from tests.runtime.journal.trading import START, make_fill, trial_balance

DAY = date(2017, 2, 1)
MARKS = {"AAA": Decimal("5.00")}


@pytest.fixture
def anchor(tmp_path):
    return HeadAnchor(tmp_path / "journal.head")


@pytest.fixture
def breaks(database_url, anchor):
    engine = open_database(database_url)
    yield Breaks(Journal(engine, anchor=anchor))
    engine.dispose()


def found(ours=(), theirs=(), *, day=DAY, held=0, theirs_held=0) -> tuple[Break, ...]:
    """Compare two statements of fills and of AAA's units."""

    def told(fills, units) -> Statement:
        positions = {"AAA": Decimal(units)} if units else {}
        return Statement(
            venue="primary",
            day=day,
            positions=positions,
            cash_flow=Decimal("0.00"),
            fills=tuple(fills),
        )

    return reconcile(told(ours, held), told(theirs, theirs_held))


FILL = make_fill(10, "5.00", "0.01", number=1)


def settle(breaks: Breaks, one: tuple[Break, ...], day=DAY, *days) -> tuple[int, int]:
    return breaks.settle(one, (day, *days), START + (day - date(2017, 1, 31)), MARKS)


def balanced(breaks: Breaks) -> dict[str, Decimal]:
    """Debits equal credits, the rows are what the chain says; return the balances."""
    breaks.journal.verify()
    totals = trial_balance(breaks.journal)
    assert sum(totals.values()) == 0
    return totals


def test_plus_five_and_minus_five_are_two_breaks_and_never_netted(breaks):
    dearer = changed(FILL, price=Decimal("5.50"))
    other = changed(FILL, execution_id="x2")
    cheaper = changed(other, price=Decimal("4.50"))
    assert settle(breaks, found((FILL, other), (dearer, cheaper))) == (2, 0)
    assert sorted(one.amount for one in breaks.open()) == [Decimal("-5.00"), Decimal("5.00")]
    assert balanced(breaks)["suspense"] == 0
    first, second = breaks.open()
    breaks.resolve(first.break_id, by="ada", reason="the venue corrected it", at=START)
    assert [one.break_id for one in breaks.open()] == [second.break_id]
    assert balanced(breaks)["suspense"] == second.amount


def test_books_keep_what_our_own_executions_prove(breaks):
    settle(breaks, found((), (FILL,)))
    assert balanced(breaks)["suspense"] == Decimal("-50.01")
    book = breaks.journal.book()
    assert (book.cash, book.positions()) == (Decimal("0.00"), {})


def test_a_break_is_opened_once_and_ages(breaks):
    assert settle(breaks, found((FILL,), ())) == (1, 0)
    assert settle(breaks, found((FILL,), ()), DAY, DAY + timedelta(days=1)) == (0, 0)
    (one,) = breaks.open()
    assert one.age(DAY + timedelta(days=9)) == 9
    assert one.found.kind is BreakClass.MISSING_THERE


def test_two_processes_that_find_a_break_at_once_open_it_once(breaks):
    other = Breaks(breaks.journal)
    other.all = lambda: ()  # it looked before the first one wrote
    assert settle(breaks, found((), (FILL,))) == (1, 0)
    settle(other, found((), (FILL,)))
    assert len(breaks.open()) == 1
    assert balanced(breaks)["suspense"] == Decimal("-50.01")


def test_a_position_that_differs_by_as_much_is_the_same_break_from_day_to_day(breaks):
    settle(breaks, found(held=100, theirs_held=95))
    later = DAY + timedelta(days=1)
    assert settle(breaks, found(held=80, theirs_held=75, day=later), later, DAY) == (0, 0)
    (one,) = breaks.open()
    assert (one.found.day, one.amount) == (DAY, Decimal("-25.00"))
    assert settle(breaks, found(held=80, theirs_held=76, day=later), later, DAY) == (1, 1)


def test_a_break_that_is_gone_is_resolved_by_the_comparison_and_may_come_back(breaks):
    settle(breaks, found((FILL,), ()))
    assert settle(breaks, found((FILL,), (FILL,))) == (0, 1)
    assert [one.by for one in breaks.all()] == [RECONCILIATION]
    assert breaks.explained() == frozenset()  # nobody has looked at it
    assert balanced(breaks)["suspense"] == 0
    assert settle(breaks, found((FILL,), ())) == (1, 0)
    assert len(breaks.open()) == 1
    assert balanced(breaks)["suspense"] == Decimal("50.01")


def test_what_was_not_compared_stays_open(breaks):
    settle(breaks, found((FILL,), ()))
    assert settle(breaks, (), DAY + timedelta(days=1)) == (0, 0)
    assert len(breaks.open()) == 1


def test_a_resolution_needs_a_person_and_a_reason_and_one_open_break(breaks, anchor):
    settle(breaks, found((FILL,), ()))
    (one,) = breaks.open()
    for name, by, reason in (
        (one.break_id, "", "why"),
        (one.break_id, "ada", " "),
        (one.break_id, RECONCILIATION, "why"),
        ("ffffffffffffffffff", "ada", "why"),
        ("", "ada", "why"),
    ):
        with pytest.raises(BreakUnknown):
            breaks.resolve(name, by=by, reason=reason, at=START)
    assert anchor.heads() == ()
    closed = breaks.resolve(one.break_id[:6], by="ada", reason="theirs came late", at=START)
    assert anchor.heads() == (breaks.journal.head(),), "no session need follow"
    assert (closed.by, closed.reason, closed.resolved_at) == ("ada", "theirs came late", START)
    with pytest.raises(BreakUnknown, match="0 open breaks"):
        breaks.resolve(one.break_id, by="ada", reason="again", at=START)


def test_what_a_person_resolved_stays_resolved_when_it_is_found_again(breaks):
    (one,) = found((FILL,), ())
    settle(breaks, (one,))
    breaks.resolve(breaks.open()[0].break_id, by="ada", reason="known", at=START)
    assert settle(breaks, (one,)) == (0, 0)
    assert breaks.explained() == {break_id("paper", one)}


@pytest.mark.parametrize(
    ("ours", "theirs", "kind"),
    [
        ({"taken_back": frozenset({FILL.execution_id})}, {"fills": (FILL,)}, BreakClass.BUSTED),
        ({"fills": (FILL,)}, {"taken_back": frozenset({FILL.execution_id})}, BreakClass.BUSTED),
        (
            {},
            {"fills": (changed(FILL, executed_at=FILL.executed_at - timedelta(days=3)),)},
            BreakClass.BUSTED,
        ),
        (
            {"positions": {"AAA": Decimal(200)}, "split": frozenset({"AAA"})},
            {"positions": {"AAA": Decimal(100)}},
            BreakClass.CORPORATE_ACTION,
        ),
        (
            {"positions": {"AAA": Decimal(200)}, "split": frozenset({"AAA"})},
            {"positions": {"AAA": Decimal(100)}, "split": frozenset({"AAA"})},
            BreakClass.POSITION,
        ),
    ],
)
def test_what_was_taken_back_or_split_has_a_class_of_its_own(ours, theirs, kind):
    plain = Statement(venue="primary", day=DAY, positions={}, cash_flow=Decimal("0.00"), fills=())
    (one,) = reconcile(replace(plain, **ours), replace(plain, **theirs))
    assert one.kind is kind


def test_a_forged_amount_in_suspense_is_found(breaks):
    settle(breaks, found((FILL,), ()))
    with transaction(breaks.journal.engine) as connection:
        connection.exec_driver_sql("DELETE FROM journal_postings WHERE ledger = 'suspense'")
    with pytest.raises(JournalBroken, match="journal_postings lacks"):
        breaks.journal.verify()
