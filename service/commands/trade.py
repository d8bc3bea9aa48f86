"""`sluice trade`: the active bundle on paper under the wall clock, one tick after each close."""

import signal
from datetime import timedelta
from typing import Any

from featurestore.calendars import load_calendar
from runtime.clock import WallClock
from runtime.engine import Engine, SessionOutcome, fund
from runtime.live import LiveDriver, SessionJob, serve
from runtime.replay import CAPITAL
from service.accounts import LIVE
from service.console import OK, Output
from service.hangup import reload_in_background
from service.policies import open_policies
from service.settings import Settings, require_records
from service.trading import active_bundle, market_reader, open_desk


def trade(settings: Settings, output: Output, *, delay_minutes: int) -> int:
    """Trade until SIGINT or SIGTERM; SIGHUP reads the policy again; returns the exit status.

    A session that is closed in the journal already is not run again, so a restart is harmless.
    """
    require_records(settings)
    bundle = active_bundle(settings)
    calendar = load_calendar(bundle.manifest.calendar)
    clock = WallClock()
    delay = timedelta(minutes=delay_minutes)
    policies = open_policies(settings, clock=clock)
    policies.start()
    if policies.refused:
        output.console.print(f"the policy file is not in force: {policies.refused}")

    def hung_up(_number: int, _frame: Any) -> None:
        reload_in_background(policies)

    signal.signal(signal.SIGHUP, hung_up)

    def open_engine() -> Engine:
        """Open the newest bundle, data and policy; the account is paid in before its first day."""
        active = active_bundle(settings)
        reader = market_reader(settings, active, newest=True)
        freshness = {name: view.freshness for name, view in reader.contracts.items()}
        desk = open_desk(
            settings,
            active,
            reader,
            account=LIVE,
            clock=clock,
            freshness=freshness,
            policies=policies.log,
        )
        if desk.journal.book().flows == 0:
            fund(desk.journal, CAPITAL, clock.now())
        return Engine(desk)

    def show(outcome: SessionOutcome) -> None:
        decided = "no decision due" if outcome.decision is None else f"{outcome.orders} orders"
        equity = "not closed" if outcome.equity is None else f"equity {outcome.equity:,.2f} USD"
        if outcome.unpriced:
            missing = ", ".join(outcome.unpriced)
            equity += f": the lake has no bar of that day for {missing}"
        output.console.print(
            f"{outcome.day}  {outcome.refusal or decided}, {outcome.fills} fills, "
            f"{len(outcome.breaks)} breaks, {equity}"
        )

    output.answer(
        {"bundle": bundle.hash, "study": bundle.manifest.study, "calendar": calendar.name},
        lambda console: console.print(
            f"Trading [bold]{bundle.manifest.study}[/bold] ({bundle.hash[:12]}, {bundle.stage}) on "
            f"paper, {delay_minutes} min after each {calendar.name} close  (Ctrl-C ends it)"
        ),
    )
    allowed = policies.log.policy_at(clock.now()).authority.submit_after_close
    driver = LiveDriver(
        open_engine=open_engine,
        calendar=calendar,
        clock=clock,
        delay=delay,
        on_session=show,
        patience=timedelta(seconds=allowed or 0),
    )
    serve(driver, SessionJob(calendar=calendar.name, delay=delay))
    return OK
