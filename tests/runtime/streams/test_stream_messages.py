"""What travels on the streams: typed, keyed by what it is, and into the online store on arrival."""

from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from featurestore.errors import ContractBroken
from featurestore.online import materialize
from runtime.clock import ReplayClock
from runtime.errors import MessageInvalid, StreamUnavailable
from runtime.streams import Consumer, Delivery, Message, Step, open_stream
from runtime.streams.messages import (
    FEATURES,
    Observation,
    Signals,
    message,
    observation,
    observations_of,
    online_handler,
    signals,
    signals_stream,
)
from runtime.streams.metrics import StreamMetrics

AT = datetime(2018, 6, 29, 21, tzinfo=UTC)
CLOSE = "us_index_bars.close"


def made(**changed) -> Signals:
    facts = {
        "strategy": "momentum",
        "bundle": "ab" * 32,
        "tick": "2018-06-29",
        "decision_id": "d1",
        "decided_at": AT,
        "known_at": AT,
        "symbols": ("A", "B"),
        "scores": (1.0, -1.0),
        "weights": (0.1 + 0.2, 0.0),
    }
    return Signals(**facts | changed)


def delivered(sent: Message) -> Delivery:
    return Delivery("1", sent.key, sent.payload, 1)


def test_signals_and_observations_arrive_bit_for_bit():
    sent = made()
    assert signals(delivered(message(sent))) == sent
    seen = Observation(
        view="v", entity="A", event_time=AT, known_at=AT, values={"x": 0.1 + 0.2, "y": None}
    )
    assert observation(delivered(message(seen))) == seen


def test_the_key_says_what_it_is_and_not_how_it_was_said():
    assert message(made(scores=(2.0, 0.0))).key == message(made()).key
    assert message(made(decision_id="d2")).key != message(made()).key
    first = Observation(view="v", entity="A", event_time=AT, known_at=AT, values={})
    again = Observation(view="v", entity="A", event_time=AT, known_at=AT, revision=1, values={})
    assert first.key != again.key


def test_what_cannot_be_meant_is_refused_before_it_travels():
    with pytest.raises(MessageInvalid, match="time zone"):
        message(made(known_at=AT.replace(tzinfo=None)))
    with pytest.raises(MessageInvalid, match="differ in length"):
        message(made(scores=(1.0,)))
    with pytest.raises(MessageInvalid, match="lower case"):
        signals_stream("My Strategy")
    with pytest.raises(MessageInvalid, match="is no Signals"):
        signals(Delivery("7", "k", b"nonsense", 1))


def pushed(market, start: datetime, end: datetime) -> pl.DataFrame:
    whole = None
    for field in market.view("us_index_bars").fields:
        name = f"us_index_bars.{field.name}"
        frame = market.history(name, ["SP500"], start.date(), end.date())
        keys = ["symbol", "event_time", "known_at"]
        whole = frame if whole is None else whole.join(frame, on=keys)
    return whole.rename({"symbol": "entity"})


def test_observations_published_reach_the_online_store_and_its_windows(market, tmp_path):
    later = AT + timedelta(days=6)
    view, clock = market.view("us_index_bars"), ReplayClock(later)
    online = materialize(market, [CLOSE], ["SP500"], at=AT, windows={CLOSE: 30})
    stream = open_stream(f"sqlite:///{tmp_path / 'streams.db'}", FEATURES, clock=clock)
    stream.subscribe("online")
    sent = [message(each) for each in observations_of(view, pushed(market, AT, later)[1:])]
    stream.publish(sent)
    stream.publish(sent)  # the producer did not know whether the first went through
    handler = online_handler(online, {view.name: view}, clock)
    consumer = Consumer(stream=stream, group="online", name="a", handler=handler, clock=clock)
    assert consumer.drain() == Step(handled=2 * len(sent))
    truth = market.window(CLOSE, ["SP500"], length=30, at=later)
    assert online.window(CLOSE, ["SP500"], length=30, at=later).tobytes() == truth.tobytes()


def test_an_observation_of_an_unknown_view_or_out_of_range_is_poison(market, tmp_path):
    view, clock = market.view("us_index_bars"), ReplayClock(AT)
    handler = online_handler(
        materialize(market, [CLOSE], ["SP500"], at=AT), {view.name: view}, clock
    )
    (good,) = observations_of(view, pushed(market, AT, AT))
    unknown = message(Observation(view="x", entity="A", event_time=AT, known_at=AT, values={}))
    with pytest.raises(MessageInvalid, match="view x is not declared here"):
        handler([delivered(unknown)])
    bad = msgspec.structs.replace(good, values={**good.values, "close": -1.0})
    with pytest.raises(ContractBroken):
        handler([delivered(message(bad))])


def test_metrics_tell_the_lag_of_every_group_and_which_stream_is_down(tmp_path):
    clock = ReplayClock(AT)
    stream = open_stream(f"sqlite:///{tmp_path / 'streams.db'}", "signals.momentum", clock=clock)
    stream.subscribe("desk")
    stream.publish([message(made()), message(made(tick="2018-07-31")), Message("bad", b"")])
    read = stream.read("desk", "a", count=3)
    stream.bury("desk", read[2], "cannot be read")
    stream.acknowledge("desk", [read[0].id])
    clock.advance(AT + timedelta(seconds=90))

    class Down:
        name = "signals.gone"

        def groups(self):
            raise StreamUnavailable("gone")

    registry = CollectorRegistry()
    registry.register(StreamMetrics([stream, Down()], clock))
    text = generate_latest(registry).decode()
    labels = '{group="desk",stream="signals.momentum"}'
    for line in (
        f"sluice_stream_waiting{labels} 0.0",
        f"sluice_stream_pending{labels} 1.0",
        f"sluice_stream_lag_seconds{labels} 90.0",
        f"sluice_stream_buried{labels} 1.0",
        'sluice_stream_up{stream="signals.momentum"} 1.0',
        'sluice_stream_up{stream="signals.gone"} 0.0',
    ):
        assert line in text
