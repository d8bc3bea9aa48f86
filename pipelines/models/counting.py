"""Tries inside a study are tries: tuning and feature selection write each one to the ledger.

A try that is no candidate (an inner score, a subset of features) is recorded as pruned, with its
score as the reason: the gates' N grows by it, and no return series is claimed for it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from featurestore.errors import PlatformError
from pipelines.door import answered_for, require_record
from pipelines.ledger import Ledger
from pipelines.ledger.records import TrialClosed, TrialOpened, Value

Result = TypeVar("Result")


class CountsTries(Protocol):
    """Whoever keeps count; called before a try is scored and after."""

    def open(self, parameters: Mapping[str, Value]) -> str:
        """Write down that a configuration is about to be tried; return its key."""
        ...

    def close(self, key: str, reason: str, *, failed: bool = False) -> None:
        """Write down how it went."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCounter:
    """Counts tries in a study's ledger."""

    ledger: Ledger
    study: str  # declared before
    code_hash: str  # of the cell the tries belong to, hex
    shape_hash: str  # of the same cell without names and numbers, hex
    snapshot_hash: str  # of the data, hex
    notebook: str = ""
    run: str | None = None  # in which the tries are made

    def open(self, parameters: Mapping[str, Value]) -> str:
        """Open a trial; StudyUnknown if the study was not declared."""
        return self.ledger.open_trial(
            TrialOpened(
                study=self.study,
                parameters=dict(parameters),
                code_hash=self.code_hash,
                shape_hash=self.shape_hash,
                snapshot_hash=self.snapshot_hash,
                notebook=self.notebook,
                run=self.run,
            )
        )

    def close(self, key: str, reason: str, *, failed: bool = False) -> None:
        """Close a trial that returned a score and no returns."""
        closed = TrialClosed(status="failed" if failed else "pruned", reason=reason)
        self.ledger.close_trial(key, closed)


def counted(
    what: str,
    asked: Mapping[str, Value],
    work: Callable[[], Result],
    said: Callable[[Result], str],
    counter: CountsTries | None,
) -> Result:
    """Write a try down, make it while the ledger answers for it, write down how it went.

    Args:
        what: the function that is called, for messages.
        asked: what makes this try another one than the others.
        work: makes it.
        said: what the ledger is told of the result.
        counter: who counts; None only where no study is concerned.

    Raises:
        EvaluationUnrecorded: in a kernel or at a prompt without a counter.
    """
    if counter is None:
        require_record(f"{what} without counter=count_tries(study, strategy)")
        return work()
    key = counter.open(asked)
    try:
        with answered_for():
            result = work()
    except PlatformError as error:
        counter.close(key, f"{what}: {error}", failed=True)
        raise
    counter.close(key, f"{what}: {said(result)}")
    return result
