"""Service-level objectives: how much of the error budget is spent, and how fast it burns.

Source: Google, "The Site Reliability Workbook" (2018), chapter 5, "Alerting on SLOs": a burn rate
is the share of failures over the share that the objective allows; a page is due when both a long
and a short window burn too fast, so that it comes early and ends soon after the trouble.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from runtime.errors import ObjectiveInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that went well or did not."""

    at: datetime  # UTC
    good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A share of events that must go well over a window."""

    name: str
    target: float  # in (0, 1), e.g. 0.99
    window: timedelta

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise ObjectiveInvalid(
                f"objective {self.name}: the target must lie between 0 and 1, was {self.target}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Where an objective stands."""

    objective: Objective
    events: int
    failures: int

    @property
    def good_share(self) -> float | None:
        """Return the share that went well, None without events."""
        return None if self.events == 0 else 1 - self.failures / self.events

    @property
    def left(self) -> float:
        """Return the share of the error budget that is left; negative if it is overspent."""
        allowed = self.events * (1 - self.objective.target)
        return 1.0 if self.events == 0 else 1 - self.failures / allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnRule:
    """When to tell somebody: both windows burn faster than the rate."""

    long: timedelta
    short: timedelta
    rate: float  # 1 = the budget is spent exactly at the window's end
    page: bool


# For a window of 30 days: 2 % of the budget in an hour, 5 % in six hours, 10 % in three days.
RULES = (
    BurnRule(long=timedelta(hours=1), short=timedelta(minutes=5), rate=14.4, page=True),
    BurnRule(long=timedelta(hours=6), short=timedelta(minutes=30), rate=6.0, page=True),
    BurnRule(long=timedelta(days=3), short=timedelta(hours=6), rate=1.0, page=False),
)


def budget(objective: Objective, events: Sequence[Event], now: datetime) -> Budget:
    """Count the events of an objective's window that ends now."""
    counted = [one for one in events if now - objective.window < one.at <= now]
    failures = sum(not one.good for one in counted)
    return Budget(objective=objective, events=len(counted), failures=failures)


def burn_rate(
    objective: Objective, events: Sequence[Event], window: timedelta, now: datetime
) -> float:
    """Return how much faster than allowed the budget burns over a window; 0 without events."""
    counted = [one for one in events if now - window < one.at <= now]
    if not counted:
        return 0.0
    failed = sum(not one.good for one in counted) / len(counted)
    return failed / (1 - objective.target)


def burning(
    objective: Objective,
    events: Sequence[Event],
    now: datetime,
    rules: Sequence[BurnRule] = RULES,
) -> BurnRule | None:
    """Return the first rule whose two windows both burn too fast, None if none does."""
    for rule in rules:
        rates = (burn_rate(objective, events, window, now) for window in (rule.long, rule.short))
        if min(rates) >= rule.rate:
            return rule
    return None
