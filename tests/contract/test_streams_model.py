"""Any sequence of calls on a stream does what a few lists in memory would do, on every adapter."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.streams import Message, open_stream

GROUPS = ("desk", "audit")
NOW = timedelta(0)
fresh = count()

calls = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 4)),
        st.tuples(st.just("read"), st.sampled_from(GROUPS), st.integers(1, 5)),
        st.tuples(st.just("recover"), st.sampled_from(GROUPS), st.integers(1, 4)),
        st.tuples(st.just("acknowledge"), st.sampled_from(GROUPS), st.integers(0, 30)),
        st.tuples(st.just("release"), st.sampled_from(GROUPS), st.integers(0, 30)),
        st.tuples(st.just("bury"), st.sampled_from(GROUPS), st.integers(0, 30)),
        st.tuples(st.just("trim")),
    ),
    max_size=25,
)


@dataclass
class Model:
    """What one group should have: its cursor, and deliveries of what is pending."""

    cursor: int = 0
    pending: dict[int, int] = field(default_factory=dict)  # place -> deliveries
    buried: list[int] = field(default_factory=list)

    @property
    def needs(self) -> int:
        return min(self.pending, default=self.cursor)


@pytest.fixture(params=["embedded", "valkey"])
def url(request: pytest.FixtureRequest, tmp_path) -> Callable[[], str]:
    if request.param == "valkey":
        address = request.getfixturevalue("valkey_url")
        return lambda: address
    return lambda: f"sqlite:///{tmp_path / f'{next(fresh)}.db'}"


@settings(max_examples=15)
@given(calls)
def test_a_stream_does_what_lists_would_do(url, sequence):
    stream = open_stream(url(), f"model.{next(fresh)}")
    log: list[str] = []  # ids in order of publication
    kept = 0  # first place that was not trimmed
    models = {group: Model() for group in GROUPS}
    for group in GROUPS:
        stream.subscribe(group)

    def chosen(model: Model, number: int) -> list[int]:
        places = sorted(model.pending)
        return places[number % len(places) :][:2] if places else []

    for name, *arguments in sequence:
        if name == "publish":
            start = len(log)
            sent = [Message(f"key {start + n}", b"x") for n in range(arguments[0])]
            log += stream.publish(sent)
            assert len(set(log)) == len(log)
            continue
        if name == "trim":
            lowest = min(model.needs for model in models.values())
            assert stream.trim() == lowest - kept
            kept = lowest
            continue
        group, number = arguments
        model = models[group]
        if name == "read":
            found = stream.read(group, "a", count=number)
            places = list(range(model.cursor, min(len(log), model.cursor + number)))
            model.cursor += len(places)
            model.pending |= dict.fromkeys(places, 1)
            assert [(each.id, each.deliveries) for each in found] == [(log[p], 1) for p in places]
        elif name == "recover":
            found = stream.recover(group, "b", idle=NOW, count=number)
            places = sorted(model.pending)[:number]
            for place in places:
                model.pending[place] += 1
            assert [(each.key, each.deliveries) for each in found] == [
                (f"key {p}", model.pending[p]) for p in places
            ]
        elif name == "acknowledge":
            places = chosen(model, number)
            assert stream.acknowledge(group, [log[p] for p in places]) == len(places)
            for place in places:
                del model.pending[place]
        else:
            places = chosen(model, number)[:1]
            for place in places:
                recovered = stream.recover(group, "c", idle=NOW, count=len(model.pending))
                for each in sorted(model.pending):
                    model.pending[each] += 1
                (delivery,) = (each for each in recovered if each.id == log[place])
                if name == "bury":
                    assert stream.bury(group, delivery, "because")
                    del model.pending[place]
                    model.buried.append(place)
                else:
                    stream.release(group, "c", [delivery])
                    model.pending[place] -= 1
    for group, model in models.items():
        lag = stream.lag(group, now=datetime.now(UTC))
        assert (lag.waiting, lag.pending) == (len(log) - model.cursor, len(model.pending))
        assert [each.id for each in stream.buried(group)] == [log[p] for p in model.buried]
        rest = stream.read(group, "a", count=1000)
        assert [each.id for each in rest] == log[model.cursor :]
    stream.close()
