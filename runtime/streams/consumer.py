"""Reads a stream for a group: handles, acknowledges, recovers what others left, buries poison.

1. Messages that somebody left pending come first, one at a time: if one of them ends the process,
   only its own deliveries grow, not those of its neighbours.
2. New messages come in batches. A batch that fails is handled again message by message.
3. An outage (the handler's database, disk or server is away) is nobody's poison: the messages are
   given back uncounted, and the error goes to whoever runs the consumer.
4. What failed stays pending and comes again after `idle`; at its last delivery it is buried with
   the reason, and so is what came too often because nobody survived it.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from featurestore.errors import LakeUnavailable, OnlineUnavailable
from runtime.clock import Clock, WallClock
from runtime.errors import DatabaseUnavailable, StreamUnavailable
from runtime.streams.port import NO_WAIT, Delivery, Stream

log = logging.getLogger(__name__)

# Databases, lakes and servers that do not answer, full disks, lost connections.
OUTAGES = (DatabaseUnavailable, LakeUnavailable, OnlineUnavailable, StreamUnavailable, OSError)

Handler = Callable[[Sequence[Delivery]], object]


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did."""

    handled: int = 0
    failed: int = 0  # left pending for another try
    buried: int = 0

    def __add__(self, other: "Step") -> "Step":
        return Step(
            self.handled + other.handled, self.failed + other.failed, self.buried + other.buried
        )


@dataclass(slots=True, kw_only=True)
class Consumer:
    """One member of a group; `handler` must bear a message twice, `Inbox` makes that easy."""

    stream: Stream
    group: str
    name: str  # of this member; two processes need two names
    handler: Handler
    batch: int = 100  # messages read at once, and at most lost time after a crash
    idle: timedelta = timedelta(seconds=30)  # pending for so long means that its reader is gone
    deliveries: int = 5  # after so many a message is poison
    outages: tuple[type[Exception], ...] = OUTAGES  # of the handler: not now, whatever the message
    failures: tuple[type[Exception], ...] = (Exception,)  # of the handler: this message, always
    clock: Clock = field(default_factory=WallClock)
    _looked: datetime | None = field(default=None, init=False)

    def step(self, wait: timedelta = NO_WAIT) -> Step:
        """Recover what is due, then handle one batch of new messages, waiting for it if need be.

        Raises:
            GroupUnknown: the group was never subscribed.
            StreamUnavailable: the stream does not answer; step again once it does.
            An error of `outages`, from the handler: wait a little, then step again.
        """
        done = self._recover() if self._due() else Step()
        return done + self._handle(
            self.stream.read(self.group, self.name, count=self.batch, wait=wait)
        )

    def drain(self) -> Step:
        """Step until nothing new is there."""
        done = step = self.step()
        while step != Step():
            step = self.step()
            done += step
        return done

    def _due(self) -> bool:
        """Tell whether to look for messages left pending; four times per `idle` is enough."""
        now = self.clock.now()
        if self._looked is not None and now - self._looked < self.idle / 4:
            return False
        self._looked = now
        return True

    def _recover(self) -> Step:
        done = Step()
        while found := self.stream.recover(self.group, self.name, idle=self.idle, count=1):
            delivery = found[0]
            if delivery.deliveries > self.deliveries:
                reason = f"handed out {delivery.deliveries - 1} times and never acknowledged"
                done += self._bury(delivery, reason)
            else:
                done += self._handle(found)
        return done

    def _handle(self, found: Sequence[Delivery]) -> Step:
        if not found:
            return Step()
        try:
            self.handler(found)
        except self.outages:
            self._looked = None  # what is given back comes first at the next step
            self.stream.release(self.group, self.name, found)
            raise
        except self.failures as error:
            if len(found) == 1:
                return self._failed(found[0], error)
            done = Step()
            for delivery in found:
                done += self._handle([delivery])
            return done
        self.stream.acknowledge(self.group, [delivery.id for delivery in found])
        return Step(handled=len(found))

    def _failed(self, delivery: Delivery, error: Exception) -> Step:
        reason = f"{type(error).__name__}: {error}"
        if delivery.deliveries >= self.deliveries:
            return self._bury(delivery, reason)
        log.warning(
            "%s of %s: message %s (%s) failed at delivery %d of %d: %s",
            *(self.group, self.stream.name, delivery.id, delivery.key),
            *(delivery.deliveries, self.deliveries, reason),
        )
        return Step(failed=1)

    def _bury(self, delivery: Delivery, reason: str) -> Step:
        self.stream.bury(self.group, delivery, reason)
        log.error(
            "%s of %s: message %s (%s) is set aside: %s",
            *(self.group, self.stream.name, delivery.id, delivery.key, reason),
        )
        return Step(buried=1)
