"""The reader answers by knowledge time, holds no sealed row, and travels to a worker."""

import gc
import multiprocessing
import pickle
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from featurestore.errors import (
    ContractBroken,
    HistoryMissing,
    HoldoutSealed,
    SnapshotUnknown,
    ViewUnknown,
)
from featurestore.lake import Lake
from featurestore.reader import open_reader
from featurestore.snapshots import Snapshot
from featurestore.sources.embedded import US_EQUITIES
from featurestore.universes import US_LARGE_CAPS
from runtime.bundles.inputs import CurrentWeights, Latest, PointInTime, Window, gather

CLOSE = "us_equities.close"
SEAL = datetime(2017, 1, 3, tzinfo=UTC)
LAST_OPEN = datetime(2016, 12, 30, 21, tzinfo=UTC)


@pytest.fixture(scope="module")
def sealed(market_lake):
    return market_lake.reader(sealed_from=SEAL)


def test_the_runtime_gathers_its_inputs_from_a_reader(market):
    reader: PointInTime = market
    symbols = US_LARGE_CAPS.symbols
    inputs = {
        "prices": Window(feature=CLOSE, length=253),
        "last": Latest(feature=CLOSE),
        "held": CurrentWeights(),
    }
    found = gather(reader, inputs, symbols, at=LAST_OPEN, current=np.zeros(20))
    assert found["prices"].shape == (20, 253)
    assert found["prices"].flags.c_contiguous
    np.testing.assert_array_equal(found["prices"][:, -1], found["last"])


def test_rows_come_in_the_order_of_the_symbols_asked_for(market):
    forth = market.window(CLOSE, ["XOM", "AAPL"], length=5, at=LAST_OPEN)
    back = market.window(CLOSE, ["AAPL", "XOM"], length=5, at=LAST_OPEN)
    np.testing.assert_array_equal(forth[::-1], back)
    assert forth[1, -1] == market.latest(CLOSE, ["AAPL"], at=LAST_OPEN).values[0]


def test_what_a_reader_returns_is_the_callers_own(market):
    first = market.window(CLOSE, ["AAPL"], length=5, at=LAST_OPEN)
    kept = first.copy()
    first[:] = 0.0
    np.testing.assert_array_equal(market.window(CLOSE, ["AAPL"], length=5, at=LAST_OPEN), kept)


def test_nothing_of_the_holdout_is_answered(sealed):
    assert sealed.sealed_from == SEAL
    assert sealed.window(CLOSE, ["AAPL"], length=3, at=SEAL - timedelta(seconds=1)).shape == (1, 3)
    reads = (
        lambda at: sealed.window(CLOSE, ["AAPL"], length=3, at=at),
        lambda at: sealed.windows(CLOSE, ["AAPL"], length=3, at=[LAST_OPEN, at]),
        lambda at: sealed.latest(CLOSE, ["AAPL"], at=at),
        lambda at: sealed.history(CLOSE, ["AAPL"], date(2016, 1, 1), at.date()),
        lambda at: sealed.get_historical_features(
            [CLOSE], spine=pl.DataFrame({"entity": ["AAPL"], "at": [at]})
        ),
        lambda at: sealed.get_historical_features(
            [CLOSE], symbols=["AAPL"], start=date(2016, 12, 1), end=date(2017, 1, 3)
        ),
    )
    for read in reads:
        for at in (SEAL, datetime(2020, 3, 16, 20, tzinfo=UTC)):
            with pytest.raises(HoldoutSealed, match=r"sealed from 2017-01-03T00:00:00\+00:00"):
                read(at)


def test_a_sealed_reader_holds_no_sealed_row_in_memory(market_lake, market):
    prices = market.history(CLOSE, ["AAPL"], date(2017, 1, 3), date(2022, 12, 28))["close"]
    reader = market_lake.reader(sealed_from=SEAL, views=["us_equities"])
    reader.window(CLOSE, ["AAPL"], length=3, at=LAST_OPEN)
    grid = reader._tables["us_equities"]
    assert grid.known[grid.known != np.iinfo(np.int64).max].max() < SEAL.timestamp() * 1e6
    assert grid.days[grid.known.shape[1] - 1] == date(2016, 12, 30)
    assert grid.values["close"].base is None
    row = grid.values["close"][grid.rows["AAPL"]]
    assert row[-1] != prices[-1]
    assert row.size == 6805  # sessions of 1990 to 2016
    del reader, grid
    gc.collect()


def test_views_that_were_not_asked_for_cannot_be_read(market_lake):
    reader = market_lake.reader(views=["us_equities"])
    with pytest.raises(
        ViewUnknown, match="no feature view 'vix' in this snapshot; there are: us_eq"
    ):
        reader.window("vix.close", ["VIX"], length=1, at=LAST_OPEN)
    with pytest.raises(ViewUnknown, match="no view 'bonds'; there are: core_cpi, us_equities"):
        market_lake.reader(views=["bonds"])


