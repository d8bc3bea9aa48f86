"""The live service: cold start, resident memory, a hot read; bare Litestar beside it.

Both are started as fresh processes, turn by turn, on the same server (granian, one process), each
with the byte code of what it loads at hand, as an installed program has it.
"""

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from os import sysconf
from pathlib import Path
from socket import socket
from statistics import median

from tests.fakes.trading import traded_workspace

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 5
READS = 1500
TICKS = sysconf("SC_CLK_TCK")
BARE = """
import asyncio, sys
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar, get

@get("/")
async def hello() -> dict[str, str]:
    return {"hello": "world"}

app = Litestar([hello], openapi_config=None, logging_config=None)
port = int(sys.argv[1])
server = Server(app, port=port, interface=Interfaces.ASGI, websockets=False, log_enabled=False)
asyncio.run(server.serve())
"""


def run() -> list[dict[str, object]]:
    """Measure ours and the peer in turn and return one line per figure; medians of the rounds."""
    figures: dict[str, tuple[list[float], list[float]]] = {
        name: ([], []) for name in ("start", "memory", "read")
    }
    with tempfile.TemporaryDirectory() as folder:
        settings, _ = traded_workspace(Path(folder) / "ws", end=date(2017, 12, 29))
        ours = ("-m", "service", "serve", "-w", str(settings.workspace), "--port")
        environ = compiled(Path(folder) / "bytecode")
        for number in range(ROUNDS + 1):
            for side, (command, path) in enumerate(((ours, "/signals"), (("-c", BARE), "/"))):
                start, memory, read = _measure(command, path, environ, ready=side == 0)
                if number == 0:
                    continue  # it compiled what it loaded
                for name, value in (("start", start), ("memory", memory), ("read", read)):
                    figures[name][side].append(value)
    return [
        _line("live service, cold start to first signals", figures["start"], "s"),
        _line("live service, resident memory when ready", figures["memory"], "MB"),
        _line("live service, one read of /signals", figures["read"], "server CPU us"),
    ]


def _line(name: str, sides: tuple[list[float], list[float]], unit: str) -> dict[str, object]:
    mine, peer = median(sides[0]), median(sides[1])
    return {
        "name": name,
        "ours": mine,
        "peer": peer,
        "peer_name": "bare Litestar on granian",
        "ratio": peer / mine,
        "unit": unit,
    }


def compiled(folder: Path) -> dict[str, str]:
    """Return an environment whose processes keep byte code in a folder, and find it there again."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder)}


def _measure(
    command: tuple[str, ...], path: str, environ: dict[str, str], *, ready: bool
) -> tuple[float, float, float]:
    """Return seconds to the first answer, MB resident, and server CPU microseconds per read."""
    with _started(command, environ) as (child, address, began):
        _wait(child, address + path)
        start = time.perf_counter() - began
        if ready:
            _wait(child, address + "/health")
        before = _cpu(child.pid)
        for _ in range(READS):
            urllib.request.urlopen(address + path).read()
        read = 1e6 * (_cpu(child.pid) - before) / READS
        return start, _resident(child.pid), read


@contextmanager
def _started(
    command: tuple[str, ...], environ: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], str, float]]:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, *command, str(port)], cwd=ROOT, env=environ, stdout=subprocess.DEVNULL
    )
    try:
        yield child, f"http://127.0.0.1:{port}", began
    finally:
        child.terminate()
        child.wait(timeout=20)


def _wait(child: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.perf_counter() + 60
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            if child.poll() is not None or time.perf_counter() > deadline:
                raise
            time.sleep(0.002)


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _cpu(pid: int) -> float:
    """Return CPU seconds of the process alone; a proof it started is another process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
