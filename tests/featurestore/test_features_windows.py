"""A value is a function of its window: history, a tail, chunks and threads give the same bits."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.audit import audit_reads
from featurestore.calendars import load_calendar
from featurestore.errors import ContractBroken, FeatureUndefined, HistoryMissing, HoldoutSealed
from featurestore.features import library as f
from featurestore.features.declaration import Feature, Windows
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

CLOSE = "us_equities.close"
INDEX = "us_index.close[SP500]"
B = "us_index_bars"
SYMBOLS = US_LARGE_CAPS.symbols
XNYS = load_calendar("XNYS")
SESSIONS = XNYS.sessions(date(2015, 6, 1), date(2018, 11, 30))

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
PLAIN_TAIL = [(feature, symbols) for feature, symbols in ALL if feature.kind.reads == "now"]


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


def test_a_spine_in_any_order_ranks_each_instant_among_its_own_symbols(market):
    rank = f.rank(f.simple_return(CLOSE))
    spine = pl.DataFrame(
        {
            "entity": ["XOM", "KO", "AAPL", "KO", "XOM", "KO"],
            "at": [SESSIONS[i].close for i in (9, 9, 5, 5, 5, 9)],
            "note": list("abcdef"),
        }
    )
    frame = market.get_historical_features([rank], spine=spine).frame
    assert frame["note"].to_list() == list("abcdef")
    for day, symbols in ((9, ["XOM", "KO"]), (5, ["AAPL", "KO", "XOM"])):
        wanted = market.window(rank.name, symbols, length=1, at=SESSIONS[day].close)[:, 0]
        rows = frame.filter(pl.col("at") == SESSIONS[day].close)
        for symbol, value in zip(symbols, wanted, strict=True):
            assert set(rows.filter(pl.col("entity") == symbol)[rank.name]) == {value}


def test_missing_values_are_refused_or_null_as_asked(market):
    feature = f.volatility(CLOSE)
    ask = {"symbols": ["KO"], "start": date(1990, 3, 1), "end": date(1990, 5, 31)}
    with pytest.raises(HistoryMissing, match=r"needs 64 bars .*first possible at 1990-04-02"):
        market.get_historical_features([feature], **ask)
    frame = market.get_historical_features([feature], **ask, missing="null").frame
    empty = frame[feature.name].is_null()
    assert (empty == (frame["at"] < datetime(1990, 4, 2, tzinfo=UTC))).all()
    assert frame[f"{feature.name}.known_at"].is_null().equals(empty)


def test_another_wish_about_missing_values_is_refused(market):
    ask = {"symbols": ["KO"], "start": date(2016, 3, 1), "end": date(2016, 3, 4)}
    with pytest.raises(ContractBroken, match='"refuse" or "null", not \'drop\''):
        market.get_historical_features([f.sma(CLOSE)], **ask, missing="drop")


def test_an_empty_spine_gives_an_empty_answer(market):
    spine = pl.DataFrame(schema={"entity": pl.String(), "at": pl.Datetime("us", "UTC")})
    found = market.get_historical_features([CLOSE, f.sma(CLOSE)], spine=spine)
    assert found.frame.is_empty()
    assert f.sma(CLOSE).name in found.frame.columns


def test_an_undefined_value_is_refused_in_words_or_null(tmp_path):
    store = FeatureStore(Lake(str(tmp_path / "lake")))
    days = XNYS.sessions(date(2020, 1, 2), date(2020, 1, 31))
    rows = {"entity": ["FLAT"] * len(days), "event_time": [s.close for s in days]}
    store.apply(US_EQUITIES)
    store.ingest(
        "us_equities", pl.DataFrame({**rows, "known_at": rows["event_time"], "close": 5.0})
    )
    reader, at = store.reader(store.snapshot()), days[-1].close
    with pytest.raises(FeatureUndefined, match=r"zscore\(.*of FLAT at 2020-01-31.* is nan"):
        reader.window(f.zscore(CLOSE, bars=5).name, ["FLAT"], length=1, at=at)
    assert reader.window(f.rsi(CLOSE, period=1).name, ["FLAT"], length=1, at=at)[0, 0] == 50.0
    spine = pl.DataFrame({"entity": ["FLAT"], "at": [at]})
    found = reader.get_historical_features(
        [f.zscore(CLOSE, bars=5)], spine=spine, missing="null"
    ).frame
    assert found[f.zscore(CLOSE, bars=5).name].null_count() == 1


def test_a_figure_that_cannot_be_out_yet_is_not_replaced_by_an_older_one(market):
    late = f.exposure(CLOSE, INDEX, "wti.price[WTI]", bars=100, lag=3)
    with pytest.raises(HistoryMissing, match=r"wti\.price\[WTI\].*larger lag"):
        market.window(late.name, SYMBOLS, length=1, at=SESSIONS[50].close)
    same_day = f.exposure(CLOSE, INDEX, "vix.close[VIX]", bars=100)
    with pytest.raises(HistoryMissing, match=r"vix\.close\[VIX\] of VIX about 2015-08-11"):
        market.window(same_day.name, SYMBOLS, length=1, at=SESSIONS[50].close)


def test_a_feature_ends_at_the_seal_and_with_the_truncated_world(market_lake, market):
    feature, at = f.momentum(CLOSE).name, SESSIONS[200].close
    sealed = market_lake.reader(sealed_from=at)
    with pytest.raises(HoldoutSealed):
        sealed.window(feature, SYMBOLS, length=1, at=at)
    cut = market.truncated(at)
    full = market.window(feature, SYMBOLS, length=3, at=at)
    assert cut.window(feature, SYMBOLS, length=3, at=at).tobytes() == full.tobytes()
    with pytest.raises(HistoryMissing, match="history ends 2016-03-16"):
        cut.window(feature, SYMBOLS, length=1, at=SESSIONS[201].close)


def test_the_newest_value_tells_its_bar_and_when_it_became_known(market):
    at = datetime(2016, 12, 31, 12, tzinfo=UTC)
    momentum = market.latest(f.momentum(CLOSE).name, ["KO", "XOM"], at=at)
    assert momentum.event_times == momentum.known_at == [datetime(2016, 12, 30, 21, tzinfo=UTC)] * 2
    surprise = market.latest(f.surprise("core_cpi.level[CORE_CPI]").name, ["KO"], at=at)
    assert surprise.event_times == [datetime(2016, 11, 1, tzinfo=UTC)]
    assert surprise.known_at == [datetime(2016, 12, 21, tzinfo=UTC)]
    index = market.latest(INDEX, ["KO", "XOM"], at=at)
    assert (
        index.values[0]
        == index.values[1]
        == market.latest("us_index.close", ["SP500"], at=at).values[0]
    )


def test_symbols_must_be_distinct_known_and_some(market):
    feature, at = f.momentum(CLOSE).name, SESSIONS[0].close
    for symbols in ([], ["KO", "KO"]):
        with pytest.raises(ContractBroken, match="symbols must be distinct and not empty"):
            market.window(feature, symbols, length=1, at=at)
    with pytest.raises(HistoryMissing, match="no observation of GONE"):
        market.window(feature, ["GONE"], length=1, at=at)


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


def library_on_seeded_walks():
    """Every formula with its defaults on fixed random walks: the first symbol's value."""
    random = np.random.default_rng(5)
    sessions = XNYS.sessions(date(2000, 1, 3), date(2006, 12, 29))
    closes = np.array([micros(session.close) for session in sessions])
    seen = {}
    for name in sorted(f.LIBRARY):
        kind = f.LIBRARY[name]
        feature = kind(*[CLOSE] * len(kind.inputs))
        steps = random.normal(0, 0.01, (len(kind.inputs), 1, 3, feature.length))
        walks = 100 * np.exp(np.cumsum(steps, axis=3))
        if "high" in kind.inputs:  # bars: the other prices lie between high and low
            walks = np.sort(walks, axis=0)
            middle = [name for name in kind.inputs if name not in ("high", "low")]
            order = {name: place for place, name in enumerate(("low", *middle, "high"))}
            walks = walks[[order[name] for name in kind.inputs]]
        x = Windows(
            values=tuple(walks),
            closes=closes[None, -feature.length :],
        )
        seen[name, kind.edition] = float(kind.formula(x, **feature.given)[0, 0])
    return seen


