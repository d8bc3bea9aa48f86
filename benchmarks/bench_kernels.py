"""Recorded notebook runs: warm kernels beside stock papermill, two at a time; and a plain sweep.

CPU seconds per run of the momentum notebook with all its pictures. A few runs are measured and
scaled to 200; the warm side carries the start of its parent as one of 200 runs would.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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
STOCK, WARM, SWEPT, WHOLE = 2, 8, 40, 200
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


def _measured(workspace: Workspace) -> list[dict[str, object]]:
    points = [
        {"lookback": lookback, "top": top, "weighting": weighting}
        for lookback in (63, 126, 189, 252)
        for top in (3, 5)
        for weighting in ("equal",)
    ]
    stock = median(_stock(workspace, points[i]) for i in range(STOCK))
    with WarmKernels(environ=os.environ | {"PYTHONPATH": str(ROOT)}) as warm:
        start = _cpu_of_process(warm.process.pid)
        before = start + _own()
        records = run_many(
            NOTEBOOK,
            points[:WARM],
            workspace,
            clock=WallClock(),
            warm=warm,
            environ=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        spent = _cpu_of_process(warm.process.pid) + _own() - before
    assert all(record.complete for record in records), [r.closed for r in records]
    assert workspace.ledger().study("momentum").trials >= WARM
    each = (start + spent / WARM * WHOLE) / WHOLE
    swept = _cpu(lambda: sweep(NOTEBOOK, workspace, clock=WallClock(), n_trials=SWEPT))
    name = "notebook with its pictures, scaled to 200"
    return [
        _row(f"One recorded run of the momentum {name}: warm kernels", each, stock),
        _row(f"One recorded trial of a sweep, no pictures, {SWEPT} trials", swept / SWEPT, stock),
    ]


def _stock(workspace: Workspace, parameters: dict[str, object]) -> float:
    """Return the CPU seconds of stock papermill for one run, kernel included."""
    out = str(workspace.path / "stock.ipynb")
    environ = os.environ | {
        "SLUICE_WORKSPACE": str(workspace.path),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", _STOCK, str(NOTEBOOK), out, repr(parameters)]
    return _cpu(
        lambda: subprocess.run(
            [*command, str(NOTEBOOK.parent)], env=environ, check=True, stderr=subprocess.DEVNULL
        )
    )


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


def _row(name: str, ours: float, peer: float) -> dict[str, object]:
    return {
        "name": name,
        "ours": ours,
        "peer": peer,
        "peer_name": "stock papermill, a cold kernel each",
        "ratio": peer / ours,
        "unit": "CPU s",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
