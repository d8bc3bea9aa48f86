"""Empties an outbox in a thread of its own, so that no announcement ever holds up a decision.

Whoever commits a decision wakes the relay, which costs a microsecond and cannot fail. The thread
publishes; while the streams are away it tries again every few seconds, and says so once per outage.
"""

import logging
import threading
from dataclasses import dataclass, field

from featurestore.errors import PlatformError
from runtime.streams.outbox import Outbox

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True, eq=False)
class Relay:
    """A running publisher of one outbox; `start` it once, `stop` it at the end."""

    outbox: Outbox
    retry: float = 2.0  # seconds between attempts while the streams are away
    rest: float = 60.0  # seconds between looks at the journal when nobody wakes us
    _woken: threading.Event = field(default_factory=threading.Event, init=False)
    _stopping: bool = field(default=False, init=False)
    _away: bool = field(default=False, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def start(self) -> None:
        """Begin with what earlier processes left unannounced."""
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that something was committed; returns at once, whatever state the streams are in."""
        self._woken.set()

    def stop(self, patience: float = 5.0) -> None:
        """Publish once more and end, within so many seconds; the rest waits in the journal."""
        self._stopping = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join(patience)

    def _run(self) -> None:
        while True:
            self._woken.clear()
            last = self._stopping  # asked for before this step, which then sees all there is
            pause = self._step()
            if last:
                self.outbox.close()
                return
            self._woken.wait(pause)

    def _step(self) -> float:
        """Publish once; return the seconds until the next time."""
        try:
            published = self.outbox.publish()
        except (PlatformError, OSError) as error:
            if not self._away:
                log.warning("decisions are not announced, the journal keeps them: %s", error)
            self._away = True
            return self.retry
        if self._away:
            log.info("decisions are announced again: %d were waiting", published)
        self._away = False
        return self.outbox.keep.total_seconds() if self.outbox.unsettled else self.rest
