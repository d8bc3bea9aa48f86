"""Recorded notebook runs: warm kernels beside stock papermill, two at a time; and a plain sweep.

Seconds and CPU seconds per run of the momentum notebook with all its pictures. A sample of runs is
measured on both sides in turns and scaled to 200; the warm side carries the start of its parent as
one of 200 runs would.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from featurestore.lake import Lake
from featurestore.sources.embedded import US_EQUITIES, ingest_embedded
from featurestore.store import FeatureStore
from pipelines.runs.many import run_many
from pipelines.runs.warm import WarmKernels
from pipelines.sweeps.sweep import sweep
from pipelines.workspace import Workspace
from runtime.clock import WallClock

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "strategies" / "momentum.ipynb"
ROUNDS, STOCK, WARM, SWEPT, WHOLE = 2, 2, 18, 40, 200  # STOCK and WARM in each round
WORKERS = 2
_STOCK = """
import papermill, sys
papermill.execute_notebook(sys.argv[1], sys.argv[2], parameters=eval(sys.argv[3]),
                           kernel_name="python3", progress_bar=False, cwd=sys.argv[4])
"""


def run() -> list[dict[str, object]]:
    """Count CPU seconds of all processes, so that neighbours on the machine do not matter."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        ingest_embedded(FeatureStore(Lake(workspace.lake_url)), (US_EQUITIES,))
        workspace.save()
        return _measured(workspace)


@dataclass(frozen=True, kw_only=True)
class _Spent:
    """What some runs took."""

    wall: float  # seconds
    cpu: float  # seconds


def _measured(workspace: Workspace) -> list[dict[str, object]]:
    points = [
        {"lookback": lookback, "skip": skip, "top": top, "weighting": weighting}
        for lookback in (63, 126, 189, 252)
        for top in (3, 5, 7)
        for weighting in ("equal", "inverse_volatility", "score_rank")
        for skip in (0, 21)
    ]
    _stock(workspace, points[:1])  # caches of files, for either side
    stock: list[_Spent] = []
    warm: list[_Spent] = []
    began = time.monotonic()
    with WarmKernels(environ=os.environ | {"PYTHONPATH": str(ROOT)}) as kernels:
        start = _Spent(wall=time.monotonic() - began, cpu=_cpu_of_process(kernels.process.pid))
        for number in range(ROUNDS):
            stock.append(_stock(workspace, points[:STOCK]))
            warm.append(_warm(workspace, points[number * WARM : (number + 1) * WARM], kernels))
    assert workspace.ledger().study("momentum").trials >= ROUNDS * WARM
    swept = _cpu(lambda: sweep(NOTEBOOK, workspace, clock=WallClock(), n_trials=SWEPT))
    ours = {
        unit: (getattr(start, unit) + WHOLE / WARM * median(getattr(s, unit) for s in warm)) / WHOLE
        for unit in ("wall", "cpu")
    }
    peer = {unit: median(getattr(s, unit) for s in stock) / STOCK for unit in ("wall", "cpu")}
    name = f"One of {WHOLE} recorded runs of the momentum notebook with its pictures"
    return [
        _row(f"{name}, {WORKERS} at a time: warm kernels", ours["wall"], peer["wall"], "s"),
        _row(f"{name}: warm kernels", ours["cpu"], peer["cpu"], "CPU s"),
        _row(
            f"One recorded trial of a sweep, no pictures, {SWEPT} trials",
            swept / SWEPT,
            peer["cpu"],
            "CPU s",
        ),
    ]


def _warm(
    workspace: Workspace, points: Sequence[dict[str, object]], kernels: WarmKernels
) -> _Spent:
    """Run the notebook in warm kernels, each a fresh process, every trial in the ledger."""
    before, began = _cpu_of_process(kernels.process.pid) + _own(), time.monotonic()
    records = run_many(
        NOTEBOOK,
        points,
        workspace,
        clock=WallClock(),
        workers=WORKERS,
        warm=kernels,
        environ=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    wall = time.monotonic() - began
    assert all(record.complete for record in records), [r.closed for r in records]
    time.sleep(0.2)  # the last kernels are reaped
    return _Spent(wall=wall, cpu=_cpu_of_process(kernels.process.pid) + _own() - before)


def _stock(workspace: Workspace, points: Sequence[dict[str, object]]) -> _Spent:
    """Run the notebook by stock papermill, a process and a kernel for each."""
    environ = os.environ | {
        "SLUICE_WORKSPACE": str(workspace.path),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }

    def one(number: int) -> None:
        out = str(workspace.path / f"stock-{number}.ipynb")
        command = [sys.executable, "-c", _STOCK, str(NOTEBOOK), out, repr(points[number])]
        subprocess.run(
            [*command, str(NOTEBOOK.parent)], env=environ, check=True, stderr=subprocess.DEVNULL
        )

    before, began = _own(), time.monotonic()
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(one, range(len(points))))
    return _Spent(wall=time.monotonic() - began, cpu=_own() - before)


def _cpu(task: Callable[[], object]) -> float:
    """Return CPU seconds of this process and of the children that ended meanwhile."""
    before = _own()
    task()
    time.sleep(0.2)
    return _own() - before


def _own() -> float:
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total


def _cpu_of_process(pid: int) -> float:
    """Return CPU seconds of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _row(name: str, ours: float, peer: float, unit: str) -> dict[str, object]:
    return {
        "name": name,
        "ours": ours,
        "peer": peer,
        "peer_name": f"stock papermill, a cold kernel each, {ROUNDS * STOCK} measured",
        "ratio": peer / ours,
        "unit": unit,
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
