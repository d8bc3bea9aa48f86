"""Exchange sessions from packaged tables: when a market opened and closed, in UTC."""

import json
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from featurestore.errors import CalendarUnknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One trading session of an exchange."""

    day: date  # the exchange's own date
    open: datetime  # UTC
    close: datetime  # UTC


class Calendar:
    """All sessions of one exchange between `first` and `last`.

    Args:
        name: ISO 10383 market identifier, e.g. "XNYS".
        first: first day the table covers.
        last: last day the table covers.
        sessions: every session in between, oldest first.
    """

    def __init__(self, name: str, first: date, last: date, sessions: tuple[Session, ...]) -> None:
        self.name, self.first, self.last = name, first, last
        self._sessions = sessions
        self._days = [session.day for session in sessions]

    def __repr__(self) -> str:
        return f"Calendar({self.name!r}, {self.first}..{self.last})"

    def sessions(self, start: date, end: date) -> tuple[Session, ...]:
        """Return the sessions from `start` to `end`, inclusive; CalendarUnknown off the table."""
        self._covered(start)
        self._covered(end)
        return self._sessions[bisect_left(self._days, start) : bisect_right(self._days, end)]

    def session(self, day: date) -> Session:
        """Return the session of `day`; CalendarUnknown if there is none."""
        self._covered(day)
        at = bisect_left(self._days, day)
        if at == len(self._days) or self._days[at] != day:
            raise CalendarUnknown(
                f"{self.name}: {day} ({day:%A}) is not a session; "
                f"ask for .next({day}) or .previous({day})"
            )
        return self._sessions[at]

    def is_session(self, day: date) -> bool:
        """Say whether the exchange trades on `day`; CalendarUnknown outside the table."""
        self._covered(day)
        at = bisect_left(self._days, day)
        return at < len(self._days) and self._days[at] == day

    def next(self, day: date) -> Session:
        """Return the first session after `day`; CalendarUnknown at the table's end."""
        self._covered(day)
        at = bisect_right(self._days, day)
        if at == len(self._days):
            raise CalendarUnknown(f"{self.name}: no session after {day} in the table")
        return self._sessions[at]

    def previous(self, day: date) -> Session:
        """Return the last session before `day`; CalendarUnknown at the table's start."""
        self._covered(day)
        at = bisect_left(self._days, day)
        if at == 0:
            raise CalendarUnknown(f"{self.name}: no session before {day} in the table")
        return self._sessions[at - 1]

    def _covered(self, day: date) -> None:
        if not self.first <= day <= self.last:
            raise CalendarUnknown(
                f"{self.name}: {day} lies outside the packaged table "
                f"({self.first} to {self.last}); choose a date inside it"
            )


def calendar_names() -> list[str]:
    """Return the exchanges whose session table is packaged."""
    tables = files("featurestore").joinpath("tables")
    return sorted(t.name.removesuffix(".json") for t in tables.iterdir() if t.name.endswith("json"))


@lru_cache(maxsize=8)
def load_calendar(name: str) -> Calendar:
    """Return an exchange's calendar from its packaged table; CalendarUnknown if there is none."""
    if name not in calendar_names():
        raise CalendarUnknown(
            f"no session table for {name!r}; packaged are: {', '.join(calendar_names())}"
        )
    table = json.loads(files("featurestore").joinpath("tables", f"{name}.json").read_bytes())
    zone = ZoneInfo(table["time_zone"])
    first, last = date.fromisoformat(table["first"]), date.fromisoformat(table["last"])
    weekdays, holidays = set(table["weekdays"]), set(table["holidays"])
    special: dict[str, list[str]] = table["special_hours"]
    regular = [table["open"], table["close"]]
    clock = {text: time.fromisoformat(text) for h in (regular, *special.values()) for text in h}

    def utc(day: date, local: str) -> datetime:
        return datetime.combine(day, clock[local], zone).astimezone(UTC)

    sessions = []
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        if day.weekday() in weekdays and (text := day.isoformat()) not in holidays:
            opens, closes = special.get(text, regular)
            sessions.append(Session(day=day, open=utc(day, opens), close=utc(day, closes)))
    return Calendar(name, first, last, tuple(sessions))
