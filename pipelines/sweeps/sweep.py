"""A sweep: every configuration that optuna proposes, evaluated in warm workers and recorded.

1. Workers load a frozen copy of the notebook and the market data; the study is declared.
2. Optuna proposes points of the declared search space, in batches.
3. A trial is opened in the ledger, evaluated, closed; only then is its result shown.
4. A worker that dies leaves its trial open, which counts as crashed; another one takes its place.
"""

import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.ledger.records import RunOpened, TrialOpened, Value
from pipelines.runs.folder import new_folder
from pipelines.runs.parameters import (
    DeclaredParameter,
    declared_parameters,
    read_notebook,
    validated,
)
from pipelines.runs.processes import child_environment
from pipelines.runs.record import recorded
from pipelines.sweeps.book import SweepBook, SweepProgress, SweepTrial, best_of
from pipelines.sweeps.messages import Ready, Start, Task
from pipelines.sweeps.pool import WorkerPool
from pipelines.sweeps.proposals import Proposer, SamplerName
from pipelines.workspace import Workspace
from runtime.clock import Clock

__all__ = ["SweepProgress", "SweepReport", "SweepTrial", "sweep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """A whole sweep; trials stand in order of proposal, whoever finished first."""

    run: str
    study: str
    notebook: str
    trials: tuple[SweepTrial, ...]
    seconds: float

    @property
    def best(self) -> SweepTrial | None:
        """Return the trial with the highest value; the first proposed one among equals."""
        return best_of(self.trials)

    def count(self, status: str) -> int:
        """Return how many trials ended that way."""
        return sum(trial.status == status for trial in self.trials)


def sweep(
    notebook: Path,
    workspace: Workspace,
    *,
    clock: Clock,
    workers: int = 2,
    seed: int = 0,
    sampler: SamplerName = "grid",
    n_trials: int | None = None,
    trial_timeout_s: float = 300.0,
    on_trial: Callable[[SweepProgress], None] = lambda _: None,
    environ: Mapping[str, str] = os.environ,
    schedule: str = "",
) -> SweepReport:
    """Try a study's declared configurations and record every one of them.

    A configuration whose completed trial stands in the ledger (same study, parameters, code and
    data) is taken from there and not evaluated again, so an interrupted sweep can be repeated.

    Args:
        notebook: the .ipynb file; a copy is frozen for the sweep.
        workspace: lake and ledger.
        clock: stamps the run.
        workers: processes.
        seed: of the sampler.
        sampler: "grid" (every point), "random" or "tpe" (`n_trials` points each).
        n_trials: how many points; None for the whole grid.
        trial_timeout_s: seconds after which one evaluation is stopped and recorded as failed.
        on_trial: called after each trial has been recorded.
        environ: what workers may inherit from, by allow-list.
        schedule: "JOB@SLOT" if a schedule starts it; goes on record.

    Returns:
        All trials in order of proposal; the same for any number of workers.

    Raises:
        NotebookInvalid, ParameterInvalid: the notebook cannot be read, or the search space names
            parameters that the notebook does not declare.
        SweepFailed: the definition cells fail, or workers cannot be kept alive.
    """
    known = declared_parameters(read_notebook(notebook), notebook.name)
    started_at = clock.now()
    named = f"{started_at:%Y%m%dT%H%M%S}-{notebook.stem}-sweep"
    folder = new_folder(workspace.path / "runs", named)
    frozen = Path(shutil.copyfile(notebook, folder / notebook.name))
    with (
        recorded(workspace.ledger(), clock, _opening(folder.name, notebook, frozen, schedule)),
        WorkerPool(
            _start(workspace, frozen, folder.name),
            workers=workers,
            environment=child_environment(_marks(workspace, folder), environ),
            folder=notebook.resolve().parent,
            log=folder / "log.txt",
            task_timeout_s=trial_timeout_s,
        ) as pool,
    ):
        ready = _declared(pool, known, notebook.name)
        proposer = Proposer(ready.search_space, sampler=sampler, n_trials=n_trials, seed=seed)
        book = _book(ready, workspace, folder.name, notebook, proposer.total, on_trial)
        _try_all(proposer, pool, book)
    return _report(book, (clock.now() - started_at).total_seconds())


def _report(book: SweepBook, seconds: float) -> SweepReport:
    return SweepReport(
        run=book.run,
        study=book.study,
        notebook=book.notebook,
        trials=tuple(book.trials[number] for number in sorted(book.trials)),
        seconds=seconds,
    )


def _declared(pool: WorkerPool, known: Sequence[DeclaredParameter], name: str) -> Ready:
    """Return what the first worker found; the search space must name declared parameters."""
    ready = pool.first_ready()
    for parameter, values in ready.search_space.items():
        for value in values:
            validated(known, {parameter: value}, name)
    return ready


def _try_all(proposer: Proposer, pool: WorkerPool, book: SweepBook) -> None:
    """Evaluate batch after batch until nothing more is proposed."""
    while points := proposer.batch():
        _evaluate(points, pool, book)
        proposer.tell({number: book.trials[number].value for number in points})


def _book(
    ready: Ready,
    workspace: Workspace,
    run: str,
    notebook: Path,
    total: int,
    on_trial: Callable[[SweepProgress], None],
) -> SweepBook:
    """Declare the study and open the books of its sweep."""
    return SweepBook(
        ledger=workspace.ledger(),
        study=workspace.ledger().declare_study(ready.declaration).name,
        run=run,
        notebook=str(notebook),
        code_hash=ready.code_hash,
        shape_hash=ready.shape_hash,
        snapshot_hash=workspace.snapshot.hash,
        total=total,
        on_trial=on_trial,
    )


def _opening(run: str, notebook: Path, frozen: Path, schedule: str) -> RunOpened:
    """Return the ledger entry that precedes the first trial."""
    return RunOpened(
        run=run,
        notebook=str(notebook),
        notebook_hash=hashlib.sha256(frozen.read_bytes()).hexdigest(),
        parameters={},
        kind="sweep",
        schedule=schedule,
    )


def _start(workspace: Workspace, frozen: Path, run: str) -> Start:
    """Return what each worker loads first."""
    return Start(
        folder=str(workspace.path),
        lake_url=workspace.lake_url,
        versions=workspace.snapshot.versions,
        snapshot_hash=workspace.snapshot.hash,
        notebook=str(frozen),
        run=run,
    )


def _marks(workspace: Workspace, folder: Path) -> dict[str, str]:
    return {"SLUICE_WORKSPACE": str(workspace.path), "SLUICE_RUN": folder.name}


def _evaluate(points: Mapping[int, dict[str, Value]], pool: WorkerPool, book: SweepBook) -> None:
    """Bring every point of a batch to its end; each is opened just before it is handed out."""
    standing = book.standing()
    waiting: deque[int] = deque()
    first: dict[str, int] = {}  # trial key -> the number that is evaluated for it
    repeats: list[tuple[int, int]] = []
    for number, parameters in points.items():
        key = book.opening(parameters).key
        if key in standing:
            book.reuse(number, standing[key])
        elif key in first:
            repeats.append((number, first[key]))
        else:
            first[key] = number
            waiting.append(number)
    running: dict[int, TrialOpened] = {}
    while waiting or running:
        while waiting and pool.idle():
            number = waiting.popleft()
            running[number] = book.opening(points[number])
            book.ledger.open_trial(running[number])
            pool.hand_out(Task(number=number, parameters=points[number]))
        for ended in pool.ended():
            book.close(ended, running.pop(ended.number))
    for number, same in repeats:
        book.repeat(number, same)
