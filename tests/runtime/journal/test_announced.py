"""The lake's splits and dividends become entries by effective date, as known at the time."""

from decimal import Decimal

from featurestore.times import micros
from runtime.journal.actions import Dividend, Split, Unclear
from runtime.journal.announced import announced
from tests.featurestore.test_actions import SESSIONS, action, store_of

FIRST, LAST = SESSIONS[0].open, SESSIONS[20].open


def known(folder, *actions, at=SESSIONS[20].close, first=FIRST, last=LAST, symbols=("AAA",)):
    store = store_of(folder, {"AAA": [100.0] * 25}, *actions)
    table = store.reader(store.snapshot()).table("actions")
    return announced(table, symbols, at=micros(at), first=first, last=last)


def test_a_split_and_a_dividend_come_by_effective_date(tmp_path):
    found = known(
        tmp_path, action("AAA", 7, dividend=0.235), action("AAA", 3, split=1.5), action("BBB", 4)
    )
    split, dividend = found
    assert isinstance(split, Split)
    assert (split.new, split.old, split.effective) == (3, 2, SESSIONS[3].open)
    assert isinstance(dividend, Dividend)
    assert (dividend.per_unit, dividend.effective) == (Decimal("0.235000"), SESSIONS[7].open)


def test_of_one_day_the_dividend_is_paid_on_the_units_before_the_split(tmp_path):
    found = known(tmp_path, action("AAA", 3, split=0.125, dividend=1.0))
    assert [type(one) for one in found] == [Dividend, Split]
    assert isinstance(found[1], Split)
    assert (found[1].new, found[1].old) == (1, 8)


def test_what_is_not_known_yet_or_called_off_is_not_booked(tmp_path):
    late = action("AAA", 3, split=2.0, known=SESSIONS[9].open)
    assert known(tmp_path / "a", late, at=SESSIONS[8].close) == []
    assert len(known(tmp_path / "b", late, at=SESSIONS[9].close)) == 1
    off = action("AAA", 3, known=SESSIONS[5].open, revision=1)
    assert known(tmp_path / "c", action("AAA", 3, split=2.0), off) == []


def test_other_symbols_and_other_days_are_left_out(tmp_path):
    split = action("AAA", 3, split=2.0)
    assert known(tmp_path / "a", split, symbols=("ZZZ",)) == []
    assert known(tmp_path / "b", split, first=SESSIONS[4].open) == []
    assert known(tmp_path / "c", split, last=SESSIONS[2].open) == []


def test_a_ratio_of_no_small_numbers_is_unclear_and_keeps_no_other_action_out(tmp_path):
    odd = action("AAA", 3, split=1.41421356237, dividend=0.5)
    found = known(tmp_path, odd, action("BBB", 4, split=2.0), symbols=("AAA", "BBB"))
    assert [type(one) for one in found] == [Dividend, Unclear, Split]
    assert isinstance(found[1], Unclear)
    assert "no ratio" in found[1].words
    assert found[1].symbol == "AAA"
