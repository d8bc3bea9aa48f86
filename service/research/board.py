"""`sluice board`: the marimo board of studies in a process of its own, behind a token.

Its pages and scripts come out of the installed wheel: no other host is asked.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipelines.workspace import open_workspace
from service.commands.serve import require_free
from service.console import OK, Output
from service.faults import NotFound
from service.settings import Settings

BOARD = Path(__file__).resolve().parents[2] / "notebooks" / "boards" / "studies.py"
VARIABLE = "SLUICE_WORKSPACE"
GRACE = 2  # seconds that open pages are given when it ends


def serve_board(settings: Settings, output: Output, *, host: str, port: int, token: str) -> int:
    """Serve the board over a workspace until SIGINT or SIGTERM; returns the exit status.

    Args:
        settings: name the workspace.
        output: where the address is told.
        host, port: to listen on.
        token: opens the board; it stands in the address.

    Raises:
        NotFound: this is no full checkout.
        WorkspaceMissing: no such workspace.
        AddressTaken: the address cannot be listened on.
    """
    if not BOARD.is_file():
        raise NotFound(f"there is no board {BOARD}", "run sluice board in a full checkout")
    open_workspace(settings.workspace, environ=os.environ)
    require_free(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}/?access_token={quote(token, safe='')}"
    # The board opens the workspace its process stands in; here that is the one that was named.
    os.environ[VARIABLE] = str(settings.workspace)
    app = board_app(token)
    output.answer(
        {"address": address, "workspace": str(settings.workspace)},
        lambda console: console.print(
            f"The board is at [bold]{address}[/bold]  (Ctrl-C ends it)", soft_wrap=True
        ),
    )
    asyncio.run(_run(app, host, port))
    return OK


def board_app(token: str) -> Any:
    """Return the board as an ASGI application that a token opens."""
    import marimo

    made = marimo.create_asgi_app(quiet=True, token=token)
    return made.with_app(path="", root=str(BOARD)).build()


async def _run(app: object, host: str, port: int) -> None:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    server = Server(app, address=host, port=port, interface=Interfaces.ASGI, log_enabled=False)
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, asked.set)
    serving, ending = loop.create_task(server.serve()), loop.create_task(asked.wait())
    await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
    if asked.is_set():
        stop: Callable[[], None] = server.stop
        stop()
        await asyncio.wait({serving}, timeout=GRACE)
    # Every open page has a kernel thread in here, and an interpreter that ends beneath one aborts.
    # Nothing is lost: the board only reads.
    sys.stdout.flush()
    os._exit(OK if asked.is_set() else 1)
