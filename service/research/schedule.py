"""`sluice schedule add`, `list`, `remove` and `run`: notebooks, sweeps and gates on a schedule."""

import os
import signal
import socket
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipelines.errors import ScheduleInvalid
from pipelines.gates.policy import default_policy
from pipelines.ledger.records import Value
from pipelines.runs.notebooks import declared, parameters_from_text
from pipelines.runs.parameters import validated
from pipelines.schedules.book import Job, ScheduleBook, Slot, Step
from pipelines.schedules.cron import cron, next_slot
from pipelines.schedules.jobs import perform
from pipelines.schedules.worker import Done, Due, Worker, serve
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
    subject: str,
    parameters: list[str],
    *,
    expression: str,
    zone: str,
    name: str,
    swept: bool,
    trials: int | None,
    judged: bool,
    grace_seconds: float,
    timeout_seconds: float,
    clock: Clock,
) -> int:
    """Keep a job, all of it checked now, not at its first slot.

    Args:
        settings: name the workspace.
        output: where the job is shown.
        subject: a notebook's path; or a study's name, if it is only to be judged.
        parameters: NAME=VALUE, of the notebook's run.
        expression: cron's five fields.
        zone: IANA name of the time zone that they mean.
        name: of the job; empty = after its subject.
        swept: whether the notebook's declared space is swept instead of one run.
        trials: of the sweep, drawn at random; None = the whole space.
        judged: whether the gates judge the study afterwards.
        grace_seconds: after which a slot is missed.
        timeout_seconds: after which a run, or a trial of a sweep, is ended.
        clock: says from when on slots count.

    Raises:
        ScheduleInvalid: the expression, the time zone, the name, or steps that make no sense.
        StudyUnknown: nobody has declared the study that is to be judged.
        NotebookInvalid: the file is no notebook.
        ParameterInvalid: a parameter is not declared or has another type.
    """
    trigger = cron(expression, zone)
    workspace, book = _open(settings)
    asked = judged and not swept and Path(subject).suffix != ".ipynb"  # a study, only judged
    _require_sense(parameters, trials, swept=swept, asked=asked)
    notebook, values = Path(subject), dict[str, Value]()
    if asked:
        workspace.ledger().study(subject)
    else:
        known = declared(notebook)
        given = parameters_from_text(known, parameters, notebook.name)
        values = validated(known, given, notebook.name)
    first: tuple[Step, ...] = () if asked else ("sweep" if swept else "notebook",)
    job = Job(
        name=name or notebook.stem,
        notebook="" if asked else str(notebook.resolve()),
        does=(*first, "gate") if judged else first,
        study=subject if asked else "",
        trials=trials,
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


def _require_sense(parameters: list[str], trials: int | None, *, swept: bool, asked: bool) -> None:
    """Refuse what a job of its kind would pass over silently."""
    if asked and (parameters or trials is not None):
        raise ScheduleInvalid("a study that is only judged takes neither -p nor --trials")
    if trials is not None and not swept:
        raise ScheduleInvalid("--trials is of a sweep; add --sweep")
    if parameters and swept:
        raise ScheduleInvalid("a sweep takes its parameters from the declared space; drop -p")


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
    _, book = _open(settings)
    ended: list[str] = []

    def tell(due: Due, outcome: str, reason: str) -> None:
        ended.append(outcome)
        output.console.print(f"{due.schedule}  {outcome}  {reason}".rstrip(), markup=False)

    with kernels(output, wanted=warm) as parent:

        def execute(job: Job, schedule: str) -> Done:
            mine, _ = _open(settings)  # several run at once, and a workspace knows who reads
            policy = default_policy()
            return perform(job, schedule, mine, clock=clock, policy=policy, warm=parent)

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
        console.print("nothing is scheduled; sluice schedule add NOTEBOOK --cron '0 7 * * 1-5'")
    for one in jobs:
        job = one.job
        due = "never again" if one.next_slot is None else f"{one.next_slot:%Y-%m-%d %H:%M} UTC"
        console.print(f"[bold]{job.name}[/bold]  {job.cron} {job.zone}  next {due}")
        given = " ".join(f"{key}={value}" for key, value in job.parameters.items())
        does = ", then ".join(job.does)
        console.print(f"  {does}: {job.notebook or job.study}  {given}".rstrip(), markup=False)
        for slot in one.slots:
            what = f"{slot.run}  {slot.result}" if slot.outcome == "complete" else slot.reason
            console.print(
                f"  {slot.slot:%Y-%m-%d %H:%M}  {slot.outcome}  {what}".rstrip(), markup=False
            )
