"""The books of one sweep: opens and closes its trials in the ledger, and tells after recording."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from pipelines.ledger import Ledger
from pipelines.ledger.records import TrialClosed, TrialOpened, TrialRecord, Value
from pipelines.performance import sharpe
from pipelines.sweeps.pool import Crashed, Ended, Overdue


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTrial:
    """One configuration of a sweep and what became of it."""

    number: int  # in order of proposal
    key: str  # trial key in the ledger
    parameters: dict[str, Value]
    status: str  # "complete", "failed", "pruned", "crashed"
    reason: str
    value: float | None  # annualised Sharpe ratio of excess returns, None unless complete
    figures: dict[str, float]
    reused: bool  # True if the ledger held the completed trial already


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepProgress:
    """Told after each trial has been recorded."""

    trial: SweepTrial
    done: int
    total: int
    best: SweepTrial | None


def best_of(trials: Iterable[SweepTrial]) -> SweepTrial | None:
    """Return the trial with the highest value; the first proposed one among equals."""
    best: SweepTrial | None = None
    for trial in sorted(trials, key=lambda one: one.number):
        if trial.value is not None and (
            best is None or best.value is None or trial.value > best.value
        ):
            best = trial
    return best


@dataclass(slots=True, kw_only=True)
class SweepBook:
    """Everything a sweep records."""

    ledger: Ledger
    study: str
    run: str
    notebook: str
    code_hash: str
    shape_hash: str
    snapshot_hash: str
    total: int  # trials to come
    on_trial: Callable[[SweepProgress], None]
    trials: dict[int, SweepTrial] = field(default_factory=dict)  # by number

    def opening(self, parameters: dict[str, Value]) -> TrialOpened:
        """Return the ledger entry that precedes an evaluation."""
        return TrialOpened(
            study=self.study,
            parameters=parameters,
            code_hash=self.code_hash,
            shape_hash=self.shape_hash,
            snapshot_hash=self.snapshot_hash,
            notebook=self.notebook,
            run=self.run,
            source="sweep",
        )

    def standing(self) -> dict[str, TrialRecord]:
        """Return the study's complete trials, by key."""
        return {
            trial.key: trial
            for trial in self.ledger.trials(self.study)
            if trial.status == "complete"
        }

    def reuse(self, number: int, record: TrialRecord) -> None:
        """Take a trial that the ledger holds; its value is computed from the stored returns."""
        returns = self.ledger.returns(record.key)
        trial = SweepTrial(
            number=number,
            key=record.key,
            parameters=record.parameters,
            status="complete",
            reason="",
            value=sharpe(returns.net - returns.benchmark),
            figures=record.figures,
            reused=True,
        )
        self._tell(trial)

    def repeat(self, number: int, first: int) -> None:
        """Answer a point that was proposed before with what became of it."""
        self._tell(replace(self.trials[first], number=number, reused=True))

    def close(self, ended: Ended, opened: TrialOpened) -> None:
        """Record how a trial ended, then tell; a crashed one stays open."""
        closed: TrialClosed | None = None
        match ended:
            case Crashed():
                status, reason = "crashed", ended.reason
            case Overdue():
                closed = TrialClosed(status="failed", reason=ended.reason)
            case _:
                closed = ended.closed()
        value: float | None = None
        if closed is not None:
            self.ledger.close_trial(opened.key, closed)
            status, reason = closed.status, closed.reason
            if closed.status == "complete":
                value = sharpe(closed.excess)
        trial = SweepTrial(
            number=ended.number,
            key=opened.key,
            parameters=opened.parameters,
            status=status,
            reason=reason,
            value=value,
            figures={} if closed is None else dict(closed.figures),
            reused=False,
        )
        self._tell(trial)

    def _tell(self, trial: SweepTrial) -> None:
        self.trials[trial.number] = trial
        self.on_trial(
            SweepProgress(
                trial=trial,
                done=len(self.trials),
                total=self.total,
                best=best_of(self.trials.values()),
            )
        )
