"""The engine under a wall clock: one job per exchange, fired by APScheduler after each close.

The driver is a process of its own, or several of which one leads (`Replica`). What is due is read
from calendar and record, never from the scheduler's memory, and a slot is claimed before any work
on it, so a second replica or a restart fires at worst a session that has ended, to no effect.

Missed-tick policy: after a standstill the newest session alone is run, late, if no more than
`late` has passed since its time; it settles, marks and reconciles everything since, and a decision
is taken only if the policy's time after the close has not passed (guardrails 1, 4 and 8 refuse it
otherwise). Every session passed over is on record as skipped: its prices are gone.

Failed-session policy: a session that fails, or whose bars have not all come, is run again every
minute as long as the policy still lets its orders leave (authority.submit_after_close); then it is
given up, on record and as an error in the log, and the next one is run in its turn.

Hand-over: told to stop, a process starts no session and no further attempt. A tick whose decision
is not committed is abandoned; one that is committed goes on sending for `GRACE` and then leaves
the rest on record, where the next process finds it, asks the venue, and sends what never arrived.
"""

import logging
import signal
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from featurestore.calendars import Calendar, Session
from featurestore.errors import PlatformError
from runtime.checkpoint import empty_log
from runtime.clock import Clock
from runtime.engine import Engine, SessionOutcome
from runtime.errors import HandedOver, Superseded
from runtime.scheduling.fence import Epochs, Fence
from runtime.scheduling.lead import Lead
from runtime.scheduling.slots import Slots

DELAY = timedelta(minutes=5)  # between a close and its tick: bars have to arrive first
RETRY = timedelta(minutes=1)  # between two attempts at one session
LATE = timedelta(days=5)  # longer than any usual way from a close to the next, holidays included
GRACE = 5.0  # seconds for which a process that was told to stop goes on sending
BEAT = 1.0  # seconds between two looks at who leads
STUCK = timedelta(minutes=10)  # an attempt at a session that takes longer hangs
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionJob:
    """The one job of a driver, as plain data."""

    calendar: str  # "XNYS"
    delay: timedelta = DELAY
    late: timedelta = LATE  # a slot found later than that after its time is skipped

    @property
    def id(self) -> str:
        """Return the job's name in the scheduler and on record."""
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
    """Runs the newest session that is due; called by the scheduler."""

    open_engine: Callable[[], Engine]  # fresh per session: newest data, policy and bundle
    calendar: Calendar
    clock: Clock
    delay: timedelta = DELAY
    late: timedelta = LATE
    slots: Slots | None = None  # None = one process alone, which needs no claims
    on_session: Callable[[SessionOutcome], None] = lambda outcome: None
    patience: timedelta = timedelta(0)  # after a close; then that of each engine's policy
    wait: Callable[[float], bool] = field(default_factory=lambda: threading.Event().wait)
    # seconds -> True if the driver is to stop
    superseded: threading.Event = field(default_factory=threading.Event)  # another took over
    # around each attempt; live it is `runtime.memory.undisturbed`
    undisturbed: Callable[[], AbstractContextManager[None]] = nullcontext
    attempting: datetime | None = None  # since when an attempt is under way, UTC

    def is_stuck(self) -> bool:
        """Say whether an attempt at a session takes longer than any should."""
        since = self.attempting
        return since is not None and self.clock.now() - since > STUCK

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
            None, and no effect, if nothing is due, it has ended or is too late; None too if the
            driver was told to stop, or another process took over.

        Raises:
            PlatformError, OSError: of the last attempt; the session is given up.
        """
        session = self.due()
        while session is not None and not self.superseded.is_set():
            self.attempting = self.clock.now()
            final = self.attempting + RETRY > session.close + self.patience
            try:
                outcome = self._attempt(session, final=final)
            except Superseded as error:
                log.error("session %s is left to another process: %s", session.day, error)
                self.superseded.set()
                return None
            except HandedOver as error:
                log.warning("session %s is handed over: %s", session.day, error)
                return None
            except (PlatformError, OSError) as error:
                if final:
                    log.error("session %s is given up: %s", session.day, error)
                    self._given_up(session, str(error))
                    raise
                log.warning("session %s failed and is tried again: %s", session.day, error)
            else:
                if outcome is None or not outcome.unpriced:
                    return outcome
                if final:
                    missing = ", ".join(outcome.unpriced)
                    log.error("session %s is not closed: no bar of it for %s", session.day, missing)
                    self._given_up(session, f"no bar of it for {missing}")
                    return outcome
                log.warning("session %s waits for bars of %s", session.day, outcome.unpriced)
            finally:
                self.attempting = None
            if self.wait(RETRY.total_seconds()):
                return None
        return None

    def _attempt(self, session: Session, *, final: bool) -> SessionOutcome | None:
        """Claim and run a session once, unless it has ended; tell of it unless it will be again."""
        began = self.clock.now()
        if not self._claimed(session, began):
            return None
        engine = self.open_engine()
        allowed = engine.desk.policy_at(began).authority.submit_after_close
        self.patience = timedelta(seconds=allowed or 0)
        last = engine.history.last_day
        if last is not None and session.day <= last:
            self._ended(session, began)
            return None
        empty_log(engine.desk.journal.engine)
        with self.undisturbed():
            outcome = engine.run_session(session, final=final)
        if not outcome.unpriced:
            self._ended(session, began)
        if final or not outcome.unpriced:
            self.on_session(outcome)
        return outcome

    def _claimed(self, session: Session, at: datetime) -> bool:
        """Claim a session's slot; what was passed over before it goes on record as skipped."""
        if self.slots is None:
            return True
        last = self.slots.last_ended()
        if last is not None and last < session.day:
            between = self.calendar.sessions(last + timedelta(days=1), session.day)
            missed = [one.day for one in between if one.day < session.day]
            reason = "no process ran at its time; the next session settles what it left open"
            if missed and self.slots.end_all(missed, "skipped", at, reason):
                log.error("sessions %s to %s were missed and are skipped", missed[0], missed[-1])
        if at - (session.close + self.delay) > self.late:
            reason = f"found {at - session.close - self.delay} after its time, allowed {self.late}"
            if self.slots.end(session.day, "skipped", at, reason):
                log.error("session %s is skipped: %s", session.day, reason)
            return False
        return self.slots.claim(session.day, at)

    def _ended(self, session: Session, began: datetime) -> None:
        if self.slots is not None:
            late = began - (session.close + self.delay)
            if late > RETRY:
                self.slots.end(session.day, "late", self.clock.now(), f"begun {late} after time")
            else:
                self.slots.end(session.day, "done", self.clock.now())

    def _given_up(self, session: Session, reason: str) -> None:
        """Put on record that the session was given up, if the database lets us."""
        if self.slots is None:
            return
        try:
            self.slots.gave_up(session.day, self.clock.now(), reason)
        except PlatformError as error:
            log.error("that session %s was given up is not on record: %s", session.day, error)


