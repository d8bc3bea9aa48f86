"""Keeps the online store up to date from `features.pit`, where nothing is materialized.

Each observation is pushed into the store that the settings name; one that was pushed before changes
nothing, so a message that comes twice is harmless. While server or store is away it waits.
"""

import logging
import os
import signal
import socket
import threading
from contextlib import closing
from datetime import timedelta

from featurestore.errors import PlatformError
from featurestore.lake import Lake
from featurestore.store import FeatureStore
from runtime.clock import WallClock
from runtime.streams import Consumer, Step, open_stream
from runtime.streams.consumer import OUTAGES
from runtime.streams.messages import FEATURES, online_handler
from service.console import OK, REFUSED, Output
from service.flows.online import open_store
from service.settings import Settings

log = logging.getLogger(__name__)
GROUP = "online"
WAIT = timedelta(seconds=1)  # for a message; so long a signal may go unheard
PAUSE = 2.0  # seconds until the next attempt during an outage


def follow(settings: Settings, output: Output, *, group: str, once: bool) -> int:
    """Push what is announced until SIGINT or SIGTERM; with `once`, what is there now.

    Returns:
        The exit status: REFUSED if a message was set aside as poison.
    """
    views = {view.name: view for view in FeatureStore(Lake(settings.lake_url)).views()}
    clock, stopping = WallClock(), threading.Event()
    with closing(open_stream(settings.streams_url, FEATURES)) as stream:
        stream.subscribe(group)
        consumer = Consumer(
            stream=stream,
            group=group,
            name=f"{socket.gethostname()}.{os.getpid()}",
            handler=online_handler(open_store(settings), views, clock),
            failures=(PlatformError,),
            clock=clock,
        )
        if once:
            done = consumer.drain()
        else:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stopping.set())
            output.console.print(f"Following {FEATURES} as {group}  (Ctrl-C ends it)")
            done = _until(stopping, consumer)
    answer = {"group": group, "handled": done.handled, "buried": done.buried}
    output.answer(
        answer,
        lambda console: console.print(
            f"{done.handled:,} observations are online, {done.buried} set aside"
        ),
    )
    return REFUSED if done.buried else OK


def _until(stopping: threading.Event, consumer: Consumer) -> Step:
    """Step until told to stop; an outage is waited for."""
    done, away = Step(), False
    while not stopping.is_set():
        try:
            done += consumer.step(WAIT)
        except OUTAGES as error:
            if not away:
                log.warning("waiting: %s", error)
            away = True
            stopping.wait(PAUSE)
        else:
            away = False
    return done
