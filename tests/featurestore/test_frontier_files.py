"""Frontiers kept in files: the same answers, nothing behind a seal, dispensable at any moment."""

import struct
import threading
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore import frontier_files
from featurestore.calendars import load_calendar
from featurestore.check import check_store
from featurestore.errors import LakeUnavailable
from featurestore.frontier import build_frontier
from featurestore.frontier_files import KEPT, FrontierFiles, Loadable
from featurestore.lake import Lake
from featurestore.pit import join_as_of
from featurestore.seals import Opening
from featurestore.store import FeatureStore
from featurestore.views import FeatureView, Field

CLOSES = [s.close for s in load_calendar("XNYS").sessions(date(2020, 1, 2), date(2020, 6, 30))]
UTC_TIME = pl.Datetime("us", "UTC")
SECRET = 987654.321
VIEW = FeatureView(
    name="bars",
    entity="symbol",
    fields=(
        Field(name="close", unit="USD"),
        Field(name="volume", unit="shares", dtype="int64", nullable=True),
    ),
    calendar="XNYS",
    freshness=timedelta(days=5),
    owner="tests",
    description="bars",
    source="tests",
)


@pytest.fixture(autouse=True)
def every_frontier_is_worth_a_file(monkeypatch):
    monkeypatch.setattr(frontier_files, "LEAST_CELLS", 0)


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    store = FeatureStore(Lake(str(tmp_path / "lake")))
    store.apply(VIEW)
    store.ingest("bars", bars())
    return store


def bars(first=0, n=30, symbols=("AA", "BB"), close=None, revision=0, late=timedelta(0)):
    sessions = CLOSES[first : first + n]
    return pl.DataFrame(
        {
            "entity": [s for s in symbols for _ in sessions],
            "event_time": sessions * len(symbols),
            "known_at": [at + late for at in sessions] * len(symbols),
            "revision": [revision] * (len(symbols) * n),
            "close": [float(first + i if close is None else close) for i in range(n)]
            * len(symbols),
            "volume": [None if i % 3 else i for i in range(n)] * len(symbols),
        },
        schema_overrides={"event_time": UTC_TIME, "known_at": UTC_TIME, "volume": pl.Int64},
    )


def spine(names=("BB", "AA", "never")):
    at = [close + timedelta(minutes=m) for close in CLOSES for m in (-1, 0, 700)]
    return pl.DataFrame(
        {"entity": [name for _ in at for name in names], "at": [a for a in at for _ in names]},
        schema_overrides={"at": UTC_TIME},
    ).sample(fraction=1.0, shuffle=True, seed=3)


def answer(store, asked=None, snapshot=None, **options):
    reader = store.reader(snapshot or store.snapshot(), **options)
    wanted = ["bars.close", "bars.volume"]
    return reader.get_historical_features(wanted, spine=spine() if asked is None else asked).frame


def truth(store, asked=None, snapshot=None):
    """The plain as-of join over the table itself."""
    version = (snapshot or store.snapshot()).versions["bars"]
    rows = store.lake.read("bars", version=version).drop("source", "year")
    joined = join_as_of(spine() if asked is None else asked, rows)
    return joined.select(
        "entity",
        "at",
        *(pl.col(c).alias(f"bars.{c}") for c in ("close", "volume", "event_time", "known_at")),
    )


def files(store) -> list[Path]:
    return sorted(Path(store.lake.url, "_frontiers", "bars").glob("*.frontier"))


def forbid_reading(monkeypatch):
    def refuse(self, table, **_):
        if table == "bars":
            raise AssertionError("the table was read")
        return read(self, table, **_)

    read = Lake.read
    monkeypatch.setattr(Lake, "read", refuse)


def test_the_next_reader_answers_without_reading_the_table(store, monkeypatch):
    snapshot, expected = store.snapshot(), truth(store)
    assert answer(store, snapshot=snapshot).equals(expected)
    assert len(files(store)) == 1
    forbid_reading(monkeypatch)
    assert answer(store, snapshot=snapshot).equals(expected)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_kept_frontier_is_the_one_that_was_made(tmp_path, data):
    rows = []
    for entity in data.draw(st.sets(st.sampled_from(["A", "B", "ZZ"]))):
        known = CLOSES[0]
        for i in range(data.draw(st.integers(1, 12))):
            known += timedelta(hours=data.draw(st.sampled_from([0, 1, 30])))
            event = CLOSES[0] + timedelta(days=data.draw(st.integers(-4, i)))
            value = data.draw(st.sampled_from([None, 0.0, -0.0, float("nan"), 1.5]))
            rows.append((entity, event, known, i, value, data.draw(st.sampled_from([None, 7]))))
    types = [pl.String, UTC_TIME, UTC_TIME, pl.Int64, pl.Float64, pl.Int64]
    names = ["entity", "event_time", "known_at", "revision", "close", "volume"]
    frame = pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")
    held = FrontierFiles(tmp_path)
    question = Loadable(
        view="bars",
        fingerprint=f"{data.draw(st.integers(1, 2**256 - 1)):064x}",
        fields=("close", "volume"),
        sealed_from=data.draw(st.sampled_from([None, CLOSES[3]])),
    )
    made = build_frontier(frame)
    assert held.keep(made, question)
    found = held.find(question)
    assert found is not None
    asked = spine(("A", "ZZ", "never")).head(60)
    joined = found.join(asked, ["volume", "close"])
    assert joined.equals(made.join(asked, ["volume", "close"]))
    expected = join_as_of(asked, frame).select("event_time", "known_at", "volume", "close")
    assert joined.equals(expected)
    assert found.extent == made.extent
    assert held.find(replace(question, fields=("close",))) is None
    assert held.find(replace(question, fingerprint="0" * 64)) is None


