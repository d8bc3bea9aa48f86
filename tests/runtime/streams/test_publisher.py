"""The publisher remembers what a restarted server may have forgotten, for as long as it may."""

from datetime import timedelta

import pytest

from runtime.errors import StreamUnavailable
from runtime.streams import Message, Publisher


class ForgetfulServer:
    """Holds what was published; `crash` forgets the newest and is noticed, or not."""

    name = "features.pit"

    def __init__(self) -> None:
        self.held: list[str] = []
        self.connection = 1
        self.away = 0  # publishes that will be refused

    def publish(self, messages):
        if self.away:
            self.away -= 1
            raise StreamUnavailable("away")
        self.held += [each.key for each in messages]
        return tuple(each.key for each in messages)

    def crash(self, *, forgets: int, refusing: int) -> None:
        self.held = self.held[: len(self.held) - forgets]
        self.away = refusing
        self.connection += 1


class Time:
    """Passes only while somebody sleeps, or is told to."""

    def __init__(self) -> None:
        self.at = 0.0

    def elapsed(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def server() -> ForgetfulServer:
    return ForgetfulServer()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def publisher(server, time) -> Publisher:
    return Publisher(stream=server, elapsed=time.elapsed, sleep=time.sleep)


def publish(publisher: Publisher, *numbers: int) -> None:
    publisher.publish([Message(f"key {n}", b"") for n in numbers])


def test_without_a_restart_everything_is_published_once(publisher, server, time):
    for n in range(5):
        publish(publisher, n)
        time.sleep(0.5)
    assert server.held == [f"key {n}" for n in range(5)]


@pytest.mark.parametrize("refusing", [0, 1, 3])
def test_what_a_crash_took_is_published_again_noticed_or_not(publisher, server, refusing):
    for n in range(5):
        publish(publisher, n)
    server.crash(forgets=3, refusing=refusing)
    publish(publisher, 5)
    assert set(server.held) == {f"key {n}" for n in range(6)}
    publish(publisher, 6)
    assert server.held.count("key 6") == 1


@pytest.mark.parametrize("refusing", [0, 1])
def test_a_crash_while_it_is_published_again_is_borne_too(publisher, server, refusing):
    for n in range(3):
        publish(publisher, n)
    server.crash(forgets=2, refusing=0)
    plain, crashed = server.publish, []

    def crashing(messages):
        answer = plain(messages)
        if len(crashed) < 2:
            crashed.append(server.held)
            server.crash(forgets=len(server.held), refusing=refusing)
        return answer

    server.publish = crashing
    publish(publisher, 3)
    assert set(server.held) == {f"key {n}" for n in range(4)}


def test_only_what_a_server_may_still_forget_is_kept(publisher, server, time):
    publish(publisher, 0)
    time.sleep(4)
    publish(publisher, 1)
    time.sleep(2)
    publish(publisher, 2)
    server.crash(forgets=0, refusing=0)
    publish(publisher, 3)
    again = server.held[4:]
    assert "key 0" not in again
    assert {"key 1", "key 2"} <= set(again)


def test_an_outage_longer_than_its_patience_is_an_error_and_nothing_kept_is_lost(server, time):
    publisher = Publisher(
        stream=server,
        patience=timedelta(seconds=2),
        elapsed=time.elapsed,
        sleep=time.sleep,
    )
    publish(publisher, 0)
    server.crash(forgets=1, refusing=1000)
    with pytest.raises(StreamUnavailable):
        publish(publisher, 1)
    assert time.at <= 2
    server.away = 0
    publish(publisher, 1)
    assert server.held == ["key 0", "key 1"]
