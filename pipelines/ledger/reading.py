"""Reading the ledger: studies, trials, return matrices, and the proof that nothing was changed."""

import threading
from collections.abc import Iterable
from datetime import datetime

import numpy as np
from sqlalchemy import Engine

from pipelines.errors import EvidenceMissing, LedgerBroken, LedgerRefused, StudyUnknown
from pipelines.ledger.blobs import BlobTable
from pipelines.ledger.families import family_of, silent_reads, silent_runs, tries
from pipelines.ledger.leases import LEASES, Lease, lease_anchor, prove_leases
from pipelines.ledger.records import (
    Days,
    HoldoutRecord,
    Judgement,
    LedgerRun,
    Promotion,
    Returns,
    StudyEvidence,
    StudyRecord,
    TrialRecord,
)
from pipelines.ledger.scopes import Charge
from pipelines.ledger.state import TRIAL_CLOSED, ClosePayload, LedgerState
from runtime.chain import ChainedLog, Head, HeadAnchor
from runtime.database import reading
from runtime.decoding import from_json
from runtime.errors import JournalBroken

SAME_DAYS = 0.9  # share of a study's days that another name's trial must cover to stand beside it


class LedgerReading:
    """What may be asked of a ledger; safe to share between threads."""

    def __init__(self, engine: Engine, *, anchor: HeadAnchor | None) -> None:
        """Open the tables, making them if they are not there, and check the anchored head."""
        self._anchor, self._engine = anchor, engine
        self._log = ChainedLog(engine, "ledger")
        self._leases = ChainedLog(engine, LEASES)
        self._blobs = BlobTable(engine, "ledger_blobs")
        self._state = LedgerState()
        self._guard = threading.RLock()
        self._check_tail()

    def studies(self) -> tuple[StudyRecord, ...]:
        """Return every declared study, in order of first declaration."""
        with self._guard:
            state = self._refreshed()
            return tuple(state.counted(study) for study in state.studies.values())

    def study(self, name: str) -> StudyRecord:
        """Return one study; StudyUnknown lists the declared ones."""
        with self._guard:
            self._refreshed()
            return self._state.counted(self._known(name))

    def trials(self, study: str) -> tuple[TrialRecord, ...]:
        """Return a study's trials in order of first opening; StudyUnknown if undeclared."""
        with self._guard:
            self._refreshed()
            self._known(study)
            return tuple(self._state.of_study(study))

    def trial(self, key: str) -> TrialRecord:
        """Return one trial by its key or an unambiguous beginning of it."""
        with self._guard:
            state = self._refreshed()
            if key in state.trials:
                return state.trials[key]
            found = [trial for name, trial in state.trials.items() if key and name.startswith(key)]
        if len(found) != 1:
            raise LedgerRefused(f"{len(found)} trials begin with {key!r}; give more of the key")
        return found[0]

    def trials_of_run(self, run: str) -> tuple[TrialRecord, ...]:
        """Return the trials that a run opened, first or again, of whatever study."""
        with self._guard:
            return tuple(t for t in self._refreshed().trials.values() if run in t.runs)

    def returns(self, key: str) -> Returns:
        """Return the daily returns of a complete trial."""
        return self._series(self.trial(key))

    def _series(self, trial: TrialRecord) -> Returns:
        if trial.series is None:
            raise EvidenceMissing(
                f"trial {trial.key[:12]} of {trial.study} has no returns: "
                f"{trial.status}, {trial.reason}"
            )
        content = self._blobs.get(trial.series)
        days, net, benchmark = (content[name] for name in trial.series)
        return Returns(
            dates=np.frombuffer(days, dtype="<i8").astype("datetime64[D]"),
            net=np.frombuffer(net, dtype="<f8"),
            benchmark=np.frombuffer(benchmark, dtype="<f8"),
        )

    def charge(self, study: str) -> Charge:
        """Return how often a study's question was tried, under this and any other name."""
        with self._guard:
            self._refreshed()
            self._known(study)
            return self._charged(study)[0]

    def evidence(self, study: str) -> StudyEvidence:
        """Return the return matrix of a study's question and N; the chain is proved first.

        Raises:
            StudyUnknown: no such study.
            EvidenceMissing: no trial yet, none complete, or no day common to all of them.
            LedgerBroken: an entry was changed, removed or cut off.
        """
        self._proved()
        with self._guard:
            trials = self.trials(study)
            charge, tried = self._charged(study)
        own = [trial for trial in trials if trial.series is not None]
        if not own:
            what = f"{len(trials)} trials, none of them complete" if trials else "no trial yet"
            raise EvidenceMissing(f"study {study} has {what}; run its notebook or sweep it first")
        series = {trial.key: self._series(trial) for trial in own}
        dates = _common_days(series.values())
        if dates.size == 0:
            raise EvidenceMissing(f"the {len(series)} complete trials of {study} share no day")
        foreign = {}
        for trial in tried:
            if trial.study != study and trial.series is not None:
                found = self._series(trial)
                if np.isin(dates, found.dates).mean() >= SAME_DAYS:
                    foreign[trial.key] = found
        series |= foreign
        dates = _common_days(series.values())
        names = tuple(sorted(series))
        rows = [np.searchsorted(series[name].dates, dates) for name in names]
        columns = list(zip(names, rows, strict=True))
        return StudyEvidence(
            study=study,
            trials=charge.at_most,
            names=names,
            dates=dates,
            net=np.column_stack([series[name].net[row] for name, row in columns]),
            benchmarks=np.column_stack([series[name].benchmark[row] for name, row in columns]),
            foreign=frozenset(foreign),
            charge=charge,
        )

    def _charged(self, study: str) -> tuple[Charge, list[TrialRecord]]:
        """Return the charge of a known study and the trials behind it."""
        everything = tuple(self._state.trials.values())
        family = family_of(study, everything, self._state.scopes)
        tried = tries(family, everything)
        runs, settled = silent_runs(family, everything, self._state.runs)
        reads = self._silent(family, settled)
        charge = Charge(studies=family, trials=len(tried), runs=runs, leases=len(reads))
        return charge, tried

    def silent_reads(self, study: str) -> tuple[tuple[datetime, Lease], ...]:
        """Return the kernels that a study is charged with for reading: the first read of each."""
        with self._guard:
            everything = tuple(self._refreshed().trials.values())
            self._known(study)
            family = family_of(study, everything, self._state.scopes)
            _, settled = silent_runs(family, everything, self._state.runs)
            return self._silent(family, settled)

    def _silent(
        self, family: tuple[str, ...], settled: frozenset[str]
    ) -> tuple[tuple[datetime, Lease], ...]:
        """Return the reads without a trial that a question is charged with."""
        state = self._state
        leases = ((entry.at, from_json(entry.payload, Lease)) for entry in self._leases.entries())
        trials = tuple(state.trials.values())
        return silent_reads(family, trials, leases, state.runs, state.scopes, settled)

    def runs(self) -> tuple[LedgerRun, ...]:
        """Return every run, oldest first."""
        with self._guard:
            return tuple(self._refreshed().runs.values())

    def run(self, run: str) -> LedgerRun:
        """Return one run by its id."""
        with self._guard:
            runs = self._refreshed().runs
        if run not in runs:
            raise LedgerRefused(f"no run {run}; the last ones are {', '.join(list(runs)[-3:])}")
        return runs[run]

    def holdout(self, study: str) -> HoldoutRecord | None:
        """Return the one look at a study's holdout, or None if it is still sealed."""
        with self._guard:
            self._refreshed()
            self._known(study)
            return self._state.holdouts.get(study)

    def judgements(self, study: str) -> tuple[Judgement, ...]:
        """Return what the gates said of a study's candidates, oldest first."""
        with self._guard:
            self._refreshed()
            self._known(study)
            return tuple(j for j in self._state.judgements if j.study == study)

    def promotions(self) -> tuple[Promotion, ...]:
        """Return every promotion, oldest first."""
        with self._guard:
            return tuple(self._refreshed().promotions)

    def head(self) -> Head:
        """Return sequence number and hash of the newest entry."""
        return self._log.head()

    def verify(self) -> Head:
        """Prove the whole ledger: every link, the anchored heads, every stored series.

        Returns:
            The head.

        Raises:
            LedgerBroken: names what was changed, removed or cut off.
        """
        head = self._proved()
        for entry in self._log.entries(TRIAL_CLOSED):
            series = from_json(entry.payload, ClosePayload).series
            if series is not None:
                self._blobs.get(series)
        return head

    def _proved(self) -> Head:
        """Prove every link and the anchored heads; return the head."""
        anchors = () if self._anchor is None else self._anchor.heads()
        prove_leases(self._leases, lease_anchor(self._anchor))
        try:
            head = self._log.verify(anchors)
        except JournalBroken as broken:
            raise LedgerBroken(str(broken)) from None
        if self._anchor is not None and head.seq and not anchors:
            raise LedgerBroken(
                f"{self._anchor.path} is missing: without it a cut-off tail cannot be noticed"
            )
        return head

    def _refreshed(self) -> LedgerState:
        with reading(self._engine) as connection:
            for entry in self._log.entries(after=self._state.seq, connection=connection):
                self._state.apply(entry)
        return self._state

    def _known(self, study: str) -> StudyRecord:
        known = self._state.studies.get(study)
        if known is None:
            names = ", ".join(sorted(self._state.studies)) or "none yet"
            raise StudyUnknown(
                f"the ledger knows no study {study!r}; declared are: {names}. "
                "Run the study's notebook or sweep it first"
            )
        return known

    def _known_trial(self, study: str, trial: str) -> None:
        known = self._state.trials.get(trial)
        if known is None or known.study != study:
            raise LedgerRefused(f"study {study} has no trial {trial[:12]}")

    def _check_tail(self) -> None:
        heads = () if self._anchor is None else self._anchor.heads()
        if heads:
            newest = max(heads, key=lambda head: head.seq)
            head = self._log.head()
            if head.seq < newest.seq:
                raise LedgerBroken(
                    f"the ledger ends at entry {head.seq}, but entry {newest.seq} was anchored in "
                    f"{self._anchor.path if self._anchor else ''}: its tail was cut off"
                )


def _common_days(series: Iterable[Returns]) -> Days:
    """Return the days that all series share, ascending."""
    dates: Days | None = None
    for one in series:
        if dates is None:
            dates = one.dates
        elif not np.array_equal(one.dates, dates):
            dates = np.intersect1d(dates, one.dates, assume_unique=True)
    return np.empty(0, dtype="datetime64[D]") if dates is None else dates
