"""What raises an alert here, and how the watch is put together from the settings.

The trading process writes its alerts as files at once; the watch, another process, sends them
within a second, looks at what can be looked at from outside, and hears whoever falls silent.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.alerts.alert import Alert
from runtime.alerts.book import AlertBook
from runtime.alerts.budget import Budget, BurnRule, Event, Objective, budget, burning
from runtime.alerts.escalation import Escalation, read_escalation
from runtime.alerts.heartbeat import Heart
from runtime.alerts.notify import AppriseNotifier
from runtime.alerts.watch import Condition, Finding, Watch
from runtime.clock import Clock, ReplayClock
from runtime.errors import SecretUnavailable
from runtime.kill.switch import KillSwitch
from runtime.secrets.source import SCHEME, SecretRef
from service.books.accounts import LIVE
from service.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from runtime.engine import SessionOutcome

TRADE, WATCH = "trade", "watch"  # who leaves signs of life
BEAT = timedelta(seconds=5)
RECORDS = timedelta(seconds=30)  # between two looks into the database
FEED = Objective(name="feed", target=0.95, window=timedelta(days=60))
AWAITED = timedelta(hours=3)  # after a close; by then a session was run, given up or nobody's
# One event a session: a page when two of five sessions failed, a ticket at one of twenty.
FEED_RULES = (
    BurnRule(long=timedelta(days=7), short=timedelta(days=3), rate=8.0, page=True),
    BurnRule(long=timedelta(days=30), short=timedelta(days=7), rate=1.0, page=False),
)


def open_book(settings: Settings) -> AlertBook:
    """Open the workspace's alerts."""
    return AlertBook.create(settings.raised)


def hearts(settings: Settings) -> Path:
    """Return the folder where processes leave their signs of life."""
    return settings.workspace / "hearts"


def heart(settings: Settings, name: str, who: str) -> Heart:
    """Return what leaves one process's signs of life."""
    return Heart(folder=hearts(settings), name=name, who=who, every=BEAT)


@dataclass(frozen=True, slots=True)
class Alarms:
    """What a trading process has to tell people."""

    book: AlertBook
    clock: Clock

    def session(self, outcome: "SessionOutcome") -> tuple[Alert, ...]:
        """Raise what a session brought: refusals, breaks, doubts, denied orders, missing bars."""
        day, found = outcome.day, []
        if outcome.refusal:
            found.append(Finding(key="trade.refused", title=f"{day}: {outcome.refusal}"))
        if outcome.breaks:
            told = "; ".join(one.words() for one in outcome.breaks[:5])
            title = f"{day}: {len(outcome.breaks)} breaks with the venues"
            found.append(Finding(key="trade.breaks", title=title, detail=told))
        if outcome.doubts:
            title = f"{day}: {len(outcome.doubts)} splits or dividends are in doubt"
            found.append(
                Finding(key="trade.actions", title=title, detail="; ".join(outcome.doubts[:5]))
            )
        if outcome.unpriced:
            title = f"{day}: not closed, no bar for {', '.join(outcome.unpriced)}"
            found.append(Finding(key="trade.unpriced", title=title))
        if outcome.denied:
            title = f"{day}: guardrails denied {outcome.denied} orders"
            decided = outcome.decision.decision_id if outcome.decision else ""
            found.append(
                Finding(
                    key="trade.denied",
                    title=title,
                    detail=f"see sluice why {decided}",
                    severity="ticket",
                )
            )
        return tuple(self._sound(one) for one in found)

    def given_up(self, error: BaseException) -> None:
        """Raise that a session failed for good."""
        self._sound(
            Finding(key="trade.given-up", title="a session was given up", detail=str(error))
        )

    def _sound(self, finding: Finding) -> Alert:
        return self.book.sound(
            finding.key,
            finding.title,
            at=self.clock.now(),
            severity=finding.severity,
            detail=finding.detail,
        )


def open_watch(settings: Settings, clock: Clock, *, expected: tuple[str, ...] = (TRADE,)) -> Watch:
    """Put the watch together; every receiver's address that is known is checked first.

    What refers to a secret that cannot be had now is an alert of its own, told to everybody else.

    Raises:
        EscalationInvalid: the file of receivers and levels cannot be used.
    """
    escalation, records = read_escalation(settings.alerts), Records(settings)
    notifier = open_notifier(settings, escalation)
    switch = KillSwitch.create(settings.workspace / "kill")
    return Watch(
        book=open_book(settings),
        escalation=escalation,
        notifier=notifier,
        clock=clock,
        hearts=hearts(settings),
        expected=expected,
        conditions=(
            Condition(name="kill", look=lambda _: _stopped(switch)),
            Condition(
                name="secrets",
                look=lambda _: _unknown(settings, notifier),
                every=RECORDS,
                apart=True,
            ),
            Condition(name="books", look=records.broken_books, every=RECORDS, apart=True),
            Condition(name="feed", look=records.late_feed, every=RECORDS, apart=True),
            Condition(name="sessions", look=records.missed, every=RECORDS, apart=True),
            Condition(name="policy", look=records.unreviewed, every=RECORDS, apart=True),
        ),
    )