def test_nothing_behind_a_readers_seal_lies_in_the_file_that_it_maps(store, monkeypatch):
    store.ingest("bars", bars(40, 5, close=SECRET))
    store.ingest("bars", bars(50, 5, symbols=("LATECOMER",)))
    seal = CLOSES[40]
    early = spine().filter(pl.col("at") < seal)
    snapshot, expected = store.snapshot(), truth(store, early)
    assert answer(store, early, snapshot, sealed_from=seal).equals(expected)
    (path,) = files(store)
    content = path.read_bytes()
    assert struct.pack("<d", SECRET) not in content
    assert b"LATECOMER" not in content
    answer(store, snapshot=snapshot)  # nobody's seal: a file of its own
    assert len(files(store)) == 2
    assert any(struct.pack("<d", SECRET) in each.read_bytes() for each in files(store))
    forbid_reading(monkeypatch)
    found = answer(store, early, snapshot, sealed_from=seal)
    assert found.equals(expected)


def test_a_lease_says_the_same_of_a_mapped_frontier_as_of_a_table(store):
    told = []
    watching = FeatureStore(store.lake, on_read=lambda *facts: told.append(facts[1:]))
    for _ in range(2):
        answer(watching, sealed_from=CLOSES[20], asked=spine().filter(pl.col("at") < CLOSES[19]))
    assert told[0] == told[1]
    assert told[0][1] == "bars"
    assert (told[0][2].rows, told[0][2].last) == (40, CLOSES[19])


@pytest.mark.parametrize("harm", ["cut short", "another header", "empty", "another make"])
def test_a_damaged_file_is_made_anew(store, harm):
    expected = answer(store)
    (path,) = files(store)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut short": whole[:-9],
            "another header": whole[:-60] + b"x" + whole[-59:],
            "empty": b"",
            "another make": b"sluice frontier 0\n" + whole[18:],
        }[harm]
    )
    assert answer(store).equals(expected)
    assert path.read_bytes() == whole


def test_a_file_that_lies_is_named_by_the_check(store):
    answer(store)
    (path,) = files(store)
    assert all(each.holds for each in check_store(store))
    whole = bytearray(path.read_bytes())
    place = whole.index(struct.pack("<d", 29.0))
    whole[place : place + 8] = struct.pack("<d", 31.0)
    path.write_bytes(whole)
    (told,) = check_store(store)
    assert not told.holds
    assert path.name in told.broken[0]
    assert "delete it" in told.broken[0]


def test_a_lake_that_takes_no_writing_is_answered_from_memory(store):
    Path(store.lake.url, "_frontiers").write_text("no folder can be made here")
    assert answer(store).equals(truth(store))
    assert files(store) == []


def test_every_version_has_its_own_answer_and_only_a_few_files_are_kept(store):
    snapshots = [store.snapshot()]
    for i in range(KEPT + 2):
        late = timedelta(days=40 + i)
        store.ingest("bars", bars(3 + i, 2, close=-i, revision=1, late=late))
        snapshots.append(store.snapshot())
    for snapshot in [*snapshots, *snapshots]:
        assert answer(store, snapshot=snapshot).equals(truth(store, snapshot=snapshot))
    assert len(files(store)) == KEPT


def test_compaction_and_vacuum_leave_the_frontiers_of_versions_that_are_left(store):
    store.ingest("bars", bars(30, 5))
    pinned = store.snapshot()
    store.ingest("bars", bars(35, 5))
    given_up = store.snapshot()
    store.lake.compact("bars")
    newest = store.snapshot()
    for snapshot in (pinned, given_up, newest):
        answer(store, snapshot=snapshot)
    left_by_a_crash = files(store)[0].with_name(".dead.part")
    left_by_a_crash.write_bytes(b"half")
    assert len(files(store)) == 3
    store.lake.vacuum("bars", keep=[pinned.versions["bars"]], older_than=timedelta(0))
    assert len(files(store)) == 2
    assert not left_by_a_crash.exists()
    for snapshot in (pinned, newest):
        assert answer(store, snapshot=snapshot).equals(truth(store, snapshot=snapshot))


def test_a_table_whose_own_file_is_cut_short_is_not_answered_from_its_frontier(store):
    answer(store)
    snapshot = store.snapshot()
    data = next(Path(store.lake.url, "bars").rglob("*.parquet"))
    data.write_bytes(data.read_bytes()[:-10])
    with pytest.raises(LakeUnavailable, match="restore it from a copy"):
        answer(store, snapshot=snapshot)


def test_worlds_that_end_early_and_readers_with_an_opening_do_without_files(store):
    opening = Opening(by="promotion", purpose="the holdout")
    assert answer(store, opening=opening).equals(truth(store))
    short = store.reader(store.snapshot()).truncated(CLOSES[9])
    found = short.get_historical_features(["bars.close"], spine=spine()).frame
    assert found["bars.known_at"].max() == CLOSES[9]
    assert files(store) == []


def test_readers_and_writers_at_once_each_see_their_own_version(store):
    wrong: list[str] = []

    def write():
        for i in range(8):
            store.ingest("bars", bars(30 + 3 * i, 3))

    def look():
        for _ in range(8):
            snapshot = store.snapshot()
            if not answer(store, snapshot=snapshot).equals(truth(store, snapshot=snapshot)):
                wrong.append(f"version {snapshot.versions}")

    workers = [threading.Thread(target=deed) for deed in (write, look, look)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
    assert datetime(2020, 1, 1, tzinfo=UTC) < answer(store)["bars.event_time"].max()


def test_small_views_leave_no_file(store, monkeypatch):
    monkeypatch.setattr(frontier_files, "LEAST_CELLS", 10_000)
    answer(store)
    assert files(store) == []
