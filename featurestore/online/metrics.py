"""How old what is online is, as Prometheus metrics read at each scrape."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from featurestore.errors import OnlineUnavailable
from featurestore.online.cells import ABSENT, EVENT
from featurestore.online.store import OnlineStore

FEATURE = ("feature",)


@dataclass(slots=True, eq=False)
class OnlineMetrics(Collector):
    """Reads every value that is online when it is scraped; the store is opened then, once."""

    open: Callable[[], OnlineStore]
    now: Callable[[], int]  # microseconds since 1970
    _opened: OnlineStore | None = field(default=None, init=False)

    def describe(self) -> Iterable[Metric]:
        """Name no metric before the first scrape, so that registering needs no server."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics; `sluice_online_up` is 0 where the store does not answer."""
        up = GaugeMetricFamily("sluice_online_up", "1 if the online store answers.")
        values = GaugeMetricFamily("sluice_online_values", "Values online.", labels=FEATURE)
        oldest = GaugeMetricFamily(
            "sluice_online_age_seconds", "Age of the oldest value online.", labels=FEATURE
        )
        share = GaugeMetricFamily(
            "sluice_feature_age_of_limit",
            "Age of the oldest value served, divided by what is allowed.",
            labels=FEATURE,
        )
        try:
            for feature, held, age, limit in self._ages():
                values.add_metric((feature,), held)
                oldest.add_metric((feature,), age / 1e6)
                share.add_metric((feature,), age / limit)
        except OnlineUnavailable:
            up.add_metric((), 0)
        else:
            up.add_metric((), 1)
        yield from (up, values, oldest, share)

    def _ages(self) -> list[tuple[str, int, int, int]]:
        """Return feature, values held, age of the oldest and age allowed, in microseconds."""
        if self._opened is None:
            self._opened = self.open()
        features, symbols = self._opened.features(), self._opened.symbols()
        if not features or not symbols:
            return []
        cells = self._opened.backend.read(features, symbols)
        events, found = cells.packed[:, EVENT], []
        for j, feature in enumerate(features):
            there = events[:, j][events[:, j] != ABSENT]
            if there.size:
                age = self.now() - int(np.min(there))
                found.append((feature, there.size, age, int(cells.plan.freshness[j])))
        return found
