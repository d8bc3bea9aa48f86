"""Profit in parts: each as worked out by hand, their sum the books' to the cent."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from runtime.database import open_database, transaction
from runtime.errors import JournalBroken
from runtime.journal.actions import Charge, ChargeKind, Correction, Dividend, Split
from runtime.journal.adjustments import Adjustments
from runtime.journal.attribution import PARTS, attribute, shared
from runtime.journal.decay import decay
from runtime.journal.records import CashFlow, SessionRecord
from runtime.journal.store import Journal
from tests.runtime.journal.trading import START, make_decision, make_fill, make_order

SPREADS = {"primary": Decimal("0.001")}
DAYS = [date(2017, 2, day) for day in (1, 2, 3, 6)]


@pytest.fixture
def journal(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'a.db'}")
    journal = Journal(engine)
    journal.record_flow(CashFlow(flow_id="opening", amount=Decimal("10000.00"), at=START))
    yield journal
    engine.dispose()


def at(day: date, hours: int = 0):
    return START + (day - date(2017, 1, 31)) + timedelta(hours=hours)


def buy(journal: Journal, day: date, signed: int, price: str, fee: str, number: int) -> None:
    tick = (day - timedelta(days=1)).isoformat()
    order = make_order(signed, "AAA", tick=tick)
    journal.record_decision(make_decision([order], tick), [order])
    journal.record_fills([make_fill(signed, price, fee, number=number, of=order, at=at(day))])


def close(journal: Journal, day: date, mark: str, benchmark: float | None = 0.0) -> None:
    book, marks = journal.book(), {"AAA": Decimal(mark)}
    journal.close_session(
        SessionRecord(
            account="paper",
            day=day,
            closed_at=at(day, 1),
            marks=marks,
            positions=book.quantities(),
            cash=book.cash,
            equity=book.equity(marks),
            benchmark_return=benchmark,
        )
    )


def parts(journal: Journal, day: date) -> dict[str, Decimal]:
    """Return the parts of a session that are not zero; their sum is checked."""
    (one,) = attribute(journal, SPREADS, start=day, end=day).sessions
    assert sum(one.parts.values()) == one.profit
    return {name: value for name, value in one.parts.items() if value}


def test_every_part_is_what_it_is_by_hand(journal):
    close(journal, DAYS[0], "10.00")
    # decided at 10.00, filled at 10.53 while the close is 10.50; the universe gained 1 %
    buy(journal, DAYS[1], 100, "10.53", "0.25", 1)
    close(journal, DAYS[1], "10.50", 0.01)
    assert parts(journal, DAYS[1]) == {
        "market": Decimal("100.00"),  # 1 % of 10,000
        "signal": Decimal("-50.00"),  # 100 units from 10.00 to 10.50, beyond the market
        "timing": Decimal("-50.00"),  # bought at the close of the day after
        "spread": Decimal("-1.05"),  # half of 0.2 % of 10.50, on 100
        "impact": Decimal("-1.95"),  # the rest of 0.03 a unit
        "fees": Decimal("-0.25"),
    }
    close(journal, DAYS[2], "11.00")
    assert parts(journal, DAYS[2]) == {"signal": Decimal("50.00")}


def test_a_venue_whose_spread_is_not_known_counts_as_impact(journal):
    buy(journal, DAYS[0], 100, "10.53", "0.25", 1)
    close(journal, DAYS[0], "10.50")
    (one,) = attribute(journal, {}).sessions
    assert (one.parts["spread"], one.parts["impact"]) == (Decimal("0.00"), Decimal("-3.00"))
    assert one.profit == Decimal("-3.25")  # the money paid in is no profit


def test_dividends_charges_and_splits_are_told_apart(journal):
    buy(journal, DAYS[0], 100, "10.00", "0.00", 1)
    close(journal, DAYS[0], "10.00")
    books = Adjustments(journal)
    opening = at(DAYS[1], -6)
    books.record_action(
        Dividend(action_id="d", symbol="AAA", effective=opening, per_unit=Decimal("0.10"))
    )
    books.record_action(Split(action_id="s", symbol="AAA", effective=opening, new=2, old=1))
    books.record_action(
        Charge(
            action_id="b",
            kind=ChargeKind.BORROW,
            symbol="AAA",
            effective=opening,
            amount=Decimal("0.40"),
        )
    )
    close(journal, DAYS[1], "5.25")
    assert parts(journal, DAYS[1]) == {
        "signal": Decimal("50.00"),  # 200 units from 5.00 to 5.25
        "dividends": Decimal("10.00"),
        "borrow": Decimal("-0.40"),
    }


def test_what_a_correction_changes_of_an_earlier_session_is_shown_as_such(journal):
    buy(journal, DAYS[0], 100, "10.00", "0.00", 1)
    close(journal, DAYS[0], "10.00")
    right = changed(
        journal.fills()[0].fill, execution_id="x9", price=Decimal("9.90"), fee=Decimal("0.50")
    )
    Adjustments(journal).record_correction(
        Correction(
            venue="primary",
            execution_id="x000001",
            replacement=right,
            at=at(DAYS[1]),
            by="ada",
            reason="wrong price",
        )
    )
    close(journal, DAYS[1], "10.20")
    assert parts(journal, DAYS[1]) == {
        "signal": Decimal("20.00"),
        "corrected": Decimal("9.50"),
    }


def test_a_period_s_parts_sum_to_its_profit_though_marks_have_more_places(journal):
    buy(journal, DAYS[0], 7, "10.123457", "0.03", 1)
    for day, mark in zip(DAYS, ("10.111111", "10.345678", "9.876543", "10.000001"), strict=True):
        close(journal, day, mark, 0.001)
    whole = attribute(journal, SPREADS)
    last = journal.last_session()
    assert last is not None
    expected = last.equity.quantize(Decimal("0.01")) - Decimal("10000.00")
    assert sum(whole.total().values()) == whole.profit == expected
    for one in whole.sessions:
        assert sum(one.parts.values()) == one.profit
        assert tuple(one.parts) == PARTS


def test_a_session_that_the_books_do_not_explain_is_an_error(journal):
    buy(journal, DAYS[0], 100, "10.00", "0.00", 1)
    close(journal, DAYS[0], "10.00")
    with transaction(journal.engine) as connection:
        connection.exec_driver_sql("UPDATE journal_flows SET amount = '9999.00'")
    with pytest.raises(JournalBroken, match="its parts sum to"):
        attribute(journal, SPREADS)


@given(
    st.lists(st.fractions(min_value=-1000, max_value=1000), min_size=1, max_size=9),
    st.integers(-9000, 9000),
)
def test_shared_cents_sum_exactly_and_none_is_a_cent_away(values, total):
    values[-1] += total - sum(values)
    found = shared(total, values)
    assert sum(found) == total
    assert all(abs(one - exact) < 1 for one, exact in zip(found, values, strict=True))


def test_a_dollar_over_three_is_34_33_33():
    assert shared(100, [Fraction(100, 3)] * 3) == [34, 33, 33]


def test_decay_is_what_later_returns_say(journal):
    symbols, marks = ("AAA", "BBB"), [(100, 100), (110, 100), (110, 110), (110, 121)]
    for number, (day, pair) in enumerate(zip(DAYS, marks, strict=True)):
        if number == 0:
            decided = replace(
                make_decision(tick=day.isoformat()), scores=(2.0, 1.0), weights=(0.75, 0.25)
            )
            journal.record_decision(decided, [])
        prices = dict(zip(symbols, map(Decimal, pair), strict=True))
        book = journal.book()
        journal.close_session(
            SessionRecord(
                account="paper",
                day=day,
                closed_at=at(day),
                marks=prices,
                positions={},
                cash=book.cash,
                equity=book.cash,
            )
        )
    now, next_day, then, never = decay(journal, delays=(0, 1, 2, 3), horizon=1)
    assert (now.excess, now.rank) == (pytest.approx(0.75 * 0.05 - 0.25 * 0.05), 1.0)
    assert (next_day.excess, next_day.rank) == (pytest.approx(-0.025), -1.0)
    assert then.rank == -1.0
    assert (never.delay, never.decisions) == (3, 0)
    (two,) = decay(journal, delays=(0,), horizon=2)
    assert two.excess == pytest.approx(0.0)
