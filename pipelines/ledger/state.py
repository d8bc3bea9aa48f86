"""The ledger's entries, folded in order into what readers ask for."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from pipelines.errors import LedgerBroken
from pipelines.ledger.records import (
    HoldoutPayload,
    HoldoutRecord,
    Judgement,
    LedgerRun,
    Promotion,
    RunClosed,
    RunOpened,
    StudyRecord,
    TrialOpened,
    TrialRecord,
)
from pipelines.ledger.scopes import Scope, scope_of
from runtime.chain import Entry
from runtime.decoding import from_json

STUDY, RUN_OPENED, RUN_CLOSED = "study", "run opened", "run closed"
TRIAL_OPENED, TRIAL_CLOSED = "trial opened", "trial closed"
HOLDOUT_SPENT, HOLDOUT_RESULT = "holdout spent", "holdout result"
JUDGED, PROMOTED = "judged", "promoted"

_Payload = TypeVar("_Payload")


class StudyPayload(msgspec.Struct, frozen=True, kw_only=True):
    """One declaration of a study, as chained."""

    name: str
    version: int
    declaration: dict[str, Any]


class ClosePayload(msgspec.Struct, frozen=True, kw_only=True):
    """One closing of a trial, as chained; series are hashes of blobs."""

    trial: str
    attempt: int
    status: str
    reason: str
    days: int
    series: tuple[str, str, str] | None  # dates, net, benchmark
    figures: dict[str, float]


class HoldoutFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the holdout showed, as chained."""

    study: str
    figures: dict[str, float | int | str | None]


@dataclass(slots=True)
class LedgerState:
    """The fold; `apply` one entry after the other, never twice."""

    seq: int = 0
    studies: dict[str, StudyRecord] = field(default_factory=dict)
    scopes: dict[str, set[Scope]] = field(default_factory=dict)  # every one a study ever declared
    trials: dict[str, TrialRecord] = field(default_factory=dict)  # by key, in order of opening
    open_attempts: dict[str, set[int]] = field(default_factory=dict)  # attempts not yet closed
    runs: dict[str, LedgerRun] = field(default_factory=dict)
    holdouts: dict[str, HoldoutRecord] = field(default_factory=dict)
    judgements: list[Judgement] = field(default_factory=list)
    promotions: list[Promotion] = field(default_factory=list)

    def apply(self, entry: Entry) -> None:
        """Take one entry in; entries of unknown kinds only move the sequence number.

        Raises:
            LedgerBroken: an entry before it is missing, or it does not read.
        """
        if entry.seq != self.seq + 1:
            raise LedgerBroken(f"ledger: entry {self.seq + 1} is missing, {entry.seq} follows")
        try:
            self._apply(entry)
        except (KeyError, msgspec.DecodeError) as error:
            raise LedgerBroken(
                f"ledger: entry {entry.seq} ({entry.kind}) does not fit those before it: {error}"
            ) from error
        self.seq = entry.seq

    def _apply(self, entry: Entry) -> None:
        match entry.kind:
            case "study":
                self._study(_read(entry, StudyPayload), entry.at)
            case "run opened":
                opened = _read(entry, RunOpened)
                self.runs[opened.run] = LedgerRun(
                    opened=opened, opened_at=entry.at, closed=None, closed_at=None
                )
            case "run closed":
                self.runs[entry.key] = replace(
                    self.runs[entry.key], closed=_read(entry, RunClosed), closed_at=entry.at
                )
            case "trial opened":
                self._trial_opened(_read(entry, TrialOpened), entry.at)
            case "trial closed":
                self._trial_closed(_read(entry, ClosePayload), entry.at)
            case "holdout spent":
                spent = _read(entry, HoldoutPayload)
                self.holdouts[spent.study] = HoldoutRecord(
                    study=spent.study, trial=spent.trial, by=spent.by, at=entry.at, figures=None
                )
            case "holdout result":
                result = _read(entry, HoldoutFigures)
                self.holdouts[result.study] = replace(
                    self.holdouts[result.study], figures=result.figures
                )
            case "judged":
                self.judgements.append(_read(entry, Judgement))
            case "promoted":
                self.promotions.append(_read(entry, Promotion))

    def _study(self, payload: StudyPayload, at: datetime) -> None:
        known = self.studies.get(payload.name)
        self.scopes.setdefault(payload.name, set()).add(scope_of(payload.declaration))
        self.studies[payload.name] = StudyRecord(
            name=payload.name,
            declaration=payload.declaration,
            version=payload.version,
            declared_at=at if known is None else known.declared_at,
            changed_at=at,
            trials=0,
            by_status={},
        )

    def _trial_opened(self, opened: TrialOpened, at: datetime) -> None:
        key = opened.key
        known = self.trials.get(key)
        attempt = 1 if known is None else known.attempts + 1
        self.open_attempts.setdefault(key, set()).add(attempt)
        if known is not None:
            also = () if opened.run is None or opened.run in known.runs else (opened.run,)
            self.trials[key] = replace(known, attempts=attempt, runs=known.runs + also)
            return
        self.trials[key] = TrialRecord(
            key=key,
            study=opened.study,
            parameters=opened.parameters,
            code_hash=opened.code_hash,
            snapshot_hash=opened.snapshot_hash,
            shape_hash=opened.shape_hash,
            notebook=opened.notebook,
            run=opened.run,
            runs=() if opened.run is None else (opened.run,),
            source=opened.source,
            status="crashed",
            reason="opened and never closed",
            figures={},
            attempts=1,
            reproducible=True,
            days=0,
            series=None,
            opened_at=at,
            closed_at=None,
        )

    def _trial_closed(self, closed: ClosePayload, at: datetime) -> None:
        known = self.trials[closed.trial]
        self.open_attempts[closed.trial].discard(closed.attempt)
        if known.status == "complete":
            same = closed.status != "complete" or closed.series == known.series
            self.trials[closed.trial] = replace(known, reproducible=known.reproducible and same)
            return
        self.trials[closed.trial] = replace(
            known,
            status=closed.status,  # type: ignore[arg-type]
            reason=closed.reason,
            figures=closed.figures,
            days=closed.days,
            series=closed.series,
            closed_at=at,
        )

    def of_study(self, study: str) -> list[TrialRecord]:
        """Return a study's trials in order of first opening."""
        return [trial for trial in self.trials.values() if trial.study == study]

    def counted(self, study: StudyRecord) -> StudyRecord:
        """Return the study with its trials counted."""
        by_status: dict[str, int] = {}
        for trial in self.of_study(study.name):
            by_status[trial.status] = by_status.get(trial.status, 0) + 1
        return replace(study, trials=sum(by_status.values()), by_status=by_status)


def _read(entry: Entry, kind: type[_Payload]) -> _Payload:
    return from_json(entry.payload, kind)
