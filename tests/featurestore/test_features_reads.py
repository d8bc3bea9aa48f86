"""What reading a feature refuses, what it leaves out, and what it tells of each value."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from featurestore.errors import ContractBroken, FeatureUndefined, HistoryMissing, HoldoutSealed
from featurestore.features import library as f
from featurestore.lake import Lake
from featurestore.sources.embedded import US_EQUITIES
from featurestore.store import FeatureStore
from tests.featurestore.series import CLOSE, INDEX, SESSIONS, SYMBOLS, XNYS


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
