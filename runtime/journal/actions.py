"""What changes a holding without a trade: splits, dividends, charges; and what corrects a trade.

Every one is an entry of its own in the journal. Source: market-rules, sections 8 and 9.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

from runtime.domain import Fill
from runtime.errors import OrderInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """`new` units for every `old` ones; the total basis stays."""

    action_id: str
    symbol: str
    effective: datetime  # UTC, the open of the first session in new units
    new: int
    old: int
    in_lieu: Decimal | None = None  # USD per new unit paid for a fraction; None = fractions stay

    def __post_init__(self) -> None:
        if min(self.new, self.old) < 1 or self.new == self.old:
            raise OrderInvalid(f"a split gives new units for old ones, was {self.new}:{self.old}")
        if self.in_lieu is not None and self.in_lieu <= 0:
            raise OrderInvalid(f"cash in lieu must be positive, was {self.in_lieu}")
        _zoned(self.effective, self.action_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dividend:
    """Cash per unit to whoever held it just before `effective`; a short pays it."""

    action_id: str
    symbol: str
    effective: datetime  # UTC, the open of the ex-date's session
    per_unit: Decimal  # USD

    def __post_init__(self) -> None:
        if self.per_unit <= 0:
            raise OrderInvalid(f"a dividend must be positive, was {self.per_unit}")
        _zoned(self.effective, self.action_id)


class ChargeKind(StrEnum):
    """What was charged; each has a ledger account of its own."""

    BORROW = "borrow"
    INTEREST = "interest"
    TAX = "tax"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Money taken for holding something; negative = given."""

    action_id: str
    kind: ChargeKind
    symbol: str  # "" where it is of no one symbol
    effective: datetime  # UTC
    amount: Decimal  # USD, whole cents

    def __post_init__(self) -> None:
        _zoned(self.effective, self.action_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclear:
    """A split or dividend that was announced and cannot be booked as it was."""

    kind: type[Split] | type[Dividend]  # what it would have been
    action_id: str
    symbol: str
    effective: datetime  # UTC
    words: str  # why not


@dataclass(frozen=True, slots=True, kw_only=True)
class CalledOff:
    """A split or dividend that was announced once and is not to take place."""

    action_id: str  # as it was announced under
    symbol: str
    effective: datetime  # UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Reversal:
    """Takes a split or a dividend back, as if it had never been; its own entry stays."""

    split: Split | None = None  # what is taken back: this one,
    dividend: Dividend | None = None  # or that
    at: datetime  # UTC, when it was taken back
    by: str  # who did
    reason: str

    def __post_init__(self) -> None:
        if (self.split is None) is (self.dividend is None):
            raise OrderInvalid("a reversal takes one split or one dividend back")
        _zoned(self.at, self.action_id)
        if not (self.by.strip() and self.reason.strip()):
            raise OrderInvalid(f"to take {self.original.action_id} back needs a name and a reason")

    @classmethod
    def of(cls, original: Split | Dividend, *, at: datetime, by: str, reason: str) -> "Reversal":
        """Return what takes an action back."""
        if isinstance(original, Split):
            return cls(split=original, at=at, by=by, reason=reason)
        return cls(dividend=original, at=at, by=by, reason=reason)

    @property
    def original(self) -> Split | Dividend:
        """Return what is taken back."""
        found = self.split or self.dividend
        if found is None:
            raise OrderInvalid("a reversal takes one split or one dividend back")
        return found

    @property
    def action_id(self) -> str:
        """Return its own name: an action is taken back once."""
        return f"{self.original.action_id}/taken-back"

    @property
    def symbol(self) -> str:
        """Return whose action it was."""
        return self.original.symbol


Action: TypeAlias = Split | Dividend | Charge | Reversal
Event: TypeAlias = Fill | Split | Dividend


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A venue takes an execution back, or replaces it by another one."""

    venue: str
    execution_id: str  # of what was wrong
    replacement: Fill | None  # None = a bust
    at: datetime  # UTC, when the venue said so
    by: str  # who entered it
    reason: str

    def __post_init__(self) -> None:
        _zoned(self.at, self.execution_id)
        if not (self.by.strip() and self.reason.strip()):
            raise OrderInvalid(f"a correction of {self.execution_id} needs a name and a reason")
        kept = self.replacement
        if kept is not None and kept.venue != self.venue:
            raise OrderInvalid(f"{self.execution_id} of {self.venue} cannot become a {kept.venue}")
        if kept is not None and kept.execution_id == self.execution_id:
            raise OrderInvalid(f"the replacement of {self.execution_id} needs an id of its own")


def check_newest(original: Split | Dividend, standing: str | None) -> None:
    """Refuse to take a split back from under another one; books and venues ask alike.

    What a split gave is known of the units as they were then, so of one symbol the split that was
    taken last goes first. A dividend is in the way of nothing.

    Args:
        original: what is to be taken back.
        standing: id of the split of its symbol that was taken last and stands, None without one.

    Raises:
        OrderInvalid: that is another one.
    """
    if isinstance(original, Split) and standing not in (None, original.action_id):
        raise OrderInvalid(
            f"{original.symbol} was split by {standing} after {original.action_id}; splits are "
            f"taken back newest first, take {standing} back before it"
        )


def taken_back(booked: Iterable[Action | Correction]) -> dict[str, Reversal]:
    """Return what was taken back: the id of a split or dividend -> its reversal."""
    return {one.original.action_id: one for one in booked if isinstance(one, Reversal)}


def anew(action: Split | Dividend, undone: Collection[str]) -> Split | Dividend:
    """Return an action under an id that was not taken back: what comes again is a new entry."""
    again = f"{action.action_id}/again/"
    times = sum(name == action.action_id or name.startswith(again) for name in undone)
    return replace(action, action_id=f"{again}{times}") if times else action


def instant_of(event: Event) -> datetime:
    """Return when an event took place, whenever it was booked."""
    return event.executed_at if isinstance(event, Fill) else event.effective


def in_time(events: list[Event]) -> list[Event]:
    """Return events in the order they took place; an action comes before trades of its instant."""
    return sorted(events, key=lambda one: (instant_of(one), isinstance(one, Fill)))


def _zoned(at: datetime, name: str) -> None:
    if at.tzinfo is None:
        raise OrderInvalid(f"{name}: its time must carry a time zone")
