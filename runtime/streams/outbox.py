"""Announces an account's journalled decisions on `signals.{strategy}`, each at least once.

The journal is the outbox: a decision is committed there first, and whatever stands behind the last
announced entry is announced now or later, by whoever comes next. Nothing here writes to the chain.

1. Publish every decision after the last one announced, oldest first, keyed by its id.
2. A log that cannot forget (`Stream.connection` is 0) has it for good: move the place.
3. A server may forget the last seconds if it is killed. The place is moved once that time is over
   and every stream is still on the connection that the decisions went out on; if one is not,
   everything since the place is announced again. Consumers drop repeats by key.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from runtime.chain import micros
from runtime.errors import MessageInvalid
from runtime.journal.queries import JournalQueries
from runtime.journal.records import Said
from runtime.streams.messages import message, signals_of, signals_stream
from runtime.streams.places import Place, Places
from runtime.streams.port import Message, Stream

log = logging.getLogger(__name__)

SIGNALS = "signals"  # the family of streams, as `Places` names it
PAGE = 500  # decisions read and published at a time


@dataclass(frozen=True, slots=True)
class _Sent:
    """What went out and may still be forgotten by a server."""

    place: Place
    at: float  # seconds, of the outbox' own clock
    connections: dict[str, int]  # stream -> connection that it went out on


@dataclass(slots=True, kw_only=True)
class Outbox:
    """One account's decisions on their way out; not shared between threads."""

    journal: JournalQueries
    places: Places
    open_stream: Callable[[str], Stream]  # name -> stream; opened once each
    keep: timedelta = timedelta(seconds=5)  # longer than what a killed server may forget
    elapsed: Callable[[], float] = time.monotonic  # seconds
    _streams: dict[str, Stream] = field(default_factory=dict, init=False)
    _sent: _Sent | None = field(default=None, init=False)

    @property
    def unsettled(self) -> bool:
        """Say whether something went out that a server may still forget."""
        return self._sent is not None

    def waiting(self) -> int:
        """Return how many decisions stand in the journal and were not announced for good."""
        return self.journal.count_after(self._begin().seq)

    def publish(self) -> int:
        """Announce what stands in the journal and was not announced; return how many decisions.

        Raises:
            StreamUnavailable, DatabaseUnavailable: call again later; nothing is lost, what went
                out already may go out again.
        """
        self._settle()
        last, done = self._sent.place if self._sent else self._begin(), 0
        while found := self.journal.said_after(last.seq, limit=PAGE):
            connections = self._publish([said for _, said in found])
            last = Place(seq=found[-1][0], at=micros(found[-1][1].decided_at))
            before = self._sent.connections if self._sent else {}
            # A stream met earlier keeps its first number: a change in between must be noticed.
            self._sent = _Sent(last, self.elapsed(), connections | before)
            done += len(found)
            if len(found) < PAGE:
                break  # that was the last of them
        if self._sent is not None and not any(self._sent.connections.values()):
            self._move(self._sent.place)
        return done

    def close(self) -> None:
        """Let go of the streams."""
        while self._streams:
            self._streams.popitem()[1].close()

    def _begin(self) -> Place:
        return self.places.of(SIGNALS, self.journal.account) or Place(seq=0)

    def _publish(self, found: Sequence[Said]) -> dict[str, int]:
        batches: dict[str, list[Message]] = {}
        for said in found:
            try:
                announced = message(signals_of(said))
                batches.setdefault(signals_stream(said.study), []).append(announced)
            except MessageInvalid as error:  # this one cannot travel; the others must
                log.error("decision %s is not announced: %s", said.decision_id, error)
        for name, batch in batches.items():
            if name not in self._streams:
                self._streams[name] = self.open_stream(name)
            self._streams[name].publish(batch)
        return {name: self._streams[name].connection for name in batches}

    def _settle(self) -> None:
        """Move the place once nothing can be forgotten any more; go back to it if something was."""
        sent = self._sent
        if sent is None or self.elapsed() - sent.at < self.keep.total_seconds():
            return
        for name, connection in sent.connections.items():
            self._streams[name].groups()  # reaches the server, on a new connection if need be
            if self._streams[name].connection != connection:
                self._sent = None
                return
        self._move(sent.place)

    def _move(self, place: Place) -> None:
        self.places.move(SIGNALS, self.journal.account, place)
        self._sent = None
