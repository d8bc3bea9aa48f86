"""A value is a function of its window: history, a tail, chunks and threads give the same bits."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.audit import audit_reads
from featurestore.errors import HistoryMissing
from featurestore.features import library as f
from featurestore.features.declaration import Feature
from featurestore.features.evaluate import evaluate
from featurestore.lake import Lake
from featurestore.sources.embedded import (
    CORE_CPI,
    US_EQUITIES,
    US_INDEX,
    US_INDEX_BARS,
    VIX,
    WTI,
    embedded_frame,
)
from featurestore.store import FeatureStore
from featurestore.times import micros
from featurestore.universes import US_LARGE_CAPS
from runtime.bundles.inputs import Latest, gather
from tests.featurestore.series import CLOSE, INDEX, SESSIONS, SYMBOLS, XNYS

B = "us_index_bars"
EQUITY = [
    f.simple_return(CLOSE),
    f.log_return(CLOSE, bars=3),
    f.momentum(CLOSE),
    f.volatility(CLOSE),
    f.ewma_volatility(CLOSE, halflife=10),
    f.sma(CLOSE),
    f.ema(CLOSE),
    f.macd(CLOSE),
    f.macd_histogram(CLOSE),
    f.rsi(CLOSE),
    f.zscore(CLOSE),
    f.drawdown(CLOSE),
    f.deepest_drawdown(CLOSE),
    f.seasonality(CLOSE, years=2),
    f.beta(CLOSE, INDEX),
    f.residual(CLOSE, INDEX),
    f.residual_volatility(CLOSE, INDEX, lag=2),
    f.correlation(CLOSE, INDEX),
    f.exposure(CLOSE, INDEX, "vix.close[VIX]", bars=200, lag=1),
    f.exposure(CLOSE, INDEX, "wti.price[WTI]", bars=200, lag=9),
    f.rank(f.momentum(CLOSE, lookback=63, skip=0)),
    f.cross_zscore(f.volatility(CLOSE, bars=21)),
    f.zscore(f.rsi(CLOSE, period=5), bars=20),
    f.rank(f.zscore(f.drawdown(CLOSE, bars=30), bars=10)),
    f.surprise("core_cpi.level[CORE_CPI]"),
    f.growth("core_cpi.level[CORE_CPI]"),
]
BARS = [
    f.parkinson(f"{B}.high", f"{B}.low"),
    f.garman_klass(f"{B}.open", f"{B}.high", f"{B}.low", f"{B}.close"),
    f.atr(f"{B}.high", f"{B}.low", f"{B}.close"),
    f.amihud(f"{B}.close", f"{B}.volume", bars=20),
    f.traded_value(f"{B}.close", f"{B}.volume"),
    f.turnover(f"{B}.volume", f"{B}.volume[SP500]"),
]
ALL = [(each, SYMBOLS) for each in EQUITY] + [(each, ("NASDAQ", "SP500")) for each in BARS]


@pytest.fixture(scope="module")
def bulk(market):
    """Every feature at every session of a stretch, computed together."""
    at = [session.close for session in SESSIONS]
    return {
        feature.name: evaluate(market, feature, symbols, at=at, on_missing="null").values
        for feature, symbols in ALL
    }


@settings(max_examples=12)
@given(data=st.data())
def test_one_instant_alone_has_the_bits_of_the_whole_history(market, bulk, data):
    feature, symbols = data.draw(st.sampled_from(ALL), label="feature")
    row = data.draw(st.integers(0, len(SESSIONS) - 1), label="session")
    expected = bulk[feature.name][row]
    if np.isnan(expected).any():
        return
    alone = market.window(feature.name, symbols, length=1, at=SESSIONS[row].close)[:, 0]
    assert alone.tobytes() == expected.tobytes()


@settings(max_examples=12)
@given(data=st.data())
def test_one_symbol_alone_has_the_bits_it_has_among_others(market, bulk, data):
    lone = [each for each in ALL if "rank" not in each[0].name and "cross" not in each[0].name]
    feature, symbols = data.draw(st.sampled_from(lone), label="feature")
    row = data.draw(st.integers(0, len(SESSIONS) - 1), label="session")
    some = data.draw(st.lists(st.sampled_from(symbols), min_size=1, unique=True), label="symbols")
    expected = bulk[feature.name][row][[symbols.index(symbol) for symbol in some]]
    if np.isnan(expected).any():
        return
    alone = market.window(feature.name, some, length=1, at=SESSIONS[row].close)[:, 0]
    assert alone.tobytes() == expected.tobytes()


@pytest.mark.parametrize("cells", [1, 50_000])
def test_chunks_change_no_bit(market, bulk, cells):
    at = [session.close for session in SESSIONS[::40]]
    for feature, symbols in ALL:
        found = evaluate(market, feature, symbols, at=at, on_missing="null", cells=cells).values
        assert found.tobytes() == bulk[feature.name][::40].tobytes(), feature.name


def test_threads_change_no_bit(market, bulk):
    features = [each for each in ALL if each[0].required < 300]

    def one(pair):
        return evaluate(market, *pair, at=[SESSIONS[-1].close], on_missing="null").values

    with ThreadPoolExecutor(4) as pool:
        for (feature, _), found in zip(features, pool.map(one, features), strict=True):
            assert found.tobytes() == bulk[feature.name][-1:].tobytes(), feature.name


def test_the_audit_finds_no_leak_in_any_formula(market, bulk):
    for feature, symbols in ALL:

        def served(reader, at, name=feature.name, symbols=symbols):
            return {name: reader.window(name, symbols, length=1, at=at)[:, 0]}

        whole = np.flatnonzero(~np.isnan(bulk[feature.name]).any(axis=1))
        times = [SESSIONS[row].close for row in whole[[0, whole.size // 2, -1]]]
        report = audit_reads(feature.name, served, market, times, symbols)
        assert report.clean, report
        assert report.checked > 0


def tail_reader(folder, market, feature: Feature, symbols, at: datetime, spare: int = 0):
    """A lake that holds nothing but the bars one value is a function of."""
    views = (US_EQUITIES, US_INDEX, US_INDEX_BARS, VIX, WTI, CORE_CPI)
    held = {view.name: view for view in views}
    store = FeatureStore(Lake(str(folder)))
    daily = any(held[source.view].calendar is not None for source in feature.sources)
    count = feature.required + spare
    due = XNYS.sessions(at.date() - timedelta(days=3 * count + 30), at.date())
    closes = [session.close for session in due if session.close <= at][-count:]
    for source in feature.sources:
        view = held[source.view]
        rows = embedded_frame(view).filter(pl.col("known_at") <= at)
        if view.calendar is not None:
            rows = rows.filter(pl.col("event_time").is_in(closes))
        elif daily:  # as-of reads look up to two weeks back for a figure
            rows = rows.filter(pl.col("event_time") > closes[0] - timedelta(days=14))
        else:
            rows = rows.sort("event_time").tail(count)
        if view.name not in {each.name for each in store.views()}:
            store.apply(view)
            store.ingest(view.name, rows)
    return store.reader(store.snapshot())


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_live_tail_of_exactly_the_required_bars_has_the_bits_of_history(
    market, bulk, tmp_path_factory, data
):
    feature, symbols = data.draw(st.sampled_from(ALL), label="feature")
    row = data.draw(st.integers(0, len(SESSIONS) - 1), label="session")
    at = SESSIONS[row].close
    expected = bulk[feature.name][row]
    if np.isnan(expected).any():
        return
    tail = tail_reader(tmp_path_factory.mktemp("tail") / "lake", market, feature, symbols, at)
    assert tail.window(feature.name, symbols, length=1, at=at).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("feature", "symbols"),
    [(EQUITY[2], SYMBOLS), (EQUITY[14], SYMBOLS), (EQUITY[20], SYMBOLS), (EQUITY[-1], ("KO",))],
    ids=lambda each: each.kind.name if isinstance(each, Feature) else "",
)
def test_one_bar_less_is_refused_with_what_is_needed(market, tmp_path, feature, symbols):
    at = SESSIONS[300].close
    short = tail_reader(tmp_path / "lake", market, feature, symbols, at, spare=-1)
    with pytest.raises(HistoryMissing, match=rf"needs {feature.required} .*decide later or short"):
        short.window(feature.name, symbols, length=1, at=at)


def test_a_window_of_a_feature_is_its_values_on_the_last_bars(market, bulk):
    feature = f.momentum(CLOSE)
    at = SESSIONS[100].close
    found = market.window(feature.name, SYMBOLS, length=5, at=at)
    assert np.ascontiguousarray(found.T).tobytes() == bulk[feature.name][96:101].tobytes()
    many = market.windows(feature.name, SYMBOLS, length=5, at=[at, SESSIONS[90].close])
    assert many[0].tobytes() == found.tobytes()


def test_the_runtime_gathers_a_feature_as_any_other_input(market, bulk):
    feature = f.rank(f.momentum(CLOSE, lookback=63, skip=0))
    inputs = {"strength": Latest(feature=feature.name)}
    seen = gather(market, inputs, SYMBOLS, at=SESSIONS[7].close, current=np.zeros(20))
    assert seen["strength"].shape == (20,)
    assert seen["strength"].tobytes() == bulk[feature.name][7].tobytes()


def test_a_historical_read_takes_features_beside_fields(market, bulk):
    momentum, surprise = f.momentum(CLOSE), f.surprise("core_cpi.level[CORE_CPI]")
    start, end = SESSIONS[0].day, SESSIONS[40].day
    wanted = [CLOSE, momentum, surprise.name]
    listed = market.get_historical_features(wanted, symbols=SYMBOLS[::-1], start=start, end=end)
    assert listed.reasons == (US_LARGE_CAPS.hindsight(SESSIONS[0].close),)
    frame = listed.frame
    found = market.get_historical_features(wanted, spine=frame.select("entity", "at"))
    assert found.frame.equals(frame)
    assert found.is_pit_validated
    assert found.reasons == ()
    assert frame.height == 41 * 20
    assert (frame[f"{momentum.name}.known_at"] == frame["at"]).all()
    assert (frame[f"{surprise.name}.known_at"] < frame["at"]).all()
    wide = frame.pivot(on="entity", index="at", values=momentum.name).sort("at")
    assert np.ascontiguousarray(wide.select(SYMBOLS).to_numpy()).tobytes() == (
        bulk[momentum.name][:41].tobytes()
    )


REVISED = st.lists(
    st.tuples(
        st.sampled_from("AB"), st.integers(0, 29), st.integers(0, 40), st.floats(50, 150)
    ),
    max_size=25,
    unique_by=lambda each: each[:2],
)  # fmt: skip


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(revised=REVISED, late=st.lists(st.integers(0, 29), max_size=3, unique=True))
def test_revised_and_late_bars_are_read_alike_for_many_instants_and_for_one(
    tmp_path_factory, revised, late
):
    days = XNYS.sessions(date(2020, 1, 2), date(2020, 4, 30))
    known = {i: days[i + 3].close if i in late else days[i].close for i in range(30)}
    first = {(name, i): (known[i], 100.0 + i) for name in "AB" for i in range(30)}
    rows = [(name, i, 0, *first[name, i]) for name, i in first]
    rows += [
        (name, i, 1, max(days[i + wait].close + timedelta(minutes=1), known[i]), value)
        for name, i, wait, value in revised
    ]
    store = FeatureStore(Lake(str(tmp_path_factory.mktemp("revised") / "lake")))
    store.apply(US_EQUITIES)
    store.ingest(
        "us_equities",
        pl.DataFrame(
            [
                {"entity": n, "event_time": days[i].close, "known_at": k, "revision": r, "close": v}
                for n, i, r, k, v in rows
            ]
        ),
    )
    reader, feature = store.reader(store.snapshot()), f.sma(CLOSE, bars=5)
    at = [session.close for session in days[4:30]]
    found = evaluate(reader, feature, ["B", "A"], at=at, on_missing="null")
    for d, instant in enumerate(at):
        for i, name in enumerate("BA"):
            seen = [
                [r for r in rows if r[:2] == (name, d + k) and r[3] <= instant] for k in range(5)
            ]
            if not all(seen):
                assert np.isnan(found.values[d, i])
                continue
            bars = [max(each, key=lambda row: row[2]) for each in seen]
            assert found.values[d, i] == pytest.approx(sum(bar[4] for bar in bars) / 5, rel=1e-14)
            assert found.known[d, i] == micros(max(bar[3] for bar in bars))
            alone = reader.window(feature.name, [name], length=1, at=instant)[0, 0]
            assert alone == found.values[d, i]
