"""`sluice alerts watch`: goes the watch's rounds until it is told to stop."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from featurestore.errors import PlatformError
from runtime.alerts.aside import aside
from runtime.alerts.watch import Watch
from runtime.clock import Clock, WallClock
from service.console import Output
from service.logs import configure
from service.operator.alarms import WATCH, heart, open_watch
from service.settings import Settings

EVERY = 1.0  # seconds between two rounds; a breach reaches a person within five
PARTING = 3.0  # seconds that notices under way are waited for at the end
AGAIN = timedelta(seconds=10)  # between two attempts at settings that could not be had


@dataclass(slots=True)
class Rounds:
    """The watch, put together anew when settings that were missing can be had.

    It may be: everything a watch knows is in files.
    """

    read: Callable[[], Settings]
    clock: Clock
    expected: tuple[str, ...]
    settings: Settings
    watch: Watch
    _reading: "Future[Settings] | None" = None
    _next: datetime | None = None

    @classmethod
    def begin(
        cls, read: Callable[[], Settings], clock: Clock, expected: tuple[str, ...]
    ) -> "Rounds":
        """Read what can be read; EscalationInvalid if the file of receivers cannot be used."""
        settings = read()
        return cls(read, clock, expected, settings, open_watch(settings, clock, expected=expected))

    def go(self) -> int:
        """Go one round; return how many notices were delivered."""
        self._renew()
        return self.watch.round()

    def _renew(self) -> None:
        """Ask again for settings that are missing, on a thread, and take what has come."""
        if not self.settings.missing:
            return
        now = self.clock.now()
        if self._reading is None:
            if now >= (self._next or now):
                self._next, self._reading = now + AGAIN, aside(self.read)
        elif self._reading.done():
            reading, self._reading = self._reading, None
            try:
                found = reading.result()
            except PlatformError:
                return  # what was missing still is, and its alert is open
            if found.missing.keys() != self.settings.missing.keys():
                watch = open_watch(found, self.clock, expected=self.expected)
                watch.since = self.watch.since
                self.settings, self.watch = found, watch


def run(
    read: Callable[[], Settings], output: Output, expected: tuple[str, ...], *, once: bool = False
) -> None:
    """Go round until SIGINT or SIGTERM.

    Args:
        read: the settings, as far as they can be had now.
        output: where it says that it watches.
        expected: processes that must be heard of.
        once: go one round and end.

    Raises:
        EscalationInvalid: the file of receivers and levels cannot be used; nothing was watched.
    """
    clock, stop = WallClock(), threading.Event()
    rounds = Rounds.begin(read, clock, expected)
    settings = rounds.settings
    configure(settings.logs)
    pulse = heart(settings, WATCH, f"{socket.gethostname()}:{os.getpid()}")

    def stopped(_number: int, _frame: Any) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stopped)
    levels = ", ".join(str(level.after_minutes) for level in rounds.watch.escalation.level)
    without = f", without {', '.join(settings.missing)} for now" if settings.missing else ""
    output.answer(
        {
            "expected": expected,
            "levels_minutes": levels,
            "workspace": str(settings.workspace),
            "missing": sorted(settings.missing),
        },
        lambda console: console.print(
            f"Watching {settings.workspace} for {', '.join(expected)}{without}; an alert climbs"
            f" after {levels} minutes  (Ctrl-C ends it)"
        ),
    )
    while True:
        rounds.go()
        pulse.beat(clock.now())
        if once or stop.wait(EVERY):
            break
    rounds.watch.settle(None if once else PARTING)
    pulse.beat(clock.now(), ended=True)
