"""The ledger: the append-only, hash-chained record of every study, run and trial.

A trial is opened before it is evaluated; one that never closes counts as crashed. N of a study is
the number of distinct configurations ever opened, and nothing that can be appended lowers it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import Connection, Engine

from pipelines.errors import HoldoutSpent, LedgerRefused
from pipelines.ledger.families import family_of
from pipelines.ledger.leases import LeaseBook, lease_anchor
from pipelines.ledger.reading import LedgerReading
from pipelines.ledger.records import (
    HoldoutPayload,
    HoldoutRecord,
    Judgement,
    Promotion,
    RunClosed,
    RunOpened,
    StudyRecord,
    TrialClosed,
    TrialOpened,
)
from pipelines.ledger.scopes import holdout_of, scope_of, sealed_of
from pipelines.ledger.state import (
    HOLDOUT_RESULT,
    HOLDOUT_SPENT,
    JUDGED,
    PROMOTED,
    RUN_CLOSED,
    RUN_OPENED,
    STUDY,
    TRIAL_CLOSED,
    TRIAL_OPENED,
    ClosePayload,
    HoldoutFigures,
    LedgerState,
    StudyPayload,
)
from runtime.bundles.contract import canonical
from runtime.bundles.inputs import Array
from runtime.chain import Draft, HeadAnchor
from runtime.clock import Clock
from runtime.database import open_database, transaction


def open_ledger(url: str, *, clock: Clock, anchor: Path | None) -> "Ledger":
    """Open the ledger in a database; `anchor` is the file that remembers its head, if any.

    Raises:
        DatabaseUnavailable: the database does not answer.
        LedgerBroken: the database lacks entries that the anchor file remembers.
    """
    return Ledger(
        open_database(url), clock=clock, anchor=None if anchor is None else HeadAnchor(anchor)
    )


PROSE = frozenset({"question", "hypothesis", "source", "owner"})  # may be reworded at any time


class Ledger(LedgerReading):
    """One ledger; any number of processes may hold one over the same database."""

    def __init__(self, engine: Engine, *, clock: Clock, anchor: HeadAnchor | None) -> None:
        """Open the tables, making them if they are not there, and check the anchored head."""
        super().__init__(engine, anchor=anchor)
        self._clock = clock

    @cached_property
    def reads(self) -> LeaseBook:
        """Return the leases: which data was read, by whom, in which run."""
        return LeaseBook(self._engine, self._clock, lease_anchor(self._anchor))

    # ---- studies and runs

    def declare_study(self, declaration: object) -> StudyRecord:
        """Record a study with its search space; the same declaration again changes nothing.

        Args:
            declaration: a mapping, dataclass or msgspec struct with a `name`.

        Returns:
            The study; `version` grows by one whenever the declaration differs from the last.

        Raises:
            LedgerRefused: trials were opened on it, and more than its prose would change.
        """
        content = _content(declaration)
        name = content.get("name")
        if not isinstance(name, str) or not name:
            raise LedgerRefused("a study's declaration needs a name")
        with self._writing() as connection:
            known = self._state.studies.get(name)
            if known is None or known.declaration != content:
                self._require_same_question(known, content)
                version = 1 if known is None else known.version + 1
                payload = StudyPayload(name=name, version=version, declaration=content)
                self._append(connection, STUDY, f"{name}/{version}", payload)
        return self.study(name)

    def _require_same_question(self, known: StudyRecord | None, content: dict[str, Any]) -> None:
        """Refuse to change what is asked once an answer was looked for."""
        if known is None or not self._state.of_study(known.name):
            return
        if changed := _differing(known.declaration, content):
            raise LedgerRefused(
                f"study {known.name} has trials, so its {', '.join(changed)} can no longer be "
                f"changed; another question is a new study, declared before its first trial"
            )

    def departures(self, study: str, declaration: object) -> tuple[str, ...]:
        """Return the parts, prose left out, in which a declaration differs from the study's."""
        return _differing(self.study(study).declaration, _content(declaration))

    def open_run(self, opened: RunOpened) -> None:
        """Record a run before its first cell."""
        with self._writing() as connection:
            if opened.run in self._state.runs:
                raise LedgerRefused(f"run {opened.run} was opened before")
            self._append(connection, RUN_OPENED, opened.run, opened)

    def close_run(self, run: str, closed: RunClosed) -> None:
        """Record how a run ended."""
        with self._writing() as connection:
            known = self._state.runs.get(run)
            if known is None or known.closed is not None:
                state = "was never opened" if known is None else "is closed already"
                raise LedgerRefused(f"run {run} {state}")
            self._append(connection, RUN_CLOSED, run, closed)

    # ---- trials

    def open_trial(self, opened: TrialOpened) -> str:
        """Record a configuration before its evaluation begins.

        Returns:
            The trial key, for `close_trial`.

        Raises:
            StudyUnknown: the study was not declared first.
        """
        return self.open_trials([opened])[0]

    def open_trials(self, opened: Sequence[TrialOpened]) -> list[str]:
        """Record several configurations in one transaction, before any of them is evaluated."""
        keys = [trial.key for trial in opened]
        with self._writing() as connection:
            attempts: dict[str, int] = {}
            entries: list[tuple[str, msgspec.Struct]] = []
            for key, trial in zip(keys, opened, strict=True):
                self._known(trial.study)
                known = self._state.trials.get(key)
                before = attempts.get(key, 0 if known is None else known.attempts)
                attempts[key] = before + 1
                entries.append((f"{key}/{attempts[key]}", trial))
            self._append_all(connection, TRIAL_OPENED, entries)
        return keys

    def close_trial(self, key: str, closed: TrialClosed) -> None:
        """Record how an evaluation ended, with its daily returns; done before any result is shown.

        Raises:
            LedgerRefused: the trial was never opened, or each of its attempts is closed.
        """
        self.close_trials([(key, closed)])

    def close_trials(self, ended: Sequence[tuple[str, TrialClosed]]) -> None:
        """Record how several evaluations ended in one transaction: all of them or none.

        Raises:
            LedgerRefused: one was never opened, or each of its attempts is closed.
        """
        with self._writing() as connection:
            open_attempts: dict[str, list[int]] = {}
            payloads = []
            for (key, closed), series in zip(
                ended, self._kept_series(connection, ended), strict=True
            ):
                if key not in open_attempts:
                    open_attempts[key] = sorted(self._state.open_attempts.get(key, ()))
                if not open_attempts[key]:
                    never = key not in self._state.open_attempts
                    state = "was never opened" if never else "is closed already"
                    raise LedgerRefused(f"trial {key[:12]} {state}")
                payloads.append(
                    ClosePayload(
                        trial=key,
                        attempt=open_attempts[key].pop(0),
                        status=closed.status,
                        reason=closed.reason,
                        days=0 if series is None else len(closed.net),
                        series=series,
                        figures={name: float(value) for name, value in closed.figures.items()},
                    )
                )
            entries = [(f"{one.trial}/{one.attempt}", one) for one in payloads]
            self._append_all(connection, TRIAL_CLOSED, entries)

    def _kept_series(
        self, connection: Connection, ended: Sequence[tuple[str, TrialClosed]]
    ) -> list[tuple[str, str, str] | None]:
        """Keep the returns of complete trials beside the chain; return their blobs' names."""
        contents: list[bytes] = []
        encoded: dict[int, bytes] = {}  # columns of one sweep share their dates and benchmark
        complete = [closed.status == "complete" for _, closed in ended]
        for (_, closed), is_complete in zip(ended, complete, strict=True):
            if is_complete:
                if id(closed.dates) not in encoded:
                    days = np.asarray(closed.dates, dtype="datetime64[D]").astype("<i8")
                    encoded[id(closed.dates)] = days.tobytes()
                if id(closed.benchmark) not in encoded:
                    encoded[id(closed.benchmark)] = _floats(closed.benchmark)
                contents += [encoded[id(closed.dates)], _floats(closed.net)]
                contents.append(encoded[id(closed.benchmark)])
        names = iter(self._blobs.put_many(connection, contents))
        return [(next(names), next(names), next(names)) if kept else None for kept in complete]

    # ---- holdout, judgement, promotion

    def spend_holdout(self, study: str, trial: str, by: str, at: datetime) -> HoldoutRecord:
        """Record the one look at a study's sealed holdout, before it is taken.

        Raises:
            HoldoutSpent: it was spent before, under this or another name of the same question; the
                text says by whom, when and for which trial.
        """
        with self._writing() as connection:
            self._known(study)
            spent = self._state.holdouts.get(study)
            if spent is not None:
                raise HoldoutSpent(
                    f"the holdout of {study} was spent on {spent.at:%Y-%m-%d %H:%M} UTC by "
                    f"{spent.by} for trial {spent.trial[:12]}; it cannot be looked at twice, "
                    "declare a new study with a later holdout"
                )
            self._known_trial(study, trial)
            self._require_unseen(study)
            payload = HoldoutPayload(study=study, trial=trial, by=by)
            self._append(connection, HOLDOUT_SPENT, study, payload, at)
        record = self.holdout(study)
        assert record is not None
        return record

    def _require_unseen(self, study: str) -> None:
        """Refuse a look at days that the same question has seen under another name."""
        declared = self._state.studies[study].declaration
        mine = holdout_of(declared)
        asked = {**self._state.scopes, study: self._state.scopes[study] | {sealed_of(declared)}}
        everything = tuple(self._state.trials.values())
        for name in family_of(study, everything, asked)[1:]:
            other, spent = self._state.studies[name].declaration, self._state.holdouts.get(name)
            read = scope_of(other)
            if mine[0] <= read.last and read.first <= mine[1]:
                raise HoldoutSpent(
                    f"the holdout of {study}, {mine[0]} to {mine[1]}, lies in days that {name} has "
                    f"researched with the same question ({read.first} to {read.last}); it is not "
                    f"unseen any more, declare a holdout after them"
                )
            theirs = holdout_of(other)
            if spent is not None and mine[0] <= theirs[1] and theirs[0] <= mine[1]:
                raise HoldoutSpent(
                    f"{study} asks the question of {name}, whose holdout from {theirs[0]} to "
                    f"{theirs[1]} was spent on {spent.at:%Y-%m-%d %H:%M} UTC by {spent.by} for "
                    f"trial {spent.trial[:12]}; the same days cannot be looked at twice, declare a "
                    "holdout after them"
                )

    def record_holdout(
        self, study: str, figures: Mapping[str, float | int | str | None]
    ) -> HoldoutRecord:
        """Record what the holdout showed, once; the same figures again change nothing."""
        with self._writing() as connection:
            spent = self._state.holdouts.get(study)
            if spent is None:
                raise LedgerRefused(f"the holdout of {study} was not spent; spend it first")
            if spent.figures is not None and spent.figures != dict(figures):
                raise LedgerRefused(f"the holdout of {study} has its result already")
            if spent.figures is None:
                payload = HoldoutFigures(study=study, figures=dict(figures))
                self._append(connection, HOLDOUT_RESULT, study, payload)
        record = self.holdout(study)
        assert record is not None
        return record

    def record_judgement(self, judgement: Judgement) -> None:
        """Record what the gates said of a candidate; the same words as last time change nothing."""
        with self._writing() as connection:
            self._known_trial(judgement.study, judgement.trial)
            said = [j for j in self._state.judgements if j.trial == judgement.trial]
            if not said or said[-1] != judgement:
                key = f"{judgement.study}/{judgement.trial}/{len(said) + 1}"
                self._append(connection, JUDGED, key, judgement)

    def record_promotion(self, promotion: Promotion) -> None:
        """Record that a candidate became a bundle; the same promotion again changes nothing."""
        with self._writing() as connection:
            self._known_trial(promotion.study, promotion.trial)
            if promotion not in self._state.promotions:
                key = f"{promotion.study}/{promotion.bundle}/{promotion.stage}/{promotion.version}"
                self._append(connection, PROMOTED, key, promotion)

    # ---- inside

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Yield a locked, caught-up transaction; anchor its head when it is kept."""
        with self._guard:
            try:
                with transaction(self._engine) as connection:
                    self._log.lock(connection)
                    for entry in self._log.entries(after=self._state.seq, connection=connection):
                        self._state.apply(entry)
                    yield connection
            except BaseException:
                self._state = LedgerState()  # it may hold entries that were rolled back
                raise
            if self._anchor is not None:
                self._anchor.record(self._log.head())

    def _append_all(
        self, connection: Connection, kind: str, entries: Sequence[tuple[str, msgspec.Struct]]
    ) -> None:
        """Append entries of one kind, in order, with one moment."""
        at = self._clock.now()
        drafts = [
            Draft(kind=kind, key=key, at=at, payload=canonical(payload)) for key, payload in entries
        ]
        for entry in self._log.append_many(connection, drafts):
            self._state.apply(entry)

    def _append(
        self,
        connection: Connection,
        kind: str,
        key: str,
        payload: msgspec.Struct,
        at: datetime | None = None,
    ) -> None:
        moment = self._clock.now() if at is None else at
        entry = self._log.append(connection, kind, key, moment, canonical(payload))
        self._state.apply(entry)


def _content(declaration: object) -> dict[str, Any]:
    """Return a declaration as it stands in the chain."""
    content: dict[str, Any] = msgspec.json.decode(canonical(_plain(declaration)))
    return content


def _differing(known: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of what differs between two declarations, prose left out."""
    names = {*known, *content} - PROSE
    return tuple(sorted(name for name in names if known.get(name) != content.get(name)))


def _plain(declaration: object) -> dict[str, Any]:
    """Return a declaration as a plain mapping; LedgerRefused if it is none."""
    plain = msgspec.to_builtins(declaration)
    if not isinstance(plain, dict):
        raise LedgerRefused(f"a study is declared by a mapping, was given {type(declaration)}")
    return plain


def _floats(values: Sequence[float] | Array) -> bytes:
    """Return float64 values as little-endian bytes."""
    return np.ascontiguousarray(values, dtype="<f8").tobytes()
