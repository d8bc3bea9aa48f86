"""What the commands over the feature store share."""

from datetime import UTC, date, datetime, time

from featurestore.lake import Lake
from featurestore.reader import LakeReader
from featurestore.store import FeatureStore
from runtime.clock import WallClock
from service.faults import QueryInvalid
from service.settings import Settings


def open_store(settings: Settings) -> FeatureStore:
    """Open the workspace's store; rows from the future are judged by the wall clock."""
    return FeatureStore(Lake(settings.lake_url), now=WallClock().now)


def open_reader(store: FeatureStore) -> LakeReader:
    """Open the newest versions for reading, up to the earliest seal of the lake."""
    return store.reader(store.snapshot())


def end_of_day(text: str) -> datetime:
    """Return the last instant of a day, UTC; QueryInvalid if it is none."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise QueryInvalid(f"--as-of {text!r} is not a day", "write it as 2016-12-30") from None
    return datetime.combine(day, time.max, UTC)
