"""The worker: looks which slots are due, claims each before any work, and runs it on record.

1. slots whose workers went away are ended as crashed; their runs stay open, which reads the same
2. of the slots since the last one on record, the newest is run if it is not too late
3. all others are recorded as missed, with the reason; nothing is made up for silently
4. what a claimed slot does are ordinary recorded runs that name its schedule
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from featurestore.errors import PlatformError
from pipelines.schedules.book import Job, Outcome, ScheduleBook
from pipelines.schedules.cron import cron, slots
from runtime.clock import Clock

LOOK_S = 5.0  # between two looks at what is due
PAUSE_S = 0.2  # between two looks at what still runs, before an end
ALIVE = timedelta(seconds=120)  # a worker that has not been heard of for so long is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a slot's work ended."""

    run: str  # of the last step; empty if none was opened
    complete: bool = True
    reason: str = ""  # empty when complete
    result: str = ""  # in words


Execute = Callable[[Job, str], Done]  # job, "NAME@SLOT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A claimed slot."""

    job: Job
    slot: datetime  # UTC

    @property
    def schedule(self) -> str:
        """Return what a run record says of its schedule."""
        return f"{self.job.name}@{self.slot:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(kw_only=True)
class Worker:
    """One process that fires; several may share a book, a slot is run by one of them."""

    book: ScheduleBook
    clock: Clock
    holder: str  # says which process, e.g. "host:4711"
    execute: Execute
    on_end: Callable[[Due, str, str], None] = lambda _due, _outcome, _reason: None
    _running: dict[str, Due] = field(default_factory=dict)  # by name of the job
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def look(self) -> list[Due]:
        """Say that this worker lives, record what was missed and claim what is due now."""
        now = self.clock.now()
        self.beat(now)
        self.book.give_up(before=now - ALIVE, reason="its worker went away before the run's end")
        claimed = []
        for job in self.book.jobs():
            due = self._look_at(job, now)
            if due is not None:
                claimed.append(due)
                with self._guard:
                    self._running[job.name] = due
        return claimed

    def beat(self, now: datetime) -> int:
        """Say that this worker lives, and return how many of its runs are under way."""
        with self._guard:
            held = list(self._running.values())
        for due in held:
            self.book.beat(due.job.name, due.slot, at=now)
        return len(held)

    def run(self, due: Due) -> None:
        """Execute a claimed slot and record how it ended."""
        done = Done(run="", complete=False)
        try:
            done = self.execute(due.job, due.schedule)
        except PlatformError as error:  # a step was not started
            done = Done(run="", complete=False, reason=str(error))
        except BaseException as error:
            reason = f"the worker was interrupted by {type(error).__name__}"
            done = Done(run="", complete=False, reason=reason)
            raise
        finally:
            with self._guard:
                self._running.pop(due.job.name, None)
            outcome: Outcome = "complete" if done.complete else "failed"
            self.book.end(
                due.job.name,
                due.slot,
                outcome,
                run=done.run,
                reason=done.reason,
                result=done.result,
            )
            self.on_end(due, outcome, done.reason or done.result)

    def _look_at(self, job: Job, now: datetime) -> Due | None:
        """Claim the newest slot of a job that is due; what lies before it was missed."""
        last = self.book.last(job.name)
        since = job.added_at if last is None else max(job.added_at, last)
        earlier, newest, passed = None, None, 0
        for slot in slots(cron(job.cron, job.zone), since, now):
            earlier, newest, passed = newest, slot, passed + 1
        if newest is None:
            return None
        if earlier is not None:
            many = "" if passed == 2 else f"; so were the {passed - 2} before it"
            self._missed(job, earlier, now, f"no worker ran at its time{many}")
        if (now - newest).total_seconds() > job.grace_s:
            late = f"no worker ran within {job.grace_s:g} s of its time"
            self._missed(job, newest, now, late)
            return None
        if self.book.claim(job.name, newest, holder=self.holder, at=now):
            return Due(job=job, slot=newest)
        self._missed(job, newest, now, "the run of an earlier slot had not ended")
        return None

    def _missed(self, job: Job, slot: datetime, now: datetime, reason: str) -> None:
        self.book.missed(job.name, slot, holder=self.holder, at=now, reason=reason)


def serve(worker: Worker, *, workers: int, until: threading.Event) -> None:
    """Look every few seconds and run what is due, a few at a time, until told to end.

    Runs that are under way come to their end first.
    """
    scheduler = BackgroundScheduler(
        executors={"default": ThreadPoolExecutor(1), "runs": ThreadPoolExecutor(workers)},
        timezone="UTC",
        job_defaults={"misfire_grace_time": None, "coalesce": True},
    )

    def look() -> None:
        for due in worker.look():
            scheduler.add_job(worker.run, args=[due], id=due.schedule, executor="runs")

    looking = scheduler.add_job(look, "interval", seconds=LOOK_S, next_run_time=datetime.now(UTC))
    scheduler.start()
    try:
        until.wait()
        looking.remove()
        while worker.beat(worker.clock.now()):
            time.sleep(PAUSE_S)
    finally:
        scheduler.shutdown(wait=True)
