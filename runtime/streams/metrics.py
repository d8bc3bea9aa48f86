"""How far every group of some streams is behind, as Prometheus metrics read at each scrape."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from runtime.clock import Clock
from runtime.errors import StreamUnavailable
from runtime.streams.port import Stream

LABELS = ("stream", "group")


@dataclass(frozen=True, slots=True, eq=False)
class StreamMetrics(Collector):
    """Asks the streams when it is scraped."""

    streams: Sequence[Stream]
    clock: Clock

    def describe(self) -> Iterable[Metric]:
        """Name no metric before the first scrape, so that registering needs no server."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics; `sluice_stream_up` is 0 where the storage does not answer."""
        up = GaugeMetricFamily("sluice_stream_up", "1 if the stream answers.", labels=("stream",))
        waiting = GaugeMetricFamily(
            "sluice_stream_waiting", "Messages that a group never received.", labels=LABELS
        )
        pending = GaugeMetricFamily(
            "sluice_stream_pending", "Messages received and not acknowledged.", labels=LABELS
        )
        age = GaugeMetricFamily(
            "sluice_stream_lag_seconds",
            "Age of the oldest message that a group has not acknowledged.",
            labels=LABELS,
        )
        buried = GaugeMetricFamily(
            "sluice_stream_buried", "Poison messages set aside for a person.", labels=LABELS
        )
        for stream in self.streams:
            try:
                for group in stream.groups():
                    lag, names = stream.lag(group, now=self.clock.now()), (stream.name, group)
                    waiting.add_metric(names, lag.waiting)
                    pending.add_metric(names, lag.pending)
                    age.add_metric(names, lag.age.total_seconds())
                    buried.add_metric(names, len(stream.buried(group)))
            except StreamUnavailable:
                up.add_metric((stream.name,), 0)
            else:
                up.add_metric((stream.name,), 1)
        yield from (up, waiting, pending, age, buried)