def test_no_formula_changes_without_a_new_edition():
    """Where this fails on purpose: raise the edition of the formula, then pin its new value."""
    seen = library_on_seeded_walks()
    assert set(seen) == set(PINNED)
    for key, value in seen.items():
        assert value == pytest.approx(PINNED[key], rel=1e-12), key


PINNED = {
    ("amihud", 1): 0.8809605461794227,
    ("atr", 1): 17.842513346715343,
    ("beta", 1): 0.11115041638620325,
    ("correlation", 1): -0.009021015584969276,
    ("cross_zscore", 1): -0.6308888607908998,
    ("deepest_drawdown", 1): -0.15012805015258912,
    ("drawdown", 1): -0.07108216584080251,
    ("ema", 1): 123.12732278578409,
    ("ewma_volatility", 1): 0.17747743148566145,
    ("exposure", 1): -0.0030460975024742,
    ("garman_klass", 1): 1.9007607653496352,
    ("growth", 1): -0.003765470182905739,
    ("log_return", 1): -0.014349414324337055,
    ("macd", 1): 0.04486164031142903,
    ("macd_histogram", 1): -0.12590424298676803,
    ("momentum", 1): -0.10922618182500965,
    ("parkinson", 1): 0.7168493396741238,
    ("rank", 1): 0.0,
    ("residual", 1): 0.013475331576420585,
    ("residual_volatility", 1): 0.17001877515124575,
    ("rsi", 1): 68.81942205458826,
    ("seasonality", 1): 0.0011937574985987798,
    ("simple_return", 1): -0.014620433469205163,
    ("sma", 1): 99.65609750279256,
    ("surprise", 1): -0.2553633931655192,
    ("term_spread", 1): -0.6082168694505299,
    ("traded_value", 1): 9758.76325746891,
    ("turnover", 1): 1.0238539263543358,
    ("volatility", 1): 0.17582619080531633,
    ("zscore", 1): -1.6077173115099443,
}


