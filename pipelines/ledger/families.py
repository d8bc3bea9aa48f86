"""Whose trials a study is charged with: all that were run on the same question, under any name.

1. Studies may be of one question if universe and price feature are the same and research overlaps.
2. They are if they share a decision cell, its shape, or a trial that earned the same to the bit.
3. N is every trial of all of them, and every notebook run that left no trial.
4. At most it is more: every kernel that read the question's data and left no trial.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from pipelines.ledger.leases import Lease, unrecorded
from pipelines.ledger.records import LedgerRun, RunOpened, TrialRecord
from pipelines.ledger.scopes import Scope


def family_of(
    study: str, trials: Iterable[TrialRecord], scopes: Mapping[str, Iterable[Scope]]
) -> tuple[str, ...]:
    """Return every study of the same question, this one first, the others by name.

    Args:
        study: whose question.
        trials: of the whole ledger.
        scopes: every scope that each study ever declared.
    """
    marks: dict[object, set[str]] = {}  # what a trial is known by -> studies
    for trial in trials:
        for mark in _marks(trial):
            marks.setdefault(mark, set()).add(trial.study)
    shared = [names for names in marks.values() if len(names) > 1]
    family, waiting = {study}, [study]
    while waiting:
        current = waiting.pop()
        near = set().union(*(names for names in shared if current in names)) - family
        for name in near:
            if _meet(scopes, name, current) and _meet(scopes, name, study):
                family.add(name)
                waiting.append(name)
    return (study, *sorted(family - {study}))


def tries(family: tuple[str, ...], trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return a question's trials, the study's own first, repeats under other names left out.

    A trial of another study that earned the same to the bit is no new try.
    """
    of_study: dict[str, list[TrialRecord]] = {name: [] for name in family}
    for trial in trials:
        if trial.study in of_study:
            of_study[trial.study].append(trial)
    kept = list(of_study[family[0]])
    earned = {trial.series[:2] for trial in kept if trial.series is not None}
    for name in family[1:]:
        for trial in of_study[name]:
            if trial.series is None or trial.series[:2] not in earned:
                kept.append(trial)
            if trial.series is not None:
                earned.add(trial.series[:2])
    return kept


def silent_runs(
    family: tuple[str, ...], trials: Iterable[TrialRecord], runs: Mapping[str, LedgerRun]
) -> tuple[int, frozenset[str]]:
    """Count the notebook runs of a question that left no trial, each configuration once.

    A run belongs to the question if a trial of it came from the same notebook, by path or content.
    Runs whose kernel never started tried nothing.

    Returns:
        The count, and the runs that need not be charged otherwise.
    """
    members = set(family)
    spoke: set[str] = set()
    notebooks: set[str] = set()
    for trial in trials:
        spoke.update(trial.runs)
        if trial.study in members:
            notebooks.add(trial.notebook)
            for one in (runs[run].opened for run in trial.runs if run in runs):
                notebooks.update((one.notebook, one.notebook_hash))
    notebooks.discard("")
    silent, heard = set(), set()
    settled: set[str] = set()
    for name, run in runs.items():
        opened = run.opened
        if opened.kind != "notebook" or not notebooks & {opened.notebook, opened.notebook_hash}:
            continue
        settled.add(name)
        configuration = _configuration(opened)
        if name in spoke:
            heard.add(configuration)
        elif run.closed is None or run.closed.cause != "kernel did not start":
            silent.add(configuration)
    return len(silent - heard), frozenset(settled)


def silent_reads(
    family: tuple[str, ...],
    trials: Sequence[TrialRecord],
    leases: Iterable[tuple[datetime, Lease]],
    runs: Mapping[str, LedgerRun],
    scopes: Mapping[str, Iterable[Scope]],
    settled: frozenset[str] = frozenset(),
) -> tuple[tuple[datetime, Lease], ...]:
    """Return the kernels that read a question's data and left no trial: the first read of each.

    A read that names a study of the question is charged whenever it was made. One that names no
    study, or another, is charged if it saw prices of the question before its newest trial was
    opened: what is read afterwards has chosen none of its trials.

    Args:
        family: every name of the question.
        trials: of the whole ledger.
        leases: of the whole ledger, with the instants they were taken, oldest first.
        runs: of the whole ledger, by name.
        scopes: every scope that each study ever declared.
        settled: runs that were charged, or excused, as runs.
    """
    asked = [scope for name in family for scope in scopes[name]]
    opened = [trial.opened_at for trial in trials if trial.study in family]
    readers: dict[object, tuple[datetime, Lease]] = {}
    for at, lease in unrecorded(tuple(leases), trials):
        if lease.run in settled:
            continue
        named = lease.study in family
        chose = bool(opened) and at <= max(opened)
        if named or (chose and any(lease.sees(scope) for scope in asked)):
            readers.setdefault(_reader(lease, runs), (at, lease))
    return tuple(readers.values())


def _reader(lease: Lease, runs: Mapping[str, LedgerRun]) -> object:
    """Return by what a reader is known: his run, or what it ran; else his notebook and name."""
    run = None if lease.run is None else runs.get(lease.run)
    if run is not None and run.opened.kind == "notebook":
        return _configuration(run.opened)
    return lease.run or (lease.notebook, lease.by)


def _configuration(opened: RunOpened) -> tuple[str, tuple[str, ...]]:
    """Return what a notebook run ran: run again, it shows the same."""
    said = sorted(f"{name}={value!r}" for name, value in opened.parameters.items())
    return opened.notebook_hash, tuple(said)


def _marks(trial: TrialRecord) -> list[object]:
    marks: list[object] = [("code", trial.code_hash)]
    if trial.shape_hash:
        marks.append(("shape", trial.shape_hash))
    if trial.series is not None:
        marks.append(("earned", trial.series[:2]))
    return marks


def _meet(scopes: Mapping[str, Iterable[Scope]], one: str, other: str) -> bool:
    return any(mine.meets(theirs) for mine in scopes[one] for theirs in scopes[other])
