"""What an online read returns: values, what each is about, when it was known, how old it is."""

from datetime import datetime, timedelta

import msgspec
import numpy as np
from numpy.typing import NDArray

from featurestore.errors import FeatureStale, HistoryMissing
from featurestore.online.cells import ABSENT, EVENT, KNOWN, VALUE, Array, Micros, Packed
from featurestore.times import MICROSECOND, instant, micros


class OnlineValues(msgspec.Struct, frozen=True, eq=False):
    """Cells of some symbols and features as one read saw them, all of one moment."""

    features: tuple[str, ...]  # k
    symbols: tuple[str, ...]  # n
    now: datetime  # UTC; ages count up to here
    packed: Packed  # (n, 3, k)
    freshness: Micros  # (k,), microseconds; an older value is stale
    versions: tuple[str, ...]  # (k,), version hash of each feature's view

    @property
    def values(self) -> Array:
        """Return the values, shape (n, k), float64."""
        return np.ascontiguousarray(self.packed[:, VALUE]).view(np.float64)

    @property
    def event_times(self) -> Micros:
        """Return what each value is about, shape (n, k), microseconds since 1970."""
        return self.packed[:, EVENT]

    @property
    def known_at(self) -> Micros:
        """Return when each value could first be known, shape (n, k), microseconds since 1970."""
        return self.packed[:, KNOWN]

    @property
    def ages(self) -> Micros:
        """Return the time from each event to `now`, shape (n, k), microseconds."""
        return micros(self.now) - self.event_times

    @property
    def stale(self) -> NDArray[np.bool_]:
        """Return which values are older than their view allows, shape (n, k)."""
        return np.asarray(self.ages > self.freshness)

    @property
    def current(self) -> bool:
        """Tell whether every cell is there, was known at `now` and is fresh."""
        now, events = micros(self.now), self.event_times
        return bool(
            events.min() != ABSENT
            and self.known_at.max() <= now
            and (events + self.freshness).min() >= now
        )

    def age(self, feature: str, symbol: str) -> timedelta:
        """Return the age of one value."""
        i, j = self.symbols.index(symbol), self.features.index(feature)
        return int(self.ages[i, j]) * MICROSECOND

    def require_present(self) -> None:
        """Raise HistoryMissing if a cell holds nothing, or something not yet known at `now`."""
        holes = np.argwhere(self.event_times == ABSENT)
        if holes.size:
            i, j = (int(each) for each in holes[0])
            raise HistoryMissing(
                f"{self.features[j]} of {self.symbols[i]} was not materialized; "
                "materialize it, or leave it out"
            )
        early = np.argwhere(self.known_at > micros(self.now))
        if early.size:
            i, j = (int(each) for each in early[0])
            raise HistoryMissing(
                f"{self.features[j]} of {self.symbols[i]} held online was known at "
                f"{instant(self.known_at[i, j]).isoformat()}, after {self.now.isoformat()}; "
                "the online store holds the newest values only, ask the lake about the past"
            )

    def require_fresh(self) -> None:
        """Raise FeatureStale naming the first value that is too old, its age and the limit."""
        found = np.argwhere(self.stale)
        if found.size:
            i, j = (int(each) for each in found[0])
            raise FeatureStale(
                f"{self.features[j]} of {self.symbols[i]} is {int(self.ages[i, j]) * MICROSECOND} "
                f"old at {self.now.isoformat()} (event time "
                f"{instant(self.event_times[i, j]).isoformat()}), allowed is "
                f"{int(self.freshness[j]) * MICROSECOND}; ingest what is newer and "
                "materialize again"
            )
