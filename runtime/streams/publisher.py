"""Publishes through restarts of the server: what it may have forgotten is published again.

A server with `appendfsync everysec` answers before its file is on disk, and while the disk is slow
even before it has handed the file to the kernel: a crash of its process can then take messages that
it had acknowledged, of the last 2 seconds (the postponed write in `flushAppendOnlyFile`, aof.c of
Redis and Valkey). The publisher therefore keeps what it published for a little longer than that
and, after an outage or on a new connection, publishes it again. Consumers drop repeats by key.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from runtime.errors import StreamUnavailable
from runtime.streams.port import Message, Stream

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds between attempts during an outage


@dataclass(slots=True, kw_only=True)
class Publisher:
    """One producer of a stream; not shared between threads."""

    stream: Stream
    keep: timedelta = timedelta(seconds=5)  # longer than a server's unwritten file, with room
    patience: timedelta = timedelta(seconds=30)  # how long an outage is waited for
    elapsed: Callable[[], float] = time.monotonic  # seconds
    sleep: Callable[[float], None] = time.sleep  # for so many seconds
    _kept: deque[tuple[float, Sequence[Message]]] = field(default_factory=deque, init=False)
    _connection: int | None = field(default=None, init=False)  # on which all that is kept went out

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish messages, waiting for an outage to end.

        Raises:
            StreamUnavailable: it lasted longer than `patience`. The messages may be in or not:
                publish them again.
        """
        give_up, pause = self.elapsed() + self.patience.total_seconds(), _FIRST_PAUSE
        sent = False
        while True:
            try:
                if self._connection is None:
                    self._again()
                if not sent:
                    self.stream.publish(messages)
                    self._kept.append((self.elapsed(), messages))
                    sent = True
                if self.stream.connection != self._connection:  # made anew under our hands
                    self._again()
            except StreamUnavailable:
                self._connection = None
                if self.elapsed() + pause > give_up:
                    raise
                self.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                break
        self._forget()

    def _again(self) -> None:
        """Publish what is kept until all of it went out on one connection."""
        self._forget()
        before = None
        while before is None or before != self.stream.connection:
            before = self.stream.connection
            for _, messages in self._kept:
                self.stream.publish(messages)
        self._connection = before

    def _forget(self) -> None:
        oldest = self.elapsed() - self.keep.total_seconds()
        while self._kept and self._kept[0][0] < oldest:
            self._kept.popleft()
