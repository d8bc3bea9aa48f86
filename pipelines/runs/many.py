"""Many runs of one notebook, some at a time; each is recorded, each has a kernel of its own."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipelines.errors import RunFailed
from pipelines.runs.notebooks import RunRecord, RunsIn, run_notebook
from pipelines.runs.warm import WarmKernels
from runtime.clock import Clock


def run_many(
    path: Path,
    points: Sequence[Mapping[str, object]],
    workspace: RunsIn,
    *,
    clock: Clock,
    workers: int = 2,
    timeout_s: float = 900.0,
    warm: WarmKernels | None = None,
    on_run: Callable[[RunRecord], None] = lambda _: None,
    environ: Mapping[str, str] = os.environ,
) -> list[RunRecord]:
    """Execute a notebook once per point; a run that fails does not stop the others.

    Args:
        path: the .ipynb file.
        points: parameters of each run.
        workspace: where runs are kept and recorded.
        clock: stamps the runs.
        workers: runs at a time.
        timeout_s: seconds after which a run is killed.
        warm: fork papermill and kernels from this parent; None starts all cold.
        on_run: called as each run ends, from its worker's thread.
        environ: what kernels may inherit from, by allow-list.

    Returns:
        One record per point, in their order.
    """
    if workers < 1:
        raise RunFailed(f"runs need at least one worker, were given {workers}")

    def one(parameters: Mapping[str, object]) -> RunRecord:
        record = run_notebook(
            path,
            parameters,
            workspace,
            clock=clock,
            timeout_s=timeout_s,
            warm=warm,
            environ=environ,
        )
        on_run(record)
        return record

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, points))