def test_a_truncated_reader_forgets_what_came_later(market, market_lake):
    at = datetime(2008, 10, 10, 20, tzinfo=UTC)
    cut = market.truncated(at)
    symbols = US_LARGE_CAPS.symbols
    whole = market.window(CLOSE, symbols, length=253, at=at)
    assert cut.window(CLOSE, symbols, length=253, at=at).tobytes() == whole.tobytes()
    with pytest.raises(
        HistoryMissing, match=r"session 2008-10-13 is due .* is 1990-01-02 to 2008-10"
    ):
        cut.window(CLOSE, symbols, length=2, at=at + timedelta(days=3))
    assert cut.latest(CLOSE, ["KO"], at=at + timedelta(days=900)).event_times == [at]
    assert cut.history(CLOSE, ["KO"], date(2008, 10, 9), date(2009, 1, 1)).height == 2
    fresh = market_lake.reader().truncated(at)
    assert fresh.window(CLOSE, symbols, length=253, at=at).tobytes() == whole.tobytes()
    assert cut.truncated(at + timedelta(days=9)).source.truncated_at == at
    assert not np.shares_memory(
        cut._tables["us_equities"].values["close"], market._tables["us_equities"].values["close"]
    )


MESSAGES = {
    "unknown symbol": (
        {"symbols": ["AAPL", "TSLA"]},
        HistoryMissing,
        r"us_equities\.close: no observation of TSLA is held; the view knows AAPL, AMD",
    ),
    "too short": (
        {"at": datetime(1990, 2, 28, 21, tzinfo=UTC)},
        HistoryMissing,
        r"window of 253 bars at 1990-02-28T21:00:00\+00:00 starts 212 sessions before the history, "
        r"which is 1990-01-02 to 2022-12-28",
    ),
    "before everything": (
        {"at": datetime(1980, 1, 1, tzinfo=UTC)},
        HistoryMissing,
        "sessions before",
    ),
    "after the end": (
        {"at": datetime(2022, 12, 29, 21, tzinfo=UTC)},
        HistoryMissing,
        r"bar of session 2022-12-29 is due .* the history is 1990-01-02 to 2022-12-28; ingest",
    ),
    "unknown field": (
        {"feature": "us_equities.open"},
        ViewUnknown,
        "no field 'open'; it has: close",
    ),
    "unknown view": (
        {"feature": "eu_equities.close"},
        ViewUnknown,
        "no feature view 'eu_equities'",
    ),
    "no dot": ({"feature": "close"}, ViewUnknown, "must be written view.field"),
    "naive time": ({"at": datetime(2016, 1, 4)}, ContractBroken, "carries no time zone; pass UTC"),
    "no symbols": ({"symbols": []}, ContractBroken, "distinct and not empty"),
    "a symbol twice": ({"symbols": ["KO", "KO"]}, ContractBroken, "distinct and not empty"),
}


@pytest.mark.parametrize("fault", MESSAGES)
def test_what_cannot_be_answered_is_said_in_one_sentence(market, fault):
    changes, error, message = MESSAGES[fault]
    asked = {"feature": CLOSE, "symbols": ["AAPL"], "at": LAST_OPEN, **changes}
    with pytest.raises(error, match=message):
        market.window(asked["feature"], asked["symbols"], length=253, at=asked["at"])


def test_a_hole_names_symbol_and_session(tmp_path, market_lake):
    rows = market_lake.store.lake.read("us_equities", version=0).filter(
        pl.col("entity").is_in(["KO", "PG"])
        & (pl.col("event_time").dt.year() == 2016)
        & ~((pl.col("entity") == "PG") & (pl.col("event_time").dt.date() == date(2016, 12, 27)))
    )
    store = type(market_lake.store)(Lake(str(tmp_path)))
    store.apply(US_EQUITIES)
    store.ingest("us_equities", rows.drop("year"))
    reader = store.reader(store.snapshot())
    assert reader.window(CLOSE, ["KO", "PG"], length=3, at=LAST_OPEN).shape == (2, 3)
    with pytest.raises(
        HistoryMissing,
        match=r"PG has no bar of session 2016-12-27 known at 2016-12-30T21:00:00\+00:00 "
        r"\(known then are 251 bars from 2016-01-04 to 2016-12-30\); ingest it",
    ):
        reader.window(CLOSE, ["KO", "PG"], length=4, at=LAST_OPEN)
    assert reader.window(CLOSE, ["KO"], length=4, at=LAST_OPEN).shape == (1, 4)


