"""Write the session tables that featurestore ships: `python -m pipelines.calendars`."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import exchange_calendars

FIRST, LAST = date(1990, 1, 1), date(2030, 12, 31)
TABLES = Path(__file__).resolve().parent.parent / "featurestore" / "tables"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """An exchange whose sessions are packaged: one session a day, within one UTC date."""

    name: str  # ISO 10383 market identifier
    kept_by: str = ""  # the exchange whose sessions it shares, where the library knows only that
    first: date = FIRST
    last: date = LAST


# The library knows the Indian holidays from 1997 until they are announced, year by year. It has no
# XNSE; the National Stock Exchange keeps the sessions of the BSE, as pandas_market_calendars has it
# too (`aliases = ["BSE", "NSE"]` in calendars/bse.py).
INDIA_FIRST, INDIA_LAST = date(1997, 1, 1), date(2026, 12, 31)
EXCHANGES = (
    Exchange(name="XNYS"),
    Exchange(name="XTSE"),
    Exchange(name="XLON"),
    Exchange(name="XPAR"),
    Exchange(name="XETR"),
    Exchange(name="XSWX"),
    Exchange(name="XBOM", first=INDIA_FIRST, last=INDIA_LAST),
    Exchange(name="XNSE", kept_by="XBOM", first=INDIA_FIRST, last=INDIA_LAST),
)


def session_table(exchange: Exchange) -> dict[str, Any]:
    """Describe every session of an exchange by its rule and the exceptions to it.

    Args:
        exchange: whose sessions, and the days to cover.

    Returns:
        time zone, regular open and close (local, "HH:MM"), working weekdays (0 = Monday), holidays
        that fall on them, and sessions with other hours: day -> [open, close].

    Source: exchange_calendars, from the exchanges' own publications.
    """
    first, last, keeper = exchange.first, exchange.last, exchange.kept_by or exchange.name
    calendar = exchange_calendars.get_calendar(
        keeper, start=first.isoformat(), end=last.isoformat()
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
        "name": exchange.name,
        "source": f"exchange_calendars {version('exchange_calendars')}, {keeper}",
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
        path = folder / f"{exchange.name}.json"
        path.write_text(json.dumps(session_table(exchange), indent=1) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    write_tables()
