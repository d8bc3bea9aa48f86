"""When a bundle decides: named schedules over an exchange calendar, as data."""

from collections.abc import Callable
from datetime import date

from featurestore.calendars import Calendar, Session
from runtime.errors import ScheduleUnknown


def _month(day: date) -> tuple[int, int]:
    return day.year, day.month


def _week(day: date) -> tuple[int, int]:
    year, week, _ = day.isocalendar()
    return year, week


# A session is due when the next session falls in another period.
_PERIODS: dict[str, Callable[[date], object]] = {
    "month_end": _month,
    "week_end": _week,
    "daily": date.toordinal,
}

SCHEDULES = tuple(_PERIODS)


def decision_sessions(
    schedule: str, calendar: Calendar, start: date, end: date
) -> tuple[Session, ...]:
    """Return the sessions at whose close a bundle on this schedule decides.

    Args:
        schedule: "month_end", "week_end" (last session of the ISO week) or "daily".
        calendar: the exchange's sessions.
        start: first day considered.
        end: last day considered, inclusive. A period that is cut by `end` yields
            nothing: its last session lies after `end`.

    Raises:
        ScheduleUnknown: no such schedule.
        CalendarUnknown: the range leaves the calendar's table.
    """
    period = _period(schedule)
    sessions = calendar.sessions(start, end)
    if not sessions:
        return ()
    following = (*sessions[1:], calendar.next(sessions[-1].day))
    return tuple(
        session
        for session, after in zip(sessions, following, strict=True)
        if period(session.day) != period(after.day)
    )


def is_due(schedule: str, calendar: Calendar, day: date) -> bool:
    """Say whether a bundle on this schedule decides at the close of session `day`."""
    period = _period(schedule)
    return calendar.is_session(day) and period(day) != period(calendar.next(day).day)


def _period(schedule: str) -> Callable[[date], object]:
    try:
        return _PERIODS[schedule]
    except KeyError:
        known = ", ".join(SCHEDULES)
        raise ScheduleUnknown(f"no schedule is called {schedule!r}; known are {known}") from None
