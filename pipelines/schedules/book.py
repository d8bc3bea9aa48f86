"""The book of jobs and slots: plain rows beside the ledger, where the database keeps two rules.

1. (job, slot) is unique: whoever writes the row first runs it, nobody else does
2. a job has at most one slot without an end: it never overlaps itself
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import msgspec
from sqlalchemy import (
    Column,
    Engine,
    Float,
    Index,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError

from pipelines.errors import ScheduleInvalid
from pipelines.ledger.records import Value
from runtime.bundles.contract import canonical
from runtime.database import transaction
from runtime.decoding import from_json

Step: TypeAlias = Literal["notebook", "sweep", "gate"]
Outcome: TypeAlias = Literal["running", "complete", "failed", "missed", "crashed"]

_META = MetaData()
_JOBS = Table(
    "schedule_jobs",
    _META,
    Column("name", String(64), primary_key=True),
    Column("job", Text, nullable=False),  # a Job, as JSON
)
_SLOTS = Table(
    "schedule_slots",
    _META,
    Column("job", String(64), primary_key=True),
    Column("slot", String(32), primary_key=True),  # ISO 8601, UTC
    Column("outcome", String(16), nullable=False),
    Column("holder", Text, nullable=False),  # the worker that claimed it
    Column("beat", Float, nullable=False),  # POSIX seconds at which its worker was last alive
    Column("run", Text, nullable=False),  # of the ledger; empty before it is opened
    Column("reason", Text, nullable=False),
    Column("result", Text, nullable=False),
)
Index(
    "schedule_slots_one_at_a_time",
    _SLOTS.c.job,
    unique=True,
    sqlite_where=text("outcome = 'running'"),
    postgresql_where=text("outcome = 'running'"),
)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is done on a schedule: a notebook run or swept, a study judged, one after the other."""

    name: str
    notebook: str  # absolute path; empty if a study is only judged
    does: tuple[Step, ...] = ("notebook",)  # in this order; what fails ends the slot
    study: str = ""  # that is judged; empty = the one that the steps before have tried
    trials: int | None = None  # of a sweep: drawn at random; None = the whole declared space
    cron: str  # minute hour day month weekday
    zone: str = "UTC"  # IANA name; what the cron expression means
    parameters: dict[str, Value] = {}  # a subset of the declared ones
    grace_s: float = 3600.0  # a slot that is later than this is missed, not run
    timeout_s: float = 900.0  # after which a notebook's run, or one trial of a sweep, is ended
    added_at: datetime  # UTC; slots up to here never were


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one time at which a job was due."""

    job: str
    slot: datetime  # UTC
    outcome: Outcome
    holder: str = ""
    run: str = ""  # empty if none was opened
    reason: str = ""  # empty when complete
    result: str = ""  # in words: how many trials, which verdict


class ScheduleBook:
    """The jobs and slots of one ledger's database; any number of workers may share it."""

    def __init__(self, engine: Engine) -> None:
        """Open the tables, making them if they are not there."""
        self._engine = engine
        _META.create_all(engine)

    def add(self, job: Job) -> None:
        """Keep a job; ScheduleInvalid if its name is taken."""
        try:
            with transaction(self._engine) as connection:
                row = {"name": job.name, "job": canonical(job).decode()}
                connection.execute(insert(_JOBS).values(row))
        except IntegrityError:
            raise ScheduleInvalid(
                f"there is a job {job.name} already; remove it first, or choose another --name"
            ) from None

    def remove(self, name: str) -> None:
        """Forget a job, not what its slots became; ScheduleInvalid if there is none."""
        with transaction(self._engine) as connection:
            gone = connection.execute(delete(_JOBS).where(_JOBS.c.name == name)).rowcount
        if not gone:
            names = ", ".join(job.name for job in self.jobs()) or "none"
            raise ScheduleInvalid(f"there is no job {name}; jobs are: {names}")

    def jobs(self) -> tuple[Job, ...]:
        """Return the jobs by name."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(_JOBS.c.job).order_by(_JOBS.c.name)).scalars()
            return tuple(from_json(row, Job) for row in rows)

    def slots(self, job: str | None = None) -> tuple[Slot, ...]:
        """Return what is on record, of one job or of all, the oldest slot first."""
        query = select(_SLOTS).order_by(_SLOTS.c.slot, _SLOTS.c.job)
        if job is not None:
            query = query.where(_SLOTS.c.job == job)
        with self._engine.connect() as connection:
            return tuple(_slot(row) for row in connection.execute(query).mappings())

    def last(self, job: str) -> datetime | None:
        """Return the newest slot of a job on record, None before the first."""
        query = select(_SLOTS.c.slot).where(_SLOTS.c.job == job).order_by(_SLOTS.c.slot.desc())
        with self._engine.connect() as connection:
            newest = connection.execute(query.limit(1)).scalar()
        return None if newest is None else datetime.fromisoformat(newest)

    def claim(self, job: str, slot: datetime, *, holder: str, at: datetime) -> bool:
        """Take a slot; False if it is on record already, or another one of its job still runs."""
        return self._write(job, slot, "running", holder=holder, at=at)

    def missed(self, job: str, slot: datetime, *, holder: str, at: datetime, reason: str) -> bool:
        """Record that a slot is not run; False if it is on record already."""
        return self._write(job, slot, "missed", holder=holder, at=at, reason=reason)

    def end(
        self, job: str, slot: datetime, outcome: Outcome, *, run: str, reason: str, result: str = ""
    ) -> bool:
        """End a slot that runs; False if it does not, e.g. was given up as crashed."""
        ended = {"outcome": outcome, "run": run, "reason": reason, "result": result}
        return self._change(job, slot, ended)

    def beat(self, job: str, slot: datetime, *, at: datetime) -> bool:
        """Say that the worker of a running slot lives; False if the slot was given up."""
        return self._change(job, slot, {"beat": at.timestamp()})

    def give_up(self, *, before: datetime, reason: str) -> int:
        """End the running slots whose workers were last alive before an instant: crashed."""
        stale = (_SLOTS.c.outcome == "running") & (_SLOTS.c.beat < before.timestamp())
        with transaction(self._engine) as connection:
            changed = {"outcome": "crashed", "reason": reason}
            return connection.execute(update(_SLOTS).where(stale).values(changed)).rowcount

    def _write(
        self,
        job: str,
        slot: datetime,
        outcome: Outcome,
        *,
        holder: str,
        at: datetime,
        reason: str = "",
    ) -> bool:
        row = {
            "job": job,
            "slot": _key(slot),
            "outcome": outcome,
            "holder": holder,
            "beat": at.timestamp(),
            "run": "",
            "reason": reason,
            "result": "",
        }
        try:
            with transaction(self._engine) as connection:
                connection.execute(insert(_SLOTS).values(row))
        except IntegrityError:
            return False
        return True

    def _change(self, job: str, slot: datetime, values: Mapping[str, Any]) -> bool:
        one = (
            (_SLOTS.c.job == job) & (_SLOTS.c.slot == _key(slot)) & (_SLOTS.c.outcome == "running")
        )
        with transaction(self._engine) as connection:
            return connection.execute(update(_SLOTS).where(one).values(**values)).rowcount == 1


def _key(slot: datetime) -> str:
    return slot.astimezone(UTC).isoformat(timespec="seconds")


def _slot(row: RowMapping) -> Slot:
    return Slot(
        job=row["job"],
        slot=datetime.fromisoformat(row["slot"]),
        outcome=row["outcome"],
        holder=row["holder"],
        run=row["run"],
        reason=row["reason"],
        result=row["result"],
    )
