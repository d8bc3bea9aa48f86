"""The embedded history arrives whole: every figure of every file, at its session's close."""

import csv
import gzip
import io
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import distribution

import numpy as np
import pytest

from featurestore.errors import SourceMissing
from featurestore.lake import Lake
from featurestore.sources import embedded
from featurestore.sources.embedded import EMBEDDED_VIEWS, ingest_embedded
from featurestore.store import FeatureStore
from featurestore.universes import US_LARGE_CAPS


def packaged(package, name):
    (path,) = [f for f in distribution(package).files if f.name == name]
    text = gzip.decompress(path.locate().read_bytes()).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def test_nothing_is_lost_and_nothing_quarantined(market_lake):
    assert {r.view: r.accepted for r in market_lake.reports} == {
        "us_equities": 8313 * 20,
        "us_index": 8313,
        "us_factor_etfs": 2264 * 5,
        "us_index_bars": 5031 * 2,
        "vix": 1305 - 46,  # the publisher writes "." on 46 holidays
        "wti": 8611 - 290,
        "core_cpi": 743,
    }
    assert all(report.quarantined == 0 for report in market_lake.reports)
    assert market_lake.store.quarantine().is_empty()


def test_every_price_of_the_universe_is_the_packaged_one(market):
    rows = packaged("skfolio", "sp500_dataset.csv.gz")
    assert market.symbols("us_equities") == US_LARGE_CAPS.symbols
    last = datetime(2022, 12, 28, 21, tzinfo=UTC)
    found = market.window("us_equities.close", US_LARGE_CAPS.symbols, length=len(rows), at=last)
    expected = np.array([[float(row[s]) for row in rows] for s in US_LARGE_CAPS.symbols])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("feature", "symbol", "package", "name", "column"),
    [
        ("us_index.close", "SP500", "skfolio", "sp500_index.csv.gz", "SP500"),
        ("us_factor_etfs.close", "VLUE", "skfolio", "factors_dataset.csv.gz", "VLUE"),
        ("us_index_bars.high", "SP500", "arch", "sp500.csv.gz", "High"),
        ("us_index_bars.volume", "NASDAQ", "arch", "nasdaq.csv.gz", "Volume"),
        ("vix.close", "VIX", "arch", "vix.csv.gz", "vix"),
        ("wti.price", "WTI", "arch", "wti.csv.gz", "DCOILWTICO"),
        ("core_cpi.level", "CORE_CPI", "arch", "core-cpi.csv.gz", "CPILFESL"),
    ],
)
def test_every_figure_of_the_other_files_is_the_packaged_one(
    market, feature, symbol, package, name, column
):
    expected = [float(row[column]) for row in packaged(package, name) if row[column] != "."]
    history = market.history(feature, [symbol], date(1950, 1, 1), date(2023, 1, 1))
    assert history[feature.split(".")[1]].to_list() == expected
    assert (history["known_at"] >= history["event_time"]).all()


def test_two_packages_agree_on_the_s_and_p_500(market):
    ours = market.history("us_index.close", ["SP500"], date(1999, 1, 4), date(2018, 12, 31))
    theirs = market.history("us_index_bars.close", ["SP500"], date(1999, 1, 4), date(2018, 12, 31))
    assert ours["event_time"].equals(theirs["event_time"])
    np.testing.assert_allclose(ours["close"].to_numpy(), theirs["close"].to_numpy(), rtol=1e-3)


def test_published_closes_stand_on_their_days(market):
    def at(day):
        return market.history("us_index.close", ["SP500"], day, day)["close"].to_list()

    assert at(date(2008, 9, 29)) == [1106.42]  # the 777-point day of the Dow
    assert at(date(2020, 3, 23)) == [2237.40]  # the low of 2020


def test_a_daily_bar_is_known_at_its_close_and_a_half_day_at_one(market):
    bar = market.history("us_equities.close", ["KO"], date(2022, 11, 25), date(2022, 11, 25))
    assert bar["event_time"].to_list() == bar["known_at"].to_list()
    assert bar["known_at"][0] == datetime(2022, 11, 25, 18, tzinfo=UTC)


def test_macro_figures_wait_for_their_release(market):
    december = datetime(2018, 1, 1, tzinfo=UTC)  # the end of December 2017
    level = "core_cpi.level"
    early = market.latest(level, ["CORE_CPI"], at=december + timedelta(days=49))
    assert early.event_times == [datetime(2017, 12, 1, tzinfo=UTC)]
    late = market.latest(level, ["CORE_CPI"], at=december + timedelta(days=50))
    assert late.event_times == [december]
    vix = market.latest("vix.close", ["VIX"], at=datetime(2017, 12, 29, 21, tzinfo=UTC))
    assert vix.event_times == [datetime(2017, 12, 28, 21, tzinfo=UTC)]


def test_the_same_history_in_two_folders_has_one_hash_and_a_second_ingest_changes_nothing(
    market_lake, tmp_path
):
    store = FeatureStore(Lake(str(tmp_path / "elsewhere")))
    ingest_embedded(store)
    assert store.snapshot() == market_lake.snapshot
    again = ingest_embedded(store)
    assert all(r.accepted == 0 and r.unchanged == r.rows for r in again)
    assert store.snapshot() == market_lake.snapshot


def test_a_package_that_is_not_installed_is_named_and_nothing_is_written(tmp_path, monkeypatch):
    def absent(package):
        raise embedded.PackageNotFoundError(package)

    monkeypatch.setattr(embedded, "distribution", absent)
    with pytest.raises(
        SourceMissing, match="ships with the package skfolio, which is not installed"
    ):
        ingest_embedded(FeatureStore(Lake(str(tmp_path / "lake"))))
    assert not (tmp_path / "lake").exists()


def test_every_view_says_what_it_holds_and_whose_it_is(market_lake):
    assert {view.name for view in market_lake.store.views()} == {v.name for v in EMBEDDED_VIEWS}
    for view in market_lake.store.views():
        assert view.description
        assert view.source
        assert view.owner
        assert all(field.unit for field in view.fields)
