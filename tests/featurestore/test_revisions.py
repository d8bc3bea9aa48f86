"""First prints, what was believed when, and how a value came to be."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from featurestore.errors import ContractBroken, HistoryMissing, HoldoutSealed, ViewUnknown
from featurestore.lake import Lake
from featurestore.store import FeatureStore
from featurestore.views import FeatureView, Field

CPI = FeatureView(
    name="cpi",
    entity="series",
    fields=(Field(name="index", unit="1982-84 = 100", low=0.0),),
    availability=timedelta(days=10),
    freshness=timedelta(days=40),
    owner="tests",
    description="consumer prices",
    source="tests",
)


def at(*when):
    return datetime(*when, tzinfo=UTC)


# January is revised twice, February once; March has its first print only.
VINTAGES = [
    (at(2020, 1, 31), at(2020, 2, 12), 0, 100.0),
    (at(2020, 1, 31), at(2020, 3, 12), 1, 100.5),
    (at(2020, 1, 31), at(2020, 4, 12), 2, 100.25),
    (at(2020, 2, 29), at(2020, 3, 12), 0, 101.0),
    (at(2020, 2, 29), at(2020, 4, 12), 1, 101.5),
    (at(2020, 3, 31), at(2020, 4, 12), 0, 102.0),
]


def frame(rows=VINTAGES):
    made = pl.DataFrame(
        rows, schema=["event_time", "known_at", "revision", "index"], orient="row"
    ).with_columns(pl.lit("US").alias("entity"))
    return made.with_columns(pl.col("event_time", "known_at").cast(pl.Datetime("us", "UTC")))


@pytest.fixture
def store(tmp_path):
    store = FeatureStore(Lake(str(tmp_path / "lake")))
    store.apply(CPI)
    store.ingest("cpi", frame())
    return store


@pytest.fixture
def reader(store):
    return store.reader(store.snapshot())


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (at(2020, 2, 11), []),
        (at(2020, 2, 12), [100.0]),
        (at(2020, 3, 12), [100.5, 101.0]),
        (at(2020, 4, 11), [100.5, 101.0]),
        (at(2021, 1, 1), [100.25, 101.5, 102.0]),
    ],
)
def test_the_whole_history_as_it_was_believed_at_an_instant(reader, when, expected):
    believed = reader.as_of("cpi.index", when)
    assert believed["index"].to_list() == expected
    assert (believed["known_at"] <= when).all()


def test_first_prints_keep_what_was_published_first(reader):
    prints = reader.first_print("cpi.index")
    assert prints["index"].to_list() == [100.0, 101.0, 102.0]
    assert prints["revision"].to_list() == [0, 0, 0]


def test_a_revision_history_tells_each_change_and_when_it_was_superseded(reader):
    history = reader.revisions("cpi.index", "US")
    assert history["change"].to_list() == [None, 0.5, -0.25, None, 0.5, None]
    superseded = [at(2020, 3, 12), at(2020, 4, 12), None, at(2020, 4, 12), None, None]
    assert history["superseded_at"].to_list() == superseded
    early = reader.revisions("cpi.index", "US", as_of=at(2020, 3, 20))
    assert early["index"].to_list() == [100.0, 100.5, 101.0]
    assert early["superseded_at"].to_list() == [at(2020, 3, 12), None, None]


def test_revision_reads_keep_the_seal_and_name_what_is_not_there(store, reader):
    sealed = store.reader(store.snapshot(), sealed_from=at(2020, 4, 1))
    assert sealed.first_print("cpi.index")["index"].to_list() == [100.0, 101.0]
    assert sealed.revisions("cpi.index", "US").height == 3
    with pytest.raises(HoldoutSealed):
        sealed.as_of("cpi.index", at(2020, 4, 1))
    with pytest.raises(HoldoutSealed):
        sealed.revisions("cpi.index", "US", as_of=at(2020, 5, 1))
    with pytest.raises(HistoryMissing, match="nothing of DE was known; the view holds US"):
        reader.revisions("cpi.index", "DE")
    with pytest.raises(ViewUnknown, match="has no field 'indx'"):
        reader.first_print("cpi.indx")
    with pytest.raises(ContractBroken, match="no time zone"):
        reader.as_of("cpi.index", datetime(2020, 3, 1))
