"""A stream keeps its promises in one SQLite file and on Valkey."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial, wraps
from threading import Thread

import pytest
import redis
from sqlalchemy import text

from runtime.database import open_database
from runtime.errors import DatabaseUnavailable, GroupUnknown, MessageInvalid, StreamUnavailable
from runtime.streams import (
    Consumer,
    Delivery,
    Inbox,
    Message,
    Step,
    Stream,
    open_stream,
    stream_names,
)

IDLE = timedelta(milliseconds=40)
PATIENT = timedelta(milliseconds=500)  # where a busy machine's pause must not look like a death


@pytest.fixture(params=["embedded", "valkey"])
def url(request: pytest.FixtureRequest, tmp_path) -> str:
    if request.param == "embedded":
        return f"sqlite:///{tmp_path / 'streams.db'}"
    return str(request.getfixturevalue("valkey_url"))


@pytest.fixture
def opened(url: str) -> Iterator[Callable[..., Stream]]:
    """Opens streams of the same storage; as another process would, each with its own connection."""
    made: list[Stream] = []

    def open_one(name: str = "features.pit") -> Stream:
        made.append(open_stream(url, name))
        return made[-1]

    yield open_one
    for stream in made:
        stream.close()


@pytest.fixture
def stream(opened) -> Stream:
    made = opened()
    made.subscribe("desk")
    return made


def messages(start: int, stop: int) -> list[Message]:
    return [Message(f"key {n}", f"payload {n}".encode()) for n in range(start, stop)]


def keys(found: list[Delivery]) -> list[str]:
    return [each.key for each in found]


def pause(idle: timedelta = IDLE) -> None:
    """Longer than `idle`, so that what is pending may be recovered."""
    time.sleep(idle.total_seconds() * 1.2)


class Paused(Exception):
    """The machine stood still for so long that what was in hand is idle in truth."""


def while_young(recover: Callable[[], list[Delivery]], since: float) -> list[Delivery]:
    """Recover beside what was taken in hand at `since` or later; Paused if `PATIENT` is over."""
    found = recover()
    if time.monotonic() - since >= PATIENT.total_seconds():
        raise Paused
    return found


def again_if_paused(test: Callable[[Callable[..., Stream], Stream], None]) -> Callable[..., None]:
    """Begin a test anew, on a stream of its own, while the machine pauses in it."""

    @wraps(test)
    def tried(opened: Callable[..., Stream], stream: Stream) -> None:
        for number in range(20):
            try:
                test(opened, stream)
            except Paused:
                stream = opened(f"features.again-{number}")
                stream.subscribe("desk")
            else:
                return
        pytest.fail("the machine paused in it every time")

    return tried


def waits(stream: Stream, group: str = "desk") -> tuple[int, int]:
    lag = stream.lag(group, now=datetime.now(UTC))
    return lag.waiting, lag.pending


def test_messages_come_once_in_order_and_unchanged(stream):
    sent = [Message("", b""), Message("ключ", bytes(range(256))), *messages(0, 5)]
    places = stream.publish(sent[:3]) + stream.publish(sent[3:])
    assert len(set(places)) == len(sent)
    found = stream.read("desk", "a", count=4) + stream.read("desk", "b", count=100)
    assert [(each.key, each.payload) for each in found] == [(m.key, m.payload) for m in sent]
    assert [each.id for each in found] == list(places)
    assert {each.deliveries for each in found} == {1}
    assert stream.read("desk", "a", count=1) == []
    assert stream.publish([]) == ()


def test_each_group_sees_everything_and_a_late_one_begins_where_it_asks(stream):
    stream.publish(messages(0, 3))
    stream.subscribe("audit")
    stream.subscribe("newcomer", from_start=False)
    stream.publish(messages(3, 5))
    for group, first in (("desk", 0), ("audit", 0), ("newcomer", 3)):
        assert keys(stream.read(group, "a", count=10)) == [f"key {n}" for n in range(first, 5)]
    assert stream.groups() == ("audit", "desk", "newcomer")


def test_subscribing_again_keeps_the_place(stream):
    stream.publish(messages(0, 2))
    stream.read("desk", "a", count=1)
    stream.subscribe("desk")
    stream.subscribe("desk", from_start=False)
    assert keys(stream.read("desk", "a", count=5)) == ["key 1"]


def test_streams_of_one_storage_do_not_mix(opened):
    one, other = opened("signals.momentum"), opened("signals.value")
    for each in (one, other):
        each.subscribe("desk")
    one.publish(messages(0, 2))
    other.publish(messages(5, 6))
    assert keys(other.read("desk", "a", count=10)) == ["key 5"]
    assert keys(one.read("desk", "a", count=10)) == ["key 0", "key 1"]
    assert (one.name, other.name) == ("signals.momentum", "signals.value")


def test_a_reader_waits_for_a_message_of_another_process_and_no_longer(opened, stream):
    other = opened()
    sender = Thread(target=lambda: (time.sleep(0.05), other.publish(messages(0, 1))))
    sender.start()
    assert keys(stream.read("desk", "a", count=10, wait=timedelta(seconds=5))) == ["key 0"]
    sender.join()
    start = time.monotonic()
    assert stream.read("desk", "a", count=10, wait=timedelta(milliseconds=60)) == []
    assert time.monotonic() - start >= 0.05


@again_if_paused
def test_what_was_not_acknowledged_is_recovered_and_its_deliveries_are_counted(opened, stream):
    stream.publish(messages(0, 4))
    read = stream.read("desk", "gone", count=3)
    assert stream.acknowledge("desk", [read[1].id]) == 1
    other = opened(stream.name)
    assert other.recover("desk", "heir", idle=timedelta(seconds=60), count=10) == []
    pause(PATIENT)
    since = time.monotonic()
    again = other.recover("desk", "heir", idle=PATIENT, count=10)
    assert [(each.key, each.payload, each.deliveries) for each in again] == [
        ("key 0", b"payload 0", 2),
        ("key 2", b"payload 2", 2),
    ]
    third = partial(other.recover, "desk", "third", idle=PATIENT, count=10)
    assert while_young(third, since) == []  # in hand again
    pause(PATIENT)
    assert [each.deliveries for each in other.recover("desk", "third", idle=PATIENT, count=1)] == [
        3
    ]
    assert stream.acknowledge("desk", [each.id for each in again]) == 2
    assert stream.acknowledge("desk", [each.id for each in again]) == 0
    assert stream.acknowledge("desk", []) == 0
    pause(PATIENT)
    assert stream.recover("desk", "heir", idle=PATIENT, count=10) == []
    assert waits(stream) == (1, 0)


@again_if_paused
def test_recovery_looks_behind_what_is_not_idle_yet(opened, stream):
    stream.publish(messages(0, 60))
    stream.read("desk", "gone", count=60)
    pause(PATIENT)
    since = time.monotonic()
    young = stream.recover("desk", "busy", idle=PATIENT, count=50)
    assert len(young) == 50
    heir = partial(stream.recover, "desk", "heir", idle=PATIENT, count=1)
    assert keys(while_young(heir, since)) == ["key 50"]


def test_lag_counts_what_waits_and_what_is_pending_and_tells_its_age(stream):
    assert stream.lag("desk", now=datetime.now(UTC)).age == timedelta(0)
    stream.publish(messages(0, 5))
    assert waits(stream) == (5, 0)
    read = stream.read("desk", "a", count=2)
    assert waits(stream) == (3, 2)
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert stream.lag("desk", now=later).age == pytest.approx(
        timedelta(minutes=1), abs=timedelta(seconds=5)
    )
    stream.acknowledge("desk", [each.id for each in read])
    assert waits(stream) == (3, 0)
    assert stream.lag("desk", now=later).age >= timedelta(minutes=1)
    stream.acknowledge("desk", [each.id for each in stream.read("desk", "a", count=9)])
    assert stream.lag("desk", now=later).age == timedelta(0)


def test_trimming_stops_at_the_slowest_group_and_at_what_is_pending(stream):
    stream.subscribe("slow")
    stream.publish(messages(0, 10))
    fast = stream.read("desk", "a", count=10)
    stream.acknowledge("desk", [each.id for each in fast])
    assert stream.trim() == 0
    slow = stream.read("slow", "a", count=6)
    assert stream.trim() == 0
    stream.acknowledge("slow", [each.id for each in (*slow[:2], *slow[3:])])
    assert stream.trim() == 2  # the third is pending
    assert stream.trim() == 0
    stream.acknowledge("slow", [slow[2].id])
    assert stream.trim() == 4
    assert waits(stream, "slow") == (4, 0)
    assert keys(stream.read("slow", "a", count=10)) == [f"key {n}" for n in range(6, 10)]


def test_a_storage_tells_the_names_of_its_streams(opened, url):
    before = stream_names(url)
    opened("signals.momentum").publish(messages(0, 1))
    opened("features.pit").subscribe("desk")
    assert before == ()
    assert stream_names(url) == ("features.pit", "signals.momentum")


def test_without_groups_nothing_is_trimmed(opened):
    alone = opened("signals.alone")
    assert alone.trim() == 0
    alone.publish(messages(0, 3))
    assert alone.trim() == 0
    alone.subscribe("late")
    assert len(alone.read("late", "a", count=10)) == 3


def test_a_buried_message_is_pending_no_more_and_keeps_its_story(stream):
    stream.publish(messages(0, 2))
    first, second = stream.read("desk", "a", count=2)
    assert stream.bury("desk", first, "cannot be read")
    assert not stream.bury("desk", first, "twice")
    (grave,) = stream.buried("desk")
    assert (grave.id, grave.key, grave.payload) == (first.id, first.key, first.payload)
    assert (grave.deliveries, grave.reason) == (1, "cannot be read")
    assert waits(stream) == (0, 1)
    stream.acknowledge("desk", [second.id])
    assert stream.revive("desk", ["nonsense"]) == 0
    assert stream.revive("desk", [grave.id]) == 1
    assert stream.buried("desk") == []
    assert keys(stream.read("desk", "a", count=5)) == [first.key]


def test_a_group_that_was_never_subscribed_is_named(stream):
    for ask in (
        lambda: stream.read("nobody", "a", count=1),
        lambda: stream.recover("nobody", "a", idle=IDLE, count=1),
        lambda: stream.lag("nobody", now=datetime.now(UTC)),
    ):
        with pytest.raises(GroupUnknown, match=r"features\.pit has no such group: .*subscribe"):
            ask()


def test_the_connection_number_grows_where_the_storage_may_have_been_started_anew(opened, url):
    """Embedded nothing is ever forgotten, so there it stays 0."""
    stream = opened()
    stream.publish(messages(0, 1))
    before = stream.connection
    if url.startswith("sqlite"):
        assert before == 0
        return
    assert before > 0
    with redis.Redis.from_url(url) as killer:
        killer.client_kill_filter(_type="normal", skipme=True)
    with contextlib.suppress(StreamUnavailable):  # the connection that was cut
        stream.publish(messages(1, 2))
    stream.publish(messages(1, 2))
    assert stream.connection > before


@pytest.mark.parametrize("name", ["", "Signals", "signals momentum", "a:b", "{a}", "-x"])
def test_a_name_that_would_not_travel_is_refused(opened, stream, name):
    with pytest.raises(MessageInvalid, match="must be lower case"):
        opened(name)
    with pytest.raises(MessageInvalid):
        stream.subscribe(name)


def test_consumers_of_one_group_share_the_work_and_lose_nothing(opened, stream):
    handled: list[list[str]] = [[], []]

    def work(member: int) -> None:
        mine = opened()
        consumer = Consumer(
            stream=mine,
            group="desk",
            name=f"member-{member}",
            handler=lambda found: handled[member].extend(keys(found)),
            batch=7,
        )
        while sum(map(len, handled)) < 300:
            consumer.step(timedelta(milliseconds=20))

    threads = [Thread(target=work, args=(member,)) for member in range(2)]
    for thread in threads:
        thread.start()
    for start in range(0, 300, 10):
        stream.publish(messages(start, start + 10))
    for thread in threads:
        thread.join()
    assert Counter(handled[0] + handled[1]) == Counter(f"key {n}" for n in range(300))
    assert waits(stream) == (0, 0)


def test_one_bad_message_of_a_batch_fails_alone_and_is_buried_with_its_reason(stream):
    handled: list[str] = []

    def handler(found):
        if any(each.key == "key 3" for each in found):
            raise ValueError("key 3 cannot be read")
        handled.extend(keys(found))

    consumer = Consumer(
        stream=stream, group="desk", name="a", handler=handler, idle=IDLE, deliveries=3
    )
    stream.publish(messages(0, 8))
    assert consumer.step() == Step(handled=7, failed=1)
    assert waits(stream) == (0, 1)
    done = Step()
    for _ in range(2):
        pause()
        done += consumer.step()
    assert done == Step(failed=1, buried=1)
    assert sorted(handled) == [f"key {n}" for n in range(8) if n != 3]
    (grave,) = stream.buried("desk")
    assert (grave.key, grave.deliveries) == ("key 3", 3)
    assert grave.reason == "ValueError: key 3 cannot be read"
    assert waits(stream) == (0, 0)


def test_a_message_that_ends_its_consumer_is_buried_and_its_neighbours_are_handled(stream):
    """SystemExit stands for the kernel's kill: nothing is caught, nothing acknowledged."""
    handled: list[str] = []

    def handler(found):
        if any(each.key == "key 2" for each in found):
            raise SystemExit
        handled.extend(keys(found))

    stream.publish(messages(0, 6))
    deaths = 0
    for life in range(30):
        consumer = Consumer(
            stream=stream, group="desk", name=f"life-{life}", handler=handler, idle=IDLE
        )
        pause()
        try:
            consumer.step()
        except SystemExit:
            deaths += 1
        if waits(stream) == (0, 0):
            break
    assert deaths == consumer.deliveries
    assert sorted(handled) == [f"key {n}" for n in range(6) if n != 2]
    (grave,) = stream.buried("desk")
    assert grave.key == "key 2"
    assert "never acknowledged" in grave.reason


