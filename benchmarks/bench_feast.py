"""The same historical question to us and to Feast's DuckDB store, both from files.

500 symbols x 2500 sessions x 20 features, a tenth of the rows revised later; 10,000 spine rows.
Feast runs in an environment and process of its own and is handed the frontier, because its join
looks at one time only; we are handed all versions. Answers are equal by SHA-256. Neither side's
figures include imports, declarations or ingest.
"""

import gc
import hashlib
import tempfile
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from benchmarks.bench_pit_join import NAMES, VIEW, observations, resident_mb, spine
from benchmarks.peers.apart import ask_feast
from featurestore.lake import Lake
from featurestore.pit import frontier
from featurestore.store import FeatureStore

ROWS = 10_000
ROUNDS = 3  # of Feast; it takes seconds
LIMIT_RATIO = 100.0  # CPU seconds, Feast's over ours
LIMIT_SECONDS = 0.08
LIMIT_SHARE = 0.2  # of Feast's memory


def run() -> list[dict[str, object]]:
    """Measure CPU seconds and memory of both."""
    with tempfile.TemporaryDirectory() as folder:
        return _measured(Path(folder))


def _measured(folder: Path) -> list[dict[str, object]]:
    store = FeatureStore(Lake(str(folder / "lake")))
    store.apply(VIEW)
    rows = observations()
    store.ingest("wide", rows)
    held = frontier(rows).select("entity", "known_at", *NAMES)
    held.write_parquet(folder / "rows.parquet")
    del rows, held
    asked = spine().head(ROWS).with_row_index("n")
    asked.write_parquet(folder / "spine.parquet")
    snapshot = store.snapshot()
    features = [f"wide.{name}" for name in NAMES]

    def ours() -> Any:  # what a fresh notebook does: another reader, nothing in memory
        fresh = store.reader(snapshot)
        return fresh.get_historical_features(features, spine=asked).frame

    start = process_time()
    answer = ours()  # the first of all: the frontier is computed and kept
    first = process_time() - start
    values = answer.sort("n").select(features).fill_null(float("nan")).to_numpy(order="c")
    checksum = hashlib.sha256(values.tobytes()).hexdigest()
    del answer, values
    gc.collect()
    before = resident_mb()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    times = []
    for _ in range(5 * ROUNDS):
        start = process_time()
        ours()
        times.append(process_time() - start)
    extra = resident_mb(peak=True) - before
    feast = ask_feast(
        {
            "folder": str(folder),
            "rows": str(folder / "rows.parquet"),
            "spine": str(folder / "spine.parquet"),
            "fields": NAMES,
            "rounds": ROUNDS,
        }
    )
    if feast["checksum"] != checksum or feast["rows"] != ROWS:
        raise AssertionError("Feast's answer is not ours")
    shape = f"{ROWS:,} spine rows x 500 symbols x 2500 days x 20"
    mine, theirs = median(times), median(feast["seconds"])
    name, peer = f"historical features from files, {shape}", "Feast get_historical_features, DuckDB"
    return [
        _figure(name, mine, theirs, peer, "CPU s"),
        _figure(f"{name}, limit", mine, theirs / LIMIT_RATIO, "a hundredth of Feast's", "CPU s"),
        _figure(f"{name}, ceiling", mine, LIMIT_SECONDS, "limit", "CPU s"),
        _figure(f"{name}, first of all, frontier computed", first, theirs, peer, "CPU s"),
        _figure(f"{name}, memory it takes", extra, feast["megabytes"], peer, "MB"),
        _figure(
            f"{name}, memory it takes, limit",
            extra,
            feast["megabytes"] * LIMIT_SHARE,
            "a fifth of Feast's",
            "MB",
        ),
    ]


def _figure(name: str, ours: float, peer: float, peer_name: str, unit: str) -> dict[str, object]:
    ratio = peer / max(ours, 1e-9)
    return {
        "name": name,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "ratio": ratio,
        "unit": unit,
    }
