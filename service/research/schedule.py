"""`sluice schedule add`, `list`, `remove` and `run`: notebooks on a schedule."""

import os
import signal
import socket
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipelines.errors import NotebookInvalid
from pipelines.runs.notebooks import (
    RunRecord,
    declared,
    parameters_from_text,
    run_notebook,
)
from pipelines.runs.parameters import validated
from pipelines.schedules.book import Job, ScheduleBook, Slot
from pipelines.schedules.cron import cron, next_slot
from pipelines.schedules.worker import Due, Worker, serve
from pipelines.workspace import Workspace, open_workspace
from runtime.clock import Clock
from runtime.database import open_database
from service.console import OK, REFUSED, Output
from service.research.run import kernels
from service.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console


class Scheduled(msgspec.Struct, frozen=True, kw_only=True):
    """A job with when it is due next and what its slots became."""

    job: Job
    next_slot: datetime | None  # UTC; None = never again
    slots: tuple[Slot, ...]  # newest first


def add_job(
    settings: Settings,
    output: Output,
    notebook: Path,
    parameters: list[str],
    *,
    expression: str,
    zone: str,
    name: str,
    grace_seconds: float,
    timeout_seconds: float,
    clock: Clock,
) -> int:
    """Keep a job, its notebook, parameters and cron expression checked now, not at its first slot.

    Raises:
        ScheduleInvalid: the expression, the time zone or the name.
        NotebookInvalid: the file is no notebook.
        ParameterInvalid: a parameter is not declared or has another type.
    """
    _, book = _open(settings)
    known = declared(notebook)
    values = validated(known, parameters_from_text(known, parameters, notebook.name), notebook.name)
    trigger = cron(expression, zone)
    job = Job(
        name=name or notebook.stem,
        notebook=str(notebook.resolve()),
        cron=expression,
        zone=zone,
        parameters=values,
        grace_s=grace_seconds,
        timeout_s=timeout_seconds,
        added_at=clock.now(),
    )
    book.add(job)
    answer = Scheduled(job=job, next_slot=next_slot(trigger, job.added_at), slots=())
    output.answer(answer, lambda console: _show(console, [answer]))
    return OK


def list_jobs(settings: Settings, output: Output, *, limit: int, clock: Clock) -> int:
    """Show every job, when it is due next and what its last slots became."""
    _, book = _open(settings)
    now = clock.now()
    answer = [
        Scheduled(
            job=job,
            next_slot=next_slot(cron(job.cron, job.zone), now),
            slots=tuple(reversed(book.slots(job.name)[-limit:])),
        )
        for job in book.jobs()
    ]
    output.answer(answer, lambda console: _show(console, answer))
    return OK


def remove_job(settings: Settings, output: Output, name: str) -> int:
    """Forget a job; its runs and what its slots became stay on record."""
    _, book = _open(settings)
    book.remove(name)
    output.answer({"removed": name}, lambda console: console.print(f"{name} is removed"))
    return OK


def run_worker(
    settings: Settings, output: Output, *, workers: int, warm: bool, once: bool, clock: Clock
) -> int:
    """Run what is due: once, or until SIGINT or SIGTERM; returns the exit status."""
    workspace, book = _open(settings)
    ended: list[str] = []

    def tell(due: Due, outcome: str, reason: str) -> None:
        ended.append(outcome)
        output.console.print(f"{due.schedule}  {outcome}  {reason}".rstrip(), markup=False)

    with kernels(output, wanted=warm) as parent:

        def execute(job: Job, schedule: str) -> RunRecord:
            if not Path(job.notebook).is_file():
                raise NotebookInvalid(f"{job.notebook} is not there any more; sluice schedule add")
            return run_notebook(
                Path(job.notebook),
                job.parameters,
                workspace,
                clock=clock,
                timeout_s=job.timeout_s,
                warm=parent,
                schedule=schedule,
            )

        worker = Worker(
            book=book,
            clock=clock,
            holder=f"{socket.gethostname()}:{os.getpid()}",
            execute=execute,
            on_end=tell,
        )
        if once:
            for due in worker.look():
                worker.run(due)
        else:
            until = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: until.set())
            output.console.print(f"looking at {len(book.jobs())} jobs; end with Ctrl-C")
            serve(worker, workers=workers, until=until)
    return REFUSED if once and "failed" in ended else OK


def _open(settings: Settings) -> tuple[Workspace, ScheduleBook]:
    workspace = open_workspace(settings.workspace, environ=os.environ)
    workspace.ledger()  # its database is there from now on
    return workspace, ScheduleBook(open_database(workspace.ledger_url))


def _show(console: "Console", jobs: Sequence[Scheduled]) -> None:
    if not jobs:
        console.print("no notebook is scheduled; sluice schedule add NOTEBOOK --cron '0 7 * * 1-5'")
    for one in jobs:
        job = one.job
        due = "never again" if one.next_slot is None else f"{one.next_slot:%Y-%m-%d %H:%M} UTC"
        console.print(f"[bold]{job.name}[/bold]  {job.cron} {job.zone}  next {due}")
        given = " ".join(f"{key}={value}" for key, value in job.parameters.items())
        console.print(f"  {job.notebook}  {given}".rstrip(), markup=False)
        for slot in one.slots:
            what = slot.run if slot.outcome == "complete" else slot.reason
            console.print(f"  {slot.slot:%Y-%m-%d %H:%M}  {slot.outcome}  {what}", markup=False)
