"""Rows set aside are released or dropped by a named person with a reason; both stay on file."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from featurestore.check import check_store
from featurestore.errors import ContractBroken
from featurestore.lake import Lake
from featurestore.store import FeatureStore
from featurestore.views import FeatureView, Field

NOW = datetime(2020, 2, 1, tzinfo=UTC)
VIEW = FeatureView(
    name="prints",
    entity="symbol",
    fields=(
        Field(name="price", unit="USD", low=0.0, high=1000.0),
        Field(name="size", unit="shares", low=0.0),
    ),
    freshness=timedelta(days=5),
    owner="tests",
    description="prints",
    source="tests",
)


@pytest.fixture
def store(tmp_path):
    store = FeatureStore(Lake(str(tmp_path / "lake")), now=lambda: NOW)
    store.apply(VIEW)
    return store


def rows(prices, sizes=None):
    times = [datetime(2020, 1, 2 + i, 21, tzinfo=UTC) for i in range(len(prices))]
    return pl.DataFrame(
        {
            "entity": ["AA"] * len(prices),
            "event_time": times,
            "known_at": times,
            "price": [float(p) for p in prices],
            "size": [float(s) for s in sizes or [10.0] * len(prices)],
        }
    )


def batch(store):
    return store.quarantine("prints")["batch"][0]


def test_a_released_row_is_in_the_view_to_the_bit_and_says_who_let_it_in(store):
    store.ingest("prints", rows([1, 123456.1, 3]))
    report = store.release("prints", batch(store)[:8], why="checked with the exchange", by="ada")
    assert (report.accepted, report.quarantined) == (1, 0)
    assert store.quarantine("prints").is_empty()
    (row,) = store.quarantine("prints", decided=True).to_dicts()
    assert (row["verdict"], row["by"], row["decided_at"]) == ("released", "ada", NOW)
    assert row["why"] == "checked with the exchange"
    held = store.reader(store.snapshot()).rows("prints").sort("event_time")
    assert held["price"].to_list() == [1.0, 123456.1, 3.0]


def test_the_check_holds_what_somebody_vouched_for_and_nothing_else(store):
    store.ingest("prints", rows([1, 123456.1, 3]))
    store.release("prints", batch(store), why="checked with the exchange", by="ada")
    (checked,) = check_store(store)
    assert (checked.broken, checked.rows) == ((), 3)
    past = rows([1, 2, 3, 4, 654321.0]).tail(1)
    filed = past.with_columns(
        pl.lit(0, pl.Int64).alias("revision"),
        pl.lit("x").alias("source"),
        pl.col("event_time").dt.year().alias("year"),
    )
    store.lake.append("prints", filed, after=store.lake.version("prints"), partition_by=["year"])
    (checked,) = check_store(store)
    assert len(checked.broken) == 1
    assert "is 654321.0, allowed 0.0 to 1000.0" in checked.broken[0]


def test_dropped_rows_are_closed_but_stay_on_file(store):
    store.ingest("prints", rows([1, -5, 2000]))
    assert store.drop("prints", batch(store), why="a typo", by="ada", rows=[1]) == 1
    assert store.quarantine("prints")["row"].to_list() == [2]
    assert store.quarantine("prints", decided=True)["verdict"].to_list() == ["dropped", None]
    with pytest.raises(ContractBroken, match="has no open row 1; it has 2"):
        store.drop("prints", batch(store), why="again", by="ada", rows=[1])


def test_nobody_can_vouch_for_a_row_with_another_fault(store):
    store.ingest("prints", rows([1, float("nan")]))
    with pytest.raises(ContractBroken, match="value not finite"):
        store.release("prints", batch(store), why="trust me", by="ada")
    store.ingest("prints", rows([1, 1, 5000], [10, 10, float("inf")]))
    both = store.quarantine("prints").filter(pl.col("row") == 2)["batch"][0]
    with pytest.raises(ContractBroken, match="value not finite"):
        store.release("prints", both, why="only the price was checked", by="ada")
    assert store.quarantine("prints").height == 2
    assert store.reader(store.snapshot()).rows("prints").height == 2


def test_a_row_from_the_future_is_released_once_it_is_known(store):
    late = rows([1]).with_columns(pl.col("event_time", "known_at") + pl.duration(days=60))
    store.ingest("prints", late)
    with pytest.raises(ContractBroken, match="known in the future"):
        store.release("prints", batch(store), why="soon", by="ada")
    later = replace(store, now=lambda: NOW + timedelta(days=60))
    assert later.release("prints", batch(store), why="it is known now", by="ada").accepted == 1


@pytest.mark.parametrize(("why", "by"), [("", "ada"), ("a typo", " ")])
def test_a_decision_needs_a_name_and_a_reason(store, why, by):
    store.ingest("prints", rows([-1]))
    with pytest.raises(ContractBroken, match="say why"):
        store.drop("prints", batch(store), why=why, by=by)
    with pytest.raises(ContractBroken, match="say why"):
        store.release("prints", batch(store), why=why, by=by)
    assert store.quarantine("prints").height == 1


def test_an_unknown_batch_lists_the_open_ones(store):
    store.ingest("prints", rows([-1]))
    with pytest.raises(ContractBroken, match=f"open are: {batch(store)[:12]}"):
        store.drop("prints", "ffff", why="x", by="ada")
