"""Breaks as the journal keeps them: each posted to suspense, ageing until somebody resolves it.

A break is one entry, a resolution another. What is in dispute stands in the ledger as suspense
against the venue's claims, so that debits equal credits and no break hides another; our own cash
and positions stay what our own executions prove. Source: market-rules, section 10.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal

from sqlalchemy import Connection

from runtime.chain import Draft, instant, micros
from runtime.database import reading
from runtime.errors import BreakUnknown
from runtime.journal import wire
from runtime.journal.queries import JournalQueries
from runtime.journal.reconcile import Break, BreakClass
from runtime.journal.rows import adjustment_row, posting_rows
from runtime.journal.store import Journal
from runtime.journal.tables import ADJUSTMENT, POSTING, Sql

LOOKED_BACK = timedelta(days=30)  # from a session to executions that were corrected since
RECONCILIATION = "reconciliation"  # resolves what the venue's record does not show any more
_CENT = Decimal("0.01")
POSITIONS = (
    BreakClass.POSITION,
    BreakClass.CORPORATE_ACTION,
)  # units differ: the same break from day to day


def break_id(account: str, one: Break) -> str:
    """Derive a break's name, so that the same difference found again is the same break.

    A position that differs by as much as the day before is that break, and goes on ageing.
    """
    what = [account, one.kind.value, one.venue, one.symbol, one.execution_id]
    if one.kind in POSITIONS:
        what.append(str(Decimal(one.theirs) - Decimal(one.ours)))
    else:
        what += [one.day.isoformat(), one.ours, one.theirs]
    return hashlib.sha256("\x1f".join(what).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBreak:
    """A break on record."""

    break_id: str
    found: Break
    opened_at: datetime  # UTC
    amount: Decimal  # USD in suspense: what the venue claims beyond us
    resolved_at: datetime | None  # UTC; None = open
    by: str  # who resolved it; "" while it is open
    reason: str

    def age(self, today: date) -> int:
        """Return calendar days since the day it is of."""
        return (today - self.found.day).days


class BreakLog:
    """The breaks of one account, read."""

    def __init__(self, journal: JournalQueries) -> None:
        """Read the journal's account."""
        self._engine, self._account = journal.engine, journal.account
        self._reader = Sql(journal.engine.dialect.name)

    def all(self) -> tuple[KeptBreak, ...]:
        """Return every break in the order it was opened, resolved ones too."""
        with reading(self._engine) as connection:
            rows = self._reader.rows(
                connection,
                "SELECT a.kind, a.name, a.effective, j.payload FROM journal_adjustments a "
                "JOIN journal j ON j.seq = a.seq WHERE a.account = ? "
                "AND a.kind IN ('break', 'resolution') ORDER BY a.seq",
                (self._account,),
            )
        kept: dict[str, KeptBreak] = {}
        for kind, name, at, payload in rows:
            if kind == "break":
                opened = wire.decode_break(bytes(payload))
                kept[name] = KeptBreak(
                    break_id=name,
                    found=opened.found,
                    opened_at=instant(at),
                    amount=Decimal(opened.amount),
                    resolved_at=None,
                    by="",
                    reason="",
                )
            else:
                closed, one = wire.decode_resolution(bytes(payload)), kept[name]
                kept[name] = KeptBreak(
                    break_id=name,
                    found=one.found,
                    opened_at=one.opened_at,
                    amount=one.amount,
                    resolved_at=instant(at),
                    by=closed.by,
                    reason=closed.reason,
                )
        return tuple(kept.values())

    def open(self) -> tuple[KeptBreak, ...]:
        """Return the breaks nobody has resolved, oldest first."""
        return tuple(one for one in self.all() if one.resolved_at is None)

    def corrected_days(self, before: date) -> tuple[date, ...]:
        """Return the days, of the last thirty, of executions taken back or replaced since.

        They were compared before somebody entered that. Whether the venue says the same is known
        once they are compared again: a price changes no position of any later day.
        """
        first = before - LOOKED_BACK
        corrected = (
            "SELECT name FROM journal_adjustments "
            "WHERE account = ? AND kind = 'correction' AND effective >= ?"
        )
        since = micros(datetime.combine(first, time(), UTC))
        days = set[date]()
        with reading(self._engine) as connection:
            rows = self._reader.rows(connection, corrected, (self._account, since))
            for venue, _, execution in (row[0].partition("/") for row in rows):
                query = "SELECT day FROM journal_fills WHERE venue = ? AND execution_id = ?"
                for (told,) in self._reader.rows(connection, query, (venue, execution)):
                    days.add(date.fromisoformat(told))
        return tuple(sorted(day for day in days if first <= day < before))

    def explained(self) -> frozenset[str]:
        """Return the ids of breaks that a person resolved; found again, they stay resolved."""
        return frozenset(
            one.break_id.partition("-")[0]
            for one in self.all()
            if one.resolved_at is not None and one.by != RECONCILIATION
        )


