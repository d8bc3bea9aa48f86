"""`sluice alerts watch`: goes the watch's rounds until it is told to stop."""

import os
import signal
import socket
import threading
from typing import Any

from runtime.clock import WallClock
from service.console import Output
from service.logs import configure
from service.operator.alarms import WATCH, heart, open_watch
from service.settings import Settings

EVERY = 1.0  # seconds between two rounds; a breach reaches a person within five


def run(
    settings: Settings, output: Output, expected: tuple[str, ...], *, once: bool = False
) -> None:
    """Go round until SIGINT or SIGTERM.

    Raises:
        EscalationInvalid: the file of receivers and levels cannot be used; nothing was watched.
    """
    configure(settings.logs)
    clock, stop = WallClock(), threading.Event()
    watch = open_watch(settings, clock, expected=expected)
    pulse = heart(settings, WATCH, f"{socket.gethostname()}:{os.getpid()}")

    def stopped(_number: int, _frame: Any) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stopped)
    levels = ", ".join(str(level.after_minutes) for level in watch.escalation.level)
    output.answer(
        {"expected": expected, "levels_minutes": levels, "workspace": str(settings.workspace)},
        lambda console: console.print(
            f"Watching {settings.workspace} for {', '.join(expected)}; an alert climbs after"
            f" {levels} minutes  (Ctrl-C ends it)"
        ),
    )
    while True:
        watch.round()
        pulse.beat(clock.now())
        if once or stop.wait(EVERY):
            break
    pulse.beat(clock.now(), ended=True)