def start(
    driver: LiveDriver, job: SessionJob, on_error: Callable[[BaseException], None]
) -> BackgroundScheduler:
    """Start a scheduler on its own thread that runs what is due now and then after every close.

    Args:
        driver: what runs a session.
        job: when.
        on_error: told of every session that is given up; the next one is run regardless.
    """
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
        misfire_grace_time=None,  # whether it is too late is the driver's to say, on record
        next_run_time=datetime.now(UTC),  # of the scheduler's own clock
    )
    scheduler.start()
    return scheduler


@dataclass(slots=True, kw_only=True)
class Replica:
    """One of the processes that may trade an account; whichever leads does."""

    lead: Lead
    epochs: Epochs
    account: str
    holder: str  # host and process, for people
    clock: Clock
    open_driver: Callable[[Fence, "Stopping"], LiveDriver]
    beat: float = BEAT  # seconds
    on_lead: Callable[[Fence], None] = lambda fence: None
    on_standby: Callable[[], None] = lambda: None
    alive: Callable[[], None] = lambda: None  # told at each beat, unless a session hangs

    def serve(
        self,
        job: SessionJob,
        stopping: "Stopping",
        on_error: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Stand by, lead, and stand by again when the lead is lost; return when told to stop."""
        standing_by = False
        while not stopping.event.is_set():
            self.alive()
            try:
                leads = self.lead.take()
                fence = self._epoch() if leads else None
            except (PlatformError, OSError) as error:
                log.error("cannot lead yet: %s", error)
                fence = None
                self.lead.release()
            if fence is not None:
                standing_by = False
                self.on_lead(fence)
                self._work(fence, job, stopping, on_error or _logged)
                continue
            if not standing_by:
                standing_by = True
                self.on_standby()
            stopping.event.wait(self.beat)

    def _epoch(self) -> Fence:
        return self.epochs.take(self.account, holder=self.holder, at=self.clock.now())

    def _work(
        self,
        fence: Fence,
        job: SessionJob,
        stopping: "Stopping",
        on_error: Callable[[BaseException], None],
    ) -> None:
        """Drive as long as this process leads."""
        driver = self.open_driver(fence, stopping)
        lost = threading.Event()

        def wait(seconds: float) -> bool:
            until = time.monotonic() + seconds
            while not (stopping.event.is_set() or lost.is_set()):
                left = until - time.monotonic()
                if left <= 0:
                    return False
                stopping.event.wait(min(left, self.beat))
            return True

        driver.wait = wait
        scheduler = start(driver, job, on_error)
        try:
            while not stopping.event.wait(self.beat):
                if not driver.is_stuck():
                    self.alive()
                if driver.superseded.is_set() or not self.lead.holds():
                    log.error("epoch %s of account %s is over", fence.epoch, fence.account)
                    break
        finally:
            lost.set()
            scheduler.shutdown(wait=True)
            self.lead.release()


@dataclass(slots=True)
class Stopping:
    """Whether this process was told to stop, and since when."""

    monotonic: Callable[[], float] = time.monotonic  # seconds
    grace: float = GRACE  # seconds
    event: threading.Event = field(default_factory=threading.Event)
    _since: float | None = None

    def stop(self) -> None:
        """Begin to stop."""
        if self._since is None:
            self._since = self.monotonic()
        self.event.set()

    def check(self) -> None:
        """Refuse the next order when the grace is over; HandedOver leaves it on record."""
        if self._since is not None and self.monotonic() - self._since > self.grace:
            raise HandedOver(
                f"told to stop {self.grace:g} s ago; orders not sent stay on record, and the next "
                "process asks the venue about each before it sends it"
            )

    def standing(self, fence: Fence) -> Callable[[], AbstractContextManager[None]]:
        """Return what stands around every call that changes something at a venue."""

        @contextmanager
        def hold() -> Iterator[None]:
            self.check()
            with fence.holding():
                yield

        return hold

    def on_signals(self) -> None:
        """Stop on SIGTERM and SIGINT."""

        def stopped(number: int, _frame: Any) -> None:
            log.info("signal %s: no further session is started", number)
            self.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stopped)


def _logged(error: BaseException) -> None:
    log.error("a session failed, the next one will be run in its turn: %s", error)
