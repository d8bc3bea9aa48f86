"""Where a day stands: before, open, after, closed; and when a trade settles."""

from datetime import UTC, date, datetime, time
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
    hours = in_force(market_rules().hours, at.date())
    zone = ZoneInfo(hours.zone)
    day = at.astimezone(zone).date()
    if not calendar.is_session(day):
        return Phase.CLOSED
    session = calendar.session(day)
    if session.open <= at < session.close:
        return Phase.REGULAR
    first = datetime.combine(day, time.fromisoformat(hours.before), zone).astimezone(UTC)
    last = datetime.combine(day, time.fromisoformat(hours.after), zone).astimezone(UTC)
    if first <= at < session.open:
        return Phase.BEFORE
    return Phase.AFTER if session.close <= at < last else Phase.CLOSED


def regular(session: Session | None, at: datetime) -> bool:
    """Say whether `at` lies in the regular session, where bands and breakers apply."""
    return session is not None and session.open <= at < session.close


def settles_on(calendar: Calendar, trade_day: date) -> date:
    """Return the day a trade of `trade_day` settles."""
    day = trade_day
    for _ in range(in_force(market_rules().settlement, trade_day).sessions):
        day = calendar.next(day).day
    return day
