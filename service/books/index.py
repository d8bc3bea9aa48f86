"""The journal folded for reading: decisions by day, fills by order; extended as the chain grows."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from threading import Lock

from runtime.domain import Fill
from runtime.journal.queries import JournalQueries
from runtime.journal.records import DecisionRecord, JournalledDecision

PAGE = 500  # decisions read at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedDecision:
    """What the lists need of a decision."""

    seq: int
    day: date
    record: DecisionRecord  # without inputs
    order_ids: tuple[str, ...]


@dataclass(slots=True)
class Index:
    """Everything of one account that lists and days are looked up by; safe between threads."""

    journal: JournalQueries
    decisions: list[IndexedDecision] = field(default_factory=list)  # oldest first
    fills: list[Fill] = field(default_factory=list)  # in the order they were booked
    by_order: dict[str, list[Fill]] = field(default_factory=dict)
    _days: list[date] = field(default_factory=list)
    _fills_seq: int = 0
    _guard: Lock = field(default_factory=Lock)

    def refresh(self) -> None:
        """Take in what was recorded since the last time."""
        with self._guard:
            self._read_decisions()
            for record in self.journal.fills(after=self._fills_seq):
                self.fills.append(record.fill)
                self.by_order.setdefault(record.fill.order_id, []).append(record.fill)
                self._fills_seq = record.seq

    def _read_decisions(self) -> None:
        known = self.decisions[-1].seq if self.decisions else 0
        fresh: list[JournalledDecision] = []
        before: int | None = None
        while True:
            page = self.journal.decisions(limit=PAGE, before=before)
            fresh += [one for one in page if one.seq > known]
            if len(page) < PAGE or page[-1].seq <= known:
                break
            before = page[-1].seq
        for one in reversed(fresh):
            day = decision_day(one.record)
            self.decisions.append(
                IndexedDecision(seq=one.seq, day=day, record=one.record, order_ids=one.order_ids)
            )
            self._days.append(day)

    def up_to(self, day: date | None) -> Sequence[IndexedDecision]:
        """Return the decisions taken until the end of a day (all if None), oldest first."""
        return self.decisions if day is None else self.decisions[: bisect_right(self._days, day)]

    def fills_of(self, order_id: str) -> Sequence[Fill]:
        """Return the fills of one order."""
        return self.by_order.get(order_id, ())

    def traded(self, decision: IndexedDecision) -> Decimal:
        """Return what a decision's orders traded so far, USD, both sides."""
        fills = (fill for name in decision.order_ids for fill in self.fills_of(name))
        return sum((fill.quantity * fill.price for fill in fills), Decimal(0))

    def beginning_with(self, text: str) -> list[tuple[IndexedDecision, str | None]]:
        """Return decisions and orders whose id begins with `text`: (decision, order id or None)."""
        found: list[tuple[IndexedDecision, str | None]] = []
        for one in self.decisions:
            if one.record.decision_id.startswith(text):
                found.append((one, None))
            found += [(one, name) for name in one.order_ids if name.startswith(text)]
        return found


def decision_day(record: DecisionRecord) -> date:
    """Return the day of a decision: its tick's date, or the date it was decided on in UTC."""
    try:
        return date.fromisoformat(record.tick[:10])
    except ValueError:
        return record.decided_at.date()
