"""What the registry remembers, and what follows from a history of it; pure, nothing is read."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Literal

import msgspec

from runtime.bundles.contract import Signature, Stage
from runtime.errors import RegistryConflict

CHAMPION = "champion"  # decides with the account's capital
CHALLENGER = "challenger"  # decides in shadow, on the same inputs
RESERVE = "reserve"  # what an allocation leaves in cash; no bundle sits there

_ROLE = re.compile(r"champion|challenger(\.[a-z0-9-]{1,40})?|arm\.[a-z0-9-]{1,40}")

Action = Literal["activate", "rollback", "stop", "retire"]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """How a challenger is judged, fixed before its first day."""

    against: str  # hash of the champion it is compared with
    alpha: float  # probability, at most, of ever calling an equal challenger the better one
    bound: float  # fraction; daily differences of returns are clipped to -bound..bound

    def __post_init__(self) -> None:
        _check_test(self.alpha, self.bound)


class ArmTest(msgspec.Struct, frozen=True, kw_only=True):
    """How seats with capital are judged against one of them, fixed before the first day."""

    control: str  # the seat that every other one is compared with
    alpha: float  # probability, at most, of ever deciding anything wrongly in the whole test
    bound: float  # fraction; daily differences of returns are clipped to -bound..bound

    def __post_init__(self) -> None:
        _check_test(self.alpha, self.bound)


def _check_test(alpha: float, bound: float) -> None:
    if not 0 < alpha < 0.5:
        raise RegistryConflict(f"alpha must lie between 0 and 0.5, was {alpha}")
    if not 0 < bound <= 1:
        raise RegistryConflict(f"the bound must lie between 0 and 1, was {bound}")


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of the registry's history: who put which bundle into a seat, and why."""

    action: Action
    role: str  # the seat, e.g. "champion"
    study: str
    bundle: str  # hash, hex
    version: int  # monotonic per study
    stage: Stage
    by: str
    why: str
    at: str  # ISO 8601, UTC
    promotion: Signature | None = None  # the signature that allows it; carries the stop bands
    comparison: Comparison | None = None  # of a challenger

    @property
    def stopped(self) -> bool:
        """Say whether the bundle sits there only to be sold: its target is to hold nothing."""
        return self.action == "stop"

    @property
    def since(self) -> datetime:
        """Return when the change was made, UTC."""
        return datetime.fromisoformat(self.at)


class Allocation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an account's capital is shared by seats; no fraction at all = the champion has it all."""

    fractions: dict[str, str]  # role -> fraction of equity, exact
    by: str
    why: str
    at: str  # ISO 8601, UTC
    max_turnover: str | None = None  # fraction of equity traded per tick, at most
    test: ArmTest | None = None  # how the seats are judged; None = they are not

    @property
    def shares(self) -> dict[str, Decimal]:
        """Return role -> fraction, in order of role."""
        return {role: Decimal(self.fractions[role]) for role in sorted(self.fractions)}

    @property
    def turnover(self) -> Decimal | None:
        """Return the limit of turnover, a fraction of equity; None = no limit."""
        return None if self.max_turnover is None else Decimal(self.max_turnover)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """What the registry needs to know of a verified bundle."""

    study: str
    bundle: str  # hash, hex
    version: int
    stage: Stage
    promotion: Signature | None = None


def check_role(role: str) -> str:
    """Return a role that a bundle may have; RegistryConflict names the forms."""
    if not _ROLE.fullmatch(role):
        raise RegistryConflict(
            f"no seat is called {role!r}; use champion, challenger, challenger.NAME or arm.NAME"
        )
    return role


def check_fractions(fractions: Mapping[str, str], turnover: str | None) -> None:
    """Refuse fractions that are not exact, not positive, or more than the whole; RegistryConflict.

    Challengers have no capital: they decide in shadow.
    """
    total = Decimal(0)
    for role, text in fractions.items():
        if check_role(role).startswith(CHALLENGER):
            raise RegistryConflict(f"{role} decides in shadow and is given no capital")
        total += _fraction(text, f"the fraction of {role}")
    if total > 1:
        raise RegistryConflict(f"the fractions add up to {total}, at most 1 can be shared")
    if turnover is not None:
        _fraction(turnover, "the limit of turnover", most=Decimal(10))


def check_test(fractions: Mapping[str, str], test: ArmTest) -> None:
    """Refuse a test whose control has no capital, or is alone; RegistryConflict."""
    if test.control not in fractions:
        raise RegistryConflict(
            f"{test.control} has no fraction of the capital, so no arm can be compared with it; "
            f"name one of {', '.join(sorted(fractions))} as the control"
        )
    if len(fractions) < 2:
        raise RegistryConflict(f"{test.control} is alone, there is no arm to compare it with")


def _fraction(text: str, what: str, most: Decimal = Decimal(1)) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise RegistryConflict(f"{what} is no number: {text!r}") from None
    if not value.is_finite() or not 0 < value <= most:
        raise RegistryConflict(f"{what} must lie above 0 and at most at {most}, was {text}")
    return value


def sitting(history: Iterable[Change], role: str) -> Change | None:
    """Return what sits in a seat after a history; None if it is empty."""
    last = None
    for change in history:
        if change.role == role:
            last = change
    return None if last is None or last.action == "retire" else last


def stack(history: Iterable[Change], role: str) -> list[Change]:
    """Return who would sit in a seat after each roll-back, the present one last."""
    found: list[Change] = []
    for change in history:
        if change.role != role:
            continue
        match change.action:
            case "activate":
                found.append(change)
            case "rollback":
                found = [*found[:-2], change]
            case "stop":
                found = [*found[:-1], change]
            case "retire":
                found = []
    return found


def newest(history: Sequence[Change], study: str) -> int:
    """Return the highest version of a study in a history, 0 if there is none."""
    return max((change.version for change in history if change.study == study), default=0)


def judging(allocations: Sequence[Allocation]) -> Allocation | None:
    """Return the allocation with which the test that runs now began; None if none runs.

    Other fractions let a test go on. Another control, alpha, bound or set of seats begins anew.
    """
    found = None
    for one in reversed(allocations):
        if one.test is None or (found is not None and _asked(one) != _asked(found)):
            break
        found = one
    return found


def _asked(one: Allocation) -> tuple[ArmTest | None, frozenset[str]]:
    return one.test, frozenset(one.fractions)


def roles(history: Iterable[Change]) -> tuple[str, ...]:
    """Return every seat a history speaks of, champion first, then by name."""
    return tuple(
        sorted({change.role for change in history}, key=lambda role: (role != CHAMPION, role))
    )
