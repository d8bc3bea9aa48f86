"""What the journal counts, as Prometheus metrics read at each scrape."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from runtime.clock import WallClock
from runtime.errors import DatabaseUnavailable
from service.live import Live

COUNTED = {
    "decisions": "Decisions journalled.",
    "orders": "Orders journalled.",
    "fills": "Fills booked.",
    "sessions": "Sessions closed.",
    "breaks": "Reconciliation breaks found.",
}


@dataclass(slots=True, eq=False)
class FlowMetrics(Collector):
    """What flows out of the service; its stores and streams are loaded at the first scrape."""

    live: Live
    _flows: tuple[Collector, ...] = field(default=(), init=False)
    _opening: Lock = field(default_factory=Lock, init=False)

    def describe(self) -> Iterable[Metric]:
        """Name no metric before the first scrape."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield what `service.flows.outflow` measures."""
        with self._opening:
            if not self._flows:
                from service.flows.outflow import flows_of

                self._flows = flows_of(self.live, WallClock())
        for flow in self._flows:
            yield from flow.collect()


@dataclass(frozen=True, slots=True, eq=False)
class JournalMetrics(Collector):
    """Reads counts and the last session when it is scraped."""

    live: Live

    def describe(self) -> Iterable[Metric]:
        """Name no metric before the first scrape, so that registering needs no database."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics; `sluice_journal_up` is 0 when the database does not answer."""
        up = GaugeMetricFamily("sluice_journal_up", "1 if the journal answers.")
        try:
            counts, head = self.live.journal.counts(), self.live.journal.head()
            session = self.live.journal.last_session()
        except DatabaseUnavailable:
            up.add_metric((), 0)
            yield up
            return
        up.add_metric((), 1)
        yield up
        for name, text in COUNTED.items():
            yield CounterMetricFamily(f"sluice_{name}", text, value=counts[name])
        yield GaugeMetricFamily("sluice_journal_seq", "Last entry of the chain.", value=head.seq)
        refused = 1 if self.live.seat.refused else 0
        yield GaugeMetricFamily(
            "sluice_bundle_refused", "1 while the active bundle is refused.", value=refused
        )
        if session is not None:
            for name, amount in (("equity", session.equity), ("cash", session.cash)):
                text = f"{name.capitalize()} at the last close."
                yield GaugeMetricFamily(f"sluice_{name}_usd", text, value=float(amount))
            yield GaugeMetricFamily(
                "sluice_session_closed_seconds",
                "When the last session was closed, seconds since 1970.",
                value=session.closed_at.timestamp(),
            )
