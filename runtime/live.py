"""The engine under a wall clock: one job per exchange, fired by APScheduler after each close.

The driver is a process of its own. What is due is read from calendar and journal, never from the
scheduler's memory, so a second replica or a restart fires at worst a session that is closed
already, and that changes nothing.

Missed-tick policy: after a standstill the newest session alone is run. It settles, marks and
reconciles everything since; a decision is taken only if the time allowed after the close has not
passed (guardrails 1, 4 and 8 block it otherwise), and decisions of earlier sessions are not made
up: their prices are gone.

Failed-session policy: a session that fails, or whose bars have not all come, is run again every
minute as long as the policy still lets its orders leave (authority.submit_after_close); then it is
given up, as an error in the log, and the next one is run in its turn.
"""

import logging
import signal
import threading
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from featurestore.calendars import Calendar, Session
from featurestore.errors import PlatformError
from runtime.clock import Clock
from runtime.engine import Engine, SessionOutcome

DELAY = timedelta(minutes=5)  # between a close and its tick: bars have to arrive first
RETRY = timedelta(minutes=1)  # between two attempts at one session
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionJob:
    """The one job of a driver, as plain data."""

    calendar: str  # "XNYS"
    delay: timedelta = DELAY
    misfire_grace: timedelta = timedelta(hours=12)  # a later start still settles and marks

    @property
    def id(self) -> str:
        """Return the job's name in the scheduler."""
        return f"session {self.calendar}"


class SessionTrigger(BaseTrigger):  # type: ignore[misc]
    """Fires `delay` after the close of every session of a calendar, holidays left out."""

    def __init__(self, calendar: Calendar, delay: timedelta) -> None:
        """Read the calendar's whole table; it is finite."""
        sessions = calendar.sessions(calendar.first, calendar.last)
        self._times = [session.close + delay for session in sessions]

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        """Return the first time after the previous one, or after `now`; None at the table's end."""
        after = now if previous_fire_time is None else previous_fire_time
        place = bisect_right(self._times, after)
        return self._times[place] if place < len(self._times) else None


@dataclass(slots=True, kw_only=True)
class LiveDriver:
    """Runs the newest session that is due; called by the scheduler and once at the start."""

    open_engine: Callable[[], Engine]  # fresh per session: newest data, policy and bundle
    calendar: Calendar
    clock: Clock
    delay: timedelta = DELAY
    on_session: Callable[[SessionOutcome], None] = lambda outcome: None
    patience: timedelta = timedelta(0)  # after a close; then that of each engine's policy
    wait: Callable[[float], bool] = field(default_factory=lambda: threading.Event().wait)
    # seconds -> True if the driver is to stop

    def due(self) -> Session | None:
        """Return the newest session whose close lies at least `delay` back, None before any."""
        limit = self.clock.now() - self.delay
        first, last = self.calendar.first, self.calendar.last
        day = min(limit.date(), last)
        if day < first:
            return None
        known = self.calendar.sessions(max(first, day - timedelta(days=14)), day)
        past = [session for session in known if session.close <= limit]
        return past[-1] if past else None

    def run_due(self) -> SessionOutcome | None:
        """Run what is due, again every minute if it fails while its orders may still leave.

        Returns:
            None, and no effect, if nothing is due or it is closed in the journal already; None
            too if the driver was told to stop between two attempts.

        Raises:
            PlatformError, OSError: of the last attempt; the session is given up.
        """
        session = self.due()
        while session is not None:
            final = self.clock.now() + RETRY > session.close + self.patience
            try:
                outcome = self._attempt(session, final=final)
            except (PlatformError, OSError) as error:
                if final:
                    log.error("session %s is given up: %s", session.day, error)
                    raise
                log.warning("session %s failed and is tried again: %s", session.day, error)
            else:
                if outcome is None or not outcome.unpriced:
                    return outcome
                if final:
                    missing = ", ".join(outcome.unpriced)
                    log.error("session %s is not closed: no bar of it for %s", session.day, missing)
                    return outcome
                log.warning("session %s waits for bars of %s", session.day, outcome.unpriced)
            if self.wait(RETRY.total_seconds()):
                return None
        return None

    def _attempt(self, session: Session, *, final: bool) -> SessionOutcome | None:
        """Run a session once, unless it is closed; tell of it unless it will be run again."""
        engine = self.open_engine()
        allowed = engine.desk.policy_at(self.clock.now()).authority.submit_after_close
        self.patience = timedelta(seconds=allowed or 0)
        last = engine.history.last_day
        if last is not None and session.day <= last:
            return None
        outcome = engine.run_session(session, final=final)
        if final or not outcome.unpriced:
            self.on_session(outcome)
        return outcome


def start(
    driver: LiveDriver, job: SessionJob, on_error: Callable[[BaseException], None]
) -> BackgroundScheduler:
    """Run what is due now, then start the scheduler on its own thread and return it.

    Args:
        driver: what runs a session.
        job: when.
        on_error: told of every session that is given up later; the next one is run regardless.
    """
    driver.run_due()
    scheduler = BackgroundScheduler(timezone=UTC)

    def failed(event: JobExecutionEvent) -> None:
        on_error(event.exception)

    scheduler.add_listener(failed, EVENT_JOB_ERROR)
    scheduler.add_job(
        driver.run_due,
        SessionTrigger(driver.calendar, job.delay),
        id=job.id,
        coalesce=True,  # several missed slots are one run of the newest session
        max_instances=1,
        misfire_grace_time=int(job.misfire_grace.total_seconds()),
    )
    scheduler.start()
    return scheduler


def serve(
    driver: LiveDriver, job: SessionJob, on_error: Callable[[BaseException], None] | None = None
) -> None:
    """Drive until SIGTERM or SIGINT; a running session is finished first."""
    stop = threading.Event()
    driver.wait = stop.wait

    def stopped(number: int, _frame: Any) -> None:
        log.info("signal %s: no further session is started", number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stopped)
    scheduler = start(driver, job, on_error or _logged)
    try:
        stop.wait()
    finally:
        scheduler.shutdown(wait=True)


def _logged(error: BaseException) -> None:
    log.error("a session failed, the next one will be run in its turn: %s", error)
