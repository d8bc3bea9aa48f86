"""When a job is due: five-field cron expressions, read as cron reads them, in a named time zone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.triggers.cron import CronTrigger

from pipelines.errors import ScheduleInvalid

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")  # cron's 0 to 6; 7 is Sunday too
_NEXT = timedelta(microseconds=1)


def cron(expression: str, zone: str) -> CronTrigger:
    """Read a cron expression.

    APScheduler counts weekdays from Monday, cron from Sunday, so numbers become names here.

    Args:
        expression: minute, hour, day of month, month, day of week; "0 7 * * 1-5".
        zone: IANA name of the time zone that the expression means, "America/New_York".

    Raises:
        ScheduleInvalid: which field does not read, or an unknown time zone.
    """
    fields = expression.split()
    if len(fields) != 5:
        raise ScheduleInvalid(
            f"a cron expression has five fields, minute hour day month weekday; {expression!r} has "
            f"{len(fields)}"
        )
    if "*" not in (fields[2], fields[4]):
        raise ScheduleInvalid(
            f"{expression!r} limits both the day of the month and the day of the week; cron "
            "programs disagree about what that means, so add two jobs instead"
        )
    try:
        where = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ScheduleInvalid(f"there is no time zone {zone!r}; try UTC or Europe/Zurich") from None
    weekday = ",".join(_DAYS[day] for day in sorted(_weekdays(fields[4]))) or "*"
    try:
        return CronTrigger(
            minute=fields[0],
            hour=fields[1],
            day=fields[2],
            month=fields[3],
            day_of_week=weekday,
            timezone=where,
        )
    except ValueError as error:
        raise ScheduleInvalid(f"{expression!r} does not read: {error}") from None


def slots(trigger: CronTrigger, after: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the instants at which a job is due, UTC, ascending: later than `after`, up to `until`.

    A local time that a clock change skips comes an hour later, one that it repeats comes twice;
    in UTC neither happens.
    """
    seen = after
    while True:
        due = trigger.get_next_fire_time(None, seen + _NEXT)
        if due is None or due > until:
            return
        seen = due.astimezone(UTC)
        yield seen


def next_slot(trigger: CronTrigger, after: datetime) -> datetime | None:
    """Return the first instant later than `after` at which a job is due, UTC; None = never."""
    due = trigger.get_next_fire_time(None, after + _NEXT)
    return None if due is None else due.astimezone(UTC)


def _weekdays(field: str) -> set[int]:
    """Return the days that a field names as cron counts them, Sunday 0; empty for all of them."""
    days: set[int] = set()
    if field == "*":
        return days
    for item in field.split(","):
        span, _, step = item.partition("/")
        first, _, last = span.partition("-")
        try:
            start = 0 if span == "*" else _day(first)
            end = 6 if span == "*" or (step and not last) else _day(last or first)
            end += 7 if end < start else 0  # fri-mon goes over the week's end
            days |= {day % 7 for day in range(start, end + 1, int(step or 1))}
        except ValueError:
            raise ScheduleInvalid(
                f"{item!r} names no day of the week; write 0 to 7 (0 and 7 are Sunday), mon, or "
                "mon-fri"
            ) from None
    return days


def _day(text: str) -> int:
    if text.lower() in _DAYS:
        return _DAYS.index(text.lower())
    day = int(text)
    if not 0 <= day <= 7:
        raise ValueError(text)
    return day
