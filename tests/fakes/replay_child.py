"""A replay in a process of its own: `python -m tests.fakes.replay_child FOLDER DATABASE_URL`."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

from runtime.replay import ReplayResult, replay
from tests.fakes.graphs import tilt_manifest
from tests.fakes.market import XNYS, open_bench

START, END = date(2017, 1, 3), date(2017, 12, 29)


def run(folder: Path, url: str) -> ReplayResult:
    bench = open_bench(folder, database_url=url, manifest=tilt_manifest(schedule="daily"))
    try:
        return replay(bench.engine(), XNYS, START, END)
    finally:
        bench.close()


if __name__ == "__main__":
    print(run(Path(sys.argv[1]), sys.argv[2]))
