"""What the service answers about seats: who sits where, with how much, and who is better."""

from datetime import date
from decimal import Decimal

import msgspec

from service.operator.control import Asked, Name, Words


class RollbackSeat(Asked, frozen=True, kw_only=True):
    """Put back what sat in a seat before."""

    role: Name = "champion"
    by: Name
    why: Words


class CompareAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A challenger against its champion, by a test that may be looked at every day."""

    role: str
    challenger: str  # bundle hash
    study: str
    champion: str  # bundle hash
    alpha: float  # chance, at most, of ever calling an equal challenger better
    bound: float  # daily differences are clipped to -bound..bound
    since: str  # ISO 8601, UTC
    days: int
    clipped: int  # days beyond the bound
    first: date | None
    last: date | None
    challenger_return: float  # total of its paper book, fraction
    champion_return: float
    mean: float  # fraction a day, challenger less champion, clipped
    low: float  # fraction a day; with `high` an interval that holds on all days at once
    high: float
    better: float  # evidence that the challenger is better; it decides at `needed`
    worse: float  # evidence that the champion is better
    needed: float
    decision: str  # "challenger", "champion" or "undecided"
    decided_on: date | None
    words: str


class SeatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A seat and who sits there."""

    role: str
    study: str
    bundle: str
    version: int
    stage: str
    since: str  # ISO 8601, UTC
    by: str
    why: str
    stopped: bool  # sells what it holds and decides nothing
    fraction: Decimal | None  # of the capital when it was shared; None = none
    bands: dict[str, str]  # name -> fraction
    comparison: CompareAnswer | None


class RegistryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every seat that is not empty, champion first."""

    at: str  # ISO 8601, UTC
    seats: tuple[SeatAnswer, ...]
    shared: bool  # several bundles trade the account
    max_turnover: Decimal | None  # fraction of equity per tick


class ChangeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the registry's history."""

    at: str  # ISO 8601, UTC
    action: str  # activate, rollback, stop, retire, allocate
    role: str  # "" of an allocation, which concerns all
    study: str
    bundle: str
    version: int
    stage: str
    by: str
    why: str
    bands: dict[str, str]


class HistoryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The registry's history, newest first."""

    items: tuple[ChangeAnswer, ...]


class RolledBack(msgspec.Struct, frozen=True, kw_only=True):
    """A roll-back that is in force."""

    change: ChangeAnswer
    running: str | None  # hash of what decides here now
    refused: str  # why what should decide here does not; "" if it does


class MemberDayAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One bundle's books at one close."""

    day: date
    role: str
    bundle: str
    equity: Decimal  # USD
    cash: Decimal  # USD
    given: Decimal  # USD of capital it was given, less what was taken
    profit: Decimal  # USD of the session
    fees: Decimal  # USD since the start
    returned: float | None  # fraction, of the session


class SharesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What each bundle of an account has and made, newest close first."""

    account: str
    days: tuple[MemberDayAnswer, ...]


class ArmAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A seat with capital against the control, on what both really earned, net of costs."""

    role: str
    study: str
    bundle: str  # hash
    control_role: str
    control: str  # bundle hash
    alpha: float  # chance, at most, that the whole test ever decides anything wrongly
    bound: float  # daily differences are clipped to -bound..bound
    days: int  # sessions that count
    clipped: int  # of them beyond the bound
    first: date | None
    last: date | None
    arm_return: float  # total over the sessions that count, fraction
    control_return: float
    mean: float  # fraction a session, arm less control, clipped
    low: float  # fraction a session; with `high` an interval that holds on all days at once
    high: float
    better: float  # evidence that the arm earns more; it decides at `needed`
    worse: float  # evidence that the control does
    needed: float
    asked: int  # how often a test of these two bundles was begun
    decision: str  # role of the better one, or "undecided"
    decided_on: date | None
    words: str


class ArmsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every arm of an account against its control."""

    account: str
    since: str | None  # ISO 8601, UTC: when the test was declared; None = there is none
    arms: tuple[ArmAnswer, ...]
