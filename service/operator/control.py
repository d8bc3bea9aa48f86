"""What an operator asks for and is answered: kill switch, policy, overrides."""

from datetime import datetime
from typing import Annotated

import msgspec

from runtime.policies.diff import LimitChange

Words = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request; names it does not know are refused."""


class EngageRequest(Asked, frozen=True, kw_only=True):
    """Stop a scope."""

    scope: Name = "all"  # all, account.X, study.X, symbol.X, drift.STUDY
    reason: Words
    by: Name


class ReleaseRequest(Asked, frozen=True, kw_only=True):
    """Allow a scope again."""

    scope: Name
    reason: Words
    by: Name
    second: Name  # another person who agrees


class TakeRequest(Asked, frozen=True, kw_only=True):
    """Take an alert on."""

    by: Name
    note: Annotated[str, msgspec.Meta(max_length=500)] = ""  # what is done about it


class StopAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One scope that is stopped."""

    scope: str
    reason: str
    by: str  # "" if the file was made by hand
    at: str  # ISO 8601, UTC


class KillAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What is stopped now."""

    engaged: bool
    stops: tuple[StopAnswer, ...]


class OpenOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order of which nobody could confirm that it no longer works."""

    venue: str
    order_id: str
    symbol: str
    state: str
    reason: str


class EngagedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the kill sequence did."""

    stops: tuple[StopAnswer, ...]
    found: int  # orders that worked at the venues
    cancelled: int  # confirmed by the venues
    ended: int  # filled or over before the cancel arrived
    still_open: tuple[OpenOrder, ...]
    unreachable: tuple[str, ...]
    complete: bool  # it is certain that nothing works any more


class ReloadRequest(Asked, frozen=True, kw_only=True):
    """Read the policy file again."""

    by: Name
    why: Words


class RollbackRequest(Asked, frozen=True, kw_only=True):
    """Bring an earlier policy back into force."""

    number: int
    by: Name
    why: Words


class ReviewRequest(Asked, frozen=True, kw_only=True):
    """Put on record that a person has looked at every limit in force."""

    number: int  # of the policy
    by: Name
    why: Words  # what came of it


class DiffRequest(Asked, frozen=True, kw_only=True):
    """Compare a policy with the one in force; changes nothing."""

    text: Annotated[str, msgspec.Meta(max_length=60_000)] | None = None  # None = the file


class OverrideRequest(Asked, frozen=True, kw_only=True):
    """Change one limit for a while, once a second person has approved."""

    limit: Name
    value: Name
    seconds: int
    by: Name
    why: Words


class PersonRequest(Asked, frozen=True, kw_only=True):
    """Who approves or revokes."""

    by: Name


class OverrideAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One override and how it stands."""

    id: str
    limit: str
    value: str
    by: str
    why: str
    ends: datetime  # UTC
    approved_by: str
    revoked_by: str
    in_force: bool


class PolicyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One policy that came into force."""

    number: int
    hash: str
    origin: str  # "file", "rollback"
    by: str
    why: str
    at: datetime  # UTC


class ReviewAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The newest review of the limits, and when the next one is due."""

    number: int | None  # of the policy that was reviewed; None = none ever was
    by: str
    why: str  # what came of it
    at: datetime | None  # UTC
    due: datetime | None  # UTC
    overdue: str  # in words; empty if it is not


class PolicyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The policy in force, how it came about, and what is overridden."""

    active: PolicyEntry
    text: str  # the file as it was installed
    in_force: str  # hash that a decision made now would name, overrides included
    file: str  # where the next reload reads from
    refused: str  # why the file was not taken when this process last read it; empty if it was
    changed: bool = False  # this very call brought another policy into force
    overrides: tuple[OverrideAnswer, ...]  # asked for and not over yet
    review: ReviewAnswer
    history: tuple[PolicyEntry, ...]  # newest first


class DiffAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy would change."""

    before: str  # hash in force
    after: str
    looser: int  # limits that would let more through
    changes: tuple[LimitChange, ...]
