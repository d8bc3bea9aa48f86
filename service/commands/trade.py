"""`sluice trade`: what the registry names, on paper under the wall clock, after each close."""

import os
import signal
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from featurestore.calendars import Calendar, load_calendar
from runtime.clock import Clock, WallClock
from runtime.engine import Engine, SessionOutcome, fund
from runtime.memory import undisturbed
from runtime.replay import CAPITAL
from runtime.scheduling.fence import Epochs, Fence, log_on
from runtime.scheduling.live import LATE, LiveDriver, Replica, SessionJob, Stopping
from service.books.accounts import LIVE
from service.console import OK, Output
from service.databases import open_runtime
from service.logs import configure
from service.operator.alarms import TRADE, Alarms, heart, open_book
from service.operator.policies import Policies, open_policies
from service.records import open_journal, open_lead, open_slots, refuse_older
from service.settings import Settings, require_records
from service.trading.crew import live_crew
from service.trading.engines import market_reader, open_desk
from service.trading.publishing import Publishing, publishing
from service.trading.trail import Trail
from service.web.hangup import reload_in_background


def trade(
    settings: Settings, output: Output, *, delay_minutes: int, late_hours: float | None = None
) -> int:
    """Trade until SIGINT or SIGTERM; SIGHUP reads the policy again; returns the exit status.

    Several processes may be started on one database: one leads, the others stand by. A session
    that is closed in the journal already is not run again, so a restart is harmless.
    """
    require_records(settings)
    configure(settings.logs)
    refuse_older(settings, open_runtime(settings))  # before anything of it is written on
    crew = live_crew(settings)
    bundle = crew.bundle
    calendar = load_calendar(bundle.manifest.calendar)
    clock = WallClock()
    policies = open_policies(settings, clock=clock)
    policies.start()
    if policies.refused:
        output.say(f"the policy file is not in force: {policies.refused}")
    if overdue := policies.overdue():
        output.say(overdue)

    def hung_up(_number: int, _frame: Any) -> None:
        reload_in_background(policies)

    signal.signal(signal.SIGHUP, hung_up)
    output.answer(
        {"bundle": bundle.hash, "study": bundle.manifest.study, "calendar": calendar.name},
        f"Trading {crew.words} on paper, {delay_minutes} min after each {calendar.name} close"
        "  (Ctrl-C ends it)",
    )
    job = SessionJob(
        calendar=calendar.name,
        delay=timedelta(minutes=delay_minutes),
        late=LATE if late_hours is None else timedelta(hours=late_hours),
    )
    database = open_runtime(settings)
    with publishing(settings, LIVE) as told:
        trail = Trail(open_journal(settings, database, LIVE))
        trail.begin()
        alarms = Alarms(open_book(settings), clock)
        pulse = heart(settings, TRADE, f"{socket.gethostname()}:{os.getpid()}")
        desk = _Trading(settings, output, calendar, clock, policies, job, told, alarms, trail)
        replica = Replica(
            lead=open_lead(settings, database, f"trade-{LIVE}"),
            epochs=Epochs(database),
            account=LIVE,
            holder=f"{socket.gethostname()}:{os.getpid()}",
            clock=clock,
            open_driver=desk.driver,
            on_lead=lambda fence: output.say(f"this process leads, epoch {fence.epoch}"),
            on_standby=lambda: output.say("another process leads; standing by"),
            alive=lambda: pulse.beat(clock.now()),
        )
        stopping = Stopping()
        stopping.on_signals()
        replica.serve(job, stopping, desk.alarms.given_up)
        pulse.beat(clock.now(), ended=True)
    return OK


@dataclass(frozen=True, slots=True)
class _Trading:
    """What a process needs once it leads."""

    settings: Settings
    output: Output
    calendar: Calendar
    clock: Clock
    policies: Policies
    job: SessionJob
    told: Publishing
    alarms: Alarms
    trail: Trail

    def driver(self, fence: Fence, stopping: Stopping) -> LiveDriver:
        """Return the driver of the live account under one epoch."""
        allowed = self.policies.log.policy_at(self.clock.now()).authority.submit_after_close
        return LiveDriver(
            open_engine=lambda: self._engine(fence, stopping),
            calendar=self.calendar,
            clock=self.clock,
            delay=self.job.delay,
            late=self.job.late,
            slots=open_slots(self.settings, fence, self.job.id),
            on_session=self._closed,
            patience=timedelta(seconds=allowed or 0),
            undisturbed=undisturbed,
        )

    def _engine(self, fence: Fence, stopping: Stopping) -> Engine:
        """Open the newest bundle, data and policy; the account is paid in before its first day."""
        refuse_older(self.settings, open_runtime(self.settings))
        crew = live_crew(self.settings)
        reader = market_reader(self.settings, *crew.bundles, newest=True)
        freshness = {name: view.freshness for name, view in reader.contracts.items()}
        desk = open_desk(
            self.settings,
            crew.bundle,
            reader,
            account=LIVE,
            clock=self.clock,
            freshness=freshness,
            policies=self.policies.log,
            fence=fence,
            standing=stopping.standing(fence),
        )
        desk = crew.man(desk, clock=self.clock, freshness=freshness, fence=fence)
        log_on(desk.brokers, fence)
        if desk.journal.book().flows == 0:
            fund(desk.journal, CAPITAL, self.clock.now())
        return Engine(self.told.beside(desk, reader))

    def _closed(self, outcome: SessionOutcome) -> None:
        self._show(outcome)
        self.alarms.session(outcome)
        self.trail.session(outcome)
        self.told.session_closed()

    def _show(self, outcome: SessionOutcome) -> None:
        decided = "no decision due" if outcome.decision is None else f"{outcome.orders} orders"
        equity = "not closed" if outcome.equity is None else f"equity {outcome.equity:,.2f} USD"
        if outcome.unpriced:
            missing = ", ".join(outcome.unpriced)
            equity += f": the lake has no bar of that day for {missing}"
        self.output.say(
            f"{outcome.day}  {outcome.refusal or decided}, {outcome.fills} fills, "
            f"{len(outcome.breaks)} breaks, {equity}"
        )
        for doubt in outcome.doubts:
            self.output.console.print(f"  {doubt}", style="red", markup=False)
