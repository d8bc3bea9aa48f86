"""What bundles of one tick read is read once, shared, and nobody's to change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from runtime.bundles.inputs import CurrentWeights, Latest, SharedReads, Window, gather
from runtime.errors import DecisionInvalid

AT = datetime(2017, 1, 6, 21, tzinfo=UTC)
SYMBOLS = ("AAA", "BBB")


class Counting:
    """A store that counts what it is asked and answers with the number of the question."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def window(self, feature, symbols, *, length, at):
        self.asked.append((feature, tuple(symbols), length, at))
        return np.full((len(symbols), length), float(len(self.asked)))

    def oldest(self, feature, symbols, *, at):
        self.asked.append((feature, tuple(symbols), at))
        return at


def test_bundles_on_identical_inputs_share_one_reading():
    store = Counting()
    reads = SharedReads(store, AT)
    inputs = {"prices": Window(feature="prices.close", length=5), "held": CurrentWeights()}
    first = gather(reads, inputs, SYMBOLS, at=AT, current=np.zeros(2))
    second = gather(reads, inputs, list(SYMBOLS), at=AT, current=np.ones(2))
    assert first["prices"] is second["prices"]
    assert second["held"].tolist() == [1.0, 1.0]
    assert len(store.asked) == 1
    for _ in range(2):
        assert reads.oldest("prices.close", SYMBOLS, at=AT) == AT
    assert len(store.asked) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"feature": "prices.open"},
        {"symbols": ("BBB", "AAA")},
        {"length": 4},
        {"at": AT + timedelta(days=1)},
    ],
)
def test_another_question_is_asked_anew(other):
    store = Counting()
    reads = SharedReads(store, AT)
    question = {"feature": "prices.close", "symbols": SYMBOLS, "length": 5, "at": AT}
    for asked in (question, {**question, **other}):
        feature, symbols = asked["feature"], asked["symbols"]
        reads.window(feature, symbols, length=asked["length"], at=asked["at"])
    assert len(store.asked) == 2


def test_what_is_shared_cannot_be_changed_and_the_stores_own_array_still_can():
    store = Counting()
    kept = np.ones((2, 5))
    store.window = lambda *args, **more: kept
    shared = SharedReads(store, AT).window("prices.close", SYMBOLS, length=5, at=AT)
    with pytest.raises(ValueError, match="read-only"):
        shared[0, 0] = 7.0
    kept[0, 0] = 2.0


@pytest.mark.parametrize("wild", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("prices", Window(feature="prices.close", length=5)),
        ("newest", Latest(feature="prices.close")),
        ("held", CurrentWeights()),
    ],
)
def test_what_is_not_finite_is_no_input_of_a_decision(name, source, wild):
    class Wild(Counting):
        def window(self, feature, symbols, *, length, at):
            return np.where(np.eye(len(symbols), length, length - 1) > 0, wild, 1.0)

    held = np.array([0.5, wild])
    with pytest.raises(DecisionInvalid, match=f"input {name} at .* not finite"):
        gather(Wild(), {name: source}, SYMBOLS, at=AT, current=held)