def test_what_is_given_back_is_not_counted_and_found_at_once(stream):
    stream.publish(messages(0, 3))
    read = stream.read("desk", "a", count=3)
    stream.release("desk", "a", read[:2])
    again = stream.recover("desk", "b", idle=timedelta(minutes=10), count=10)
    assert [(each.key, each.deliveries) for each in again] == [("key 0", 1), ("key 1", 1)]
    assert waits(stream) == (0, 3)


def test_an_outage_however_long_buries_nothing(stream):
    handled: list[str] = []
    away = True

    def handler(found):
        if away:
            raise DatabaseUnavailable("the desk's database does not answer")
        handled.extend(keys(found))

    consumer = Consumer(stream=stream, group="desk", name="a", handler=handler, deliveries=3)
    stream.publish(messages(0, 5))
    for _ in range(12):
        with pytest.raises(DatabaseUnavailable):
            consumer.step()
    away = False
    assert consumer.step() == Step(handled=5)
    assert handled == [f"key {n}" for n in range(5)]
    assert stream.buried("desk") == []


def test_failures_that_are_not_the_handlers_end_the_consumer(stream):
    def handler(_found):
        raise ArithmeticError("a defect")

    consumer = Consumer(
        stream=stream, group="desk", name="a", handler=handler, failures=(ValueError,)
    )
    stream.publish(messages(0, 2))
    with pytest.raises(ArithmeticError):
        consumer.step()
    assert waits(stream) == (0, 2)


