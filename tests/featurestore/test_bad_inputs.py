"""What users really send: one clear sentence with the remedy, and the lake stays as it was."""

import shutil
import stat
import subprocess
import sys
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from featurestore.calendars import load_calendar
from featurestore.errors import (
    CalendarUnknown,
    ContractBroken,
    HistoryMissing,
    LakeUnavailable,
    PlatformError,
    ViewUnknown,
)
from featurestore.lake import Lake
from featurestore.store import FeatureStore
from featurestore.universes import Universe, membership_view
from featurestore.views import FeatureView, Field

ROOT = Path(__file__).resolve().parents[2]
CLOSES = [s.close for s in load_calendar("XNYS").sessions(date(2020, 1, 2), date(2020, 1, 31))]
TIMES, UTC_TIME = ("event_time", "known_at"), pl.Datetime("us", "UTC")
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


def bars(first=5, n=5):
    times = CLOSES[first : first + n]
    return pl.DataFrame(
        {"entity": ["AA"] * n, "event_time": times, "known_at": times, "close": [1.0] * n}
    ).with_columns(pl.col("event_time", "known_at").cast(pl.Datetime("us", "UTC")))


@pytest.fixture
def store(tmp_path):
    store = FeatureStore(Lake(str(tmp_path / "lake")), now=lambda: datetime(2020, 2, 1, tzinfo=UTC))
    store.apply(VIEW, membership_view("members", owner="t", description="t", source="t"))
    store.ingest("bars", bars())
    joined = {"entity": ["AA"], "event_time": [CLOSES[-3]], "known_at": [CLOSES[-3]], "member": [1]}
    store.ingest("members", pl.DataFrame(joined, schema_overrides=dict.fromkeys(TIMES, UTC_TIME)))
    return store


