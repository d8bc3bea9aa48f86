"""Runs: a notebook executed by papermill in a process group of its own, judged by its processes.

1. The given parameters are checked against the declared ones; nothing has started yet.
2. The run is opened in the ledger; its folder holds everything that it leaves behind.
3. A child process runs papermill and tells of kernel, cells and exceptions through a pipe.
4. At its end, or at the deadline, everything that it started is killed.
5. Status and cause follow from exit codes and events; the executed notebook is kept by rename.
"""

import hashlib
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from pipelines.ledger import Ledger
from pipelines.ledger.records import RunClosed, RunOpened, Value
from pipelines.runs.cause import Ended, closed_by
from pipelines.runs.child import ChildSpec, Event
from pipelines.runs.executed import in_lines, strip_volatile, with_true_statuses
from pipelines.runs.folder import new_folder, write_whole
from pipelines.runs.parameters import (
    DeclaredParameter,
    declared_parameters,
    parameters_from_text,
    read_notebook,
    validated,
    with_parameters,
)
from pipelines.runs.processes import child_environment, kill_group, kill_marked, oom_kills
from pipelines.runs.warm import KERNEL, Leased, WarmKernels
from runtime.bundles.contract import canonical
from runtime.clock import Clock
from runtime.decoding import from_json

__all__ = [
    "DeclaredParameter",
    "RunProgress",
    "RunRecord",
    "declared",
    "parameters_from_text",
    "run_notebook",
    "strip_volatile",
]

EXECUTED, LOG, STATUS = "executed.ipynb", "log.txt", "status.json"
_PARTIAL = ".executing.ipynb"
_CHILD = "pipelines.runs.child"
_GRACE_S = 20.0  # how long papermill may take to wrap up after the last event


class RunsIn(Protocol):
    """What a run needs of a workspace."""

    path: Path
    lake_url: str
    ledger_url: str

    def ledger(self) -> Ledger:
        """Return the ledger."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """How far a run has come."""

    run: str
    cell: int  # 0-based index of the cell that starts now
    cells: int  # of the notebook


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run, as status.json keeps it."""

    run: str
    notebook: str
    notebook_hash: str  # SHA-256 of the file, hex
    parameters: dict[str, Value]
    started_at: datetime  # UTC
    closed: RunClosed
    folder: str
    executed: str | None  # the executed notebook; None if no kernel came up
    log: str
    schedule: str = ""  # "JOB@SLOT" if a schedule started it

    @property
    def complete(self) -> bool:
        """Say whether every cell ran to its end."""
        return self.closed.status == "complete"


def declared(notebook: Path) -> tuple[DeclaredParameter, ...]:
    """Return the parameters a notebook file declares; nothing of it is run."""
    return declared_parameters(read_notebook(notebook), notebook.name)


def run_notebook(
    path: Path,
    parameters: Mapping[str, object],
    workspace: RunsIn,
    *,
    clock: Clock,
    timeout_s: float = 900.0,
    memory_bytes: int | None = None,
    on_progress: Callable[[RunProgress], None] = lambda _: None,
    environ: Mapping[str, str] = os.environ,
    warm: WarmKernels | None = None,
    schedule: str = "",
) -> RunRecord:
    """Execute a notebook and record the run.

    Args:
        path: the .ipynb file; it is not changed.
        parameters: by name, a subset of the declared ones.
        workspace: where the run is kept and recorded.
        clock: stamps the run.
        timeout_s: seconds after which everything is killed.
        memory_bytes: address space the kernel may use; None for no limit.
        on_progress: called as each cell starts.
        environ: what kernels may inherit from, by allow-list.
        warm: fork papermill and kernel from this parent; None starts both cold.
        schedule: "JOB@SLOT" if a schedule starts it; goes on record.

    Returns:
        The record, whether the notebook succeeded or not; `closed` names the cause of a failure.

    Raises:
        NotebookInvalid: the file is no notebook, or its parameters cell holds more than literals.
        ParameterInvalid: a parameter is not declared or has another type; no kernel started.
    """
    notebook = read_notebook(path)
    known = declared_parameters(notebook, path.name)
    values = validated(known, parameters, path.name)
    started_at = clock.now()
    folder = new_folder(workspace.path / "runs", f"{started_at:%Y%m%dT%H%M%S}-{path.stem}")
    opened = _opening(path, folder.name, values, schedule)
    ledger = workspace.ledger()
    ledger.open_run(opened)
    marks, environment = _told(workspace, folder.name, environ)
    execution = _Execution(
        notebook=with_parameters(notebook, known, values),
        cwd=path.resolve().parent,
        folder=folder,
        environment=environment,
        marks=marks,
        timeout_s=timeout_s,
        memory_bytes=memory_bytes,
        on_progress=on_progress,
        warm=warm,
    )
    try:
        execution.run()
    finally:
        seconds = (clock.now() - started_at).total_seconds()
        record = _record(execution, opened, started_at, seconds)
        ledger.close_run(folder.name, record.closed)
    return record