def test_latest_says_how_old_a_value_is_and_refuses_an_unborn_one(market):
    newest = market.latest("us_factor_etfs.close", ["MTUM"], at=datetime(2023, 6, 1, tzinfo=UTC))
    assert newest.event_times == [datetime(2022, 12, 28, 21, tzinfo=UTC)]
    assert newest.known_at == newest.event_times
    with pytest.raises(HistoryMissing, match="nothing of MTUM was known at 2013-06-01"):
        market.latest("us_factor_etfs.close", ["MTUM"], at=datetime(2013, 6, 1, tzinfo=UTC))


def _window_bytes(source):
    reader = open_reader(source)
    return reader.window(CLOSE, US_LARGE_CAPS.symbols, length=253, at=LAST_OPEN).tobytes()


def test_a_reader_travels_as_its_description_and_reads_the_same_bits_elsewhere(sealed):
    here = sealed.window(CLOSE, US_LARGE_CAPS.symbols, length=253, at=LAST_OPEN)
    packed = pickle.dumps(sealed)
    assert len(packed) < 2000
    again = pickle.loads(packed)
    assert again.sealed_from == SEAL
    assert again.window(CLOSE, US_LARGE_CAPS.symbols, length=253, at=LAST_OPEN).tobytes() == (
        here.tobytes()
    )
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_window_bytes, (sealed.source,)) == here.tobytes()


def test_a_snapshot_of_another_version_is_refused(market_lake):
    gone = Snapshot(versions={**market_lake.snapshot.versions, "us_equities": 5}, hash="")
    with pytest.raises(SnapshotUnknown, match="version 5 of table us_equities is not in the lake"):
        market_lake.store.reader(gone).window(CLOSE, ["KO"], length=1, at=LAST_OPEN)


def test_a_range_and_a_spine_give_the_same_answer(market):
    by_range = market.get_historical_features(
        [CLOSE, "core_cpi.level"],
        symbols=["KO", "PG"],
        start=date(2016, 12, 1),
        end=date(2016, 12, 9),
    )
    assert by_range.is_pit_validated
    assert by_range.snapshot_hash == market.snapshot.hash
    assert by_range.frame.height == 14
    spine = by_range.frame.select("entity", "at").reverse().with_columns(weight=pl.lit(1.0))
    by_spine = market.get_historical_features([CLOSE, "core_cpi.level"], spine=spine)
    assert by_spine.frame.drop("weight").reverse().equals(by_range.frame)
    expected = market.windows(
        CLOSE, ["KO", "PG"], length=1, at=by_range.frame["at"].head(7).to_list()
    )
    assert by_range.frame[CLOSE].to_list() == expected[:, :, 0].T.ravel().tolist()


SPINES = {
    "no at": (pl.DataFrame({"entity": ["KO"]}), "the spine lacks column at; it has entity"),
    "naive": (
        pl.DataFrame({"entity": ["KO"], "at": [datetime(2016, 1, 4)]}),
        "must be a time with zone",
    ),
    "a null": (
        pl.DataFrame({"entity": [None], "at": [LAST_OPEN]}, schema_overrides={"entity": pl.String}),
        "a row without entity or at",
    ),
}


@pytest.mark.parametrize("fault", SPINES)
def test_a_bad_spine_is_said_in_one_sentence(market, fault):
    spine, message = SPINES[fault]
    with pytest.raises(ContractBroken, match=message):
        market.get_historical_features([CLOSE], spine=spine)


def test_neither_or_both_of_spine_and_range_are_refused(market):
    with pytest.raises(ContractBroken, match="pass features, and a spine or symbols with start"):
        market.get_historical_features([CLOSE])
    with pytest.raises(ContractBroken, match="not both"):
        market.get_historical_features([CLOSE], spine=SPINES["naive"][0], symbols=["KO"])
    with pytest.raises(ContractBroken, match="0 sessions from 2016-12-24"):
        market.get_historical_features(
            [CLOSE], symbols=["KO"], start=date(2016, 12, 24), end=date(2016, 12, 25)
        )


def test_a_seal_or_cut_before_all_history_leaves_nothing_and_says_so(market_lake):
    early = datetime(1980, 1, 1, tzinfo=UTC)
    sealed = market_lake.reader(sealed_from=early)
    for view, symbol in (("us_equities.close", "KO"), ("core_cpi.level", "CORE_CPI")):
        cut = market_lake.reader()
        cut.symbols(view.split(".")[0])
        cut = cut.truncated(early.replace(year=1950))
        with pytest.raises(HistoryMissing, match=f"nothing of {symbol} was known"):
            cut.latest(view, [symbol], at=LAST_OPEN)
        with pytest.raises(HistoryMissing):
            cut.window(view, [symbol], length=1, at=LAST_OPEN)
    with pytest.raises(HistoryMissing, match="no observation of KO is held; the view knows none"):
        sealed.window(CLOSE, ["KO"], length=1, at=early - timedelta(days=1))