def contents(folder):
    return {p: p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def sent(change):
    return lambda store: store.ingest("bars", change(bars(10)), on_bad="refuse")


def asked(features=("bars.close",), **options):
    given = {"symbols": ["AA"], "start": date(2020, 1, 13), "end": date(2020, 1, 15)} | options
    return lambda store: store.get_historical_features(list(features), **given)


def naive(frame):
    return frame.with_columns(pl.col("known_at").dt.replace_time_zone(None))


def future(frame):
    return frame.with_columns(pl.col("known_at") + pl.duration(days=365))


DAY = date(2020, 1, 3)
CASES = {
    "a wrong dtype": (
        sent(lambda f: f.with_columns(pl.col("close").cast(pl.String))),
        ContractBroken,
        r"bars\.close: dtype is String, the view wants Float64.*cast it before ingest",
    ),
    "naive timestamps": (
        sent(naive), ContractBroken, r"bars\.known_at: times carry no zone.*replace_time_zone",
    ),
    "duplicate keys": (
        sent(lambda f: pl.concat([f, f[:1]])), ContractBroken, r"duplicate key; send one row per",
    ),
    "a knowledge time in the future": (
        sent(future), ContractBroken, r"known in the future; send the row once it is known",
    ),
    "no entities": (
        asked(symbols=[]), ContractBroken, r"0 symbols .* name at least one symbol",
    ),
    "a universe of nobody": (
        asked(symbols=None, universe=Universe(name="none", symbols=(), survivors=False, note="")),
        ContractBroken, r"0 symbols .* name at least one symbol",
    ),
    "a universe before its first member": (
        asked(symbols=None, universe="members"), ContractBroken,
        r"the universe has no member from 2020-01-13 to 2020-01-15; choose a later range",
    ),
    "a universe that is no membership view": (
        asked(symbols=None, universe="bars"), ContractBroken, r"view bars has no field member",
    ),
    "an unknown universe": (
        asked(symbols=None, universe="sp500"), ViewUnknown, r"no feature view 'sp500'.*: bars",
    ),
    "an unknown formula": (
        asked(["momentun(bars.close)"]), ViewUnknown, r"no formula 'momentun'.*: amihud, atr",
    ),
    "a feature that is half written": (
        asked(["momentum(bars.close"]), ViewUnknown, r"cannot be read; write view\.field",
    ),
    "a formula longer than the history": (
        asked(["momentum(bars.close, lookback=252, skip=21)"]), HistoryMissing,
        r"needs 274 bars of bars\.close.*decide later or shorten its window",
    ),
    "a symbol instead of a list": (
        asked(symbols="AA"), ContractBroken, r"symbols is the text 'AA'; pass a list, \['AA'\]",
    ),
    "an unknown field": (asked(["bars.clos"]), ViewUnknown, r"no field 'clos'; it has: close"),
    "an unknown view": (asked(["bar.close"]), ViewUnknown, r"no feature view 'bar'.*: bars"),
    "an unknown symbol": (
        asked(symbols=["AA", "ZZ"]), HistoryMissing, r"nothing of ZZ was known by 2020-01-15",
    ),
    "a range before history starts": (
        asked(start=date(2020, 1, 2), end=DAY), HistoryMissing,
        r"nothing of AA was known by 2020-01-03; the history starts later.*choose a later range",
    ),
    "a range before the calendar": (
        asked(start=date(1970, 1, 2), end=DAY), CalendarUnknown, r"1970-01-02 lies outside",
    ),
    "a range that ends before it starts": (
        asked(end=DAY), ContractBroken, r"0 sessions .* a range with sessions",
    ),
    "days as text": (
        asked(start="2020-01-02"), ContractBroken, r"start is '2020-01-02'; pass a day, e\.g\.",
    ),
    "an instant for a day": (
        asked(start=datetime(2020, 1, 2)), ContractBroken, r"instants within a day pass a spine",
    ),
    "no feature": (asked([]), ContractBroken, r"pass features"),
    "a spine without zone": (
        asked(symbols=None, start=None, end=None,
              spine=pl.DataFrame({"entity": ["AA"], "at": [datetime(2020, 1, 15)]})),
        ContractBroken, r"the spine's at is Datetime.*must be a time with zone",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_bad_input_is_one_clear_error_and_changes_nothing(store, case):
    deed, error, message = CASES[case]
    before = contents(store.lake.url)
    with pytest.raises(PlatformError, match=message) as caught:
        deed(store)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert contents(store.lake.url) == before


def test_a_truncated_parquet_file_is_named_and_nothing_is_written(store):
    file = next(Path(store.lake.url, "bars").rglob("*.parquet"))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    before = contents(store.lake.url)
    for deed in (lambda: store.snapshot(), lambda: store.ingest("bars", bars())):
        with pytest.raises(LakeUnavailable, match=rf"{len(whole) // 2} bytes.*restore it"):
            deed()
    assert contents(store.lake.url) == before
    file.write_bytes(whole)
    assert store.ingest("bars", bars()).unchanged == 5


CHILD = """
import os
import sys
sys.path.insert(0, sys.argv[2])
import polars as pl
from featurestore.errors import LakeUnavailable
from featurestore.lake import Lake
from featurestore.store import FeatureStore
store = FeatureStore(Lake(sys.argv[1]))
rows = store.reader(store.snapshot()).rows("bars").with_columns(source=pl.lit("tests"))
if os.getuid() == 0:  # root may write anywhere
    os.setgid(65534)
    os.setuid(65534)
try:
    store.ingest("bars", rows.with_columns(pl.lit("BB").alias("entity")))
except LakeUnavailable as error:
    print(error)
"""


def test_a_read_only_disk_is_one_clear_error_and_can_still_be_read():
    folder = Path(tempfile.mkdtemp(prefix="sluice-readonly-"))
    try:
        store = FeatureStore(Lake(str(folder / "lake")))
        store.apply(VIEW)
        store.ingest("bars", bars())
        before = contents(folder)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        done = subprocess.run(
            [sys.executable, "-c", CHILD, store.lake.url, str(ROOT)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "could not write table bars" in done.stdout, done.stderr
        assert "check the path, its permissions and free space" in done.stdout
        assert contents(folder) == before
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(stat.S_IRWXU)
        shutil.rmtree(folder)
