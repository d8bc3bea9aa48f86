"""The ledger: the append-only, hash-chained record of every study, run and trial."""

from pipelines.ledger.leases import Lease, LeaseBook
from pipelines.ledger.records import (
    HoldoutRecord,
    Judgement,
    LedgerRun,
    Promotion,
    Returns,
    RunClosed,
    RunOpened,
    StudyEvidence,
    StudyRecord,
    TrialClosed,
    TrialOpened,
    TrialRecord,
    trial_key,
)
from pipelines.ledger.scopes import Charge
from pipelines.ledger.store import Ledger, open_ledger

__all__ = [
    "Charge",
    "HoldoutRecord",
    "Judgement",
    "Lease",
    "LeaseBook",
    "Ledger",
    "LedgerRun",
    "Promotion",
    "Returns",
    "RunClosed",
    "RunOpened",
    "StudyEvidence",
    "StudyRecord",
    "TrialClosed",
    "TrialOpened",
    "TrialRecord",
    "open_ledger",
    "trial_key",
]
