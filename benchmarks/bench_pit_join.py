"""The point-in-time join through the face, beside pandas merge_asof and DuckDB ASOF.

500 symbols x 2500 sessions x 20 features, a tenth of the rows revised later; a spine of a million
(symbol, minute) rows in random order. Peers are handed the frontier already computed, because
without it their answer is wrong; answers are compared value by value. From files, we read through
the face what an earlier reader kept, as a second notebook does; the floor is what a compiled loop
over arrays takes, and reading them from one Parquet file.
"""

import gc
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
from numba import njit

from featurestore.calendars import load_calendar
from featurestore.lake import Lake
from featurestore.pit import frontier
from featurestore.snapshots import Snapshot
from featurestore.store import FeatureStore
from featurestore.views import FeatureView, Field

SYMBOLS, DAYS, FEATURES, SPINE = 500, 2500, 20, 1_000_000
ROUNDS = 3
NAMES = [f"f{i}" for i in range(FEATURES)]
LIMIT_MB = 600.0
FLOORS = 3  # how often the floor's time is allowed
VIEW = FeatureView(
    name="wide",
    entity="symbol",
    fields=tuple(Field(name=name, unit="none") for name in NAMES),
    calendar="XNYS",
    availability=timedelta(minutes=5),
    freshness=timedelta(days=5),
    owner="benchmarks",
    description="random features",
    source="a seeded generator",
)


