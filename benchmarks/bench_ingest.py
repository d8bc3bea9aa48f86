"""Ingest of ten million rows through the contract, beside a plain Parquet write of the same rows.

A million at a time; the memory that each takes while the table grows; and then one session at a
time, into the large table and into a small one.
"""

import gc
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np
import polars as pl

from benchmarks.bench_pit_join import resident_mb
from featurestore.calendars import load_calendar
from featurestore.lake import Lake
from featurestore.store import FeatureStore
from featurestore.views import FeatureView, Field

SYMBOLS, BATCH_SESSIONS, BATCHES = 2000, 500, 10  # ten million rows in all
ROUNDS = 5
LIMIT_SHARE = 1 / 3  # of a plain write's rows per second
LIMIT_APPEND = 100.0  # ms
SETTLED = 2  # batches after which the allocator has what it wants
NAMES = pl.Series([f"S{i:04d}" for i in range(SYMBOLS)])
VIEW = FeatureView(
    name="bars",
    entity="symbol",
    fields=(
        *(Field(name=name, unit="USD", low=0.0) for name in ("open", "high", "low", "close")),
        Field(name="volume", dtype="int64", unit="shares", low=0),
    ),
    calendar="XNYS",
    freshness=timedelta(days=5),
    owner="benchmarks",
    description="random bars",
    source="a seeded generator",
)


def bars(first: int, sessions: int) -> pl.DataFrame:
    """Bars of every symbol on consecutive sessions, in order of time."""
    random = np.random.default_rng(first)
    calendar = load_calendar("XNYS")
    closes = [s.close for s in calendar.sessions(date(2000, 1, 3), date(2020, 12, 31))]
    closes = closes[first : first + sessions]
    n = SYMBOLS * len(closes)
    time = pl.Series(np.repeat(np.array([c.timestamp() * 1e6 for c in closes], "i8"), SYMBOLS))
    time = time.cast(pl.Datetime("us", "UTC"))
    price = np.round(random.uniform(1, 500, n), 2)
    return pl.DataFrame(
        {
            "entity": pl.concat([NAMES] * len(closes)),
            "event_time": time,
            "known_at": time,
            "open": price,
            "high": price * 1.01,
            "low": price * 0.99,
            "close": price,
            "volume": random.integers(0, 1_000_000, n),
        }
    )


def run() -> list[dict[str, object]]:
    """Measure in CPU seconds of the process, ours and the plain write in turn."""
    with tempfile.TemporaryDirectory() as folder:
        return _measured(Path(folder))


def _measured(folder: Path) -> list[dict[str, object]]:
    store = FeatureStore(Lake(str(folder / "lake")))
    store.apply(VIEW)
    ours, plain, peaks = [], [], []
    for i in range(BATCHES):
        rows = bars(i * BATCH_SESSIONS, BATCH_SESSIONS)
        file = folder / "plain.parquet"
        plain.append(_timed(lambda rows=rows, file=file: rows.write_parquet(file)))
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        ours.append(_timed(lambda rows=rows: store.ingest("bars", rows)))
        peaks.append(resident_mb(peak=True))
    n = SYMBOLS * BATCH_SESSIONS
    small = FeatureStore(Lake(str(folder / "small")))
    small.apply(VIEW)
    small.ingest("bars", bars(0, 20))
    into_large, into_small = [], []
    for i in range(ROUNDS):
        one, next_one = bars(20 + i, 1), bars(BATCHES * BATCH_SESSIONS + i, 1)
        into_small.append(_timed(lambda one=one: small.ingest("bars", one)))
        into_large.append(_timed(lambda one=next_one: store.ingest("bars", one)))
    large, little = 1000 * median(into_large), 1000 * median(into_small)
    rate, peer = n / median(ours), n / median(plain)
    total = SYMBOLS * BATCH_SESSIONS * BATCHES
    return [
        {
            "name": f"ingest with its contract, {n:,} rows x 5 fields at a time",
            "ours": rate,
            "peer": peer,
            "peer_name": "plain Parquet write of the same rows",
            "ratio": rate / peer,
            "unit": "rows per CPU s",
        },
        {
            "name": f"ingest with its contract, {n:,} rows x 5 fields at a time, limit",
            "ours": rate,
            "peer": peer * LIMIT_SHARE,
            "peer_name": "a third of the plain write",
            "ratio": rate / (peer * LIMIT_SHARE),
            "unit": "rows per CPU s",
        },
        *(
            {
                "name": f"ingest of {n:,} rows into {n * held:,}, peak memory",
                "ours": peaks[held],
                "peer": peaks[SETTLED],
                "peer_name": f"the same into {n * SETTLED:,}",
                "ratio": peaks[SETTLED] / peaks[held],
                "unit": "MB",
            }
            for held in (BATCHES // 2, BATCHES - 1)
        ),
        {
            "name": f"append one session of {SYMBOLS} rows to {total:,}",
            "ours": large,
            "peer": little,
            "peer_name": f"the same into {SYMBOLS * 20:,} rows",
            "ratio": little / large,
            "unit": "CPU ms",
        },
        {
            "name": f"append one session of {SYMBOLS} rows to {total:,}, limit",
            "ours": large,
            "peer": LIMIT_APPEND,
            "peer_name": "limit",
            "ratio": LIMIT_APPEND / large,
            "unit": "CPU ms",
        },
    ]


def _timed(deed: Callable[[], Any]) -> float:
    gc.collect()
    start = process_time()
    deed()
    return process_time() - start