@pytest.mark.parametrize(
    ("feature", "symbols"),
    [
        (f.rank(f.volatility(CLOSE)).name, ["KO", "AAPL", "XOM"]),
        (f.beta(CLOSE, INDEX).name, ["KO", "XOM"]),
        (f.growth("core_cpi.level").name, ["CORE_CPI"]),
        ("core_cpi.level[CORE_CPI]", ["KO", "XOM"]),
    ],
)
def test_the_history_of_a_feature_is_what_each_bar_gave_when_it_was_due(market, feature, symbols):
    first, last = date(2015, 6, 1), date(2015, 12, 31)
    told = market.history(feature, symbols, first, last)
    assert told.columns == ["symbol", "event_time", "known_at", feature]
    assert set(told["symbol"]) == set(symbols)
    assert first <= told["event_time"].min().date() <= told["event_time"].max().date() <= last
    assert told.equals(told.sort("symbol", "event_time").unique(maintain_order=True))
    for symbol, event, known, value in told.sample(min(12, told.height), seed=1).iter_rows():
        due = max(known, event)
        latest = market.latest(feature, symbols, at=due)
        at = symbols.index(symbol)
        if latest.event_times[at] == event:
            assert (latest.values[at], latest.known_at[at]) == (value, known)
        else:  # due only later than known
            daily = market.windows(feature, symbols, length=1, at=[event + timedelta(minutes=5)])
            assert daily[0, at, 0] == value
    if feature.startswith("rank"):
        assert told.height == len(symbols) * len(XNYS.sessions(first, last))


def test_a_history_leaves_out_what_its_window_does_not_allow_and_keeps_the_seal(market_lake):
    feature = f.momentum(CLOSE, lookback=20, skip=0).name
    market = market_lake.reader(sealed_from=datetime(2017, 1, 3, tzinfo=UTC))
    begins = market.history(CLOSE, ["KO"], date(1980, 1, 1), date(2016, 12, 30))["event_time"]
    told = market.history(feature, ["KO"], date(1980, 1, 1), date(2016, 12, 30))["event_time"]
    assert told.to_list() == begins.sort()[20:].to_list()
    with pytest.raises(HoldoutSealed):
        market.history(feature, ["KO"], date(2016, 1, 4), date(2017, 1, 3))
