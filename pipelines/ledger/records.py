"""What the ledger holds: studies, runs, trials, returns, holdouts, judgements, promotions."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.errors import LedgerRefused
from pipelines.ledger.scopes import Charge
from runtime.bundles.contract import GateVerdict, canonical
from runtime.bundles.inputs import Array

Value: TypeAlias = int | float | str | bool
Days: TypeAlias = NDArray[np.datetime64]
TrialStatus: TypeAlias = Literal["complete", "failed", "pruned", "crashed"]
RunStatus: TypeAlias = Literal["complete", "failed", "crashed"]
Cause: TypeAlias = Literal[
    "cell error", "killed", "out of memory", "timeout", "kernel did not start"
]


def trial_key(
    study: str, parameters: Mapping[str, Value], code_hash: str, snapshot_hash: str
) -> str:
    """Return the name of a configuration: SHA-256 over study, parameters, code and data, hex.

    The same configuration tried twice is one trial; anything changed makes it another.
    """
    return hashlib.sha256(
        canonical([study, dict(parameters), code_hash, snapshot_hash])
    ).hexdigest()


class TrialOpened(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration about to be evaluated; written before its evaluation begins."""

    study: str
    parameters: dict[str, Value]  # every declared parameter, defaults included
    code_hash: str  # hex; of the definition cells
    snapshot_hash: str  # hex; of the data
    shape_hash: str = ""  # hex; of the strategy cell without names and numbers; empty if unknown
    notebook: str = ""  # path as the user gave it
    run: str | None = None  # the papermill run or sweep that opened it
    source: Literal["notebook", "sweep"] = "notebook"

    @property
    def key(self) -> str:
        """Return the trial key."""
        return trial_key(self.study, self.parameters, self.code_hash, self.snapshot_hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialClosed:
    """How an evaluation ended; only a complete one carries returns."""

    status: Literal["complete", "failed", "pruned"]
    reason: str = ""  # one sentence; empty when complete
    dates: Sequence[Any] | Days = ()  # sessions, ascending, length T
    net: Sequence[float] | Array = ()  # daily net returns as fractions, shape (T,)
    benchmark: Sequence[float] | Array = ()  # the study's benchmark on the same days, shape (T,)
    figures: Mapping[str, float] = field(default_factory=dict)  # information only

    def __post_init__(self) -> None:
        if self.status != "complete":
            if not self.reason:
                raise LedgerRefused(f"a {self.status} trial must say why")
            return
        lengths = {len(self.dates), len(self.net), len(self.benchmark)}
        if len(lengths) != 1 or 0 in lengths:
            raise LedgerRefused(
                f"a complete trial needs equally many dates, net and benchmark returns; was given "
                f"{len(self.dates)}, {len(self.net)} and {len(self.benchmark)}"
            )
        days = np.asarray(self.dates, dtype="datetime64[D]")
        if days.size > 1 and not (np.diff(days) > np.timedelta64(0, "D")).all():
            raise LedgerRefused("the days of a trial's returns must ascend without repeats")
        for name, values in (("net", self.net), ("benchmark", self.benchmark)):
            bad = np.flatnonzero(~np.isfinite(np.asarray(values, dtype=np.float64)))
            if bad.size:
                raise LedgerRefused(f"{name} return of {days[bad[0]]} is not a finite number")

    @property
    def excess(self) -> Array:
        """Return net returns in excess of the benchmark, shape (T,)."""
        return np.asarray(self.net, np.float64) - np.asarray(self.benchmark, np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """One configuration as the ledger knows it, whatever became of it."""

    key: str
    study: str
    parameters: dict[str, Value]
    code_hash: str
    snapshot_hash: str
    shape_hash: str  # empty if unknown
    notebook: str
    run: str | None  # who opened it first
    runs: tuple[str, ...]  # everyone who opened it, in order
    source: str
    status: TrialStatus  # "crashed" = opened and never closed
    reason: str
    figures: dict[str, float]
    attempts: int  # how often it was opened
    reproducible: bool  # False if two complete attempts gave different returns
    days: int  # T, 0 without returns
    series: tuple[str, str, str] | None  # blob hashes of dates, net, benchmark
    opened_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Returns:
    """Daily returns of one trial."""

    dates: Days  # (T,), datetime64[D]
    net: Array  # (T,), fractions
    benchmark: Array  # (T,), fractions


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyEvidence:
    """Everything the gates need of a study; columns stand in order of their trial keys.

    The order in which trials were evaluated is therefore invisible. Columns are the study's own
    complete trials and, where the same question was asked under other names, theirs.
    N for the gates is `trials` (every configuration opened), not the number of columns.
    """

    study: str
    trials: int  # every try on the question: failed, pruned, crashed, unrecorded, under any name
    names: tuple[str, ...]  # keys of the complete trials, ascending, length N'
    dates: Days  # (T,), days common to all columns
    net: Array  # (T, N'), fractions
    benchmarks: Array  # (T, N'): each trial's own benchmark
    foreign: frozenset[str] = frozenset()  # keys of columns that other studies tried
    charge: Charge | None = None  # what N is made of; None = the study's own trials alone

    @property
    def own(self) -> tuple[int, ...]:
        """Return the columns of the study itself."""
        return tuple(k for k, name in enumerate(self.names) if name not in self.foreign)

    @property
    def benchmark(self) -> Array:
        """Return the study's benchmark, shape (T,)."""
        return np.ascontiguousarray(self.benchmarks[:, self.own[0]])

    @property
    def excess(self) -> Array:
        """Return net returns in excess of the benchmark, shape (T, N')."""
        return self.net - self.benchmarks

    def column(self, trial: str) -> int:
        """Return the column of a trial; LedgerRefused if it is not among the complete ones."""
        if trial not in self.names:
            raise LedgerRefused(f"trial {trial[:12]} of {self.study} is not complete")
        return self.names.index(trial)


class RunOpened(msgspec.Struct, frozen=True, kw_only=True):
    """A notebook, a sweep or a gate about to run, or a kernel before its first cell."""

    run: str
    notebook: str  # empty for a gate, and if a kernel does not know its own
    notebook_hash: str  # empty likewise
    parameters: dict[str, Value]
    kind: Literal["notebook", "sweep", "gate", "kernel"] = "notebook"
    by: str = ""  # who works in the kernel
    kernel: str = ""  # Jupyter's id of it
    schedule: str = ""  # "JOB@SLOT" if a schedule started it


class RunClosed(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended, by the evidence of its processes."""

    status: Literal["complete", "failed"]
    cause: Cause | None = None
    message: str = ""
    cell: int | None = None  # 0-based index of the cell that was running
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRun:
    """One run as the ledger knows it."""

    opened: RunOpened
    opened_at: datetime
    closed: RunClosed | None
    closed_at: datetime | None

    @property
    def status(self) -> RunStatus:
        """Return "crashed" for a run that was opened and never closed."""
        return "crashed" if self.closed is None else self.closed.status


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """A declared study and how much was tried on it."""

    name: str
    declaration: dict[str, Any]  # as declared last
    version: int  # 1 = first declaration
    declared_at: datetime  # of the first declaration
    changed_at: datetime  # of the last one
    trials: int  # N
    by_status: dict[str, int]


class HoldoutPayload(msgspec.Struct, frozen=True, kw_only=True):
    """Who looked at a sealed holdout, for which trial."""

    study: str
    trial: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldoutRecord:
    """The one look at a study's holdout."""

    study: str
    trial: str
    by: str
    at: datetime
    figures: dict[str, float | int | str | None] | None  # None until the result was recorded


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What the gates said of a candidate."""

    study: str
    trial: str
    trials: int  # N when judged
    stage: Literal["refused", "staging", "production"]
    verdicts: tuple[GateVerdict, ...]


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate that became a bundle."""

    study: str
    trial: str
    bundle: str  # hash, hex
    stage: Literal["staging", "production"]
    version: int
    by: str
