"""One suite for every kind of lake: a local folder, and S3's API by changing the URL only."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from featurestore import frontier_files
from featurestore.calendars import load_calendar
from featurestore.errors import LakeUnavailable, SnapshotUnknown
from featurestore.lake import Lake
from featurestore.store import FeatureStore
from featurestore.views import FeatureView, Field
from tests.servers import die_with_parent

ROOT = Path(__file__).resolve().parents[2]
CLOSES = [s.close for s in load_calendar("XNYS").sessions(date(2019, 12, 2), date(2020, 1, 31))]
NO_TIME = timedelta(0)
VIEW = FeatureView(
    name="bars",
    entity="symbol",
    fields=(Field(name="close", unit="USD", low=0.0),),
    calendar="XNYS",
    freshness=timedelta(days=5),
    owner="tests",
    description="bars",
    source="tests",
)


@pytest.fixture(params=["folder", "file URL", "S3"])
def lake(request, tmp_path) -> Lake:
    if request.param == "folder":
        return Lake(str(tmp_path / "lake"))
    if request.param == "file URL":
        return Lake((tmp_path / "lake").as_uri())
    return Lake(f"{request.getfixturevalue('s3_bucket')}/research/lake")


def bars(first=0, n=5, symbol="AA"):
    return pl.DataFrame(
        {
            "entity": [symbol] * n,
            "event_time": CLOSES[first : first + n],
            "known_at": CLOSES[first : first + n],
            "close": [100.0 + first + i for i in range(n)],
        }
    ).with_columns(pl.col("event_time", "known_at").cast(pl.Datetime("us", "UTC")))


@pytest.fixture
def store(lake) -> FeatureStore:
    store = FeatureStore(lake)
    store.apply(VIEW)
    return store


def test_what_is_ingested_is_read_back_joined_and_hashed_alike(store, tmp_path):
    report = store.ingest("bars", bars())
    assert (report.accepted, report.version) == (5, 0)
    again = store.ingest("bars", bars(3, 5))
    assert (again.accepted, again.unchanged) == (3, 2)
    reader = store.reader(store.snapshot())
    window = reader.window("bars.close", ["AA"], length=3, at=CLOSES[7])
    assert window.tolist() == [[105.0, 106.0, 107.0]]
    twin = FeatureStore(Lake(str(tmp_path / "twin")))
    twin.apply(VIEW)
    twin.ingest("bars", bars(0, 8))
    assert twin.snapshot().hash == store.snapshot().hash


def test_an_empty_lake_has_no_tables_and_says_so(lake):
    assert lake.version("bars") is None
    with pytest.raises(SnapshotUnknown, match="ingest it first"):
        lake.read("bars", version=0)


def test_quarantine_and_seals_live_beside_the_tables(store):
    store.ingest("bars", bars().with_columns(pl.lit(-1.0).alias("close")))
    assert store.quarantine("bars").height == 5
    store.drop("bars", store.quarantine("bars")["batch"][0], why="typos", by="ada")
    assert store.quarantine("bars").is_empty()
    store.seal("study", datetime(2020, 1, 2, tzinfo=UTC))
    store.ingest("bars", bars(0, 30))
    assert store.reader(store.snapshot()).rows("bars")["known_at"].max() < CLOSES[21]


def test_two_writers_that_saw_the_same_version_do_not_both_append(store):
    lake = store.lake
    for after in (None, 0):
        rows = bars(after or 0).with_columns(pl.lit(2020, pl.Int32).alias("year"))
        won, lost = [], []
        start = threading.Barrier(3)

        def write(version=after, frame=rows, on=start, good=won, bad=lost):
            on.wait()
            try:
                good.append(lake.append("race", frame, after=version))
            except LakeUnavailable as error:
                bad.append(str(error))

        writers = [threading.Thread(target=write) for _ in range(3)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert len(won) == 1
        assert len(lost) == 2
        assert all("another writer" in text and "again" in text for text in lost)
    assert lake.read("race", version=1).height == 10


def test_concurrent_ingests_that_are_sent_again_lose_nothing(store):
    def send(symbol):
        for _ in range(40):
            try:
                store.ingest("bars", bars(symbol=symbol))
                return
            except LakeUnavailable:
                time.sleep(0.01)

    writers = [threading.Thread(target=send, args=(f"S{i}",)) for i in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    held = store.lake.read("bars", version=store.lake.version("bars"))
    assert held["entity"].n_unique() == 4
    assert held.height == 20


def test_compaction_joins_files_and_changes_neither_content_nor_pinned_versions(store):
    for i in range(6):
        store.ingest("bars", bars(i * 5))
    lake, before = store.lake, store.snapshot()
    pinned = lake.read("bars", version=2).sort("event_time")
    files = lake.files("bars")
    version = lake.compact("bars")
    assert lake.files("bars") == 2  # two years
    assert files >= 6
    assert version > before.versions["bars"]
    assert store.snapshot().hash == before.hash
    store.verify(before)
    assert lake.read("bars", version=2).sort("event_time").equals(pinned)


def test_vacuum_keeps_what_is_pinned_and_deletes_the_rest(store):
    for i in range(4):
        store.ingest("bars", bars(i * 5))
    lake = store.lake
    pinned = store.snapshot()
    lake.compact("bars")
    assert lake.vacuum("bars", keep=[pinned.versions["bars"]], older_than=NO_TIME) == 0
    store.verify(pinned)
    assert lake.vacuum("bars", keep=[], older_than=timedelta(days=7)) == 0
    assert lake.vacuum("bars", keep=[], older_than=NO_TIME) >= 4
    assert store.snapshot().hash == pinned.hash
    with pytest.raises(LakeUnavailable):
        lake.read("bars", version=pinned.versions["bars"])
    with pytest.raises(SnapshotUnknown, match="version 99 of table bars is pinned"):
        lake.vacuum("bars", keep=[99], older_than=NO_TIME)
    assert store.ingest("bars", bars(25)).accepted == 5


def test_a_damaged_file_is_one_clear_error_and_nothing_is_written(store):
    store.ingest("bars", bars())
    version = store.lake.version("bars")
    (path,) = DeltaTable(store.lake.table_url("bars")).file_uris()
    if store.lake.url.startswith("s3"):
        pl.DataFrame({"this": ["is no Parquet"]}).write_csv(path)
    else:  # cut short, as by a full disk
        file = Path(path.removeprefix("file://"))
        file.write_bytes(file.read_bytes()[:-100])
    for deed in (store.snapshot, lambda: store.ingest("bars", bars(3, 4))):
        with pytest.raises(LakeUnavailable, match="table bars") as caught:
            deed()
        assert "\n" not in str(caught.value)
    assert store.lake.version("bars") == version


def test_frontiers_are_kept_locally_and_answer_alike(store, tmp_path, monkeypatch):
    monkeypatch.setattr(frontier_files, "LEAST_CELLS", 0)
    store.ingest("bars", bars(0, 30))
    scratch = tmp_path / "scratch"
    asked = pl.DataFrame({"entity": ["AA", "BB"], "at": [CLOSES[7]] * 2})
    snapshot = store.snapshot()
    for lake in (store.lake, replace(store.lake, scratch=str(scratch))):
        for _ in range(2):
            reader = FeatureStore(lake).reader(snapshot)
            found = reader.get_historical_features(["bars.close"], spine=asked).frame
            assert found["bars.close"].to_list() == [107.0, None]
    remote = store.lake.url.startswith("s3")
    assert len(list(scratch.rglob("*.frontier"))) == (1 if remote else 0)
    assert len(list((tmp_path / "lake").rglob("*.frontier"))) == (0 if remote else 1)


def test_a_file_without_its_commit_is_never_seen(store, tmp_path):
    """What a writer leaves that dies between the data and the commit."""
    store.ingest("bars", bars())
    before = store.snapshot()
    if store.lake.url.startswith("s3"):
        pytest.skip("the same code path; a file is laid beside the table on disk only")
    folder = Path(store.lake.table_url("bars").removeprefix("file://"))
    orphan = next(folder.rglob("*.parquet"))
    (orphan.parent / f"part-00000-dead-{orphan.name}").write_bytes(orphan.read_bytes())
    (folder / "_delta_log" / "_commit_dead.json.tmp").write_bytes(b'{"add":{"path":')
    assert store.snapshot() == before
    assert store.ingest("bars", bars(5)).accepted == 5


CHILD = """
import sys
sys.path.insert(0, sys.argv[2])
import importlib.util
spec = importlib.util.spec_from_file_location("contract", sys.argv[3])
contract = importlib.util.module_from_spec(spec)
spec.loader.exec_module(contract)
store = contract.FeatureStore(contract.Lake(sys.argv[1]))
print("ready", flush=True)
for i in range(1000):
    store.ingest("bars", contract.bars(0, 30, symbol=f"K{i:03d}"))
    print(i, flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_the_last_good_version(tmp_path):
    store = FeatureStore(Lake(str(tmp_path / "lake")))
    store.apply(VIEW)
    acknowledged = -1
    for delay in (0.05, 0.11, 0.18):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, store.lake.url, str(ROOT), __file__],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        said = [int(line) for line in child.stdout.read().split()]
        child.wait()
        acknowledged = max([acknowledged, *said])
        version = store.lake.version("bars")
        if version is None:
            continue
        held = store.lake.read("bars", version=version)
        counts = held["entity"].value_counts()["count"].to_list()
        assert set(counts) == {30}  # every batch is there whole or not at all
        assert held["entity"].n_unique() >= acknowledged + 1
        assert store.snapshot().hash
    assert store.ingest("bars", bars(symbol="AFTER")).accepted == 5
