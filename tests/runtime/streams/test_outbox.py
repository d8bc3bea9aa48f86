"""Decisions are announced from the journal: each at least once, and never at a decision's cost."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from threading import Event

import pytest
from msgspec.structs import replace

from runtime.clock import ReplayClock
from runtime.database import open_database
from runtime.engine import fund
from runtime.errors import StreamUnavailable
from runtime.journal.queries import JournalQueries
from runtime.streams import open_stream
from runtime.streams.messages import signals
from runtime.streams.outbox import Outbox
from runtime.streams.places import Place, Places
from runtime.streams.relay import Relay
from tests.fakes.market import CAPITAL, XNYS, Bench, open_bench
from tests.servers import private_valkey

FRIDAYS = [date(2017, 1, day) for day in (6, 13, 20, 27)]  # the bundle decides at week ends
STREAM = "signals.tilt"


@pytest.fixture
def bench(tmp_path):
    opened = open_bench(tmp_path)
    fund(opened.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    yield opened
    opened.close()


@pytest.fixture(params=["embedded", "valkey"])
def url(request, tmp_path) -> str:
    if request.param == "embedded":
        return f"sqlite:///{tmp_path / 'streams.db'}"
    return str(request.getfixturevalue("valkey_url"))


def decide(bench: Bench, *days: date, **changes) -> list[str]:
    """Run sessions at their closes; return the ids of what was decided."""
    engine = bench.changed(**changes)
    decided = []
    for day in days:
        session = XNYS.session(day)
        clock = bench.desk.clock
        assert isinstance(clock, ReplayClock)
        clock.advance(session.close)
        outcome = engine.run_session(session)
        assert outcome.decision is not None
        decided.append(outcome.decision.decision_id)
    return decided


def outbox(bench: Bench, url: str, **options) -> Outbox:
    """As another process would open it: nothing is shared but the database."""
    engine = open_database(str(bench.desk.journal.engine.url))
    journal = JournalQueries(engine, bench.desk.journal.account)
    options.setdefault("open_stream", lambda name: open_stream(url, name))
    return Outbox(journal=journal, places=Places(engine), **options)


def announced(url: str) -> list[str]:
    """Return the keys of everything on the stream, as a new group sees it."""
    stream = open_stream(url, STREAM)
    group = f"reader{len(stream.groups())}"
    stream.subscribe(group)
    found = stream.read(group, "a", count=1000)
    assert all(signals(each).decision_id == each.key for each in found)
    stream.close()
    return [each.key for each in found]


def test_every_decision_is_announced_once_with_what_the_journal_says(bench, url):
    decided = decide(bench, *FRIDAYS[:2])
    box = outbox(bench, url, keep=timedelta(0))
    assert (box.waiting(), box.publish()) == (2, 2)
    assert box.publish() == 0
    assert (box.waiting(), box.unsettled) == (0, False)
    decided += decide(bench, *FRIDAYS[2:])
    assert outbox(bench, url).publish() == 2
    assert announced(url) == decided
    stream = open_stream(url, STREAM)
    stream.subscribe("first")
    first = signals(stream.read("first", "a", count=1)[0])
    record = bench.desk.journal.decision(decided[0]).record
    assert (first.symbols, first.scores, first.weights) == (
        record.symbols,
        record.scores,
        record.weights,
    )
    assert (first.strategy, first.tick, first.refused) == ("tilt", "2017-01-06", "")
    stream.close()


def test_a_process_that_dies_before_it_remembers_repeats_itself_and_omits_nothing(bench, url):
    decided = decide(bench, *FRIDAYS[:2])

    class Forgetful(Places):
        def move(self, stream: str, source: str, place: Place) -> None:
            raise KeyboardInterrupt  # the kernel's kill, between publish and commit

    engine = bench.desk.journal.engine
    dying = outbox(bench, url, keep=timedelta(0))
    dying.places = Forgetful(engine)
    with pytest.raises(KeyboardInterrupt):
        _ = dying.publish() and dying.publish()  # a server's place moves at the second look
    heir = outbox(bench, url)
    assert heir.publish() == 2
    assert Counter(announced(url)) == Counter(decided * 2)


def test_a_refusal_is_announced_as_one_and_not_as_weights_of_nothing(bench, url):
    decide(bench, FRIDAYS[0], freshness={"prices": timedelta(seconds=-1)}, approved=lambda: "")

    class Broken:
        def window(self, *_args, **_options):
            raise StreamUnavailable("the lake is away")

        latest = window

    (refused,) = decide(bench, FRIDAYS[1], reader=Broken())
    outbox(bench, url).publish()
    stream = open_stream(url, STREAM)
    stream.subscribe("desk")
    message = next(each for each in stream.read("desk", "a", count=9) if each.key == refused)
    assert signals(message).refused == "refused: the lake is away"
    assert signals(message).weights == ()
    stream.close()


def test_the_decision_is_the_same_whatever_the_streams_do(tmp_path):
    """Away, hanging or well: journal head and orders are the same to the bit."""
    heads = []
    hanging = Event()

    def away(name: str):
        raise StreamUnavailable("nobody answers")

    def hangs(name: str):
        hanging.wait(120)
        raise StreamUnavailable("nobody answers")

    for number, opening in enumerate((away, hangs, None)):
        bench = open_bench(tmp_path / str(number))
        fund(bench.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
        url = f"sqlite:///{tmp_path / str(number) / 'streams.db'}"
        relay = Relay(
            outbox=outbox(bench, url, **({"open_stream": opening} if opening else {})), retry=0.01
        )
        relay.start()
        decide(bench, *FRIDAYS, committed=relay.wake)
        heads.append(bench.desk.journal.head())
        hanging.set()
        relay.stop(60)
        if opening is None:
            assert len(announced(url)) == len(FRIDAYS)
        else:
            assert relay.outbox.waiting() == len(FRIDAYS)
        bench.close()
    assert len(set(heads)) == 1


def test_after_an_outage_the_relay_announces_what_waited_in_the_journal(bench, tmp_path):
    url = f"sqlite:///{tmp_path / 'streams.db'}"
    back, tried = Event(), Event()

    def opening(name: str):
        tried.set()
        if not back.is_set():
            raise StreamUnavailable("nobody answers")
        return open_stream(url, name)

    relay = Relay(outbox=outbox(bench, url, open_stream=opening), retry=0.01, rest=3600)
    relay.start()
    decided = decide(bench, *FRIDAYS[:2], committed=relay.wake)
    assert tried.wait(60)
    back.set()
    relay.stop(60)
    assert announced(url) == decided


def test_a_decision_that_cannot_travel_holds_nobody_up(bench, tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'streams.db'}"
    decided = decide(bench, *FRIDAYS[:3])
    box, whole = outbox(bench, url), JournalQueries.said_after

    def with_one_odd_name(self, seq, limit):
        found = whole(self, seq, limit)
        odd = [(number, replace(said, study="Odd Name")) for number, said in found[1:2]]
        return (*found[:1], *odd, *found[2:])

    monkeypatch.setattr(JournalQueries, "said_after", with_one_odd_name)
    assert box.publish() == 3
    assert announced(url) == [decided[0], decided[2]]
    assert box.waiting() == 0


def test_a_restart_sends_only_what_is_new(bench, url):
    decided = decide(bench, *FRIDAYS[:1])
    box = outbox(bench, url, keep=timedelta(0))
    box.publish()
    box.publish()
    decided += decide(bench, *FRIDAYS[1:2])
    assert outbox(bench, url).publish() == 1
    assert announced(url) == decided


def test_a_server_that_forgot_and_came_back_is_told_again(bench, tmp_path):
    """Without an append-only file a killed server forgets everything: the worst of everysec."""
    decided = decide(bench, *FRIDAYS[:2])
    now = [0.0]
    with private_valkey("none") as server:
        box = outbox(bench, server.url, elapsed=lambda: now[0])
        assert box.publish() == 2
        server.kill()
        server.start()
        now[0] += box.keep.total_seconds()
        assert _until_up(box) == 2
        assert announced(server.url) == decided
        assert box.unsettled
        now[0] += box.keep.total_seconds()
        assert (box.publish(), box.unsettled, box.waiting()) == (0, False, 0)


def _until_up(box: Outbox) -> int:
    try:
        return box.publish()
    except StreamUnavailable:  # the connection that the kill broke; the next one is new
        return box.publish()


def test_places_stand_where_they_were_put_last(database_url):
    places = Places(open_database(database_url))
    assert places.of("signals", "live") is None
    places.move("signals", "live", Place(seq=2**40, at=5))
    places.move("signals", "paper", Place(seq=7))
    places.move("signals", "live", Place(seq=3, at=9))
    assert Places(open_database(database_url)).of("signals", "live") == Place(seq=3, at=9)
