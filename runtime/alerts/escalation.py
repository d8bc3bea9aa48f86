"""Who is told when: read from a file, decided by a pure function of the alert and the time."""

import tomllib
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from runtime.alerts.alert import Alert
from runtime.decoding import from_plain
from runtime.errors import EscalationInvalid

PACKAGED = Path(__file__).with_name("escalation.toml")


class Level(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step: who is told after so long without an answer."""

    after_minutes: int
    to: tuple[str, ...]

    @property
    def after(self) -> timedelta:
        """Return the time without an answer."""
        return timedelta(minutes=self.after_minutes)


class Escalation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All steps, and where each receiver is reached."""

    receivers: dict[str, str]  # name -> address, or a reference to a secret that is one
    level: tuple[Level, ...]

    def check(self) -> "Escalation":
        """Return itself; EscalationInvalid names what contradicts itself."""
        if not self.level or self.level[0].after_minutes != 0:
            raise EscalationInvalid("the first level must be after 0 minutes: somebody is told now")
        times = [one.after_minutes for one in self.level]
        if times != sorted(set(times)):
            raise EscalationInvalid(f"levels must come later and later, were after {times} minutes")
        for one in self.level:
            unknown = sorted(set(one.to) - set(self.receivers))
            if unknown or not one.to:
                raise EscalationInvalid(
                    f"the level after {one.after_minutes} minutes tells"
                    f" {', '.join(unknown) or 'nobody'}; name receivers of [receivers]"
                )
        return self


def read_escalation(file: Path | None) -> Escalation:
    """Read an escalation file, the packaged one if none is named.

    Raises:
        EscalationInvalid: it cannot be read, or contradicts itself; the text says where.
    """
    path = file or PACKAGED
    try:
        content = tomllib.loads(path.read_text())
        return from_plain(content, Escalation).check()
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise EscalationInvalid(f"{path}: {error}") from error
    except EscalationInvalid as error:
        raise EscalationInvalid(f"{path}: {error}") from None


def due(alert: Alert, escalation: Escalation, now: datetime) -> tuple[tuple[int, str], ...]:
    """Return who has to be told now, as (level, receiver), lowest level first.

    A level whose time came while nobody sent anything is made up for, so that a restart of the
    sender loses nothing. Once an alert is answered nothing is due any more, except that whoever
    has not heard of it at all at level 0 still does: an alert that was over quickly happened too.
    """
    waited = now - alert.raised_at
    levels = escalation.level if alert.severity == "page" else escalation.level[:1]
    if alert.answered:
        levels = escalation.level[:1]
    return tuple(
        (number, receiver)
        for number, level in enumerate(levels)
        if waited >= level.after
        for receiver in level.to
        if not alert.told(number, receiver)
    )
