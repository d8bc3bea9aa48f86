"""kill -9 of a publisher, of a consumer and of the server: nothing that was published is lost."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from runtime.database import open_database
from runtime.errors import StreamUnavailable
from runtime.streams import Consumer, Inbox, Message, Stream, open_stream
from tests.fakes.stream_child import GROUP
from tests.servers import ValkeyServer, private_valkey

ROOT = Path(__file__).resolve().parents[2]
NAME = "features.pit"
BATCH = 20


@pytest.fixture(scope="module")
def durable_valkey() -> Iterator[ValkeyServer]:
    """A Valkey that writes its append-only file before it answers."""
    with private_valkey("everysec") as server:
        yield server


@pytest.fixture(params=["embedded", "valkey"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "embedded":
        return f"sqlite:///{tmp_path / 'streams.db'}"
    server: ValkeyServer = request.getfixturevalue("durable_valkey")
    with server.client() as client:
        client.flushall()
    return server.url


@pytest.fixture
def booked(tmp_path: Path) -> Iterator[Engine]:
    """The database that the handlers write to."""
    engine = open_database(f"sqlite:///{tmp_path / 'effects.db'}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE booked (name TEXT)"))
    yield engine
    engine.dispose()


@contextmanager
def child(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.stream_child", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def told(process: subprocess.Popen[str], at_least: int) -> int:
    """The last number the child printed once it is `at_least` that high."""
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= at_least:
            return int(line)
    assert process.stderr is not None
    raise AssertionError(f"the child ended early: {process.stderr.read()}")


def kill(process: subprocess.Popen[str]) -> int:
    """SIGKILL; return the last number that the child had printed whole."""
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    lines = process.stdout.read().splitlines(keepends=True)
    return max((int(line) for line in lines if line.endswith("\n")), default=-1)


def drained(stream: Stream, engine: Engine) -> list[str]:
    """Let a healthy consumer finish; return the keys booked, sorted by number."""

    def effect(connection, found):
        rows = [{"name": each.key} for each in found]
        connection.execute(text("INSERT INTO booked VALUES (:name)"), rows)

    idle = timedelta(milliseconds=100)
    consumer = Consumer(
        stream=stream,
        group=GROUP,
        name="heir",
        handler=Inbox(engine).handler(f"{NAME}/{GROUP}", effect),
        batch=1000,
        idle=idle,
    )
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        consumer.step()
        lag = stream.lag(GROUP, now=datetime.now(UTC))
        if (lag.waiting, lag.pending) == (0, 0):
            break
        time.sleep(0.02)
    with engine.connect() as connection:
        names = connection.scalars(text("SELECT name FROM booked")).all()
    return sorted(names, key=lambda name: int(name.split()[1]))


def first(count: int) -> list[str]:
    return [f"key {n}" for n in range(count)]


def test_a_publisher_killed_in_the_middle_leaves_whole_batches_and_all_it_was_told_are_in(
    url, booked
):
    stream = open_stream(url, NAME)
    stream.subscribe(GROUP)
    last = 0
    with child("publish", url, NAME, str(BATCH), "0") as publisher:
        last = told(publisher, 400)
        last = max(last, kill(publisher))
    names = drained(stream, booked)
    assert len(names) >= last + 1
    assert len(names) % BATCH == 0
    assert names == first(len(names))
    stream.close()


def test_consumers_killed_one_after_the_other_lose_nothing_and_no_effect_happens_twice(
    url, booked, tmp_path
):
    stream = open_stream(url, NAME)
    stream.subscribe(GROUP)
    total = 2000
    for start in range(0, total, 100):
        stream.publish([Message(name, b"x" * 66) for name in first(total)[start : start + 100]])
    database = str(booked.url)
    for life, enough in enumerate((50, 300)):
        with child("consume", url, NAME, database, f"life-{life}", "700") as consumer:
            told(consumer, enough)
            kill(consumer)
    with booked.connect() as connection:
        before = connection.scalar(text("SELECT count(*) FROM booked"))
    assert 350 <= before < total
    stream.read(GROUP, "gone", count=30)  # received, then dead before the first effect
    assert drained(stream, booked) == first(total)
    assert stream.buried(GROUP) == []
    stream.close()


@pytest.mark.parametrize("durability", ["everysec", "always"])
def test_a_server_killed_in_the_middle_loses_nothing_that_a_publisher_was_told(booked, durability):
    """With everysec and a slow disk the server itself forgets up to 2 s; the publisher does not."""
    with private_valkey(durability) as server:
        stream = open_stream(server.url, NAME)
        stream.subscribe(GROUP)
        with child("publish", server.url, NAME, str(BATCH), "0") as publisher:
            told(publisher, 400)
            server.kill()
            with pytest.raises(StreamUnavailable, match="may be repeated"):
                stream.publish([Message("key 0", b"")])
            server.start()
            last = told(publisher, 2000)
            last = max(last, kill(publisher))
        stream.subscribe(GROUP)  # it too may have been forgotten
        names = drained(stream, booked)
        assert len(names) >= last + 1
        assert names == first(len(names))
        stream.close()


def test_a_server_that_logs_always_has_groups_places_and_what_is_pending_after_a_kill():
    with private_valkey("always") as server:
        stream = open_stream(server.url, NAME)
        stream.subscribe(GROUP)
        stream.publish([Message(name, b"") for name in first(BATCH)])
        read = stream.read(GROUP, "gone", count=5)
        stream.acknowledge(GROUP, [each.id for each in read[:2]])
        server.kill()
        server.start()
        lag = stream.lag(GROUP, now=datetime.now(UTC))
        assert (lag.waiting, lag.pending) == (BATCH - 5, 3)
        stream.close()
