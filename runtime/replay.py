"""Runs an engine over years of sessions as fast as it can; resumes wherever it was killed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from featurestore.calendars import Calendar
from runtime.clock import ReplayClock
from runtime.engine import Engine, SessionOutcome, fund
from runtime.errors import ReplayImpossible

CAPITAL = Decimal("1000000.00")  # USD


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What the journal holds of the asked days, whether they ran in one go or in many."""

    sessions: int
    decisions: int
    orders: int
    fills: int
    breaks: int
    journal_head: str  # hash, hex


def replay(
    engine: Engine,
    calendar: Calendar,
    start: date,
    end: date,
    on_session: Callable[[SessionOutcome], None] | None = None,
    *,
    capital: Decimal = CAPITAL,
) -> ReplayResult:
    """Run every session from `start` to `end` that the journal has not closed yet.

    Args:
        engine: on a `ReplayClock`.
        calendar: the exchange's sessions.
        start: first day.
        end: last day, inclusive.
        on_session: told after each session.
        capital: USD paid in at the first session's open.

    Returns:
        Totals of the account over the range, whichever call ran its sessions.

    Raises:
        ReplayImpossible: the engine runs on another clock, or the range holds no session.
    """
    clock = engine.desk.clock
    if not isinstance(clock, ReplayClock):
        raise ReplayImpossible("a replay needs an engine on a ReplayClock, not on the wall clock")
    sessions = calendar.sessions(start, end)
    if not sessions:
        raise ReplayImpossible(f"there is no session from {start} to {end}")
    journal = engine.desk.journal
    fund(journal, capital, sessions[0].open)
    last = engine.history.last_day
    for session in sessions:
        if last is not None and session.day <= last:
            continue
        clock.advance(session.close)
        outcome = engine.run_session(session)
        if on_session is not None:
            on_session(outcome)
    counts = journal.counts(sessions[0].day, sessions[-1].day)
    return ReplayResult(
        sessions=counts["sessions"],
        decisions=counts["decisions"],
        orders=counts["orders"],
        fills=counts["fills"],
        breaks=counts["breaks"],
        journal_head=journal.head().hash,
    )
