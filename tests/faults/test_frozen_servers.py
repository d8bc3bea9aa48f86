"""PostgreSQL and Valkey that stand still, or die and come back: refused meanwhile, nothing lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, make_url

from featurestore.errors import OnlineUnavailable
from featurestore.online.redis import RedisOnline
from featurestore.servers import open_client
from runtime.database import open_database, transaction
from runtime.errors import DatabaseUnavailable, StreamUnavailable
from runtime.scheduling.lead import PostgresLead
from runtime.streams import Message
from runtime.streams.redis import RedisStream
from runtime.streams.relay import Relay
from tests.fakes.fault_world import acknowledge, open_world
from tests.faults.killer import finished, look, stands_still, until, venue_orders
from tests.faults.test_kill_points import unbroken
from tests.postgres import PostgresServer, private_postgres
from tests.runtime.streams.test_outbox import announced, outbox
from tests.servers import ValkeyServer, private_valkey

SESSIONS = 4
ANSWER = 2.0  # seconds; a frozen server counts as gone after that


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return unbroken(tmp_path_factory.mktemp("frozen") / "whole", SESSIONS)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of our own: freezing the shared one would stop other tests."""
    with private_postgres() as made:
        yield made


def postmaster(server: PostgresServer) -> int:
    """The process all others of a server are children of, as /proc shows them."""
    with server.connect() as connection:
        query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
        row = connection.execute(query).fetchone()
    assert row is not None
    found = parent(row[0])
    assert found is not None
    return found


def parent(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1])


def freeze(main: int) -> list[int]:
    """Stop a server and, once it stands still and starts no others, its children; return all."""
    stopped: list[int] = []

    def stop(pid: int) -> None:
        with suppress(ProcessLookupError):  # it ended since it was listed
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)

    stop(main)
    until(lambda: stands_still(main), "the server stands still")
    everybody = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    for pid in everybody:
        if parent(pid) == main:
            stop(pid)
    until(lambda: all(map(stands_still, stopped)), "its children stand still")
    return stopped


def thaw(stopped: list[int]) -> None:
    for pid in stopped:
        with suppress(ProcessLookupError):  # it had ended before it was stopped, and was waited for
            os.kill(pid, signal.SIGCONT)


@contextmanager
def frozen(main: int) -> Iterator[None]:
    stopped = freeze(main)
    try:
        yield
    finally:
        thaw(stopped)


def settled(server: PostgresServer, url: str) -> None:
    """Wait until a thawed server has ended what its clients have given up."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
        "AND datname = %s AND state IS DISTINCT FROM 'idle'"
    )
    with server.connect() as connection:
        name = (make_url(url).database,)
        until(lambda: connection.execute(query, name).fetchone() == (0,), "nobody waits", 0.02)


def test_while_postgresql_stands_still_nothing_is_sent_and_afterwards_it_goes_on(
    server, tmp_path, expected
):
    with server.database() as url:
        world, told = (
            open_world(tmp_path, url, answer=ANSWER),
            acknowledge(tmp_path / "acknowledged"),
        )
        world.run(1, told)
        sent = venue_orders(tmp_path)
        with frozen(postmaster(server)):
            # Each attempt fails, and in bounded time.
            assert world.run(SESSIONS, told, tries=2) == 2
            assert venue_orders(tmp_path) == sent
        settled(server, url)
        assert world.run(SESSIONS, told) == 0
        world.close()
        assert finished(tmp_path, url) == expected


def test_postgresql_that_stands_still_in_the_middle_of_a_commit_loses_nothing(
    server, tmp_path, expected
):
    """Whether that commit took effect is unknown; the next attempt finds out."""
    with server.database() as url:
        world, told = (
            open_world(tmp_path, url, answer=ANSWER),
            acknowledge(tmp_path / "acknowledged"),
        )
        main, stopped, commits = postmaster(server), list[int](), list[None]()

        def commit(_connection) -> None:
            commits.append(None)
            if len(commits) == 6:
                stopped.extend(freeze(main))

        event.listen(world.journal.engine, "commit", commit)
        try:
            world.run(SESSIONS, told, tries=1)
        finally:
            thaw(stopped)
        assert len(commits) == 6
        settled(server, url)
        assert world.run(SESSIONS, told) == 0
        world.close()
        assert finished(tmp_path, url) == expected


def test_postgresql_that_crashes_and_recovers_has_every_acknowledged_decision(
    server, tmp_path, expected
):
    """kill -9 of a backend makes the server crash and recover all of itself."""
    with server.database() as url:
        world, told = open_world(tmp_path, url), acknowledge(tmp_path / "acknowledged")
        failed = 0
        for sessions in range(1, SESSIONS):
            world.run(sessions, told)
            with transaction(world.journal.engine) as connection:
                backend = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            os.kill(backend, signal.SIGKILL)
            failed += world.run(sessions + 1, told, tries=5000, pause=0.01)
            assert look(tmp_path, url).clean
        assert failed > 0
        world.close()
        assert finished(tmp_path, url) == expected


def test_a_frozen_postgresql_is_an_error_and_nobody_leads_on_it(server):
    with server.database() as url:
        engine = open_database(url, answer=ANSWER)
        lead = PostgresLead(engine, "trade")
        assert lead.take()
        with frozen(postmaster(server)):
            assert not lead.holds()
            with pytest.raises(DatabaseUnavailable):
                lead.take()
            with pytest.raises(DatabaseUnavailable, match=r"does not answer|timeout"):
                open_database(url, answer=ANSWER)
        settled(server, url)
        other = PostgresLead(engine, "trade")
        until(other.take, "the lead is free", 0.05)
        other.release()
        engine.dispose()


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    with private_valkey("everysec") as made:
        yield made


def test_a_frozen_valkey_is_an_error_and_what_was_published_is_there_afterwards(valkey, tmp_path):
    timeout = timedelta(seconds=0.7)
    stream = RedisStream(open_client(valkey.url, timeout=timeout, again=0), "signals.tilt")
    stream.subscribe("desk")
    stream.publish([Message("a", b"1")])
    online = RedisOnline(open_client(valkey.url, timeout=timeout, again=0), "default")
    assert valkey.process is not None
    with frozen(valkey.process.pid):
        with pytest.raises(StreamUnavailable):
            stream.publish([Message("b", b"2")])
        with pytest.raises(OnlineUnavailable):
            online.read([], [])
    with valkey.client() as patient:
        patient.ping()
    stream.publish([Message("b", b"2"), Message("c", b"3")])  # as whoever got no answer does
    got = stream.read("desk", "one", count=10)
    assert {one.key for one in got} == {"a", "b", "c"}
    stream.close()


def test_decisions_are_made_while_valkey_stands_still_and_announced_afterwards(
    valkey, tmp_path, expected
):
    """Announcing waits in a thread of its own and takes what it says from the journal."""
    url, told = f"sqlite:///{tmp_path / 'runtime.db'}", acknowledge(tmp_path / "acknowledged")
    world = open_world(tmp_path, url)
    relay = Relay(outbox=outbox(world.bench, valkey.url), retry=0.05)
    world.bench.desk = replace(world.bench.desk, committed=relay.wake)
    assert valkey.process is not None
    with frozen(valkey.process.pid):
        relay.start()
        assert world.run(SESSIONS, told) == 0
        assert relay.outbox.waiting() == SESSIONS
    relay.stop(60)
    world.close()
    assert len(announced(valkey.url)) == SESSIONS
    assert finished(tmp_path, url) == expected