def test_an_effect_happens_once_per_key_whoever_repeats_it(stream, database_url):
    """Sent twice by the producer, delivered again after a crash, or both: one row each."""
    engine = open_database(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE booked (name TEXT)"))
    inbox = Inbox(engine)
    crash = True

    def effect(connection, found):
        rows = [{"name": each.key} for each in found]
        connection.execute(text("INSERT INTO booked VALUES (:name)"), rows)
        if crash and any(each.key == "key 5" for each in found):
            raise ValueError("after the first half of the work")

    handler = inbox.handler("features.pit/desk", effect)
    consumer = Consumer(
        stream=stream, group="desk", name="a", handler=handler, batch=4, idle=PATIENT
    )
    stream.publish(messages(0, 4) + messages(2, 4))
    stream.publish(messages(3, 7))
    consumer.drain()
    crash = False
    pause(PATIENT)
    consumer.step()
    stale = stream.publish(messages(0, 1))
    read = stream.read("desk", "gone", count=1)
    inbox.once("features.pit/desk", read, effect)  # handled, and killed before it acknowledged
    assert [each.id for each in read] == list(stale)
    pause(PATIENT)
    consumer.step()
    with engine.connect() as connection:
        booked = sorted(connection.scalars(text("SELECT name FROM booked")))
    assert booked == [f"key {n}" for n in range(7)]
    assert waits(stream) == (0, 0)
    assert inbox.once("another/reader", messages_as_delivered(0, 2), lambda *_: None) == 2
    assert inbox.forget(datetime.now(UTC) + timedelta(days=1)) == 9
    engine.dispose()


def messages_as_delivered(start: int, stop: int) -> list[Delivery]:
    return [Delivery(str(n), m.key, m.payload, 1) for n, m in enumerate(messages(start, stop))]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("kafka://there", "begins with sqlite or redis"),
        ("redis://:secret@127.0.0.1:1/0", r"at 127\.0\.0\.1 does not answer"),
        ("sqlite:////nowhere/at/all/streams.db", "is its folder there"),
    ],
)
def test_a_url_that_leads_nowhere_says_so_without_its_password(url, message):
    with pytest.raises(StreamUnavailable, match=message) as raised:
        open_stream(url, "features.pit")
    assert "secret" not in str(raised.value)
