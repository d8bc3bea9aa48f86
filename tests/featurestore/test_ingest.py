"""Ingest keeps the contract: what does not fit is refused, a bad row is kept with its reason."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.calendars import load_calendar
from featurestore.contract import row_reasons, shaped
from featurestore.errors import (
    ContractBroken,
    LakeUnavailable,
    SnapshotUnknown,
    ViewUnknown,
)
from featurestore.lake import Lake
from featurestore.snapshots import Snapshot
from featurestore.store import FeatureStore
from featurestore.views import FeatureView, Field

CLOSES = [s.close for s in load_calendar("XNYS").sessions(date(2020, 1, 2), date(2020, 1, 31))]
VIEW = FeatureView(
    name="bars",
    entity="symbol",
    fields=(
        Field(name="close", unit="USD per share", low=0.01, high=10_000.0),
        Field(name="volume", dtype="int64", unit="shares", low=0, nullable=True),
    ),
    calendar="XNYS",
    freshness=timedelta(days=5),
    owner="tests",
    description="daily bars",
    source="a test",
)


@pytest.fixture
def store(tmp_path):
    store = FeatureStore(Lake(str(tmp_path / "lake")), now=lambda: datetime(2020, 2, 1, tzinfo=UTC))
    store.apply(VIEW)
    return store


def bars(n=5, symbol="AA", **columns):
    frame = pl.DataFrame(
        {
            "entity": [symbol] * n,
            "event_time": CLOSES[:n],
            "known_at": CLOSES[:n],
            "close": [100.0 + i for i in range(n)],
            "volume": [1000 + i for i in range(n)],
        },
        schema_overrides={
            "event_time": pl.Datetime("us", "UTC"),
            "known_at": pl.Datetime("us", "UTC"),
        },
    )
    return frame.with_columns(
        pl.Series(name, values, dtype=frame[name].dtype, strict=False)
        if name in frame.columns
        else pl.Series(name, values)
        for name, values in columns.items()
    )


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def test_good_rows_are_accepted_and_read_back(store):
    report = store.ingest("bars", bars())
    assert (report.rows, report.accepted, report.quarantined, report.version) == (5, 5, 0, 0)
    reader = store.reader(store.snapshot())
    window = reader.window("bars.close", ["AA"], length=3, at=CLOSES[4])
    assert window.tolist() == [[102.0, 103.0, 104.0]]
    assert reader.latest("bars.volume", ["AA"], at=CLOSES[4]).values.tolist() == [1004.0]


REFUSALS = {
    "missing column": (lambda: bars().drop("close"), r"bars: column close is missing; the frame"),
    "missing known_at": (lambda: bars().drop("known_at"), r"column known_at is missing"),
    "unknown column": (lambda: bars(closing=[1.0] * 5), r"column closing is not in the view; drop"),
    "text for a number": (
        lambda: bars().with_columns(pl.col("close").cast(pl.String)),
        r"bars\.close: dtype is String, the view wants Float64, e\.g\. '100\.0' in row 0; cast",
    ),
    "fractions for a count": (
        lambda: bars().with_columns(pl.col("volume") + 0.5),
        r"bars\.volume: dtype is Float64, the view wants Int64",
    ),
    "naive times": (
        lambda: bars().with_columns(pl.col("event_time").dt.replace_time_zone(None)),
        r"bars\.event_time: times carry no zone, e\.g\. .*2020.* in row 0; say which one",
    ),
    "dates for times": (
        lambda: bars().with_columns(pl.col("event_time").dt.date()),
        r"bars\.event_time: dtype is Date",
    ),
    "not polars": (lambda: {"entity": ["AA"]}, r"takes a polars DataFrame, was given dict"),
}


@pytest.mark.parametrize("fault", REFUSALS)
def test_a_frame_that_does_not_fit_is_refused_whole_and_the_lake_is_unchanged(store, fault):
    make, message = REFUSALS[fault]
    store.ingest("bars", bars(2))
    before = contents(store.lake.url)
    with pytest.raises(ContractBroken, match=message):
        store.ingest("bars", make())
    assert contents(store.lake.url) == before


NAN, INF = float("nan"), float("inf")
LATE = [*CLOSES[:2], datetime(2030, 1, 1, tzinfo=UTC), *CLOSES[3:5]]
BAD_ROWS = {
    "value not finite": (
        {"close": [1.0, 2.0, NAN, 4.0, 5.0]},
        r"bars\.close row 2 \(AA, event_time 2020-01-06 21:00:00\+00:00, .*: value not finite",
    ),
    "value not finite ": ({"close": [1.0, 2.0, INF, 4.0, 5.0]}, r"row 2 .* is inf; correct it"),
    "value missing": ({"close": [1.0, 2.0, None, 4.0, 5.0]}, r"row 2 .* value missing, is None"),
    "value out of range": (
        {"close": [1.0, 2.0, -3.0, 4.0, 5.0]},
        r"row 2 .* value out of range, is -3\.0, allowed 0\.01 to 10000\.0; correct it",
    ),
    "value out of range ": ({"volume": [1, 2, -3, 4, 5]}, r"bars\.volume row 2"),
    "entity missing": ({"entity": ["AA", "AA", None, "AA", "AA"]}, r"bars row 2 \(None.*name the"),
    "known_at missing": (
        {"known_at": [*CLOSES[:2], None, *CLOSES[3:5]]},
        r"row 2 .* known_at miss",
    ),
    "event_time missing": (
        {"event_time": [*CLOSES[:2], None, *CLOSES[3:5]]},
        r"row 2 .* event_time",
    ),
    "known in the future": ({"known_at": LATE}, r"row 2 .* known in the future; send the row once"),
    "known too early": (
        {"known_at": [*CLOSES[:2], CLOSES[1], *CLOSES[3:5]]},
        r"row 2 .* known too early; known_at must be at least",
    ),
    "duplicate key": (
        {"event_time": [*CLOSES[:2], CLOSES[1], *CLOSES[3:5]]},
        r"row 2 .* duplicate key; send one row per",
    ),
    "not a session close": (
        {"event_time": [*CLOSES[:2], CLOSES[2] - timedelta(hours=1), *CLOSES[3:5]]},
        r"row 2 .* not a session close; set event_time",
    ),
    "revision invalid": ({"revision": [0, 0, -1, 0, 0]}, r"row 2 .* revision invalid; count"),
}


@pytest.mark.parametrize("fault", BAD_ROWS)
def test_a_bad_row_goes_to_quarantine_with_its_reason_and_the_others_are_kept(store, fault):
    columns, message = BAD_ROWS[fault]
    report = store.ingest("bars", bars(**columns))
    assert (report.rows, report.accepted, report.quarantined) == (5, 4, 1)
    assert report.reasons == {fault.strip(): 1}
    kept = store.quarantine("bars").to_dicts()
    assert [(row["row"], row["reason"]) for row in kept] == [(2, fault.strip())]
    assert '"close"' in kept[0]["content"]
    with pytest.raises(ContractBroken, match=message):
        FeatureStore.ingest(store, "bars", bars(symbol="AA", **columns), on_bad="refuse")


def test_refusing_bad_rows_leaves_the_lake_as_it_was(store):
    store.ingest("bars", bars(2))
    before = contents(store.lake.url)
    with pytest.raises(ContractBroken, match=r"1 of 5 rows are bad: bars\.close row 2"):
        store.ingest("bars", bars(close=[1.0, 2.0, NAN, 4.0, 5.0], symbol="BB"), on_bad="refuse")
    assert contents(store.lake.url) == before


def test_the_same_rows_sent_again_change_nothing(store):
    store.ingest("bars", bars())
    before = contents(store.lake.url)
    report = store.ingest("bars", bars())
    assert (report.accepted, report.unchanged, report.quarantined) == (0, 5, 0)
    assert contents(store.lake.url) == before


def test_the_same_bad_rows_sent_again_are_kept_once(store):
    for _ in range(2):
        store.ingest("bars", bars(close=[1.0, 2.0, NAN, 4.0, 5.0]))
    assert store.quarantine().height == 1


def test_a_changed_value_needs_a_higher_revision(store):
    store.ingest("bars", bars())
    changed = bars(close=[100.0, 101.0, 7.0, 103.0, 104.0])
    report = store.ingest("bars", changed)
    assert report.reasons == {"key contradicted": 1}
    assert "send a correction as a new row with a higher revision" in report.examples[0]
    later = CLOSES[2] + timedelta(days=1)
    correction = changed[2:3].with_columns(
        pl.lit(1).alias("revision"), pl.lit(later).cast(pl.Datetime("us", "UTC")).alias("known_at")
    )
    assert store.ingest("bars", correction).accepted == 1
    reader = store.reader(store.snapshot())
    assert reader.latest("bars.close", ["AA"], at=CLOSES[2]).values.tolist() == [102.0]
    window = reader.window("bars.close", ["AA"], length=3, at=CLOSES[4])
    assert window.tolist() == [[7.0, 103.0, 104.0]]


def test_a_revision_known_before_the_print_it_revises_is_set_aside(store):
    store.ingest("bars", bars(known_at=[close + timedelta(days=3) for close in CLOSES[:5]]))
    early = bars(1, revision=[1], known_at=[CLOSES[0] + timedelta(days=2)])
    assert store.ingest("bars", early).reasons == {"revision out of order": 1}
    both = pl.concat(
        [
            bars(1, symbol="BB", revision=[0], known_at=[CLOSES[0] + timedelta(days=2)]),
            bars(1, symbol="BB", revision=[1], known_at=[CLOSES[0] + timedelta(days=1)]),
        ]
    )
    report = store.ingest("bars", both)
    assert (report.accepted, report.reasons) == (1, {"revision out of order": 1})


def test_a_lower_revision_arriving_after_the_higher_one_was_known_is_set_aside(store):
    store.ingest("bars", bars(1, revision=[1], known_at=[CLOSES[0] + timedelta(days=1)]))
    late = bars(1, revision=[0], known_at=[CLOSES[0] + timedelta(days=2)])
    assert store.ingest("bars", late).reasons == {"revision out of order": 1}
    assert store.ingest("bars", bars(1, revision=[0])).accepted == 1


def test_times_in_another_zone_and_unit_are_the_same_instants(store):
    frame = bars().with_columns(
        pl.col("event_time").dt.convert_time_zone("America/New_York").dt.cast_time_unit("ns"),
        pl.col("known_at").dt.cast_time_unit("ms"),
        pl.col("close").cast(pl.Float32).cast(pl.Int32),
    )
    assert store.ingest("bars", frame).accepted == 5
    assert store.ingest("bars", bars()).unchanged == 5


def test_a_crash_between_quarantine_and_table_leaves_no_half_batch(store, monkeypatch):
    frame = bars(close=[1.0, 2.0, NAN, 4.0, 5.0])
    append = Lake.append

    def fails_for_the_table(self, table, rows, **options):
        if table == "bars":
            raise LakeUnavailable("the disk is full")
        return append(self, table, rows, **options)

    monkeypatch.setattr(Lake, "append", fails_for_the_table)
    with pytest.raises(LakeUnavailable):
        store.ingest("bars", frame)
    assert store.lake.version("bars") is None
    monkeypatch.undo()
    report = store.ingest("bars", frame)
    assert (report.accepted, report.quarantined) == (4, 1)
    assert store.quarantine().height == 1


def test_of_two_writers_that_checked_the_same_version_only_one_commits(store, monkeypatch):
    store.ingest("bars", bars(2))
    append = Lake.append

    def overtaken(self, table, rows, **options):
        monkeypatch.undo()
        store.ingest("bars", bars(3))
        return append(self, table, rows, **options)

    monkeypatch.setattr(Lake, "append", overtaken)
    with pytest.raises(LakeUnavailable, match="another writer was faster; nothing was added"):
        store.ingest("bars", bars(4))
    report = store.ingest("bars", bars(4))
    assert (report.accepted, report.unchanged) == (1, 3)


def test_an_unknown_view_is_named_with_those_that_exist(store):
    with pytest.raises(ViewUnknown, match="no feature view 'barz'; declared are: bars"):
        store.ingest("barz", bars())


def test_a_snapshot_is_pinned_while_the_table_grows(store):
    store.ingest("bars", bars(3))
    pinned = store.snapshot()
    store.ingest("bars", bars(5))
    assert store.reader(pinned).history("bars.close", ["AA"], CLOSES[0], CLOSES[4]).height == 3
    assert store.snapshot().hash != pinned.hash
    store.verify(pinned)


def test_a_snapshot_of_another_lake_is_refused(store):
    store.ingest("bars", bars(3))
    pinned = store.snapshot()
    with pytest.raises(SnapshotUnknown, match="another lake, or its files were changed"):
        store.verify(Snapshot(versions=pinned.versions, hash="0" * 64))
    gone = Snapshot(versions={**pinned.versions, "bars": 9}, hash=pinned.hash)
    with pytest.raises(SnapshotUnknown, match="version 9 of table bars is not in the lake"):
        store.reader(gone).symbols("bars")


def test_a_truncated_file_is_one_clear_error(store):
    store.ingest("bars", bars(5))
    pinned = store.snapshot()
    (file,) = Path(store.lake.url, "bars").rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(
        LakeUnavailable, match=r"table bars: file year=2020/.* is 200 bytes, .* were written"
    ):
        store.verify(pinned)


def test_a_lake_where_a_file_stands_is_one_clear_error(tmp_path):
    (tmp_path / "lake").write_text("not a folder")
    with pytest.raises(LakeUnavailable, match="table _views"):
        FeatureStore(Lake(str(tmp_path / "lake"))).apply(VIEW)


def test_rows_survive_a_wider_range_but_not_another_shape(store):
    store.ingest("bars", bars())
    plain = {name: getattr(VIEW, name) for name in FeatureView.__dataclass_fields__}
    wider = (Field(name="close", unit="USD per share", low=0.0), VIEW.fields[1])
    assert store.apply(FeatureView(**{**plain, "fields": wider})) == ("bars",)
    assert store.view("bars").fields[0].low == 0.0
    assert store.apply(FeatureView(**{**plain, "fields": wider})) == ()
    with pytest.raises(ContractBroken, match="declare a new view name"):
        store.apply(FeatureView(**{**plain, "fields": wider[:1]}))


def test_an_empty_frame_is_no_fault(store):
    report = store.ingest("bars", bars(0))
    assert (report.rows, report.accepted, report.version) == (0, 0, None)


def test_tables_are_lz4_by_year_and_sorted_by_knowledge(store):
    store.ingest("bars", bars(20))
    (file,) = Path(store.lake.url, "bars").rglob("*.parquet")
    assert file.parent.name == "year=2020"
    assert b"LZ4" in file.read_bytes() or pl.read_parquet(file).height == 20
    assert pl.read_parquet(file)["known_at"].is_sorted()


@given(
    keys=st.lists(
        st.tuples(
            st.sampled_from(["A", "B", "", None]),
            st.sampled_from([*CLOSES[:3], None]),
            st.sampled_from([0, 1, -1, None]),
        ),
        max_size=8,
    ),
    order=st.sampled_from([None, [0, 1, 2], [1, 0, 2]]),
)
def test_every_row_gets_the_first_fault_that_it_has_whatever_the_order(keys, order):
    if order is not None:  # rising keys take another way
        keys = sorted((k for k in keys if None not in k), key=lambda k: [k[i] for i in order])
    n = len(keys)
    frame = pl.DataFrame(
        {
            "entity": [key[0] for key in keys],
            "event_time": [key[1] for key in keys],
            "known_at": [CLOSES[2]] * n,
            "revision": [key[2] for key in keys],
            "close": [1.0] * n,
            "volume": [None] * n,
        },
        schema_overrides={
            "entity": pl.String,
            "event_time": pl.Datetime("us", "UTC"),
            "known_at": pl.Datetime("us", "UTC"),
            "revision": pl.Int64,
            "close": pl.Float64,
        },
    )
    expected = []
    for i, (entity, event, revision) in enumerate(keys):
        expected.append(
            "entity missing"
            if not entity
            else "event_time missing"
            if event is None
            else "revision invalid"
            if revision is None or revision < 0
            else "duplicate key"
            if keys[i] in keys[:i]
            else None
        )
    found = row_reasons(VIEW, shaped(VIEW, frame), now=None)
    assert found["reason"].to_list() == expected
    assert found["field"].null_count() == n
