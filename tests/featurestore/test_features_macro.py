"""Formulas of macro figures: the vintage of a release, and the revisions known at the time."""

from datetime import UTC, date, datetime, timedelta
from importlib.metadata import distribution

import numpy as np
import pandas as pd
import polars as pl
import pytest

from featurestore.features import library as f
from featurestore.lake import Lake
from featurestore.sources.embedded import (
    CORE_CPI,
    CORPORATE_YIELDS,
    embedded_frame,
    ingest_embedded,
)
from featurestore.store import FeatureStore
from featurestore.views import FeatureView, Field

RATES = FeatureView(
    name="rates",
    entity="series",
    fields=(Field(name="yield", unit="percent", low=-5.0, high=30.0),),
    freshness=timedelta(days=10),
    owner="tests",
    description="Synthetic yields.",
    source="tests",
)


@pytest.fixture(scope="module")
def vintages(tmp_path_factory):
    """Core CPI with one synthetic revision: half a year later every level is half a percent up."""
    store = FeatureStore(Lake(str(tmp_path_factory.mktemp("vintages") / "lake")))
    first = embedded_frame(CORE_CPI)
    later = first.with_columns(
        pl.col("known_at") + pl.duration(days=180),
        pl.lit(1, pl.Int64).alias("revision"),
        (pl.col("level") * (1.0 + 0.01 * pl.col("event_time").dt.month() / 12)).alias("level"),
    )
    rates = pl.DataFrame(
        {
            "entity": ["LONG", "SHORT", "LONG", "SHORT"],
            "event_time": [datetime(2016, 12, day, tzinfo=UTC) for day in (1, 1, 2, 3)],
            "known_at": [datetime(2016, 12, day, tzinfo=UTC) for day in (1, 1, 2, 9)],
            "yield": [2.5, 0.5, 2.6, 0.9],
        }
    )
    store.apply(CORE_CPI, RATES)
    store.ingest("core_cpi", first)
    store.ingest("core_cpi", later)
    store.ingest("rates", rates)
    return store.reader(store.snapshot())


def test_a_surprise_is_read_from_the_vintage_of_its_release(vintages):
    at = datetime(2017, 1, 18, 21, tzinfo=UTC)  # a revision came out the day before
    raw = embedded_frame(CORE_CPI).sort("event_time")
    out = raw.filter(pl.col("known_at") <= at)
    released = out["known_at"][-1]
    levels = []
    for event, level in zip(out["event_time"][-14:], out["level"][-14:], strict=True):
        revised = event + timedelta(days=50 + 180) <= released
        levels.append(level * (1 + 0.01 * event.month / 12) if revised else level)
    growth = np.diff(np.log(levels))
    wanted = (growth[-1] - growth[:-1].mean()) / growth[:-1].std(ddof=1)
    feature = f.surprise("core_cpi.level[CORE_CPI]", bars=12)
    for earlier in (timedelta(0), timedelta(days=10)):
        found = vintages.window(feature.name, ["AAPL", "KO"], length=1, at=at - earlier)
        np.testing.assert_allclose(found[:, 0], [wanted, wanted], rtol=1e-9)
    # What is known now is another matter.
    now = vintages.window("core_cpi.level", ["CORE_CPI"], length=14, at=at)[0]
    assert not np.allclose(np.diff(np.log(now)), growth, rtol=1e-6)


def test_growth_uses_the_revisions_known_at_the_time(vintages):
    at = datetime(2016, 12, 30, 21, tzinfo=UTC)
    levels = vintages.window("core_cpi.level", ["CORE_CPI"], length=13, at=at)[0]
    feature = f.growth("core_cpi.level")
    found = vintages.window(feature.name, ["CORE_CPI"], length=1, at=at)
    assert found[0, 0] == levels[-1] / levels[0] - 1


def test_the_default_spread_is_the_difference_of_the_packaged_yields(tmp_path):
    store = FeatureStore(Lake(str(tmp_path / "lake")))
    (report,) = ingest_embedded(store, [CORPORATE_YIELDS])
    assert (report.accepted, report.quarantined) == (2 * 1200, 0)
    feature = f.term_spread("corporate_yields.level[BAA]", "corporate_yields.level[AAA]")
    reader = store.reader(store.snapshot())
    (path,) = [p for p in distribution("arch").files if p.name == "default.csv.gz"]
    packaged = pd.read_csv(
        path.locate(), index_col="Date", parse_dates=True, date_format="%m/%d/%Y"
    )
    spreads = packaged["BAA"] - packaged["AAA"]
    for month, known in (("2008-11-01", date(2008, 12, 11)), ("1932-05-01", date(1932, 6, 11))):
        at = datetime(known.year, known.month, known.day, tzinfo=UTC)
        found = reader.window(feature.name, ["ANY"], length=1, at=at)[0, 0]
        assert found == pytest.approx(spreads[month], abs=1e-12)
        before = reader.window(feature.name, ["ANY"], length=1, at=at - timedelta(seconds=1))
        assert before[0, 0] == pytest.approx(spreads.shift(1)[month], abs=1e-12)


def test_a_term_spread_takes_each_yield_as_known(vintages):
    feature = f.term_spread("rates.yield[LONG]", "rates.yield[SHORT]")
    early, late = (datetime(2016, 12, day, tzinfo=UTC) for day in (5, 10))
    # The short yield of the 3rd is about a day after the newest long one: not on the same day.
    for at in (early, late):
        spread = vintages.window(feature.name, ["any"], length=1, at=at)[0, 0]
        assert spread == pytest.approx(2.1)
