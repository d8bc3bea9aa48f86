"""Which of several seats with capital earns more, by a test that may be looked at every day.

Seats that share an account are compared session by session with one of them, the control. What
counts is the return of each seat's own books, after spreads, impact, fees and charges, on sessions
on which both were fully what they are:

1. a bundle that decided at one close has traded by the next, so the session after that is the first
   one it earned; both must have sat in their seats at the two closes before, and not be stopped;
2. money that was given or taken at the last close has not been traded yet, so a session that begins
   with more than 1 % of such money in either seat is left out.

Both rules look only at what is known before the session begins. Leaving sessions out by them is
like a gambler who sits out a round: the promise holds (runtime/registry/betting.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from math import pi
from typing import TYPE_CHECKING

from runtime.joint.shares import MemberDay

if TYPE_CHECKING:  # numpy, where arms are judged
    from runtime.registry.betting import Evidence

UNTRADED = Decimal("0.01")  # fraction of a seat's equity that may have been given or taken just now


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One session that both seats earned with the bundles that are compared."""

    day: date
    arm: float  # fraction, net of costs
    control: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """An arm and its control over the sessions that count."""

    days: tuple[date, ...]
    arm: float  # total return over them, fraction, net of costs
    control: float
    needed: float  # evidence that decides
    evidence: "Evidence"  # of arm less control


def paired(
    days: Iterable[MemberDay],
    arm: tuple[str, str],
    control: tuple[str, str],
    since: date,
) -> tuple[Pair, ...]:
    """Return the sessions that count, oldest first.

    Args:
        days: of all seats of one account, oldest first.
        arm: role and bundle hash.
        control: likewise.
        since: when the test was declared; both must have decided at a close of that day or later.
    """
    closes: dict[date, dict[str, MemberDay]] = {}
    for one in days:
        closes.setdefault(one.day, {})[one.role] = one
    order = list(closes.values())
    found = []
    for at in range(2, len(order)):
        own = _earned(order[at - 2 : at + 1], *arm, since)
        other = _earned(order[at - 2 : at + 1], *control, since)
        if own is not None and other is not None:
            found.append(Pair(day=order[at][arm[0]].day, arm=own, control=other))
    return tuple(found)


def _earned(
    closes: Sequence[dict[str, MemberDay]], role: str, bundle: str, since: date
) -> float | None:
    """Return what a bundle earned in the last of three sessions; None if it does not count."""
    decided, traded, earned = (one.get(role) for one in closes)
    if decided is None or traded is None or earned is None or decided.day < since:
        return None
    if any(one.bundle != bundle or one.stopped for one in (decided, traded)):
        return None
    if abs(traded.given - decided.given) > UNTRADED * traded.equity:
        return None
    return earned.returned


def part_of(asked: int) -> float:
    """Return which part of alpha the test begun for the `asked`-th time may use, a fraction.

    6 / (pi asked)^2: the parts of all tests that can ever be begun add up to 1 (Euler, 1735), so
    beginning anew, however often, is no way to a decision that one test would not give.
    """
    return 6.0 / (pi * asked) ** 2


def judge(
    pairs: Sequence[Pair], *, bound: float, alpha: float, arms: int, asked: int = 1
) -> Judged:
    """Weigh an arm against its control.

    Args:
        pairs: from `paired`.
        bound: fraction; daily differences are clipped to -bound..bound.
        alpha: chance, at most, that the whole test ever decides anything wrongly, in either
            direction and for any of its arms, all beginnings together.
        arms: how many are compared with the control; each is given an equal part of alpha.
        asked: how often a test of these two bundles was begun, this one included; at least 1.
    """
    import numpy as np

    from runtime.registry.betting import weigh

    part = alpha * part_of(asked) / arms
    own = np.array([one.arm for one in pairs], dtype=np.float64)
    other = np.array([one.control for one in pairs], dtype=np.float64)
    return Judged(
        days=tuple(one.day for one in pairs),
        arm=float(np.prod(1.0 + own)) - 1.0,
        control=float(np.prod(1.0 + other)) - 1.0,
        needed=2 / part,
        evidence=weigh(own - other, bound=bound, alpha=part, ways=2),
    )
