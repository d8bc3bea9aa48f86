"""What tests of the online store ask it for."""

from datetime import UTC, datetime, timedelta

from featurestore.online import OnlineStore

AT = datetime(2018, 6, 29, 21, tzinfo=UTC)
CLOSE = datetime(2018, 6, 29, 20, tzinfo=UTC)
BARS = [f"us_index_bars.{name}" for name in ("close", "volume")]
NAMES = ["NASDAQ", "SP500"]
EARLIER = AT - timedelta(days=3)


def served(online: OnlineStore, now: datetime = AT, **options):
    return online.get_online_features(BARS, NAMES, now=now, **options)
