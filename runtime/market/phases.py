"""Where a day stands: before, open, after, closed; and when a trade settles."""

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from featurestore.calendars import Calendar, Session
from runtime.market.rules import in_force, market_rules


class Phase(StrEnum):
    """Phase of a trading day."""

    CLOSED = "closed"
    BEFORE = "pre-market"
    REGULAR = "regular"
    AFTER = "post-market"

    @property
    def extended(self) -> bool:
        """Say whether it trades outside the regular session: no market orders, no bands."""
        return self in (Phase.BEFORE, Phase.AFTER)


def phase(calendar: Calendar, at: datetime) -> Phase:
    """Return the phase of an instant; holidays and early closes come from the calendar's table."""
    near = (at.date() + timedelta(days=ahead) for ahead in (-1, 0, 1))  # local days around it
    for day in near:
        if not calendar.first <= day <= calendar.last or not calendar.is_session(day):
            continue
        session = calendar.session(day)
        if regular(session, at):
            return Phase.REGULAR
        first, last = _extended(calendar, session)
        if first <= at < session.open:
            return Phase.BEFORE
        if session.close <= at < last:
            return Phase.AFTER
    return Phase.CLOSED


def _extended(calendar: Calendar, session: Session) -> tuple[datetime, datetime]:
    """Return where the extended hours around a session begin and end."""
    known = [one for one in market_rules().hours if calendar.name in one.calendars]
    if not known:
        return session.open, session.close
    hours = in_force(known, session.day)
    zone = ZoneInfo(hours.zone)
    first, last = (
        datetime.combine(session.day, time.fromisoformat(text), zone).astimezone(UTC)
        for text in (hours.before, hours.after)
    )
    return first, last


def regular(session: Session | None, at: datetime) -> bool:
    """Say whether `at` lies in the regular session, where bands and breakers apply."""
    return session is not None and session.open <= at < session.close


def settles_on(calendar: Calendar, trade_day: date) -> date:
    """Return the day a trade of `trade_day` settles."""
    day = trade_day
    for _ in range(in_force(market_rules().settlement, trade_day).sessions):
        day = calendar.next(day).day
    return day
