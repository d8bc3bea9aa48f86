"""What was materialized is served online: values, ages and windows, to the bit of the lake."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from featurestore.errors import (
    ContractBroken,
    FeatureStale,
    HistoryMissing,
    HoldoutSealed,
    ViewUnknown,
)
from featurestore.lake import Lake
from featurestore.store import FeatureStore
from featurestore.times import micros
from featurestore.views import FeatureView, Field
from runtime.bundles.inputs import CurrentWeights, Latest, Window, gather
from tests.contract.online.asked import AT, BARS, CLOSE, EARLIER, NAMES, served


def test_values_carry_event_time_knowledge_time_and_age_as_the_lake_has_them(online, market):
    applied = online.materialize(market, BARS, NAMES, at=AT)
    assert (applied.written, applied.kept) == (4, 0)
    got = served(online, AT + timedelta(hours=1))
    for j, feature in enumerate(BARS):
        truth = market.latest(feature, NAMES, at=AT)
        assert got.values[:, j].tobytes() == truth.values.tobytes()
        assert got.event_times[:, j].tolist() == [micros(t) for t in truth.event_times]
        assert got.known_at[:, j].tolist() == [micros(t) for t in truth.known_at]
    assert got.age(BARS[0], "SP500") == timedelta(hours=2)
    assert not got.stale.any()
    assert (online.features(), online.symbols()) == (tuple(sorted(BARS)), tuple(NAMES))


def test_rows_and_columns_come_in_the_order_asked_for(online, market):
    online.materialize(market, BARS, NAMES, at=AT)
    turned = online.get_online_features(BARS[::-1], NAMES[::-1], now=AT)
    assert turned.values.tolist() == served(online).values[::-1, ::-1].tolist()
    one = online.get_online_features(BARS[1:], ["SP500"], now=AT)
    assert one.values.tolist() == served(online).values[1:, 1:].tolist()


def test_a_stale_value_is_an_error_for_who_needs_it_fresh_and_readable_for_who_does_not(
    online, market
):
    online.materialize(market, BARS, NAMES, at=AT)
    served(online, CLOSE + timedelta(days=5))
    late = CLOSE + timedelta(days=5, seconds=1)
    with pytest.raises(FeatureStale, match=r"close of NASDAQ is 5 days, 0:00:01 old .* is 5 days"):
        served(online, late)
    got = served(online, late, stale="allow")
    assert got.stale.all()
    assert got.values.tobytes() == served(online).values.tobytes()


def test_only_the_values_asked_for_must_be_fresh(online, market):
    online.materialize(market, BARS, ["SP500"], at=EARLIER)
    online.materialize(market, BARS, ["NASDAQ"], at=AT)
    now = CLOSE + timedelta(days=4)
    assert online.get_online_features(BARS, ["NASDAQ"], now=now).values.shape == (1, 2)
    with pytest.raises(FeatureStale, match="SP500"):
        served(online, now)


def test_a_value_not_yet_known_at_now_is_refused(online, market):
    online.materialize(market, BARS, NAMES, at=AT)
    with pytest.raises(HistoryMissing, match=r"was known at .*2018-06-29.*ask the lake"):
        served(online, AT - timedelta(days=1))


def test_what_was_not_materialized_is_named(online, market):
    with pytest.raises(ViewUnknown, match="materialize first"):
        served(online)
    online.materialize(market, BARS, ["SP500"], at=AT)
    with pytest.raises(ViewUnknown, match=r"us_index_bars\.open was not materialized; there are"):
        online.get_online_features(["us_index_bars.open"], ["SP500"], now=AT)
    with pytest.raises(HistoryMissing, match="NASDAQ was not materialized; there are: SP500"):
        served(online)
    online.materialize(market, BARS[:1], ["NASDAQ"], at=AT)
    with pytest.raises(HistoryMissing, match="volume of NASDAQ was not materialized"):
        served(online)
    with pytest.raises(ContractBroken, match="ask for features and symbols"):
        online.get_online_features(BARS, [], now=AT)


def test_materializing_again_changes_nothing_and_an_older_one_never_replaces_a_newer(
    online, market
):
    online.materialize(market, BARS, NAMES, at=AT, windows={BARS[0]: 5})
    before, window = served(online), online.window(BARS[0], NAMES, length=5, at=AT)
    online.materialize(market, BARS, NAMES, at=AT, windows={BARS[0]: 5})
    older = online.materialize(market, BARS, NAMES, at=EARLIER, windows={BARS[0]: 5})
    assert (older.written, older.kept) == (0, 6)
    assert served(online).packed.tobytes() == before.packed.tobytes()
    assert online.window(BARS[0], NAMES, length=5, at=AT).tobytes() == window.tobytes()


def test_the_seal_holds_and_then_nothing_is_written(online, market_lake):
    with pytest.raises(HoldoutSealed):
        online.materialize(market_lake.reader(sealed_from=AT), BARS, NAMES, at=AT)
    assert online.symbols() == ()


@pytest.mark.parametrize(
    ("features", "symbols", "windows"),
    [
        ([], NAMES, {}),
        (BARS, [], {}),
        (BARS * 2, NAMES, {}),
        (BARS, ["SP500", "SP500"], {}),
        (BARS[:1], NAMES, {BARS[1]: 5}),
        (BARS, NAMES, {BARS[0]: 0}),
    ],
)
def test_a_materialization_that_cannot_be_meant_is_refused(
    online, market, features, symbols, windows
):
    with pytest.raises(ContractBroken):
        online.materialize(market, features, symbols, at=AT, windows=windows)
    assert online.features() == ()


def test_a_window_is_the_lakes_to_the_bit_or_an_error(online, market):
    online.materialize(market, BARS, NAMES, at=AT, windows={BARS[0]: 60})
    for length in (1, 21, 60):
        truth = market.window(BARS[0], NAMES, length=length, at=AT)
        assert online.window(BARS[0], NAMES, length=length, at=AT).tobytes() == truth.tobytes()
    sunday = AT + timedelta(days=2)  # nothing new is due yet
    truth = market.window(BARS[0], NAMES, length=60, at=sunday)
    assert online.window(BARS[0], NAMES, length=60, at=sunday).tobytes() == truth.tobytes()
    with pytest.raises(FeatureStale, match=r"2018-07-02.*push it"):
        online.window(BARS[0], NAMES, length=60, at=AT + timedelta(days=3))
    with pytest.raises(HistoryMissing, match="ask the lake about the past"):
        online.window(BARS[0], NAMES, length=60, at=EARLIER)
    with pytest.raises(HistoryMissing, match=r"a window of 60 bars of NASDAQ is online, .* 61"):
        online.window(BARS[0], NAMES, length=61, at=AT)
    with pytest.raises(HistoryMissing, match=r"no window .* materialize with windows="):
        online.window(BARS[1], NAMES, length=2, at=AT)


def test_a_decision_gathers_the_same_bits_online_as_from_the_lake(online, market):
    inputs = {
        "closes": Window(feature=BARS[0], length=60),
        "volume": Latest(feature=BARS[1]),
        "current": CurrentWeights(),
    }
    online.materialize(market, BARS, NAMES, at=AT, windows={BARS[0]: 60, BARS[1]: 1})
    held = np.array([0.5, 0.25])
    live = gather(online, inputs, NAMES, at=AT, current=held)
    lake = gather(market, inputs, NAMES, at=AT, current=held)
    assert {name: each.tobytes() for name, each in live.items()} == {
        name: each.tobytes() for name, each in lake.items()
    }


def test_a_computed_feature_is_served_with_its_inputs_age_and_the_lakes_bits(online, market):
    names = ["momentum(us_index_bars.close, lookback=60, skip=5)", "sma(us_index_bars.close)"]
    online.materialize(market, names, NAMES, at=AT, windows={names[1]: 5})
    got = online.get_online_features(names, NAMES, now=AT)
    for j, name in enumerate(names):
        truth = market.latest(name, NAMES, at=AT)
        assert got.values[:, j].tobytes() == truth.values.tobytes()
        assert got.event_times[:, j].tolist() == [micros(t) for t in truth.event_times]
    truth = market.window(names[1], NAMES, length=5, at=AT)
    assert online.window(names[1], NAMES, length=5, at=AT).tobytes() == truth.tobytes()
    with pytest.raises(FeatureStale, match="momentum"):
        online.get_online_features(names, NAMES, now=AT + timedelta(days=9))


def test_a_new_definition_of_a_view_is_another_column_until_every_symbol_is_materialized(
    online, tmp_path
):
    store = FeatureStore(Lake(str(tmp_path / "lake")))
    view = FeatureView(
        name="rates",
        entity="symbol",
        fields=(Field(name="level", unit="percent"),),
        freshness=timedelta(days=5),
        owner="tests",
        description="first wording",
        source="made up",
    )
    rows = pl.DataFrame(
        {"entity": ["A", "B"], "event_time": [AT, AT], "known_at": [AT, AT], "level": [1.0, 2.0]}
    )
    store.apply(view)
    store.ingest("rates", rows)
    online.materialize(store.reader(store.snapshot()), ["rates.level"], ["A", "B"], at=AT)
    other = FeatureView(
        **{name: getattr(view, name) for name in view.__dataclass_fields__}
        | {"description": "second wording"}
    )
    store.apply(other)
    online.materialize(store.reader(store.snapshot()), ["rates.level"], ["A"], at=AT)
    got = online.get_online_features(["rates.level"], ["A"], now=AT)
    assert (got.values.tolist(), got.versions) == ([[1.0]], (other.version_hash,))
    with pytest.raises(HistoryMissing, match="of B was not materialized"):
        online.get_online_features(["rates.level"], ["B"], now=AT)


def test_a_feature_of_one_entity_is_online_for_every_symbol(online, market):
    broad = "us_index_bars.close[SP500]"
    online.materialize(market, ["us_equities.close", broad], ["AAPL", "MSFT"], at=AT)
    got = online.get_online_features([broad], ["AAPL", "MSFT"], now=AT)
    truth = market.latest("us_index_bars.close", ["SP500"], at=AT).values[0]
    assert got.values.tolist() == [[truth], [truth]]
