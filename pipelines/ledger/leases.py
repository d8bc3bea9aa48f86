"""Leases: who read which data in which run, pinned to a table version, before anybody knew why.

One lease per run and view, however often the view is read: a read is cheap, and a lease repeated
changes nothing. They are a hash chain of their own beside the trials, so that reading data never
changes what a study is charged.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Engine

from pipelines.errors import LedgerBroken
from pipelines.ledger.records import TrialRecord
from pipelines.ledger.scopes import Scope
from runtime.bundles.contract import canonical
from runtime.chain import ChainedLog, Head, HeadAnchor
from runtime.clock import Clock
from runtime.database import transaction
from runtime.decoding import from_json
from runtime.errors import JournalBroken

_KIND, LEASES = "lease", "ledger_leases"
ANCHOR = "leases.head"  # beside the ledger's own


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """One view of one pinned snapshot, as a run read it."""

    study: str  # whose seal held; empty if none was named
    view: str
    version: int  # of the view's table
    snapshot_hash: str  # hex
    columns: tuple[str, ...]  # fields loaded
    first: str | None  # first and last event time loaded, ISO 8601, UTC; None = nothing
    last: str | None
    rows: int
    sealed_from: str | None  # ISO 8601, UTC
    run: str | None  # None = outside a recorded run, e.g. in a live kernel
    notebook: str  # path; empty if unknown
    by: str  # empty if unknown
    platform: bool = False  # read by an audit or a promotion, which hand nobody a price

    @property
    def key(self) -> str:
        """Return the name of a lease: equal reads of one run are one lease."""
        return hashlib.sha256(canonical(self)).hexdigest()

    def sees(self, scope: Scope) -> bool:
        """Say whether what was loaded holds prices of a question's research window.

        A lease does not say which symbols were loaded: whoever reads a view may have seen any.
        """
        view, _, field = (scope.price_feature or "").partition(".")
        asked = not view or (self.view == view and field in self.columns)
        first, last = (self.first or "")[:10], (self.last or "~")[:10]
        return asked and self.rows > 0 and first <= scope.last and scope.first <= last


class LeaseBook:
    """The leases of one ledger's database; any number of processes may take some."""

    def __init__(self, engine: Engine, clock: Clock, anchor: HeadAnchor | None = None) -> None:
        """Open the chain, making its table if it is not there; `anchor` remembers its head."""
        self._engine, self._clock, self._anchor = engine, clock, anchor
        self._log = ChainedLog(engine, LEASES)

    def take(self, lease: Lease) -> bool:
        """Record a lease before its data is handed out; False if it stands already."""
        if self._log.find(_KIND, lease.key) is not None:
            return False
        with transaction(self._engine) as connection:
            entry = self._log.append(
                connection, _KIND, lease.key, self._clock.now(), canonical(lease)
            )
        if self._anchor is not None:
            self._anchor.record(self._log.head())
        return entry.fresh

    def leases(self, study: str | None = None) -> tuple[tuple[datetime, Lease], ...]:
        """Return every lease with the instant it was taken, oldest first; or those of a study."""
        entries = self._log.entries(_KIND)
        read = ((entry.at, from_json(entry.payload, Lease)) for entry in entries)
        return tuple((at, lease) for at, lease in read if study in (None, lease.study))

    def verify(self) -> Head:
        """Prove every link and the anchored heads; LedgerBroken names what does not hold."""
        return prove_leases(self._log, self._anchor)

    def pinned(self) -> dict[str, set[int]]:
        """Return the table versions that leases pin: view -> versions."""
        versions: dict[str, set[int]] = {}
        for _, lease in self.leases():
            versions.setdefault(lease.view, set()).add(lease.version)
        return versions


def lease_anchor(ledger: HeadAnchor | None) -> HeadAnchor | None:
    """Return the file that remembers the leases' head: beside the ledger's, if that has one."""
    return None if ledger is None else HeadAnchor(ledger.path.with_name(ANCHOR))


def prove_leases(log: ChainedLog, anchor: HeadAnchor | None) -> Head:
    """Prove every link of the leases and the heads remembered outside; return the head.

    Raises:
        LedgerBroken: names what was changed, removed or cut off.
    """
    anchors = () if anchor is None else anchor.heads()
    try:
        head = log.verify(anchors)
    except JournalBroken as broken:
        raise LedgerBroken(str(broken)) from None
    if anchor is not None and head.seq and not anchors:
        raise LedgerBroken(f"{anchor.path} is missing: without it a cut-off tail cannot be noticed")
    return head


def unrecorded(
    leases: Sequence[tuple[datetime, Lease]], trials: Sequence[TrialRecord]
) -> tuple[tuple[datetime, Lease], ...]:
    """Return the leases that no recorded trial answers for, those of the platform left out.

    A lease is answered for by a trial of its study in the same run; outside runs, by a trial that
    the same notebook opened outside runs. No trial answers for a lease that names no study.

    Args:
        leases: with the instants they were taken.
        trials: of the same studies.
    """
    runs = {(trial.study, run) for trial in trials for run in trial.runs}
    loose = {(trial.study, trial.notebook) for trial in trials if trial.run is None}
    return tuple(
        (at, lease)
        for at, lease in leases
        if not lease.platform
        and (
            (lease.study, lease.run) not in runs
            if lease.run is not None
            else (lease.study, lease.notebook) not in loose
        )
    )
