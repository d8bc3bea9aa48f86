"""Sessions come from a packaged table; exchange_calendars is the independent witness."""

from datetime import UTC, date, datetime

import exchange_calendars
import pytest

from featurestore.calendars import Session, calendar_names, load_calendar
from featurestore.errors import CalendarUnknown
from pipelines.calendars import TABLES, write_tables


@pytest.mark.parametrize("name", calendar_names())
def test_every_session_opens_and_closes_when_exchange_calendars_says(name):
    ours = load_calendar(name)
    known = {"XNSE": "XBOM"}.get(name, name)  # the library has no XNSE
    theirs = exchange_calendars.get_calendar(
        known, start=ours.first.isoformat(), end=ours.last.isoformat()
    ).schedule
    expected = [
        Session(day=day.date(), open=opens.to_pydatetime(), close=closes.to_pydatetime())
        for day, opens, closes in theirs[["open", "close"]].itertuples()
    ]
    assert list(ours.sessions(ours.first, ours.last)) == expected
    assert len(expected) > 7_000


def test_packaged_tables_are_what_the_generator_writes_today(tmp_path):
    for path in write_tables(tmp_path):
        assert path.read_bytes() == (TABLES / path.name).read_bytes()


def test_a_shortened_day_after_thanksgiving_closes_at_one_in_new_york():
    session = load_calendar("XNYS").session(date(2022, 11, 25))
    assert session.open == datetime(2022, 11, 25, 14, 30, tzinfo=UTC)
    assert session.close == datetime(2022, 11, 25, 18, 0, tzinfo=UTC)


def test_summer_time_moves_the_close_in_utc():
    calendar = load_calendar("XNYS")
    assert calendar.session(date(2022, 3, 11)).close.hour == 21
    assert calendar.session(date(2022, 3, 14)).close.hour == 20


def test_four_sessions_were_lost_in_september_2001():
    calendar = load_calendar("XNYS")
    assert calendar.next(date(2001, 9, 10)).day == date(2001, 9, 17)
    assert calendar.previous(date(2001, 9, 17)).day == date(2001, 9, 10)
    assert [s.day.day for s in calendar.sessions(date(2001, 9, 10), date(2001, 9, 18))] == [
        10,
        17,
        18,
    ]


@pytest.mark.parametrize("name", calendar_names())
def test_a_session_lies_within_its_own_utc_date(name):
    ours = load_calendar(name)
    for session in ours.sessions(ours.first, ours.last):
        assert session.open.date() == session.close.date() == session.day, session


def test_mumbai_opens_at_a_quarter_past_nine_and_has_holidays_of_its_own():
    calendar = load_calendar("XNSE")
    session = calendar.session(date(2023, 12, 26))
    assert session.open == datetime(2023, 12, 26, 3, 45, tzinfo=UTC)
    assert session.close == datetime(2023, 12, 26, 10, 0, tzinfo=UTC)
    assert not calendar.is_session(date(2023, 8, 15))  # Independence Day


def test_london_closes_early_on_christmas_eve():
    session = load_calendar("XLON").session(date(2021, 12, 24))
    assert session.close == datetime(2021, 12, 24, 12, 30, tzinfo=UTC)


def test_a_holiday_is_no_session_and_the_message_says_what_to_ask():
    calendar = load_calendar("XNYS")
    assert not calendar.is_session(date(2022, 12, 26))
    assert calendar.is_session(date(2022, 12, 27))
    with pytest.raises(CalendarUnknown, match=r"2022-12-26 \(Monday\) is not a session; ask for"):
        calendar.session(date(2022, 12, 26))


def test_a_day_outside_the_table_and_an_unknown_exchange_are_named():
    calendar = load_calendar("XNYS")
    with pytest.raises(CalendarUnknown, match="1989-12-29 lies outside the packaged table"):
        calendar.is_session(date(1989, 12, 29))
    with pytest.raises(CalendarUnknown, match="no session after 2030-12-31"):
        calendar.next(date(2030, 12, 31))
    with pytest.raises(CalendarUnknown, match="no session before 1990-01-02"):
        calendar.previous(date(1990, 1, 2))
    with pytest.raises(
        CalendarUnknown, match="no session table for 'XMARS'; packaged are: XBOM, XETR"
    ):
        load_calendar("XMARS")
