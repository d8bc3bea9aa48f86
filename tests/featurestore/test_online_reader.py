"""A decision that reads online sees the bits that it would see in the lake, or is refused."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from featurestore.errors import FeatureStale, HistoryMissing, ViewUnknown
from featurestore.features import library as f
from featurestore.online import OnlineStore, open_online
from featurestore.online.cells import Update
from featurestore.online.reader import OnlineReader
from featurestore.universes import US_LARGE_CAPS
from runtime.bundles.inputs import CurrentWeights, Latest, SharedReads, Window, gather

AT = datetime(2016, 12, 30, 21, tzinfo=UTC)
SYMBOLS = US_LARGE_CAPS.symbols
CLOSE = "us_equities.close"
FEATURES = (CLOSE, f.momentum(CLOSE).name, "wti.price[WTI]")
LENGTH = 22


@dataclass
class Counted:
    """A backend that counts the reads of points."""

    inner: object
    reads: list[tuple[str, ...]] = field(default_factory=list)

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def read(self, features, symbols):
        self.reads.append(tuple(features))
        return self.inner.read(features, symbols)


@pytest.fixture(scope="module")
def online(market):
    store = open_online("memory://", name="read")
    store.materialize(market, FEATURES, SYMBOLS, at=AT, windows={CLOSE: LENGTH})
    return store


def test_every_answer_is_bit_equal_to_the_lakes(online, market):
    reader = OnlineReader(online, FEATURES)
    for feature in FEATURES:
        newest, known = (one.latest(feature, SYMBOLS, at=AT) for one in (reader, market))
        np.testing.assert_array_equal(newest.values, known.values)
        assert newest.event_times == known.event_times
        assert newest.known_at == known.known_at
        for one in (reader, market):
            assert one.oldest(feature, SYMBOLS, at=AT) == min(known.known_at)
    for feature, length in ((CLOSE, 1), (CLOSE, LENGTH), (FEATURES[1], 1)):
        asked = {"length": length, "at": AT}
        ours, lakes = (one.window(feature, SYMBOLS, **asked) for one in (reader, market))
        assert ours.shape == lakes.shape
        assert ours.tobytes() == lakes.tobytes()


def test_a_bundle_gathers_the_same_inputs_in_one_read(online, market):
    inputs = {
        "prices": Window(feature=CLOSE, length=LENGTH),
        "close": Latest(feature=CLOSE),
        "strength": Latest(feature=FEATURES[1]),
        "held": CurrentWeights(),
    }
    counted = Counted(online.backend)
    reader = OnlineReader(OnlineStore(counted), FEATURES)
    current = np.full(len(SYMBOLS), 0.05)
    ours, lakes = (
        gather(SharedReads(one, AT), inputs, SYMBOLS, at=AT, current=current)
        for one in (reader, market)
    )
    assert {name: one.tobytes() for name, one in ours.items()} == {
        name: one.tobytes() for name, one in lakes.items()
    }
    assert counted.reads == [FEATURES]


def test_another_instant_and_other_symbols_are_asked_about_anew(online):
    counted = Counted(online.backend)
    reader = OnlineReader(OnlineStore(counted), FEATURES)
    few = SYMBOLS[:3]
    both = [reader.latest(CLOSE, names, at=AT).values for names in (SYMBOLS, few, SYMBOLS)]
    assert both[1].tolist() == both[0][:3].tolist() == both[2][:3].tolist()
    reader.latest(CLOSE, SYMBOLS, at=AT + timedelta(hours=1))
    assert len(counted.reads) == 3


def test_a_value_that_is_not_the_one_due_is_refused_and_its_age_still_told(online):
    reader, monday = OnlineReader(online, FEATURES), datetime(2017, 1, 3, 22, tzinfo=UTC)
    with pytest.raises(FeatureStale, match=r"close: the window of AAPL ends with the bar of 2016"):
        reader.window(CLOSE, SYMBOLS, length=1, at=monday)
    assert set(reader.latest(CLOSE, SYMBOLS, at=monday).known_at) == {AT}
    with pytest.raises(HistoryMissing, match="known at"):
        reader.window(CLOSE, SYMBOLS, length=1, at=AT - timedelta(days=1))


def test_what_is_not_among_those_read_together_is_asked_for_alone(online, market):
    reader = OnlineReader(online, FEATURES[1:])
    ours, lakes = (one.latest(CLOSE, SYMBOLS, at=AT) for one in (reader, market))
    assert (ours.values.tobytes(), ours.known_at) == (lakes.values.tobytes(), lakes.known_at)
    assert reader.oldest(CLOSE, SYMBOLS, at=AT) == min(lakes.known_at)
    with pytest.raises(ViewUnknown, match=r"vix\.close was not materialized"):
        reader.latest("vix.close", SYMBOLS, at=AT)


def test_a_declaration_that_changes_is_looked_up_again(market):
    store = open_online("memory://", name="again")
    store.materialize(market, [CLOSE], SYMBOLS, at=AT)
    reader, later = OnlineReader(store, [CLOSE]), AT + timedelta(hours=1)
    reader.window(CLOSE, SYMBOLS, length=1, at=AT)
    store.backend.apply(_redeclared(store))
    with pytest.raises(FeatureStale, match=r"allowed is 0:00:00\.000001"):
        reader.window(CLOSE, SYMBOLS, length=1, at=later)


def _redeclared(store):
    """The values that are there, under a declaration by which they are stale at once."""
    layout = store.backend.layout()
    column = replace(layout.columns[layout.place(CLOSE)], version_hash="9" * 64, freshness=1)
    packed = store.backend.read([CLOSE], SYMBOLS).packed.copy()
    return Update(columns=(column,), symbols=SYMBOLS, packed=packed, at=int(packed[:, 2].max()))
