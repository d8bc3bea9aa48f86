"""Recorded notebook runs: warm kernels beside stock papermill, and a plain sweep.

Seconds and CPU seconds per run of the momentum notebook with all its pictures, on both sides, three
at a time on two cores, as kernels also wait. A sample of runs is measured in turns and scaled to
200; either side carries its start as one of 200 runs would: ours the warm parent, the peer two
processes that import papermill once and execute notebook after notebook by its own call, a cold
kernel each.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
ROUNDS, STOCK, WARM, SWEPT, WHOLE = 3, 2, 12, 40, 200  # STOCK and WARM in each round
WORKERS = 3
_STOCK = """
import json, sys
import papermill
print("ready", flush=True)
for line in sys.stdin:
    source, target, parameters, folder = json.loads(line)
    papermill.execute_notebook(source, target, parameters=parameters, kernel_name="python3",
                               progress_bar=False, cwd=folder)
    print("done", flush=True)
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
    points: list[dict[str, object]] = [
        {"lookback": lookback, "skip": skip, "top": top, "weighting": weighting}
        for lookback in (63, 126, 189, 252)
        for top in (3, 5, 7)
        for weighting in ("equal", "inverse_volatility", "score_rank")
        for skip in (0, 21)
    ]
    stock: list[_Spent] = []
    warm: list[_Spent] = []
    with _stock_workers(workspace) as (workers, peer_start):
        _stock(workspace, points[:1], workers)  # caches of files, for either side
        began = time.monotonic()
        with WarmKernels(environ=os.environ | {"PYTHONPATH": str(ROOT)}) as kernels:
            start = _Spent(wall=time.monotonic() - began, cpu=_cpu_of_process(kernels.process.pid))
            for number in range(ROUNDS):
                stock.append(_stock(workspace, points[number * STOCK :][:STOCK], workers))
                warm.append(_warm(workspace, points[number * WARM :][:WARM], kernels))
    assert workspace.ledger().study("momentum").trials >= ROUNDS * WARM
    swept = _cpu(lambda: sweep(NOTEBOOK, workspace, clock=WallClock(), n_trials=SWEPT))
    ours, peer = _scaled(start, warm, WARM), _scaled(peer_start, stock, STOCK)
    name = (
        f"One of {WHOLE} recorded runs of the momentum notebook with its pictures, "
        f"{ROUNDS * WARM} timed and scaled"
    )
    return [
        _row(f"{name}, {WORKERS} at a time: warm kernels", ours.wall, peer.wall, "s"),
        _row(f"{name}: warm kernels", ours.cpu, peer.cpu, "CPU s"),
        _row(
            f"One recorded trial of a sweep, no pictures, {SWEPT} trials",
            swept / SWEPT,
            peer.cpu,
            "CPU s",
        ),
    ]


def _scaled(start: _Spent, rounds: Sequence[_Spent], runs: int) -> _Spent:
    """Return what one of WHOLE runs takes, its share of the start included."""
    wall, cpu = (median(getattr(one, unit) for one in rounds) / runs for unit in ("wall", "cpu"))
    return _Spent(wall=wall + start.wall / WHOLE, cpu=cpu + start.cpu / WHOLE)


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


@contextmanager
def _stock_workers(
    workspace: Workspace,
) -> Iterator[tuple[list["subprocess.Popen[str]"], _Spent]]:
    """Start processes that execute notebooks by papermill; say what their start took."""
    environ = os.environ | {
        "SLUICE_WORKSPACE": str(workspace.path),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    began = time.monotonic()
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _STOCK],
            env=environ,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(WORKERS)
    ]
    try:
        for worker in workers:
            _hear(worker, "ready")
        wall = time.monotonic() - began
        yield workers, _Spent(wall=wall, cpu=sum(_cpu_of_process(w.pid) for w in workers))
    finally:
        for worker in workers:
            worker.communicate()


def _stock(
    workspace: Workspace,
    points: Sequence[dict[str, object]],
    workers: Sequence["subprocess.Popen[str]"],
) -> _Spent:
    """Run the notebook by stock papermill, a cold kernel each; as many points as workers."""
    busy = list(zip(workers, points, strict=False))
    assert len(busy) == len(points)
    before, began = sum(_cpu_of_process(w.pid) for w in workers), time.monotonic()
    for number, (worker, point) in enumerate(busy):
        out = str(workspace.path / f"stock-{number}.ipynb")
        assert worker.stdin is not None
        worker.stdin.write(json.dumps([str(NOTEBOOK), out, point, str(NOTEBOOK.parent)]) + "\n")
        worker.stdin.flush()
    for worker, _ in busy:
        _hear(worker, "done")
    wall = time.monotonic() - began
    return _Spent(wall=wall, cpu=sum(_cpu_of_process(w.pid) for w in workers) - before)


def _hear(worker: "subprocess.Popen[str]", word: str) -> None:
    assert worker.stdout is not None
    while (line := worker.stdout.readline().strip()) != word:
        assert line or worker.poll() is None, "stock papermill has ended"


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
        "peer_name": f"stock papermill, a cold kernel each, {ROUNDS * STOCK} timed and scaled",
        "ratio": peer / ours,
        "unit": unit,
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
