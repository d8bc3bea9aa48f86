"""The watch, a process of its own: hears silences, looks at conditions, tells people.

1. every silent process becomes an alert, and one that is heard of again ends it;
2. every condition is looked at; one that cannot be looked at is an alert too;
3. whoever is due is told; a notice that fails is tried again, after a rest that grows.

What asks a server does so on a thread of its own: a database or a receiver that hangs holds up
neither the others nor the next round.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from time import monotonic

from featurestore.errors import PlatformError
from runtime.alerts.alert import Alert, Notice, Severity
from runtime.alerts.aside import aside
from runtime.alerts.book import AlertBook
from runtime.alerts.escalation import Escalation, due
from runtime.alerts.heartbeat import silences
from runtime.alerts.notify import Notifier
from runtime.breaker import Breaker
from runtime.clock import Clock

HEARTBEAT = "heartbeat."
LONG = timedelta(seconds=10)  # a look that takes longer is one that cannot be had
Errand = tuple[Alert, int]  # of what a receiver has to hear, and at which level
log = logging.getLogger("sluice.alerts")


class LookHangs(PlatformError):
    """A look has been under way for long; it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A condition that a person must hear of."""

    key: str
    title: str
    detail: str = ""
    severity: Severity = "page"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that is looked at in every round; what it does not find any more is over."""

    name: str  # the findings' keys begin with it and a dot
    look: Callable[[datetime], Iterable[Finding]]
    every: timedelta = timedelta(0)  # between two looks; zero = in every round
    apart: bool = False  # asks a server, so it looks on a thread of its own


@dataclass(slots=True, kw_only=True)
class Watch:
    """Goes its rounds; everything it knows is in files, so a restart loses nothing."""

    book: AlertBook
    escalation: Escalation
    notifier: Notifier
    clock: Clock
    hearts: Path  # folder of the signs of life
    expected: tuple[str, ...] = ()  # processes that must be heard of
    conditions: Sequence[Condition] = ()
    since: datetime | None = None
    elapsed: Callable[[], float] = monotonic  # seconds; never set back, as a clock may be
    patience: float = 4.0  # seconds that a round waits for those it tells
    glance: float = 1.0  # seconds that a round waits for a look on a thread of its own
    _next: dict[str, datetime] = field(default_factory=dict)  # condition -> its next look
    _looks: dict[str, "tuple[Future[tuple[Finding, ...]], datetime]"] = field(default_factory=dict)
    _failed: dict[str, str] = field(default_factory=dict)  # receiver -> why it was not reached
    _breakers: dict[str, Breaker] = field(default_factory=dict)  # by receiver
    _errands: dict[str, "Future[tuple[list[Errand], PlatformError | None]]"] = field(
        default_factory=dict
    )  # receiver -> what it is being told

    def round(self) -> int:
        """Look once and tell who is due; return how many notices were delivered."""
        now = self.clock.now()
        self.since = self.since or now
        self._listen(now, self.since)
        for condition in self.conditions:
            if condition.name in self._looks or now >= self._next.get(condition.name, now):
                self._next[condition.name] = now + condition.every
                self._look(condition, now)
        return self._tell(now)

    def settle(self, patience: float | None = None) -> int:
        """Wait for everybody who is being told; return how many more notices were delivered.

        Args:
            patience: seconds; None = as long as it takes.
        """
        wait(self._errands.values(), timeout=patience)
        return self._collect(self.clock.now())

    def _listen(self, now: datetime, since: datetime) -> None:
        silent = silences(self.hearts, self.expected, now, since=since)
        for one in silent:
            self._sound(
                Finding(
                    key=f"{HEARTBEAT}{one.name}", title=f"{one.name} is silent", detail=one.detail
                ),
                now,
            )
        self._end_others(
            HEARTBEAT, {f"{HEARTBEAT}{one.name}" for one in silent}, now, "heard again"
        )

    def _look(self, condition: Condition, now: datetime) -> None:
        prefix = f"{condition.name}."
        blind = f"{prefix}blind"
        try:
            found = self._found(condition, now)
        except (PlatformError, OSError) as error:
            title = f"{condition.name} cannot be looked at"
            self._sound(Finding(key=blind, title=title, detail=str(error)), now)
            return
        if found is None:
            return  # not known yet, so all stays as it is
        for one in found:
            self._sound(one, now)
        self._end_others(prefix, {one.key for one in found}, now, "it is over")

    def _found(self, condition: Condition, now: datetime) -> tuple[Finding, ...] | None:
        """Return what a look finds, None while one on a thread of its own is under way.

        Raises:
            LookHangs: it has been under way for long.
        """
        if not condition.apart:
            return tuple(condition.look(now))
        if condition.name not in self._looks:
            self._looks[condition.name] = aside(lambda: tuple(condition.look(now))), now
        look, begun = self._looks[condition.name]
        wait([look], timeout=self.glance)
        if look.done():
            del self._looks[condition.name]
            return look.result()
        if now - begun >= LONG:
            raise LookHangs(f"no answer within {LONG.total_seconds():.0f} s")
        return None

    def _sound(self, finding: Finding, now: datetime) -> None:
        """Raise what is new; what is open and unchanged is left as it is."""
        for one in self.book.open():
            if one.key == finding.key and one.detail == finding.detail:
                return
        self.book.sound(
            finding.key,
            finding.title,
            at=now,
            severity=finding.severity,
            detail=finding.detail,
        )

    def _end_others(self, prefix: str, still: set[str], now: datetime, how: str) -> None:
        for one in self.book.open():
            if one.key.startswith(prefix) and one.key not in still:
                self.book.clear(one.key, at=now, how=how)

    def _tell(self, now: datetime) -> int:
        """Send everybody who is due what is due, each on a thread; return what was delivered."""
        told = self._collect(now)
        errands: dict[str, list[Errand]] = {}
        for alert in self.book.current():
            waiting = due(alert, self.escalation, now)
            if not alert.open and not waiting:
                self.book.put_away(alert)
            for level, receiver in waiting:
                rest = self._breakers.setdefault(receiver, Breaker(most=30.0))
                if receiver not in self._errands and rest.allows(self.elapsed()):
                    errands.setdefault(receiver, []).append((alert, level))
        for receiver, of_it in errands.items():
            self._errands[receiver] = aside(partial(self._deliver, receiver, of_it))
        wait(self._errands.values(), timeout=self.patience)
        return told + self._collect(now)

    def _deliver(
        self, receiver: str, errands: Sequence[Errand]
    ) -> tuple[list[Errand], PlatformError | None]:
        """Tell one receiver everything, up to the first failure."""
        done: list[Errand] = []
        for alert, level in errands:
            try:
                self.notifier.tell(receiver, alert, level=level)
            except PlatformError as error:
                return done, error
            done.append((alert, level))
        return done, None

    def _collect(self, now: datetime) -> int:
        """Put on record who was told, and leave alone for a while who was not reached."""
        told = 0
        for receiver in [name for name, errand in self._errands.items() if errand.done()]:
            done, error = self._errands.pop(receiver).result()
            for alert, level in done:
                self.book.note(alert, Notice(level=level, receiver=receiver, at=now))
                told += 1
            if error is None:
                self._breakers[receiver].worked()
                self._failed.pop(receiver, None)
                continue
            self._breakers[receiver].failed(self.elapsed())
            if self._failed.get(receiver) != str(error):
                log.error("%s is not reached: %s", receiver, error)
            self._failed[receiver] = str(error)
        return told
