"""What the sessions so far add up to: losses, streaks, open breaks, the benchmark, repeats.

A fold over closed sessions and decisions: an engine that runs through and one that starts again
from the journal come to the same state, bit for bit.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from types import MappingProxyType

from featurestore.calendars import Calendar
from runtime.benchmark import EqualWeighted
from runtime.bundles.contract import Manifest
from runtime.domain import Side
from runtime.execution.entitlements import Actions, Known, in_between
from runtime.guardrails.protections import REMEMBERED as CLOSES
from runtime.guardrails.protections import Close
from runtime.journal.records import DecisionRecord, SessionRecord
from runtime.journal.store import Journal
from runtime.plan import rows_of
from runtime.scheduling.schedule import is_due

REMEMBERED = 10  # decisions that count for repeats

Repeat = tuple[str, Side, Decimal]


@dataclass(slots=True)
class History:
    """The state that guardrails and benchmark carry from session to session."""

    manifest: Manifest
    calendar: Calendar
    actions: Actions | None = None  # splits and dividends of prices as traded
    benchmark: EqualWeighted = field(init=False)
    marks: Mapping[str, Decimal] = field(default_factory=dict)  # of the last session
    equity: Decimal | None = None  # USD at the last close
    peak: Decimal | None = None  # USD, highest close
    losing_streak: int = 0  # sessions
    last_day: date | None = None
    broken_days: tuple[date, ...] = ()  # sessions that closed with a break
    disputed: bool = True  # whether a break may be open on record; True until it was looked at
    closes: deque[Close] = field(default_factory=lambda: deque(maxlen=CLOSES))
    _marked: tuple[date, float] | None = None  # the benchmark's last step
    _recent: deque[list[Repeat]] = field(default_factory=deque)  # of each of those decisions
    _repeats: dict[Repeat, int] = field(default_factory=dict)  # of all of them

    def __post_init__(self) -> None:
        self.benchmark = EqualWeighted(self.manifest.symbols, self.manifest.sizing)

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        calendar: Calendar,
        journal: Journal,
        actions: Actions | None = None,
    ) -> "History":
        """Fold everything the journal holds of this account."""
        history = cls(manifest, calendar, actions)
        for record in journal.sessions():
            history.mark(record.day, record.marks)
            history.close(record)
        for decision in reversed(journal.decisions(limit=REMEMBERED)):
            history.decided(decision.record)
        return history

    def mark(self, day: date, marks: Mapping[str, Decimal]) -> float | None:
        """Move the benchmark to a session's marks, once; return its return, None without marks."""
        if not rows_of(self.manifest.symbols).keys() <= marks.keys():
            return None
        if self._marked is None or self._marked[0] != day:
            self.benchmark.entitle(self._effective(day))
            due = is_due(self.manifest.schedule, self.calendar, day)
            self._marked = day, self.benchmark.step(marks, decides=due)
        return self._marked[1]

    def _effective(self, day: date) -> Known:
        """Return what took effect since the session before, as known at this one's close."""
        if self.actions is None or self._marked is None:
            return ()
        names = self.manifest.symbols  # what is in doubt of them stops new risk already
        return in_between(self.actions, names, self.calendar, last=self._marked[0], day=day)

    def decided(self, record: DecisionRecord) -> None:
        """Remember what a decision sent, and forget the one that is too long ago."""
        self.sent(
            [
                (line.order.symbol, line.order.side, line.order.quantity)
                for line in record.plan
                if line.order_ids
            ]
        )

    def sent(self, sent: list[Repeat]) -> None:
        """Remember the planned orders of a decision that left, and forget as `decided` does."""
        repeats = self._repeats.copy()  # what was handed out before stays as it was
        for one in self._recent.popleft() if len(self._recent) == REMEMBERED else ():
            times = repeats.pop(one)
            if times > 1:
                repeats[one] = times - 1
        self._recent.append(sent)
        for one in sent:
            repeats[one] = repeats.get(one, 0) + 1
        self._repeats = repeats

    def repeats(self) -> Mapping[Repeat, int]:
        """Return how often each (symbol, side, quantity) left in the last decisions, read-only."""
        return MappingProxyType(self._repeats)

    def close(self, record: SessionRecord) -> None:
        """Add a closed session."""
        if self.equity is not None:
            self.losing_streak = self.losing_streak + 1 if record.equity < self.equity else 0
        before, self.equity = self.equity, record.equity
        self.peak = record.equity if self.peak is None else max(self.peak, record.equity)
        self.closes.append(
            Close(
                day=record.day,
                equity=record.equity,
                before=before,
                peak=self.peak,
                losing_streak=self.losing_streak,
            )
        )
        self.marks, self.last_day = record.marks, record.day
        if record.breaks:
            self.broken_days = (*self.broken_days, record.day)
