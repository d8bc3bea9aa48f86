"""Names of series and the sessions that tests of features read."""

from datetime import date

from featurestore.calendars import load_calendar
from featurestore.universes import US_LARGE_CAPS

CLOSE = "us_equities.close"
INDEX = "us_index.close[SP500]"
SYMBOLS = US_LARGE_CAPS.symbols
XNYS = load_calendar("XNYS")
SESSIONS = XNYS.sessions(date(2015, 6, 1), date(2018, 11, 30))
