"""Protections that outlast their cause: after a loss limit was reached, a rest in sessions.

They are derived from the closed sessions of the journal, so a restart forgets none of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from runtime.policies.policy import LossLimits

REMEMBERED = 260  # closes kept, and the longest rest that can be asked for, sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """An account's value at one session's close, and what the sessions up to it add up to."""

    day: date
    equity: Decimal  # USD
    before: Decimal | None  # USD, a session earlier; None = the first one
    peak: Decimal  # USD, highest close so far
    losing_streak: int  # sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """No new risk: which protection began it, when, and how long it still lasts."""

    reason: str
    since: date
    left: int  # sessions, the coming one included


def tripped(close: Close, limits: LossLimits) -> str:
    """Return which loss limit a session closed beyond, in words; empty if none."""
    streak, daily, drawdown = limits.max_losing_streak, limits.max_daily_loss, limits.max_drawdown
    if streak is not None and close.losing_streak > streak:
        return f"{close.losing_streak} losing sessions in a row"
    for name, base, limit in (
        ("daily loss", close.before, daily),
        ("drawdown", close.peak, drawdown),
    ):
        if base is not None and limit is not None and base - close.equity > limit * base:
            return f"{name} of {(base - close.equity) / base:.2%}"
    return ""


def resting(closes: Sequence[Close], limits: LossLimits) -> Rest | None:
    """Return the rest that is on for the session after the last close.

    Args:
        closes: oldest first, at least the last `cooldown_sessions` of them.
        limits: in force now; `cooldown_sessions` None or 0 asks for no rest.
    """
    sessions = limits.cooldown_sessions or 0
    for ago, close in enumerate(reversed(closes[-sessions:] if sessions else ()), start=1):
        reason = tripped(close, limits)
        if reason:
            return Rest(reason=reason, since=close.day, left=sessions - ago + 1)
    return None