def _opening(path: Path, run: str, values: dict[str, Value], schedule: str) -> RunOpened:
    """Return the ledger entry that precedes the first cell."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return RunOpened(
        run=run,
        notebook=str(path),
        notebook_hash=digest,
        parameters=values,
        schedule=schedule,
    )


def _told(
    workspace: RunsIn, run: str, environ: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the marks of a run's processes, and their whole environment."""
    marks = {"SLUICE_WORKSPACE": str(workspace.path.resolve()), "SLUICE_RUN": run}
    parts = {"SLUICE_LAKE_URL": workspace.lake_url, "SLUICE_LEDGER_URL": workspace.ledger_url}
    return marks, child_environment(marks | parts, environ)


def _record(
    execution: "_Execution", opened: RunOpened, started_at: datetime, seconds: float
) -> RunRecord:
    """Judge the evidence, keep the executed notebook, write status.json."""
    folder = execution.folder
    closed = closed_by(execution.ended, seconds=seconds, log=folder / LOG)
    executed = _keep_executed(folder, execution.ended, closed)
    record = RunRecord(
        run=opened.run,
        notebook=opened.notebook,
        notebook_hash=opened.notebook_hash,
        parameters=opened.parameters,
        started_at=started_at,
        closed=closed,
        folder=str(folder),
        executed=None if executed is None else str(executed),
        log=str(folder / LOG),
        schedule=opened.schedule,
    )
    write_whole(folder / STATUS, msgspec.json.format(canonical(record), indent=2) + b"\n")
    return record


@dataclass(kw_only=True)
class _Execution:
    """One papermill child and everything below it."""

    notebook: dict[str, Any]
    cwd: Path
    folder: Path
    environment: dict[str, str]
    marks: Mapping[str, str]
    timeout_s: float
    memory_bytes: int | None
    on_progress: Callable[[RunProgress], None]
    warm: WarmKernels | None
    ended: Ended = field(default_factory=lambda: Ended(interrupted=True))

    def run(self) -> None:
        """Start the child, follow its events to the end or the deadline, leave nothing running."""
        self.ended.memory_limit = self.memory_bytes
        oom_before = oom_kills()
        read_end, write_end = os.pipe()
        with tempfile.TemporaryDirectory(prefix="sluice-run-") as scratch:
            child = self._start(Path(scratch), write_end)
            os.close(write_end)
            try:
                self._follow(read_end)
                if self.ended.timed_out is None:
                    self._let_finish(child)
                self.ended.interrupted = False
            finally:
                os.close(read_end)
                kill_group(child.pid)
                if self.ended.kernel:
                    kill_group(self.ended.kernel)
                self.ended.child_code = child.wait()
                kill_marked(self.marks)
        self.ended.oom_killed = oom_kills() > oom_before

    def _let_finish(self, child: "subprocess.Popen[bytes] | Leased") -> None:
        """Wait for an exit code of the child's own; one that hangs at its end is killed later."""
        with suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE_S)

    def _start(self, scratch: Path, write_end: int) -> "subprocess.Popen[bytes] | Leased":
        """Write the input notebook and start papermill in a new session."""
        source = scratch / "notebook.ipynb"
        source.write_bytes(msgspec.json.encode(self.notebook))
        spec = ChildSpec(
            notebook=str(source),
            output=str(self.folder.resolve() / _PARTIAL),
            folder=str(self.cwd),
            memory_bytes=self.memory_bytes,
            events=write_end,
            kernel="python3" if self.warm is None else KERNEL,
        )
        (scratch / "spec.json").write_bytes(msgspec.json.encode(spec))
        environment = self.environment | {
            "IPYTHONDIR": str(scratch / "ipython"),
            "JUPYTER_RUNTIME_DIR": str(scratch / "jupyter"),
        }
        with (self.folder / LOG).open("wb") as log:
            if self.warm is not None:
                return self.warm.start(
                    _CHILD,
                    [str(scratch / "spec.json")],
                    env=environment,
                    log=log.fileno(),
                    keep=write_end,
                )
            return subprocess.Popen(
                [sys.executable, "-m", _CHILD, str(scratch / "spec.json")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(write_end,),
                start_new_session=True,
                env=environment,
            )

    def _follow(self, read_end: int) -> None:
        """Take in events until the child has closed its end of the pipe, or time is up."""
        deadline = time.monotonic() + self.timeout_s
        pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(read_end, selectors.EVENT_READ)
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    self.ended.timed_out = self.timeout_s
                    return
                if not selector.select(left):
                    continue
                received = os.read(read_end, 65536)
                if not received:
                    return
                *lines, pending = (pending + received).split(b"\n")
                for line in lines:
                    self._take(from_json(line, Event))

    def _take(self, event: Event) -> None:
        """Let one event into the evidence."""
        self.ended.take(event)
        if event.event == "started":
            cells = len(self.notebook["cells"])
            self.on_progress(RunProgress(run=self.folder.name, cell=event.cell, cells=cells))


def _keep_executed(folder: Path, ended: Ended, closed: RunClosed) -> Path | None:
    """Correct the statuses of what papermill wrote and rename it to its final name."""
    partial = folder / _PARTIAL
    try:
        notebook = msgspec.json.decode(partial.read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return None  # no kernel came up, or papermill died while writing
    with_true_statuses(notebook, ended.executed, closed.cell)
    in_lines(notebook)
    pretty = msgspec.json.format(msgspec.json.encode(notebook), indent=1)
    write_whole(folder / EXECUTED, pretty + b"\n")
    partial.unlink()
    return folder / EXECUTED
