"""Rows in order of their key, and snapshots that do not read what they know."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import SnapshotUnknown
from featurestore.lake import Lake
from featurestore.order import by_identity
from featurestore.store import FeatureStore
from featurestore.views import FeatureView, Field

START = datetime(2020, 1, 1, tzinfo=UTC)
UTC_TIME = pl.Datetime("us", "UTC")


@given(
    keys=st.lists(
        st.tuples(
            st.sampled_from(["b", "B", "é", "a", "aa", ""]), st.integers(-3, 3), st.integers(0, 2)
        ),
        max_size=30,
    ),
    cut=st.integers(0, 30),
)
def test_the_order_is_that_of_sorting_by_entity_event_and_revision(keys, cut):
    frame = pl.DataFrame(
        {
            "entity": [key[0] for key in keys],
            "event_time": [START + timedelta(days=key[1]) for key in keys],
            "revision": [key[2] for key in keys],
            "value": [float(i) if i % 3 else None for i in range(len(keys))],
        },
        schema={
            "entity": pl.String,
            "event_time": UTC_TIME,
            "revision": pl.Int64,
            "value": pl.Float64,
        },
    )
    pieces = pl.concat([frame[:cut], frame[cut:]], rechunk=False)
    expected = frame.sort("entity", "event_time", "revision", maintain_order=True)
    assert by_identity(pieces).equals(expected)


def test_a_snapshot_taken_again_reads_no_table_and_verifying_it_does(tmp_path, monkeypatch):
    store = FeatureStore(Lake(str(tmp_path / "lake")))
    view = FeatureView(
        name="levels",
        entity="series",
        fields=(Field(name="level", unit="index"),),
        freshness=timedelta(days=50),
        owner="tests",
        description="levels",
        source="tests",
    )
    store.apply(view)
    row = {"entity": ["X"], "event_time": [START], "known_at": [START], "level": [1.0]}
    types = {"event_time": UTC_TIME, "known_at": UTC_TIME}
    store.ingest("levels", pl.DataFrame(row, schema_overrides=types))
    read: list[str] = []
    reads = Lake.read
    monkeypatch.setattr(
        Lake, "read", lambda lake, table, **o: read.append(table) or reads(lake, table, **o)
    )
    first = store.snapshot()
    assert read.count("levels") == 1
    assert store.snapshot() == first
    assert read.count("levels") == 1
    store.verify(first)
    assert read.count("levels") == 2
    store.ingest("levels", pl.DataFrame(row | {"entity": ["Y"]}, schema_overrides=types))
    assert store.snapshot().hash != first.hash
    # Somebody writes other bytes of the same length: verifying looks at what is really there.
    file = min((tmp_path / "lake" / "levels").rglob("*.parquet"), key=lambda f: f.stat().st_mtime)
    other = FeatureStore(Lake(str(tmp_path / "other")))
    other.apply(view)
    other.ingest("levels", pl.DataFrame(row | {"level": [2.0]}, schema_overrides=types))
    forged = next((tmp_path / "other" / "levels").rglob("*.parquet")).read_bytes()
    assert len(forged) == file.stat().st_size
    file.write_bytes(forged)
    with pytest.raises(SnapshotUnknown, match="its files were changed"):
        store.verify(first)
