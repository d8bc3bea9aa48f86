"""Decision sessions by exchange calendar: month ends, week ends, holidays and cut-off ranges."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.calendars import load_calendar
from runtime.errors import ScheduleUnknown
from runtime.scheduling.schedule import decision_sessions, is_due

XNYS = load_calendar("XNYS")


def days(schedule: str, start: date, end: date) -> list[date]:
    return [session.day for session in decision_sessions(schedule, XNYS, start, end)]


def test_month_ends_of_a_known_quarter_skip_weekends_and_holidays():
    # 2021-05-31 was Memorial Day, a Monday: May ended on Friday the 28th.
    found = days("month_end", date(2021, 4, 1), date(2021, 6, 30))
    assert found == [date(2021, 4, 30), date(2021, 5, 28), date(2021, 6, 30)]


def test_a_month_that_the_range_cuts_yields_nothing():
    assert days("month_end", date(2021, 4, 1), date(2021, 4, 29)) == []
    assert days("month_end", date(2021, 5, 1), date(2021, 5, 28)) == [date(2021, 5, 28)]


def test_a_week_ends_on_thursday_when_friday_is_a_holiday():
    # Good Friday 2022 was April 15.
    found = days("week_end", date(2022, 4, 4), date(2022, 4, 22))
    assert found == [date(2022, 4, 8), date(2022, 4, 14), date(2022, 4, 22)]


def test_a_decision_carries_the_early_close_of_its_session():
    session = decision_sessions("daily", XNYS, date(2021, 11, 26), date(2021, 11, 26))[0]
    assert session.close.isoformat() == "2021-11-26T18:00:00+00:00"  # 13:00 in New York


def test_an_unknown_schedule_names_the_known_ones():
    with pytest.raises(ScheduleUnknown, match="month_end, week_end, daily"):
        days("hourly", date(2021, 1, 1), date(2021, 2, 1))


def test_an_empty_range_holds_no_decision():
    assert days("daily", date(2021, 1, 2), date(2021, 1, 3)) == []


@given(
    schedule=st.sampled_from(["month_end", "week_end", "daily"]),
    start=st.dates(date(1991, 1, 2), date(2022, 1, 1)),
    cut=st.integers(0, 200),
    length=st.integers(0, 400),
)
def test_cutting_a_range_in_two_changes_no_decision(schedule, start, cut, length):
    """Holds for any cut, so a replay that resumes decides on the very same days."""
    end = date.fromordinal(start.toordinal() + length)
    middle = date.fromordinal(start.toordinal() + min(cut, length))
    after = date.fromordinal(middle.toordinal() + 1)
    rest = days(schedule, after, end) if after <= end else []
    assert days(schedule, start, middle) + rest == days(schedule, start, end)


@given(st.sampled_from(["month_end", "week_end"]), st.dates(date(1995, 1, 1), date(2022, 1, 1)))
def test_due_agrees_with_the_list(schedule, day):
    assert is_due(schedule, XNYS, day) == (day in days(schedule, day, day))