def observations() -> pl.DataFrame:
    """First prints of every symbol and session, and a tenth of them again, known days later."""
    random = np.random.default_rng(1)
    closes = [s.close for s in load_calendar("XNYS").sessions(date(2012, 1, 3), date(2022, 1, 3))]
    closes = closes[:DAYS]
    n = SYMBOLS * DAYS
    frame = pl.DataFrame(
        {
            "entity": np.repeat([f"S{i:03d}" for i in range(SYMBOLS)], DAYS),
            "event_time": pl.Series(closes * SYMBOLS, dtype=pl.Datetime("us", "UTC")),
            "revision": np.zeros(n, dtype=np.int64),
            **{name: random.normal(size=n) for name in NAMES},
        }
    ).with_columns((pl.col("event_time") + pl.duration(minutes=5)).alias("known_at"))
    again = frame[random.choice(n, n // 10, replace=False)].with_columns(
        pl.lit(1, pl.Int64).alias("revision"),
        pl.col("f0") + 1.0,
        pl.col("known_at")
        + pl.Series(random.integers(1, 30 * 24 * 60, n // 10) * 60_000_000).cast(pl.Duration("us")),
    )
    return pl.concat([frame, again])


def spine() -> pl.DataFrame:
    """A million rows of symbol and minute, in random order, distinct or not."""
    random = np.random.default_rng(2)
    first, last = datetime(2012, 2, 1, tzinfo=UTC), datetime(2021, 12, 1, tzinfo=UTC)
    minutes = random.integers(0, int((last - first).total_seconds() // 60), SPINE)
    at = pl.Series(minutes * 60_000_000).cast(pl.Duration("us")) + first
    names = np.array([f"S{i:03d}" for i in range(SYMBOLS)])
    return pl.DataFrame({"entity": names[random.integers(0, SYMBOLS, SPINE)], "at": at})


@njit
def fused_join(codes: Any, instants: Any, starts: Any, known: Any, values: Any) -> Any:
    """Bisect each spine row in its entity's stretch and copy the row found: the least there is."""
    out = np.full((codes.size, values.shape[1]), np.nan)
    for i in range(codes.size):
        first, end = starts[codes[i]], starts[codes[i] + 1]
        row = first + np.searchsorted(known[first:end], instants[i], side="right") - 1
        if row >= first:
            out[i] = values[row]
    return out


def resident_mb(peak: bool = False) -> float:
    """Resident memory of this process, or its peak, in MB."""
    name = "VmHWM" if peak else "VmRSS"
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{name}:")[1].split()[0]) / 1024


def memory_taken(lake: Lake, snapshot: Snapshot) -> float:
    """Peak memory, in MB, that a fresh process takes for the join from files, mapped pages too."""
    asked = spine()
    reader = FeatureStore(lake).reader(snapshot)
    gc.collect()
    before = resident_mb()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    reader.get_historical_features([f"wide.{name}" for name in NAMES], spine=asked)
    return resident_mb(peak=True) - before


def run() -> list[dict[str, object]]:
    """Measure in CPU seconds of the process, variants interleaved: warm, and from files."""
    with tempfile.TemporaryDirectory() as folder:
        return _measured(Path(folder))


def _measured(folder: Path) -> list[dict[str, object]]:
    store = FeatureStore(Lake(str(folder / "lake")))
    store.apply(VIEW)
    rows = observations()
    store.ingest("wide", rows)
    asked = spine()
    features = [f"wide.{name}" for name in NAMES]
    snapshot = store.snapshot()
    reader = store.reader(snapshot)
    held = frontier(rows).select("entity", "known_at", *NAMES)
    del rows
    files = folder / "frontier.parquet"
    held.write_parquet(files, compression="lz4")
    arranged = folder / "arranged.parquet"
    coded = held.with_columns(pl.col("entity").str.slice(1).cast(pl.Int64).alias("code"))
    coded.drop("entity").sort("code", "known_at").write_parquet(arranged, compression="lz4")
    del coded
    frames: dict[str, pd.DataFrame] = {}
    frames["held"] = pd.DataFrame({c: held[c].to_numpy() for c in held.columns})
    frames["asked"] = pd.DataFrame(
        {"entity": asked["entity"].to_list(), "at": asked["at"].to_numpy()}
    )
    database = duckdb.connect()
    database.execute("set threads to 2")
    database.execute("set enable_progress_bar to false")
    database.execute(f"create table held as select * from read_parquet('{files}')")
    asked.with_row_index("n").write_parquet(folder / "spine.parquet")
    database.execute(
        f"create table asked as select * from read_parquet('{folder / 'spine.parquet'}')"
    )

    def ours() -> Any:
        return reader.get_historical_features(features, spine=asked).frame

    def ours_cold() -> Any:
        fresh = store.reader(snapshot)
        return fresh.get_historical_features(features, spine=asked).frame

    def with_pandas() -> Any:
        left = frames["asked"].assign(n=np.arange(SPINE)).sort_values("at")
        joined = pd.merge_asof(left, frames["held"], left_on="at", right_on="known_at", by="entity")
        return joined.sort_values("n")

    def with_duckdb(source: str = "held") -> Any:
        columns = ", ".join(f"held.{name}" for name in NAMES)
        return database.execute(
            f"select asked.n, {columns} from asked asof left join {source} "
            "on asked.entity = held.entity and asked.at >= held.known_at order by asked.n"
        ).fetchnumpy()

    def pandas_cold() -> Any:
        read = pl.read_parquet(files)  # pandas has no reader of its own here
        frames["held"] = pd.DataFrame({c: read[c].to_numpy() for c in read.columns})
        return with_pandas()

    def duckdb_cold() -> Any:
        return with_duckdb(f"read_parquet('{files}') as held")

    codes = asked["entity"].str.slice(1).cast(pl.Int64).to_numpy()
    instants = asked["at"].to_physical().to_numpy()

    def floor_cold() -> Any:
        wide = pl.read_parquet(arranged)
        starts = np.searchsorted(wide["code"].to_numpy(), np.arange(SYMBOLS + 1))
        known = wide["known_at"].to_physical().to_numpy()
        values = wide.select(NAMES).to_numpy(order="c")
        return fused_join(codes, instants, starts, known, values)

    first = ours()
    np.testing.assert_array_equal(first["wide.f7"].to_numpy(), floor_cold()[:, 7])
    ours_cold()  # keeps the frontier for the readers after it
    for name in ("f0", "f19"):
        expected = with_pandas()[name].to_numpy()
        np.testing.assert_array_equal(first[f"wide.{name}"].to_numpy(), expected)
        found = np.asarray(with_duckdb()[name])
        np.testing.assert_array_equal(np.nan_to_num(found), np.nan_to_num(expected))
    times: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for variant in (
            ours,
            with_pandas,
            with_duckdb,
            ours_cold,
            duckdb_cold,
            floor_cold,
            pandas_cold,
        ):
            times.setdefault(variant.__name__, []).append(_timed(variant))
    database.close()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
        extra = apart.submit(memory_taken, store.lake, snapshot).result()
    shape = f"{SPINE // 1_000_000}M spine rows x {SYMBOLS} symbols x {DAYS} days x {FEATURES}"
    middle = {name: median(values) for name, values in times.items()}
    return [
        _figure(
            f"point-in-time join in memory, {shape}",
            middle["ours"],
            middle["with_pandas"],
            "pandas merge_asof on the frontier",
        ),
        _figure(
            f"point-in-time join in memory, {shape}, DuckDB",
            middle["ours"],
            middle["with_duckdb"],
            "DuckDB ASOF JOIN on the frontier",
        ),
        _figure(
            f"point-in-time join from files, {shape}",
            middle["ours_cold"],
            middle["duckdb_cold"],
            "DuckDB ASOF JOIN on the frontier, from Parquet",
        ),
        _figure(
            f"point-in-time join from files, {shape}, pandas",
            middle["ours_cold"],
            middle["pandas_cold"],
            "pandas merge_asof on the frontier, from Parquet",
        ),
        _figure(
            f"point-in-time join from files, {shape}, floor",
            middle["ours_cold"],
            FLOORS * middle["floor_cold"],
            "three times a compiled loop over arrays read from Parquet",
        ),
        {
            "name": f"point-in-time join, {shape}, memory it takes",
            "ours": extra,
            "peer": LIMIT_MB,
            "peer_name": "limit",
            "ratio": LIMIT_MB / max(extra, 1.0),
            "unit": "MB",
        },
    ]


def _timed(variant: Callable[[], Any]) -> float:
    gc.collect()
    start = process_time()
    variant()
    return process_time() - start


def _figure(name: str, ours: float, peer: float, peer_name: str) -> dict[str, object]:
    return {
        "name": name,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "ratio": peer / ours,
        "unit": "CPU s",
    }
