"""Feast's online read, embedded: the newest values in one matrix, each with its age."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from featurestore.errors import FeatureStale, HistoryMissing, ViewUnknown
from featurestore.grid import Array, Micros
from featurestore.reader import LakeReader
from featurestore.times import MICROSECOND, instant, micros
from featurestore.views import split_feature


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineFeatures:
    """The newest known values of some features, as of the instant they were materialized at."""

    at: datetime  # UTC
    snapshot_hash: str
    symbols: dict[str, int]  # symbol -> row
    features: dict[str, int]  # "view.field" -> column
    values: Array  # (n, k)
    event_times: Micros  # (n, k), microseconds since 1970
    freshness: Micros  # (k,), microseconds; an older value is stale

    def get_online_features(
        self, features: Sequence[str], symbols: Sequence[str], *, now: datetime
    ) -> Array:
        """Return values, shape (len(symbols), len(features)), none of them stale at `now`.

        Raises:
            ViewUnknown: a feature was not materialized.
            HistoryMissing: a symbol was not materialized.
            FeatureStale: a value is older than its view's freshness; names feature, symbol and age.
        """
        columns = [self._column(feature) for feature in features]
        rows = [self._row(symbol) for symbol in symbols]
        cells = np.ix_(rows, columns)
        ages = micros(now) - self.event_times[cells]
        stale = np.argwhere(ages > self.freshness[columns])
        if stale.size:
            i, j = (int(each) for each in stale[0])
            raise FeatureStale(
                f"{features[j]} of {symbols[i]} is {int(ages[i, j]) * MICROSECOND} old at "
                f"{now.isoformat()} (event time "
                f"{instant(self.event_times[cells][i, j]).isoformat()}), allowed is "
                f"{int(self.freshness[columns[j]]) * MICROSECOND}; ingest what is newer and "
                "materialize again"
            )
        return np.ascontiguousarray(self.values[cells])

    def _column(self, feature: str) -> int:
        if feature not in self.features:
            raise ViewUnknown(
                f"feature {feature} was not materialized; there are: {', '.join(self.features)}"
            )
        return self.features[feature]

    def _row(self, symbol: str) -> int:
        if symbol not in self.symbols:
            raise HistoryMissing(
                f"{symbol} was not materialized; there are: {', '.join(self.symbols)}"
            )
        return self.symbols[symbol]


def materialize(
    reader: LakeReader, features: Sequence[str], symbols: Sequence[str], *, at: datetime
) -> OnlineFeatures:
    """Gather the newest values known at `at` for fast reads.

    Args:
        reader: the snapshot to read.
        features: "view.field", all of views that hold `symbols`.
        symbols: entities.
        at: UTC.

    Raises:
        HistoryMissing: nothing of a symbol was known at `at`.
        HoldoutSealed: `at` lies at or behind the reader's seal.
    """
    latest = [reader.latest(feature, symbols, at=at) for feature in features]
    fresh: list[timedelta] = [reader.view(split_feature(f)[0]).freshness for f in features]
    return OnlineFeatures(
        at=at,
        snapshot_hash=reader.snapshot.hash,
        symbols={symbol: i for i, symbol in enumerate(symbols)},
        features={feature: i for i, feature in enumerate(features)},
        values=np.column_stack([each.values for each in latest]),
        event_times=np.array([[micros(t) for t in each.event_times] for each in latest]).T,
        freshness=np.array([each // MICROSECOND for each in fresh], dtype=np.int64),
    )
