"""PostgreSQL and Valkey that stand still, or die and come back: refused meanwhile, nothing lost."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

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
from tests.faults.killer import finished, look, venue_orders
from tests.faults.test_kill_points import unbroken
from tests.postgres import PostgresServer, private_postgres
from tests.runtime.streams.test_outbox import announced, outbox
from tests.servers import ValkeyServer, private_valkey

SESSIONS = 4
ANSWER = 1.0  # seconds; a frozen server counts as gone after that


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return unbroken(tmp_path_factory.mktemp("frozen") / "whole", SESSIONS)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of our own: freezing the shared one would stop other tests."""
    with private_postgres() as made:
        yield made


def processes(server: PostgresServer) -> list[int]:
    """The postmaster and all its children, as /proc shows them."""
    with server.connect() as connection:
        query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
        row = connection.execute(query).fetchone()
    assert row is not None
    postmaster = parent(row[0])
    children = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]
    return [postmaster, *(pid for pid in children if parent(pid) == postmaster)]


def parent(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1])


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    stopped = []
    for pid in pids:
        with suppress(ProcessLookupError):  # it ended since it was listed
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
    try:
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


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
        with frozen(processes(server)):
            assert (
                world.run(SESSIONS, told, tries=2) == 2
            )  # each attempt fails, and in bounded time
            assert venue_orders(tmp_path) == sent
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
        pids, commits = processes(server), []

        def commit(_connection) -> None:
            commits.append(time.monotonic())
            if len(commits) == 6:
                pids[:] = processes(server)
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGSTOP)

        event.listen(world.journal.engine, "commit", commit)
        world.run(SESSIONS, told, tries=1)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # one that was about to end may be gone
                os.kill(pid, signal.SIGCONT)
        assert len(commits) == 6
        assert world.run(SESSIONS, told) == 0
        world.close()
        assert finished(tmp_path, url) == expected


def test_postgresql_that_crashes_and_recovers_has_every_acknowledged_decision(
    server, tmp_path, expected
):
    """kill -9 of a backend makes the server crash and recover all of itself."""
    with server.database() as url:
        world, told = open_world(tmp_path, url), acknowledge(tmp_path / "acknowledged")
        for sessions in range(1, SESSIONS):
            world.run(sessions, told)
            with transaction(world.journal.engine) as connection:
                backend = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            os.kill(backend, signal.SIGKILL)
            failed = world.run(sessions + 1, told, tries=5000)
            assert look(tmp_path, url).clean
        assert failed > 0
        world.close()
        assert finished(tmp_path, url) == expected


def test_a_frozen_postgresql_is_an_error_and_nobody_leads_on_it(server):
    with server.database() as url:
        engine = open_database(url, answer=ANSWER)
        lead = PostgresLead(engine, "trade")
        assert lead.take()
        with frozen(processes(server)):
            assert not lead.holds()
            with pytest.raises(DatabaseUnavailable):
                lead.take()
            with pytest.raises(DatabaseUnavailable, match=r"does not answer|timeout"):
                open_database(url, answer=ANSWER)
        other = PostgresLead(engine, "trade")
        assert any(other.take() or time.sleep(0.05) for _ in range(200))
        other.release()
        engine.dispose()


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    with private_valkey("everysec") as made:
        yield made


def test_a_frozen_valkey_is_an_error_and_what_was_published_is_there_afterwards(valkey, tmp_path):
    timeout = timedelta(seconds=0.3)
    stream = RedisStream(open_client(valkey.url, timeout=timeout, again=0), "signals.tilt")
    stream.subscribe("desk")
    stream.publish([Message("a", b"1")])
    online = RedisOnline(open_client(valkey.url, timeout=timeout, again=0), "default")
    assert valkey.process is not None
    with frozen([valkey.process.pid]):
        with pytest.raises(StreamUnavailable):
            stream.publish([Message("b", b"2")])
        with pytest.raises(OnlineUnavailable):
            online.read([], [])
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
    with frozen([valkey.process.pid]):
        relay.start()
        assert world.run(SESSIONS, told) == 0
        assert relay.outbox.waiting() == SESSIONS
    relay.stop(30)
    world.close()
    assert len(announced(valkey.url)) == SESSIONS
    assert finished(tmp_path, url) == expected
