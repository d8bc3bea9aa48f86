"""A trading process from its start to its first journalled decision.

Each round starts `sluice trade` as a process of its own over a new workspace: a promoted bundle,
the lake of the embedded prices, no journal yet. Its clock is set to minutes after a close of 2017,
so that a session is due at once; all else is as an operator starts it. The time runs from before
the process exists until another one reads the committed decision.
"""

import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.bench_service import compiled
from featurestore.lake import Lake
from featurestore.sources.embedded import ingest_embedded
from featurestore.store import FeatureStore
from tests.conftest_market import MarketLake
from tests.fakes.trading import promote_over_lake, promoted_workspace

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 5
LIMIT = 1.5  # seconds
PATIENCE = 120.0  # seconds
DUE = datetime(2017, 3, 1, 21, 6, tzinfo=UTC)  # six minutes after a close in New York
STARTED = """
import sys
from datetime import UTC, datetime
from runtime import clock
began, due = datetime.now(UTC), datetime.fromisoformat(sys.argv.pop(1))
clock.WallClock.now = lambda self: due + (datetime.now(UTC) - began)
from service.__main__ import main
main()
"""


def run() -> list[dict[str, object]]:
    """Return the median of the rounds beside the limit."""
    took = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = _workspace(folder / "made")
        environ = compiled(folder / "bytecode")
        for number in range(ROUNDS + 1):
            place = folder / str(number)
            shutil.copytree(made, place, symlinks=True)
            took.append(_first_decision(place, environ))
    ours = median(took[1:])  # the first one compiled what it loaded
    return [
        {
            "name": "trading process, cold start to first journalled decision",
            "ours": ours,
            "peer": LIMIT,
            "peer_name": "limit",
            "ratio": LIMIT / ours,
            "unit": "s",
        }
    ]


def _workspace(folder: Path) -> Path:
    """Make a workspace with a promoted bundle that decides every day, and a lake."""
    promoted = promoted_workspace(folder)
    path = folder.parent / "lake"
    store = FeatureStore(Lake(str(path)))
    reports = tuple(ingest_embedded(store))
    lake = MarketLake(path=path, store=store, snapshot=store.snapshot(), reports=reports)
    promote_over_lake(promoted, lake, version=2, schedule="daily")
    return folder


def _first_decision(workspace: Path, environ: dict[str, str]) -> float:
    """Start a process and return the seconds until its first decision is committed."""
    command = ["-c", STARTED, DUE.isoformat(), "trade", "-w", str(workspace)]
    began = time.perf_counter()
    with (workspace / "said").open("wb") as said:
        child = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=environ, stdout=said, stderr=said
        )
    try:
        while not _decided(workspace / "runtime.db"):
            if child.poll() is not None or time.perf_counter() - began > PATIENCE:
                raise RuntimeError(f"no decision: {(workspace / 'said').read_text()}")
            time.sleep(0.002)
        return time.perf_counter() - began
    finally:
        child.terminate()
        child.wait(timeout=PATIENCE)


def _decided(database: Path) -> bool:
    """Say whether a decision is committed."""
    with suppress(sqlite3.OperationalError):  # the table is not made yet
        address = f"file:{database}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=5)) as connection:
            return connection.execute("SELECT 1 FROM journal_decisions").fetchone() is not None
    return False


if __name__ == "__main__":
    for figure in run():
        print(figure)