class Breaks(BreakLog):
    """The breaks of one account, written."""

    def __init__(self, journal: Journal) -> None:
        """Write for the journal's account."""
        super().__init__(journal)
        self.journal = journal

    def settle(
        self,
        found: Sequence[Break],
        days: Sequence[date],
        at: datetime,
        marks: Mapping[str, Decimal],
    ) -> tuple[int, int]:
        """Open what is new, and resolve what the comparison of these days shows no more.

        Args:
            found: every break of those days.
            days: that were compared.
            at: UTC, time of the entries.
            marks: USD per unit, what units in dispute are valued at.

        Returns:
            How many were opened and how many resolved.
        """
        account = self.journal.account
        kept, compared = {one.break_id: one for one in self.all()}, set(days)
        fresh = {_standing(break_id(account, one), kept): one for one in found}
        gone = [
            one
            for name, one in kept.items()
            if one.resolved_at is None and name not in fresh and one.found.day in compared
        ]
        new = {name: one for name, one in fresh.items() if name not in kept}
        if not (new or gone):
            return 0, 0
        with self.journal.writing() as connection:
            for name, fact in new.items():
                opening = _opening(account, name, fact, marks)
                self._write(connection, "break", name, fact.symbol, at, opening)
            for one in gone:
                self._close(connection, one, at, RECONCILIATION, "the venue's record agrees now")
        return len(new), len(gone)

    def resolve(self, name: str, *, by: str, reason: str, at: datetime) -> KeptBreak:
        """Close an open break in somebody's name; the amount leaves suspense.

        Args:
            name: its id or the beginning of it.
            by: who resolves it.
            reason: what it was, in words.
            at: UTC.

        Raises:
            BreakUnknown: no open break, or several, are called so; or no name or reason is given.
        """
        if not (by.strip() and reason.strip()) or by == RECONCILIATION:
            raise BreakUnknown("a break is resolved by a person who gives a name and a reason")
        found = [one for one in self.open() if one.break_id.startswith(name)]
        if len(found) != 1 or not name:
            raise BreakUnknown(
                f"{len(found)} open breaks are called {name!r}; sluice breaks list shows them"
            )
        with self.journal.writing() as connection:
            self._close(connection, found[0], at, by.strip(), reason.strip())
        self.journal.remember()
        return next(one for one in self.all() if one.break_id == found[0].break_id)

    def _close(
        self, connection: Connection, one: KeptBreak, at: datetime, by: str, reason: str
    ) -> None:
        payload = wire.ResolutionWire(
            account=self.journal.account,
            break_id=one.break_id,
            by=by,
            reason=reason,
            postings=wire.suspense(one.found.symbol, -one.amount),
        )
        self._write(connection, "resolution", one.break_id, one.found.symbol, at, payload)

    def _write(
        self,
        connection: Connection,
        kind: str,
        name: str,
        symbol: str,
        at: datetime,
        payload: wire.BreakWire | wire.ResolutionWire,
    ) -> None:
        """Chain one entry and derive its rows; what is there already stays."""
        journal, account = self.journal, self.journal.account
        key, at = f"{account}/{name}", at.astimezone(UTC)
        if journal.log.find(kind, key, connection) is not None:
            return
        draft = Draft(kind, key, at, wire.encode_break(payload))
        (seq,) = journal.log.extend(connection, [draft])
        row = adjustment_row(seq, account, kind, name, symbol, at)
        journal.sql.insert(connection, "journal_adjustments", ADJUSTMENT, [row])
        rows = posting_rows(seq, account, payload.postings)
        journal.sql.insert(connection, "journal_postings", POSTING, rows)


def _standing(name: str, kept: Mapping[str, KeptBreak]) -> str:
    """Return the name a difference has now: another one if it had gone and came back."""
    count, base = 1, name
    while name in kept and kept[name].by == RECONCILIATION:
        count += 1
        name = f"{base}-{count}"
    return name


def _opening(account: str, name: str, one: Break, marks: Mapping[str, Decimal]) -> wire.BreakWire:
    amount = one.amount
    if one.kind in POSITIONS:
        units = Decimal(one.theirs) - Decimal(one.ours)
        amount = (units * marks.get(one.symbol, Decimal(0))).quantize(_CENT, ROUND_HALF_UP)
    return wire.BreakWire(
        account=account,
        break_id=name,
        found=one,
        amount=format(amount + 0, "f"),
        postings=wire.suspense(one.symbol, amount),
    )