def open_notifier(settings: Settings, escalation: Escalation) -> AppriseNotifier:
    """Return the way to the receivers.

    Raises:
        EscalationInvalid: an address that is known cannot be used; the text names its receiver.
    """

    def resolve(address: str) -> str:
        if not address.startswith(SCHEME) or settings.secrets is None:
            return address
        ref = SecretRef.parse(address)
        return settings.secrets.source.read(ref.path, ref.field)

    notifier = AppriseNotifier(escalation.receivers, resolve)
    notifier.check()
    return notifier


def feed_budget(settings: Settings, now: datetime) -> Budget:
    """Return how many sessions of the last sixty days ran on time, of those that were due."""
    return budget(FEED, Records(settings).events(), now)


def _unknown(settings: Settings, notifier: AppriseNotifier) -> Iterable[Finding]:
    """Find the settings and the receivers whose secrets cannot be had."""
    for name, why in settings.missing.items():
        yield Finding(key=f"secrets.{name}", title=f"{name} is not known", detail=why)
    for name, why in notifier.check().items():
        title = f"the address of receiver {name} is not known"
        yield Finding(key=f"secrets.receiver.{name}", title=title, detail=why)


def _stopped(switch: KillSwitch) -> Iterable[Finding]:
    for stop in switch.state():
        by = f" by {stop.by}" if stop.by else ""
        yield Finding(
            key=f"kill.{stop.scope}", title=f"{stop.scope} is stopped{by}", detail=stop.reason
        )


@dataclass(slots=True)
class Records:
    """What the watch looks up in the runtime's database, opened at the first look."""

    settings: Settings
    _engine: "Engine | None" = None

    def broken_books(self, _now: datetime) -> Iterable[Finding]:
        """Find breaks at the last close."""
        from service.records import open_journal

        session = open_journal(self.settings, self._open(), LIVE).last_session()
        if session is not None and session.breaks:
            told = "; ".join(one.words() for one in session.breaks[:5])
            title = f"{len(session.breaks)} breaks with the venues at the close of {session.day}"
            yield Finding(key="books.breaks", title=title, detail=told)

    def late_feed(self, now: datetime) -> Iterable[Finding]:
        """Find out whether sessions run late more often than the objective allows."""
        events = self.events()
        rule = burning(FEED, events, now, FEED_RULES)
        if rule is not None:
            spent = budget(FEED, events, now)
            yield Finding(
                key="feed.burning",
                title=f"{spent.failures} of {spent.events} sessions were late or skipped",
                detail=f"the objective is {FEED.target:.0%} on time over {FEED.window.days} days",
                severity="page" if rule.page else "ticket",
            )

    def missed(self, now: datetime) -> Iterable[Finding]:
        """Find sessions that nobody ran: a process that ended as told leaves no silence behind."""
        from featurestore.calendars import load_calendar
        from runtime.scheduling.slots import endings
        from service.records import open_registry

        notes = [note for _, note in endings(self._open())]
        if not notes or open_registry(self.settings, self._open()).active() is None:
            return  # nobody trades, and nobody is to
        job = notes[-1].job  # who trades does so by one calendar; what was before it is over
        last = max(note.slot for note in notes if note.job == job)
        calendar = load_calendar(job.rpartition(" ")[2])
        first, today = last + timedelta(days=1), min(now.date(), calendar.last)
        ahead = calendar.sessions(first, today) if first <= today else ()
        days = [one.day for one in ahead if one.close + AWAITED < now]
        if days:
            told = f"{len(days)} sessions since {last}" if days[1:] else f"session {days[0]}"
            since = f"the last one that ended is {last}, of {len(days)} due since none did"
            yield Finding(
                key=f"sessions.{calendar.name}",
                title=f"{told} did not end: {job}",
                detail=f"{since}; is sluice trade running?",
            )

    def unreviewed(self, now: datetime) -> Iterable[Finding]:
        """Find out whether nobody has reviewed the limits for a year."""
        from service.operator.policies import open_policies

        overdue = open_policies(self.settings, self._open(), ReplayClock(now)).overdue()
        if overdue:
            title = "the limits were not reviewed for a year"
            yield Finding(key="policy.review", title=title, detail=overdue, severity="ticket")

    def events(self) -> tuple[Event, ...]:
        """Return one event a session that was due: good if it ended on time."""
        from runtime.scheduling.slots import endings

        ended = endings(self._open())
        return tuple(Event(at=at, good=note.outcome == "done") for at, note in ended)

    def _open(self) -> "Engine":
        from service.databases import open_runtime

        for name in ("SLUICE_DATABASE_URL", "SLUICE_DATABASE_ROLE"):
            if name in self.settings.missing:
                raise SecretUnavailable(f"{name}: {self.settings.missing[name]}")
        if self._engine is None:
            self._engine = open_runtime(self.settings)
        return self._engine
