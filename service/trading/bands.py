"""Watches the stop bands of whoever has capital; who leaves them is taken out of his seat."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import pairwise

from runtime.clock import Clock
from runtime.joint.identity import Joint
from runtime.joint.shares import Shares
from runtime.journal import wire
from runtime.journal.store import Journal
from runtime.registry import CHAMPION, Change, Registry
from runtime.registry.bands import DayReturn, breached
from runtime.scheduling.fence import Fence

BY = "stop bands"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The bands of one account, looked at after each close and before anybody decides."""

    registry: Registry
    journal: Journal
    clock: Clock
    joint: Joint | None = None
    shares: Shares | None = None
    fence: Fence | None = None  # the right to take somebody out; None = no other process trades

    def look(
        self,
        day: date,
        equity: Decimal,
        benchmark_return: float | None,
        marks: Mapping[str, Decimal],
    ) -> str:
        """Take out whoever left his bands; return who, in words, "" if all may stay.

        Args:
            day: session that closes.
            equity: of the account at its close, USD.
            benchmark_return: of the session, fraction.
            marks: closes, USD per unit.

        Raises:
            Superseded: another process trades the account now; nobody was taken out.
        """
        told = []
        for role, change in self._seated().items():
            bands = None if change.promotion is None else change.promotion.bands
            if bands is None or change.stopped:
                continue
            days = self._days(role, change, day, equity, benchmark_return, marks)
            breach = breached(bands, days)
            if breach is None:
                continue
            done = self.registry.stop(
                role=role,
                bundle=change.bundle,
                by=BY,
                why=str(breach),
                at=self.clock.now(),
                fence=self.fence,
            )
            if done is not None:
                after = "is sold" if done.stopped else f"makes way for version {done.version}"
                told.append(f"{role} {change.study} version {change.version} {after}: {breach}")
                log.error("%s", told[-1])
        return "; ".join(told)

    def _seated(self) -> dict[str, Change]:
        seats = self.registry.seats()
        roles = [CHAMPION] if self.joint is None else [one.role for one in self.joint.seats]
        return {role: seats[role] for role in roles if role in seats}

    def _days(
        self,
        role: str,
        change: Change,
        day: date,
        equity: Decimal,
        benchmark_return: float | None,
        marks: Mapping[str, Decimal],
    ) -> list[DayReturn]:
        """Return every session since a bundle was seated, the one that closes now last."""
        since = change.since.date()
        points = self.journal.equity_curve(end=day)
        benchmarks = {point.day: point.benchmark_return for point in points}
        if self.joint is None or self.shares is None:
            closes = [(point.day, point.equity) for point in points]
            if day not in benchmarks:
                closes.append((day, equity))
            own = _returns(closes, self._flows())
        else:
            found = self.shares.follow().days
            own = {
                one.day: one.returned
                for one in found
                if one.role == role and one.returned is not None
            }
            book = self.journal.book()
            now = self.shares.earning(self.joint, marks, book.quantities(), book.cash)
            if role in now:
                own[day] = now[role]
        benchmarks.setdefault(day, benchmark_return)
        return [
            DayReturn(day=one, own=returned, benchmark=benchmarks.get(one))
            for one, returned in sorted(own.items())
            if one > since
        ]

    def _flows(self) -> list[tuple[date, Decimal]]:
        """Return USD paid in or out, with the day; that is neither gain nor loss."""
        return [
            (entry.at.date(), Decimal(wire.decode_flow(entry.payload).amount))
            for entry in self.journal.log.entries("flow")
            if entry.key.startswith(f"{self.journal.account}/")
        ]


def _returns(
    closes: Sequence[tuple[date, Decimal]], flows: Sequence[tuple[date, Decimal]]
) -> dict[date, float]:
    """Return the return of every close but the first, money paid in or out left aside."""
    found = {}
    for (before, start), (day, end) in pairwise(closes):
        paid = sum((amount for at, amount in flows if before < at <= day), Decimal(0))
        if start > 0:
            found[day] = float((end - paid) / start) - 1.0
    return found
