"""Market-wide circuit breakers: levels from the index's previous close, and what trips when."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from featurestore.calendars import Session
from runtime.errors import FeedInvalid
from runtime.market.rules import Breaker


@dataclass(frozen=True, slots=True, kw_only=True)
class Tripped:
    """A breaker that halts every symbol."""

    level: int  # 1, 2 or 3
    code: str  # "MWC1" ... "MWC3"
    at: datetime  # UTC
    until: datetime | None  # UTC, trading does not resume before; None = closed for the day


def breaker_levels(rules: Breaker, previous_close: Decimal) -> tuple[Decimal, ...]:
    """Return the index levels of the day, as they are published before the open."""
    return tuple(
        (previous_close * (1 - level.drop) / rules.level_tick).to_integral_value(ROUND_HALF_UP)
        * rules.level_tick
        for level in rules.level
    )


@dataclass(slots=True, kw_only=True)
class CircuitBreaker:
    """Watches the index through one session."""

    rules: Breaker
    session: Session
    previous_close: Decimal  # index points
    levels: tuple[Decimal, ...] = field(init=False)  # index points
    tripped: list[Tripped] = field(default_factory=list)
    _highest: int = 0  # highest level that halted today: it and those below are used up

    def __post_init__(self) -> None:
        if self.previous_close <= 0:
            raise FeedInvalid(f"an index cannot have closed at {self.previous_close}")
        self.levels = breaker_levels(self.rules, self.previous_close)

    def index(self, value: Decimal, at: datetime) -> Tripped | None:
        """Take an index value; return the breaker that it trips, None if it trips none."""
        if not self.session.open <= at < self.session.close:
            return None
        reached = sum(value <= level for level in self.levels)
        if reached <= self._highest:
            return None
        late = at >= self.session.close - timedelta(seconds=self.rules.cut_off)
        level = self.rules.level[reached - 1]
        if late and not level.closes_the_day:
            return None
        until = None
        if not level.closes_the_day and level.halt is not None:
            until = at + timedelta(seconds=level.halt)
        found = Tripped(level=reached, code=level.code, at=at, until=until)
        self._highest = reached
        self.tripped.append(found)
        return found
