"""Online reads carry their age; the catalog lists what is there as plain data."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from featurestore.catalog import field_rows, quarantine_rows, report_rows, view_rows
from featurestore.errors import FeatureStale, HistoryMissing, HoldoutSealed, ViewUnknown
from featurestore.online import materialize

AT = datetime(2018, 6, 29, 21, tzinfo=UTC)
BARS = [f"us_index_bars.{name}" for name in ("close", "volume")]


def test_online_values_are_the_latest_known_ones(market):
    online = materialize(market, BARS, ["NASDAQ", "SP500"], at=AT)
    served = online.get_online_features(BARS[::-1], ["SP500"], now=AT + timedelta(hours=1))
    expected = [market.latest(f, ["SP500"], at=AT).values[0] for f in BARS[::-1]]
    assert served.values.tolist() == [expected]
    assert served.values.dtype == np.float64


def test_a_stale_value_is_an_error_that_tells_its_age(market):
    online = materialize(market, BARS, ["SP500"], at=AT)
    close = datetime(2018, 6, 29, 20, tzinfo=UTC)
    online.get_online_features(BARS, ["SP500"], now=close + timedelta(days=5))
    with pytest.raises(FeatureStale, match=r"close of SP500 is 5 days, 0:00:01 old .* is 5 days"):
        online.get_online_features(BARS, ["SP500"], now=close + timedelta(days=5, seconds=1))


def test_what_was_not_materialized_is_named(market):
    online = materialize(market, BARS, ["SP500"], at=AT)
    with pytest.raises(ViewUnknown, match=r"us_index_bars\.open was not materialized; there are"):
        online.get_online_features(["us_index_bars.open"], ["SP500"], now=AT)
    with pytest.raises(HistoryMissing, match="NASDAQ was not materialized; there are: SP500"):
        online.get_online_features(BARS, ["NASDAQ"], now=AT)


def test_the_seal_holds_for_online_values_too(market_lake):
    with pytest.raises(HoldoutSealed):
        materialize(market_lake.reader(sealed_from=AT), BARS, ["SP500"], at=AT)


def test_the_catalog_is_plain_data_and_counts_what_is_held(market_lake):
    views = {row["name"]: row for row in view_rows(market_lake.store)}
    assert json.loads(json.dumps(list(views.values()))) == list(views.values())
    assert views["us_equities"]["rows"] == 166_260
    assert views["us_equities"]["entities"] == 20
    assert views["us_equities"]["first"] == "1990-01-02T21:00:00+00:00"
    assert views["us_equities"]["last"] == "2022-12-28T21:00:00+00:00"
    assert {row["feature"] for row in field_rows(market_lake.store)} >= {*BARS, "vix.close"}
    assert json.dumps(report_rows(market_lake.reports))
    assert quarantine_rows(market_lake.store) == []
