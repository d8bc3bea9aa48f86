"""The watch, a process of its own: hears silences, looks at conditions, tells people.

1. every silent process becomes an alert, and one that is heard of again ends it;
2. every condition is looked at; one that cannot be looked at is an alert too;
3. whoever is due is told; a notice that fails is tried again in the next round.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from featurestore.errors import PlatformError
from runtime.alerts.alert import Notice, Severity
from runtime.alerts.book import AlertBook
from runtime.alerts.escalation import Escalation, due
from runtime.alerts.heartbeat import silences
from runtime.alerts.notify import Notifier
from runtime.clock import Clock

HEARTBEAT = "heartbeat."
log = logging.getLogger("sluice.alerts")


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
    _next: dict[str, datetime] = field(default_factory=dict)  # condition -> its next look
    _failed: dict[str, str] = field(default_factory=dict)  # receiver -> why it was not reached

    def round(self) -> int:
        """Look once and tell who is due; return how many notices were delivered."""
        now = self.clock.now()
        self.since = self.since or now
        self._listen(now, self.since)
        for condition in self.conditions:
            if now >= self._next.get(condition.name, now):
                self._next[condition.name] = now + condition.every
                self._look(condition, now)
        return self._tell(now)

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
            found = tuple(condition.look(now))
        except (PlatformError, OSError) as error:
            title = f"{condition.name} cannot be looked at"
            self._sound(Finding(key=blind, title=title, detail=str(error)), now)
            return
        for one in found:
            self._sound(one, now)
        self._end_others(prefix, {one.key for one in found}, now, "it is over")

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
        told = 0
        for alert in self.book.current():
            waiting = due(alert, self.escalation, now)
            if not alert.open and not waiting:
                self.book.put_away(alert)
            for level, receiver in waiting:
                try:
                    self.notifier.tell(receiver, alert, level=level)
                except PlatformError as error:
                    if self._failed.get(receiver) != str(error):
                        log.error("%s did not hear of %s: %s", receiver, alert.id, error)
                    self._failed[receiver] = str(error)
                    continue
                self._failed.pop(receiver, None)
                self.book.note(alert, Notice(level=level, receiver=receiver, at=now))
                told += 1
        return told
