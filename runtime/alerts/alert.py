"""One thing that a person must hear, from the first sign of it until it is over."""

from datetime import datetime
from typing import Literal

import msgspec

Severity = Literal["page", "ticket"]  # page: wake somebody; ticket: look at it today


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """That one receiver was told at one level of escalation."""

    level: int  # position in the escalation, from 0
    receiver: str
    at: datetime  # UTC


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One open or past alert; a repeat while it is open counts, it is not another alert."""

    id: str  # key and the time it was first raised, safe as a file name
    key: str  # what it is about, e.g. "heartbeat.trade"; one open alert a key
    severity: Severity
    title: str  # one line
    detail: str = ""
    raised_at: datetime  # UTC
    seen: int = 1  # times raised
    last_at: datetime  # UTC, last raised
    acknowledged_by: str = ""  # who; "" = nobody yet
    acknowledged_at: datetime | None = None
    note: str = ""  # what the person who acknowledged it said
    resolved_at: datetime | None = None
    resolution: str = ""
    notices: tuple[Notice, ...] = ()

    @property
    def open(self) -> bool:
        """Say whether it is not over."""
        return self.resolved_at is None

    @property
    def answered(self) -> bool:
        """Say whether somebody took it, or it is over."""
        return bool(self.acknowledged_by) or not self.open

    def told(self, level: int, receiver: str) -> bool:
        """Say whether a receiver was told at a level."""
        return any(one.level == level and one.receiver == receiver for one in self.notices)
