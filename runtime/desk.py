"""What an engine works with, all of it handed in: bundle, data, journal, venues, policy, time."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Protocol, runtime_checkable

from featurestore.calendars import Calendar
from runtime.bundles.bundle import LoadedBundle
from runtime.bundles.inputs import MarketReader
from runtime.clock import Clock
from runtime.domain import Bar
from runtime.errors import PolicyInvalid
from runtime.execution.entitlements import Actions
from runtime.joint.identity import Joint
from runtime.joint.members import Member
from runtime.joint.shadow import Shadows
from runtime.joint.shares import Shares
from runtime.journal.store import Journal
from runtime.kill.switch import KillSwitch
from runtime.market.states import Published
from runtime.policies.policy import Policy
from runtime.ports import Broker, Feed
from runtime.scheduling.schedule import is_due


@runtime_checkable
class SimulatedVenue(Protocol):
    """A venue that executes against published bars; never one that trades with money."""

    def expire_before(self, opened: datetime) -> None:
        """End the orders that were created before that and still work: their session is over."""
        ...

    def on_bars(self, bars: Sequence[Bar], at: datetime) -> int:
        """Publish bars and execute what was working before them."""
        ...


_SIMULATED = tuple(name for name in vars(SimulatedVenue) if not name.startswith("_"))


def _simulates(broker: Broker) -> bool:
    """Say `isinstance(broker, SimulatedVenue)` in a tenth of its time; a desk is made often."""
    return all(hasattr(broker, name) for name in _SIMULATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Everything one engine needs; it reaches for nothing else."""

    bundle: LoadedBundle
    reader: MarketReader
    feed: Feed
    journal: Journal
    brokers: tuple[Broker, ...]
    policy: Policy  # for ever, or until `limits` has answered for the first time
    calendar: Calendar
    clock: Clock
    kill: KillSwitch
    approved: Callable[[], str | None]  # hash of the bundle the registry has in this seat
    market: Callable[[datetime], Mapping[str, Published]] | None = None  # None = told from bars
    halts: Callable[[datetime], Mapping[str, Published]] | None = None  # told, on top of `market`
    freshness: Mapping[str, timedelta] = field(default_factory=dict)  # view -> age allowed
    volume: str = ""  # "view.field" of units traded a day; "" = nobody knows them
    caller: str = "engine"
    limits: Callable[[datetime], Policy] | None = None  # the policy in force at an instant
    standing: Callable[[], AbstractContextManager[None]] = nullcontext
    # entered around every call that changes something at a venue; refuses a process superseded
    # Told once a decision is committed, before its orders leave: returns at once, never raises.
    committed: Callable[[], object] = lambda: None
    urgent: bool = False  # the bundle took over by a roll-back: it decides now, schedule or not
    members: tuple[Member, ...] = ()  # where several bundles trade; `bundle` is then their joint
    joint: Joint | None = None
    shares: Shares | None = None  # each member's own books
    shadows: Shadows | None = None  # challengers of the champion
    actions: Actions | None = None  # splits and dividends; None = the prices carry them already
    # Told what the account closes with before anybody decides; returns why somebody has to leave
    # his seat, and has taken him out of it, or "" if all may stay.
    watch: Callable[[date, Decimal, float | None, Mapping[str, Decimal]], str] | None = None

    _simulated: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        simulated = {_simulates(broker) for broker in self.brokers}
        if len(simulated) != 1:
            raise PolicyInvalid("a desk has paper venues only or real ones only, and at least one")
        object.__setattr__(self, "_simulated", simulated.pop())
        if len({broker.name for broker in self.brokers}) != len(self.brokers):
            raise PolicyInvalid("two venues of a desk share a name")
        if bool(self.members) is (self.joint is None or self.shares is None):
            raise PolicyInvalid("several bundles on one desk need their joint and their books")

    @property
    def simulated(self) -> bool:
        """Say whether every venue is a paper venue."""
        return self._simulated

    def policy_at(self, at: datetime) -> Policy:
        """Return the limits in force at an instant, reloads and overrides included."""
        return self.policy if self.limits is None else self.limits(at)

    def broker(self, venue: str) -> Broker | None:
        """Return the venue of that name, None if this desk has none."""
        return next((broker for broker in self.brokers if broker.name == venue), None)

    def studies(self) -> tuple[str, ...]:
        """Return the studies that decide here, each once."""
        own = self.bundle.manifest.study
        return tuple(dict.fromkeys((own, *(one.bundle.manifest.study for one in self.members))))

    def stops(self) -> "Stops":
        """Read the kill switch once."""
        return self.stops_of(self.kill.engaged())

    def stops_of(self, engaged: Mapping[str, str]) -> "Stops":
        """Return what a kill switch that was read, scope -> reason, means for this desk."""
        studies = (f"study.{one}" for one in self.studies())
        names = ("all", f"account.{self.journal.account}", *studies)
        return Stops(engaged=engaged, names=names)

    def due(self, day: date, *, invested: bool) -> bool:
        """Say whether anybody decides at the close of a session.

        Args:
            day: the session.
            invested: whether the account holds anything; what is stopped only sells.
        """
        if not self.members:
            return self.urgent or is_due(self.bundle.manifest.schedule, self.calendar, day)
        return any(
            invested if member.stopped else self.member_due(member, day) for member in self.members
        )

    def member_due(self, member: Member, day: date) -> bool:
        """Say whether one of several bundles decides at the close of a session."""
        return member.urgent or is_due(member.bundle.manifest.schedule, self.calendar, day)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stops:
    """The kill switch as read at one moment."""

    engaged: Mapping[str, str]  # scope -> reason
    names: tuple[str, ...]  # scopes that stop this whole desk

    def reason(self, symbol: str) -> str | None:
        """Return why nothing may be sent in a symbol, None if it may."""
        if not self.engaged:
            return None
        for name in (*self.names, f"symbol.{symbol}"):
            if name in self.engaged:
                return f"kill switch {name}: {self.engaged[name]}"
        return None
