"""Time as an argument: the wall clock for production, a replay clock for everything else."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time in UTC."""

    def now(self) -> datetime:
        """Return the current instant, time-zone aware, in UTC."""
        ...


@dataclass(frozen=True, slots=True)
class WallClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the machine's time in UTC."""
        return datetime.now(UTC)


@dataclass(slots=True)
class ReplayClock:
    """A clock that stands where it is put and never runs backwards."""

    at: datetime

    def now(self) -> datetime:
        """Return the instant it was put at."""
        return self.at

    def advance(self, to: datetime) -> None:
        """Move forward to `to`; ValueError if that lies in the past or has no time zone."""
        if to.tzinfo is None or to < self.at:
            raise ValueError(
                f"cannot move the clock from {self.at.isoformat()} to {to.isoformat()}"
            )
        self.at = to
