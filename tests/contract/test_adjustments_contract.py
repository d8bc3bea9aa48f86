"""Splits, dividends, charges, busts and corrections are entries of their own, on every database."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from msgspec.structs import replace as changed

from runtime.database import open_database, transaction
from runtime.domain import OrderState
from runtime.errors import EntryConflict, JournalBroken, OrderInvalid
from runtime.journal.actions import Charge, ChargeKind, Correction, Dividend, Split
from runtime.journal.adjustments import Adjustments
from runtime.journal.store import Journal
from runtime.journal.tables import Sql
from tests.runtime.journal.trading import (
    START,
    make_decision,
    make_fill,
    make_order,
    order_state,
    trial_balance,
)

NEXT = START + timedelta(days=2)  # after the fills of make_fill
MARKS = {"AAA": Decimal("5.00")}


@pytest.fixture
def journal(database_url):
    engine = open_database(database_url)
    journal = Journal(engine)
    order = make_order(100)
    journal.record_decision(make_decision([order]), [order])
    order_state(journal, order.order_id, OrderState.WORKING, START)
    journal.record_fills(
        [
            make_fill(40, "10.00", "0.40", number=1, of=order),
            make_fill(60, "11.00", "0.60", number=2, of=order),
        ]
    )
    yield journal
    engine.dispose()


def split(**change) -> Split:
    plain = Split(action_id="split-1", symbol="AAA", effective=NEXT, new=2, old=1)
    return replace(plain, **change)


def correction(number: int = 1, **change) -> Correction:
    plain = Correction(
        venue="primary",
        execution_id=f"x{number:06d}",
        replacement=None,
        at=NEXT,
        by="ada",
        reason="clearly erroneous",
    )
    return replace(plain, **change)


def agrees(journal: Journal) -> None:
    """The ledger is the book, debits equal credits, and a journal opened again has the same."""
    balance, book = trial_balance(journal), journal.book()
    assert sum(balance.values()) == 0
    assert balance.get("cash", 0) == book.cash
    basis = sum(one.basis for one in book.positions().values())
    assert balance.get("securities", 0) + balance.get("fees in basis", 0) == basis
    assert -balance.get("realised", 0) - balance.get("fees", 0) == book.realised
    assert -balance.get("dividends", 0) == book.dividends
    again = Journal(journal.engine)
    assert again.book().positions() == book.positions()
    assert (again.book().cash, again.book().realised) == (book.cash, book.realised)
    for day in (date(2017, 2, 1), date(2017, 2, 2)):
        assert again.statement("primary", day) == journal.statement("primary", day)
    journal.verify()


def test_a_split_keeps_the_basis_and_scales_units_here_and_at_the_venue(journal):
    before = journal.book()
    assert Adjustments(journal).record_action(split()) is True
    assert Adjustments(journal).record_action(split()) is False
    after = journal.book()
    assert after.position("AAA") == 200
    assert after.positions()["AAA"].basis == before.positions()["AAA"].basis == Decimal("1061.00")
    assert journal.statement("primary", date(2017, 2, 2)).positions == {"AAA": 200}
    assert journal.statement("primary", date(2017, 2, 1)).positions == {"AAA": 100}
    assert journal.statement("primary", date(2017, 2, 2)).split == {"AAA"}
    agrees(journal)


def test_the_fraction_of_a_reverse_split_is_sold_for_cash(journal):
    change = split(new=1, old=8, in_lieu=Decimal("84.00"))
    Adjustments(journal).record_action(change)
    book = journal.book()
    assert book.position("AAA") == 12  # 100 / 8 = 12.5
    assert book.cash == Decimal("-1061.00") + Decimal("42.00")
    # half a unit is 4 old ones of the oldest lot: 40.00 and 0.04 of fees
    assert book.realised == Decimal("1.96")
    assert journal.statement("primary", date(2017, 2, 2)).positions == {"AAA": 12}
    agrees(journal)


def test_a_fill_from_before_a_split_that_arrives_after_it_is_taken_in_new_units(journal):
    Adjustments(journal).record_action(split())
    late = make_order(10, tick="2017-01-30")
    journal.record_decision(make_decision([late], "2017-01-30"), [late])
    journal.record_fills([make_fill(10, "9.00", number=3, of=late)])
    assert journal.book().position("AAA") == 220
    assert journal.statement("primary", date(2017, 2, 1)).positions == {"AAA": 110}
    agrees(journal)


def test_a_split_that_is_learned_late_restates_what_was_traded_since(journal):
    sold = make_order(-50, tick="2017-02-02", created_at=NEXT)
    journal.record_decision(make_decision([sold], "2017-02-02"), [sold])
    since = make_fill(-50, "6.00", number=3, of=sold, at=NEXT + timedelta(hours=1))
    journal.record_fills([since])
    assert journal.book().position("AAA") == 50  # wrong: 50 old units were taken away
    Adjustments(journal).record_action(split())
    book = journal.book()
    assert book.position("AAA") == 150
    # 50 new units at 6.00 less 25 old ones at 10.00 and their 0.25 of fees
    assert book.realised == Decimal("49.75")
    agrees(journal)


def test_what_is_taken_back_leaves_the_books_as_if_it_had_never_been(journal):
    books, paid = Adjustments(journal), Decimal("0.30")
    dividend = Dividend(action_id="div-1", symbol="AAA", effective=NEXT, per_unit=paid)
    before = journal.book()
    for action in (dividend, split()):
        books.record_action(action)
    sold = make_order(-50, tick="2017-02-02", created_at=NEXT)
    journal.record_decision(make_decision([sold], "2017-02-02"), [sold])
    journal.record_fills([make_fill(-50, "6.00", number=3, of=sold, at=NEXT + timedelta(hours=1))])
    assert journal.book().position("AAA") == 150
    rows, at = journal.head().seq, NEXT + timedelta(days=1)
    done = [
        books.take_back(name, by="ada", reason="called off", at=at)
        for name in ("split-1", "div-1", "split-1")
    ]
    assert done == [True, True, False]
    assert journal.head().seq == rows + 2, "two entries, and the first ones stand"
    book = journal.book()
    assert (book.position("AAA"), book.dividends) == (50, before.dividends)
    # 50 units at 6.00 less those at 10.00 and 11.00, and their fees
    assert book.realised == 50 * 6 - (40 * 10 + 10 * 11) - Decimal("0.50")
    assert journal.statement("primary", date(2017, 2, 2)).split == frozenset()
    agrees(journal)
    with pytest.raises(EntryConflict, match="was taken back; book it under another id"):
        books.record_action(dividend)
    books.record_action(replace(dividend, action_id="div-2"))
    assert journal.book().dividends == 100 * paid
    agrees(journal)


def test_a_dividend_is_income_and_not_price_profit(journal):
    paid = Dividend(action_id="div-1", symbol="AAA", effective=NEXT, per_unit=Decimal("0.123456"))
    before = journal.book()
    assert Adjustments(journal).record_action(paid) is True
    after = journal.book()
    assert after.cash - before.cash == Decimal("12.35")
    assert after.dividends == Decimal("12.3456")
    assert (after.realised, after.positions()) == (before.realised, before.positions())
    agrees(journal)


def test_a_short_pays_the_dividend_and_the_borrow(journal):
    short = make_order(-30, "BBB", tick="2017-01-30")
    journal.record_decision(make_decision([short], "2017-01-30"), [short])
    journal.record_fills([make_fill(-30, "8.00", number=3, of=short)])
    books = Adjustments(journal)
    cash = journal.book().cash
    books.record_action(
        Dividend(action_id="div-2", symbol="BBB", effective=NEXT, per_unit=Decimal("0.10"))
    )
    borrow = Charge(
        action_id="borrow-1",
        kind=ChargeKind.BORROW,
        symbol="BBB",
        effective=NEXT,
        amount=Decimal("0.17"),
    )
    assert books.record_action(borrow) is True
    assert books.record_action(borrow) is False
    assert journal.book().cash - cash == Decimal("-3.17")
    assert trial_balance(journal)["borrow"] == journal.book().charges == Decimal("0.17")
    agrees(journal)


def test_an_action_s_id_is_used_once(journal):
    books = Adjustments(journal)
    books.record_action(split())
    with pytest.raises(EntryConflict, match="with other content"):
        books.record_action(split(new=3))
    with pytest.raises(EntryConflict, match="split-1 is booked already"):
        books.record_action(
            Dividend(action_id="split-1", symbol="AAA", effective=NEXT, per_unit=Decimal(1))
        )
    agrees(journal)


def test_a_bust_takes_an_execution_back_and_the_original_stays_as_it_was(journal):
    (first, _) = journal.fills()
    assert Adjustments(journal).record_correction(correction()) is True
    assert Adjustments(journal).record_correction(correction()) is False
    book = journal.book()
    assert (book.position("AAA"), book.cash) == (60, Decimal("-660.60"))
    assert journal.fills()[0].fill == first.fill
    assert journal.fills()[0].stands is False
    order = journal.orders()[0]
    assert (order.state, order.filled) == (OrderState.CANCELLED, 60)
    statement = journal.statement("primary", date(2017, 2, 1))
    assert [fill.execution_id for fill in statement.fills] == ["x000002"]
    assert statement.taken_back == {"x000001"}
    agrees(journal)


def test_a_correction_replaces_an_execution_as_if_it_had_been_right_at_once(journal):
    order = journal.orders()[0].order
    sold = make_order(-50, tick="2017-02-02", created_at=NEXT)
    journal.record_decision(make_decision([sold], "2017-02-02"), [sold])
    journal.record_fills([make_fill(-50, "12.00", number=3, of=sold, at=NEXT)])
    assert journal.book().realised == Decimal("89.50")  # 40 at 10.01, 10 at 11.01
    right = make_fill(40, "10.50", "0.40", number=9, of=order)
    right = changed(right, executed_at=journal.fills()[0].fill.executed_at)
    Adjustments(journal).record_correction(correction(replacement=right))
    assert journal.book().realised == Decimal("69.50")
    assert journal.book().cash == Decimal("-1061.00") - 20 + 600
    assert [one.stands for one in journal.fills()] == [False, True, True, True]
    assert journal.order(order.order_id).state is OrderState.FILLED
    with pytest.raises(EntryConflict):
        Adjustments(journal).record_correction(correction())
    Adjustments(journal).record_correction(correction(number=9))  # a replacement can be busted
    assert journal.book().position("AAA") == 10
    agrees(journal)


def test_a_correction_that_cannot_be_right_leaves_no_trace(journal):
    order, head = journal.orders()[0].order, journal.head()
    books = Adjustments(journal)
    with pytest.raises(JournalBroken, match="never booked"):
        books.record_correction(correction(number=77))
    larger = make_fill(41, "10.00", number=9, of=order)
    with pytest.raises(OrderInvalid, match="more than the 100"):
        books.record_correction(correction(replacement=larger))
    other = changed(make_fill(40, "10.00", number=9, of=order), symbol="ZZZ")
    with pytest.raises(OrderInvalid, match="another order"):
        books.record_correction(correction(replacement=other))
    booked = changed(make_fill(40, "10.50", number=2, of=order), order_id=order.order_id)
    with pytest.raises(EntryConflict, match="x000002 is booked already"):
        books.record_correction(correction(replacement=booked))
    with pytest.raises(OrderInvalid, match="a name and a reason"):
        correction(by=" ")
    assert journal.head() == head
    agrees(journal)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM journal_adjustments", "journal_adjustments lacks"),
        ("UPDATE journal_adjustments SET symbol = 'ZZZ'", "adjustments row"),
        ("UPDATE journal_postings SET amount = '1.00' WHERE ledger = 'dividends'", "postings row"),
    ],
)
def test_a_forged_adjustment_is_found(journal, statement, message):
    paid = Dividend(action_id="div-1", symbol="AAA", effective=NEXT, per_unit=Decimal("0.10"))
    Adjustments(journal).record_action(paid)
    journal.verify()
    with transaction(journal.engine) as connection:
        connection.exec_driver_sql(statement)
    with pytest.raises(JournalBroken, match=message):
        journal.verify()


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(OrderInvalid, match="time zone"):
        split(effective=datetime(2017, 2, 2))


def test_a_book_that_is_read_while_another_process_books_misses_nothing(journal, monkeypatch):
    reader = Journal(open_database(journal.engine.url.render_as_string(hide_password=False)))
    order = make_order(10, tick="2017-02-02", created_at=NEXT)
    journal.record_decision(make_decision([order], "2017-02-02"), [order])
    plain, asked = Sql.rows, []

    def rows(sql, connection, statement, arguments=()):
        if "FROM journal_flows" in statement and not asked:
            asked.append(statement)
            paid = Dividend(action_id="d", symbol="AAA", effective=NEXT, per_unit=Decimal("0.10"))
            Adjustments(journal).record_action(paid)
            late = NEXT + timedelta(hours=1)
            journal.record_fills([make_fill(10, "9.00", number=3, of=order, at=late)])
        return plain(sql, connection, statement, arguments)

    monkeypatch.setattr(Sql, "rows", rows)
    reader.book()
    assert asked
    assert reader.book().positions() == journal.book().positions()
    assert reader.book().cash == journal.book().cash
    reader.engine.dispose()
