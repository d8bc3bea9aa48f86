"""Write the session tables that featurestore ships: `python -m pipelines.calendars`."""

import json
from collections import Counter
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import exchange_calendars

FIRST, LAST = date(1990, 1, 1), date(2030, 12, 31)
EXCHANGES = ("XNYS",)
TABLES = Path(__file__).resolve().parent.parent / "featurestore" / "tables"


def session_table(exchange: str, first: date = FIRST, last: date = LAST) -> dict[str, Any]:
    """Describe every session of an exchange by its rule and the exceptions to it.

    Args:
        exchange: ISO 10383 market identifier, e.g. "XNYS".
        first: first day covered, inclusive.
        last: last day covered, inclusive.

    Returns:
        time zone, regular open and close (local, "HH:MM"), working weekdays (0 = Monday), holidays
        that fall on them, and sessions with other hours: day -> [open, close].

    Source: exchange_calendars, from the exchanges' own publications.
    """
    calendar = exchange_calendars.get_calendar(
        exchange, start=first.isoformat(), end=last.isoformat()
    )
    hours: dict[date, tuple[str, str]] = {}
    for session, opens, closes in calendar.schedule[["open", "close"]].itertuples():
        local = tuple(at.tz_convert(calendar.tz).strftime("%H:%M") for at in (opens, closes))
        hours[session.date()] = (local[0], local[1])
    regular = Counter(hours.values()).most_common(1)[0][0]
    weekdays = sorted({day.weekday() for day in hours})
    every_day = (first + timedelta(days=i) for i in range((last - first).days + 1))
    holidays = [d.isoformat() for d in every_day if d.weekday() in weekdays and d not in hours]
    special = {d.isoformat(): list(h) for d, h in sorted(hours.items()) if h != regular}
    return {
        "name": exchange,
        "source": f"exchange_calendars {version('exchange_calendars')}",
        "time_zone": str(calendar.tz),
        "first": first.isoformat(),
        "last": last.isoformat(),
        "open": regular[0],
        "close": regular[1],
        "weekdays": weekdays,
        "holidays": holidays,
        "special_hours": special,
    }


def write_tables(folder: Path = TABLES) -> list[Path]:
    """Write one JSON table per exchange into `folder`; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for exchange in EXCHANGES:
        path = folder / f"{exchange}.json"
        path.write_text(json.dumps(session_table(exchange), indent=1) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    write_tables()
