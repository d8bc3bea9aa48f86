"""`sluice serve`: the live application on granian, in this one process."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from runtime.memory import starting
from service.console import OK, Output
from service.faults import ServiceFault
from service.logs import configure
from service.settings import Settings, require_records

_LAST_WORK = 5.0  # seconds that a reload of the policy has to end


class AddressTaken(ServiceFault):
    """The address cannot be listened on."""


def serve(settings: Settings, output: Output) -> NoReturn:
    """Serve until SIGINT or SIGTERM, then end the process; SIGHUP reads the policy again."""
    require_records(settings)
    require_free(settings.host, settings.port)
    with starting():
        from service.app import create_app
        from service.web.hangup import reload_in_background
        from service.wiring import open_live

        live = open_live(settings, monotonic=time.monotonic)
        app = create_app(live)

    def say() -> None:
        output.answer(
            {"address": settings.address, "workspace": str(settings.workspace)},
            f"The desk is at {settings.address}  (Ctrl-C ends it)",
        )

    asyncio.run(_run(app, settings, lambda: reload_in_background(live.policies), say))
    _end(OK)


def _end(status: int) -> NoReturn:
    """End this process without taking the interpreter down; all that matters is committed.

    A busy machine was seen to abort the process meanwhile, in all likelihood by a native thread of
    the server that asked for the interpreter. Work of our own that is under way is waited for.
    """
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(_LAST_WORK)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


async def _run(
    app: object, settings: Settings, on_hangup: Callable[[], object], say: Callable[[], None]
) -> None:
    """Serve; `say` is called once signals are heard, as whoever reads it may send one at once."""
    from granian.constants import Interfaces
    from granian.server.embed import Server

    server = Server(
        app,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        websockets=False,
        log_enabled=False,
    )
    # After the server has set up its own logging, which would take our handler away.
    configure(settings.logs)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, server.stop)
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    say()
    await server.serve()


def require_free(host: str, port: int) -> None:
    """Fail in words before anything is opened, if the address is taken."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise AddressTaken(
            f"cannot listen on {host} port {port}: {error.strerror}",
            "choose another with --port, or end what uses it",
        ) from None
