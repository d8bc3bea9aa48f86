"""What flows out of the live service: stream lag, age of what is online, decisions unannounced."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from featurestore.online.metrics import OnlineMetrics
from featurestore.times import micros
from runtime.clock import Clock
from runtime.errors import DatabaseUnavailable, StreamUnavailable
from runtime.streams import Stream, open_stream, stream_names
from runtime.streams.metrics import StreamMetrics
from runtime.streams.outbox import Outbox
from service.books.accounts import LIVE
from service.flows.online import open_outbox, open_store
from service.live import Live


def flows_of(live: Live, clock: Clock) -> tuple[Collector, ...]:
    """Return the collectors of a live service; nothing is opened before they are asked."""
    settings = live.settings
    return (
        StreamFlows(settings.streams_url, clock),
        OnlineMetrics(lambda: open_store(settings), lambda: micros(clock.now())),
        Unannounced(live),
    )


@dataclass(slots=True, eq=False)
class StreamFlows(Collector):
    """Lag of every group of every stream that exists when it is scraped."""

    url: str
    clock: Clock
    _opened: dict[str, Stream] = field(default_factory=dict, init=False)
    _scraping: Lock = field(default_factory=Lock, init=False)

    def describe(self) -> Iterable[Metric]:
        """Name no metric before the first scrape."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield the lags; `sluice_streams_up` is 0 where the storage does not answer."""
        up = GaugeMetricFamily("sluice_streams_up", "1 if the storage of the streams answers.")
        with self._scraping:
            try:
                for name in stream_names(self.url):
                    if name not in self._opened:
                        self._opened[name] = open_stream(self.url, name)
            except StreamUnavailable:
                up.add_metric((), 0)
            else:
                up.add_metric((), 1)
            streams = tuple(self._opened.values())
        yield up
        yield from StreamMetrics(streams, self.clock).collect()


@dataclass(slots=True, eq=False)
class Unannounced(Collector):
    """Decisions of live trading that stand in the journal and on no stream yet."""

    live: Live
    _outbox: Outbox | None = field(default=None, init=False)

    def describe(self) -> Iterable[Metric]:
        """Name no metric before the first scrape."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield the number; nothing while the database does not answer."""
        try:
            if self._outbox is None:
                self._outbox = open_outbox(self.live.settings, self.live.journal.engine, LIVE)
            waiting = self._outbox.waiting()
        except DatabaseUnavailable:
            return
        yield GaugeMetricFamily(
            "sluice_decisions_unannounced",
            "Journalled decisions that no stream carries yet.",
            value=waiting,
        )
