"""`sluice schedule add`, `list`, `remove` and `run`: notebooks, sweeps and gates on a schedule."""

import os
import signal
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipelines.errors import ScheduleInvalid
from pipelines.gates.policy import default_policy
from pipelines.ledger import Ledger
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
from service.research.kernels import kernels
from service.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console


class Scheduled(msgspec.Struct, frozen=True, kw_only=True):
    """A job with when it is due next and what its slots became."""

    job: Job
    next_slot: datetime | None  # UTC; None = never again
    slots: tuple[Slot, ...]  # newest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A job as it was typed; nothing of it is checked yet."""

    subject: str  # a notebook's path; or a study's name, if it is only to be judged
    parameters: list[str]  # NAME=VALUE, of the notebook's run
    cron: str  # minute hour day month weekday
    zone: str  # IANA name; what the cron expression means
    name: str  # of the job; empty = after its subject
    sweep: bool  # the notebook's declared space instead of one run
    trials: int | None  # of the sweep, drawn at random; None = the whole space
    gate: bool  # the gates judge the study afterwards
    grace_s: float  # after which a slot is missed
    timeout_s: float  # after which a run, or a trial of a sweep, is ended

    @property
    def only_judged(self) -> bool:
        """Say whether the subject is a study."""
        return self.gate and not self.sweep and Path(self.subject).suffix != ".ipynb"

    def job(self, ledger: Ledger, added_at: datetime) -> Job:
        """Return the job, all of it checked now, not at its first slot.

        Raises:
            ScheduleInvalid: options that a job of its kind would pass over silently.
            StudyUnknown: nobody has declared the study that is to be judged.
            NotebookInvalid: the file is no notebook.
            ParameterInvalid: a parameter is not declared or has another type.
        """
        self._require_sense()
        notebook, values = Path(self.subject), dict[str, Value]()
        first: tuple[Step, ...] = ()
        if self.only_judged:
            ledger.study(self.subject)
        else:
            first = ("sweep",) if self.sweep else ("notebook",)
            known = declared(notebook)
            given = parameters_from_text(known, self.parameters, notebook.name)
            values = validated(known, given, notebook.name)
        return Job(
            name=self.name or notebook.stem,
            notebook=str(notebook.resolve()) if first else "",
            does=(*first, "gate") if self.gate else first,
            study="" if first else self.subject,
            trials=self.trials,
            cron=self.cron,
            zone=self.zone,
            parameters=values,
            grace_s=self.grace_s,
            timeout_s=self.timeout_s,
            added_at=added_at,
        )

    def _require_sense(self) -> None:
        if self.only_judged and (self.parameters or self.trials is not None):
            raise ScheduleInvalid("a study that is only judged takes neither -p nor --trials")
        if self.trials is not None and not self.sweep:
            raise ScheduleInvalid("--trials is of a sweep; add --sweep")
        if self.parameters and self.sweep:
            raise ScheduleInvalid("a sweep takes its parameters from the declared space; drop -p")


def add_job(settings: Settings, output: Output, asked: Asked, *, clock: Clock) -> int:
    """Keep a job from now on; ScheduleInvalid and others say what cannot be done."""
    trigger = cron(asked.cron, asked.zone)
    workspace, book = _open(settings)
    job = asked.job(workspace.ledger(), clock.now())
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
    _, book = _open(settings)
    ended: list[str] = []

    def tell(due: Due, outcome: str, reason: str) -> None:
        ended.append(outcome)
        output.console.print(f"{due.schedule}  {outcome}  {reason}".rstrip(), markup=False)

    with kernels(output.console, wanted=warm) as parent:

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
