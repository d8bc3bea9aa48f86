"""The record of what is decided in shadow: a chained log apart from the journal."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import Engine

from featurestore.calendars import Calendar
from runtime.anchored import appending, verified
from runtime.bundles.contract import canonical
from runtime.chain import ChainedLog, Draft, Head, HeadAnchor
from runtime.decoding import from_json
from runtime.registry import Comparison
from runtime.scheduling.fence import Fence

if TYPE_CHECKING:  # numpy, where a comparison is weighed
    from runtime.registry.betting import Evidence

TABLE = "shadows"
_DECISION, _DAY = "shadow decision", "shadow day"


class ShadowDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What a challenger would have decided."""

    account: str
    bundle: str  # hash, hex
    study: str
    version: int
    tick: str
    decided_at: str  # ISO 8601, UTC
    symbols: tuple[str, ...]  # n of them; none if it was refused
    inputs_hash: str  # SHA-256 of what the graph was given, as the journal hashes inputs
    current: tuple[float, ...]  # (n,) weights of its paper book
    scores: tuple[float, ...]  # (n,)
    weights: tuple[float, ...]  # (n,)
    refused: str = ""  # why nothing could be decided
    confidences: tuple[float, ...] | msgspec.UnsetType = msgspec.UNSET  # (n,), if it gives them


class ShadowBook(msgspec.Struct, frozen=True, kw_only=True):
    """A paper book of fractional units, as a multiple of what it began with."""

    equity: float = 1.0
    cash: float = 1.0
    units: dict[str, float] = {}
    wanted: dict[str, float] | None = None  # units to hold from the next close on


class ShadowDay(msgspec.Struct, frozen=True, kw_only=True):
    """One close of every contender."""

    account: str
    day: str  # ISO date
    books: dict[str, ShadowBook]  # by bundle
    returns: dict[str, float]  # by bundle, fractions; none on the day a book begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A challenger and a champion over the days both have a return of."""

    days: tuple[date, ...]
    challenger: float  # total return, fraction
    champion: float
    evidence: "Evidence"


class ShadowLog:
    """The record of all shadows; append-only and hash-chained."""

    def __init__(
        self, engine: Engine, fence: Fence | None = None, anchor: HeadAnchor | None = None
    ) -> None:
        """Open the log, making its table if needed.

        Args:
            engine: from `runtime.database.open_database`.
            fence: the right of a trading process to write; None for who only reads.
            anchor: a file outside the database that remembers the head after each change.
        """
        self._log, self._fence, self._anchor = ChainedLog(engine, TABLE), fence, anchor

    def record(self, day: ShadowDay, decisions: Sequence[ShadowDecision], at: datetime) -> None:
        """Append a close and its decisions in one transaction.

        Raises:
            Superseded: another process trades the account now; nothing was written.
        """
        drafts = [
            Draft(_DECISION, f"{one.account}/{one.bundle}/{one.tick}", at, canonical(one))
            for one in decisions
        ]
        drafts.append(Draft(_DAY, f"{day.account}/{day.day}", at, canonical(day)))
        with appending(self._log, self._anchor) as connection:
            if self._fence is not None:
                self._fence.check(connection)
            self._log.append_many(connection, drafts)

    def last(self, account: str, calendar: Calendar, before: date) -> ShadowDay | None:
        """Return the newest close before a day, at most a year back; None if there is none."""
        first = max(calendar.first, before - timedelta(days=366))
        for session in reversed(calendar.sessions(first, before)):
            if session.day >= before:
                continue
            entry = self._log.find(_DAY, f"{account}/{session.day.isoformat()}")
            if entry is not None:
                return from_json(entry.payload, ShadowDay)
        return None

    def holds(self, account: str, day: date) -> bool:
        """Say whether a close is on record."""
        return self._log.find(_DAY, f"{account}/{day.isoformat()}") is not None

    def days(self, account: str) -> list[ShadowDay]:
        """Return every close of an account, oldest first."""
        return [
            from_json(entry.payload, ShadowDay)
            for entry in self._log.entries(_DAY)
            if entry.key.startswith(f"{account}/")
        ]

    def decisions(self, account: str, bundle: str) -> list[ShadowDecision]:
        """Return what a bundle decided in shadow, oldest first."""
        return [
            from_json(entry.payload, ShadowDecision)
            for entry in self._log.entries(_DECISION)
            if entry.key.startswith(f"{account}/{bundle}/")
        ]

    def compare(
        self, account: str, challenger: str, comparison: Comparison, since: datetime
    ) -> Compared:
        """Weigh a challenger against its champion over every day since it was seated.

        Only days on which both have a return count, and days after it was seated.
        """
        import numpy as np

        from runtime.registry.betting import weigh

        pairs = [
            (date.fromisoformat(one.day), one.returns[challenger], one.returns[comparison.against])
            for one in self.days(account)
            if challenger in one.returns
            and comparison.against in one.returns
            and date.fromisoformat(one.day) >= since.date()
        ]
        own = np.array([pair[1] for pair in pairs], dtype=np.float64)
        other = np.array([pair[2] for pair in pairs], dtype=np.float64)
        return Compared(
            days=tuple(pair[0] for pair in pairs),
            challenger=float(np.prod(1.0 + own)) - 1.0,
            champion=float(np.prod(1.0 + other)) - 1.0,
            evidence=weigh(own - other, bound=comparison.bound, alpha=comparison.alpha),
        )

    def verify(self) -> Head:
        """Recompute the chain; JournalBroken names the first entry that does not hold."""
        return verified(self._log, self._anchor)
