"""Who trades an account now: the champion alone or several bundles, and who watches in shadow.

Read from the registry afresh for every session, so a promotion, a roll-back, a stop or another
share of the capital holds from the next session on without a restart.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from featurestore.errors import PlatformError
from runtime.bundles.bundle import LoadedBundle, VerifiedBundle
from runtime.clock import Clock
from runtime.desk import Desk
from runtime.engine import SessionOutcome
from runtime.errors import BundleRefused
from runtime.joint.identity import Joint, JointSeat
from runtime.joint.members import Member, joint_bundle, joint_of
from runtime.joint.shadow import Challenger, Shadows
from runtime.joint.shares import Shares
from runtime.journal.queries import JournalQueries
from runtime.registry import CHALLENGER, CHAMPION, Change, Registry
from runtime.scheduling.fence import Fence
from service.databases import open_runtime
from service.records import open_joints, open_registry, open_shadows
from service.settings import Settings
from service.trading.bands import Watch
from service.trading.engines import (
    Replayed,
    active_bundle,
    load_seated,
    replay_bundle,
    verify_seated,
)
from service.trading.seat import Seat

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """The bundles of one account."""

    settings: Settings
    registry: Registry
    bundle: LoadedBundle  # the champion, or what several are together
    champion: LoadedBundle | None  # None where no champion has capital
    members: tuple[Member, ...] = ()
    joint: Joint | None = None
    challengers: tuple[Challenger, ...] = ()

    @property
    def bundles(self) -> tuple[LoadedBundle, ...]:
        """Return every bundle that reads data, those with capital first."""
        traded = [member.bundle for member in self.members] or [self.bundle]
        return (*traded, *(one.bundle for one in self.challengers))

    @property
    def words(self) -> str:
        """Say who trades, for people."""
        if not self.members:
            return f"{self.bundle.manifest.study} ({self.bundle.hash[:12]}, {self.bundle.stage})"
        return ", ".join(
            f"{one.role} {one.bundle.manifest.study} {one.fraction:.0%}"
            + (" (stopped)" if one.stopped else "")
            for one in self.members
        )

    def man(
        self,
        desk: Desk,
        *,
        clock: Clock,
        freshness: Mapping[str, timedelta],
        fence: Fence | None = None,
    ) -> Desk:
        """Return the desk with everybody at it; what was just rolled back to decides at once.

        Args:
            desk: of the account.
            clock: wall or replay.
            freshness: view name -> age allowed.
            fence: the right to write for the account; None where no other process trades it.
        """
        engine, journal = desk.journal.engine, desk.journal
        watch = Watch(registry=self.registry, journal=journal, clock=clock, fence=fence)
        if self.members and self.joint is not None:
            shares = Shares(journal, open_joints(self.settings, engine, fence))
            seats = self.registry.seats()
            members = tuple(
                replace(one, urgent=_urgent(seats.get(one.role), journal)) for one in self.members
            )
            desk = replace(
                desk,
                members=members,
                joint=self.joint,
                shares=shares,
                approved=approve_joint(self.settings),
            )
            watch = replace(watch, joint=self.joint, shares=shares)
        else:
            desk = replace(desk, urgent=_urgent(self.registry.active(), journal))
        if self.challengers and self.champion is not None:
            shadows = Shadows(
                record=open_shadows(self.settings, engine, fence),
                account=journal.account,
                calendar=desk.calendar,
                champion=self.champion,
                challengers=self.challengers,
                freshness=freshness,
                actions=desk.actions,
            )
            desk = replace(desk, shadows=shadows)
        return replace(desk, watch=watch.look)


def replay_crew(
    settings: Settings,
    *,
    first: date | None = None,
    last: date | None = None,
    on_start: Callable[[int], None] = lambda _: None,
    on_session: Callable[[SessionOutcome], None] | None = None,
) -> Replayed:
    """Replay whoever the registry gives capital to: the champion, or several in one account.

    Stop bands take nobody out of a replay and nobody decides early in it: the registry is read,
    and left as it is. See `service.trading.engines.replay_bundle`.

    Raises:
        QueryInvalid: as `replay_bundle`; the days lie in the sealed years of all of them.
    """
    crew = live_crew(settings)

    def man(desk: Desk) -> Desk:
        if not crew.members:
            return desk
        return replace(
            desk,
            members=crew.members,
            joint=crew.joint,
            shares=Shares(desk.journal, open_joints(settings, desk.journal.engine)),
            approved=approve_joint(settings),
        )

    return replay_bundle(
        settings,
        crew.bundle,
        first=first,
        last=last,
        on_start=on_start,
        on_session=on_session,
        members=[member.bundle for member in crew.members],
        man=man,
    )


def live_crew(settings: Settings) -> Crew:
    """Load everybody whom the registry names.

    Raises:
        NotFound: nobody has capital.
        BundleRefused: a bundle with capital does not verify and none before it does, or several
            cannot trade one account; one in shadow that does not verify is only left out.
    """
    registry = open_registry(settings, open_runtime(settings))
    seats = registry.seats()
    allocation = registry.allocation()
    champion = seats.get(CHAMPION)
    if allocation is None and not (champion and champion.stopped):
        alone = active_bundle(settings)
        return Crew(
            settings=settings,
            registry=registry,
            bundle=alone,
            champion=alone,
            challengers=_challengers(settings, seats, alone),
        )
    fractions = {CHAMPION: Decimal(1)} if allocation is None else allocation.shares
    members = tuple(
        _member(settings, registry, seats.get(role), role, fraction)
        for role, fraction in fractions.items()
    )
    joint = joint_of(members, None if allocation is None else allocation.turnover)
    first = next((one.bundle for one in members if one.role == CHAMPION), None)
    return Crew(
        settings=settings,
        registry=registry,
        bundle=joint_bundle(joint, members),
        champion=first,
        members=members,
        joint=joint,
        challengers=() if first is None else _challengers(settings, seats, first),
    )


def approve_joint(settings: Settings) -> Callable[[], str | None]:
    """Return what asks the registry which joint may trade now; each seat keeps what verified."""
    registry = open_registry(settings, open_runtime(settings))
    kept: dict[str, Seat[VerifiedBundle]] = {}

    def approved() -> str | None:
        allocation, seats = registry.allocation(), registry.seats()
        fractions = {CHAMPION: "1"} if allocation is None else dict(allocation.fractions)
        found = []
        for role in sorted(fractions):
            seat = kept.setdefault(
                role, Seat(registry, lambda one: verify_seated(settings, one), role=role)
            )
            sitting = seat.refresh()
            if sitting is None:
                return None
            found.append(
                JointSeat(
                    role=role,
                    study=sitting.manifest.study,
                    bundle=sitting.hash,
                    version=sitting.signature.version,
                    fraction=format(Decimal(fractions[role]), "f"),
                    stopped=seats[role].stopped,
                )
            )
        turnover = None if allocation is None else allocation.turnover
        limit = None if turnover is None else format(turnover, "f")
        return Joint(seats=tuple(found), max_turnover=limit).hash

    return approved


def _member(
    settings: Settings,
    registry: Registry,
    change: Change | None,
    role: str,
    fraction: Decimal,
) -> Member:
    seat = Seat(registry, lambda one: load_seated(settings, one), role=role)
    bundle = seat.refresh()
    if bundle is None or change is None:
        raise BundleRefused(seat.refused or f"seat {role} has capital and no bundle")
    return Member(role=role, bundle=bundle, fraction=fraction, stopped=change.stopped)


def _challengers(
    settings: Settings, seats: Mapping[str, Change], champion: LoadedBundle
) -> tuple[Challenger, ...]:
    """Load who decides in shadow; whoever cannot is left out, and the log says why."""
    found = []
    for role, change in seats.items():
        if not role.startswith(CHALLENGER) or change.comparison is None:
            continue
        try:
            bundle = load_seated(settings, change)
            check_comparable(champion, bundle)
        except PlatformError as error:
            log.warning("%s does not decide in shadow: %s", role, error)
            continue
        found.append(
            Challenger(role=role, bundle=bundle, comparison=change.comparison, since=change.since)
        )
    return tuple(found)


def check_comparable(champion: LoadedBundle, challenger: LoadedBundle) -> None:
    """Refuse a challenger that would not see what the champion sees; BundleRefused says why."""
    one, other = champion.manifest, challenger.manifest
    for name in ("calendar", "price_feature"):
        if getattr(one, name) != getattr(other, name):
            raise BundleRefused(
                f"manifest.json: its {name} is {getattr(other, name)}, the champion's "
                f"{getattr(one, name)}; they would not be compared on identical inputs"
            )
    surplus = sorted(set(other.symbols) - set(one.symbols))
    if surplus:
        raise BundleRefused(
            f"manifest.json: trades {', '.join(surplus[:5])}, which the champion does not; they "
            "would not be compared on identical inputs"
        )


def _urgent(change: Change | None, journal: JournalQueries) -> bool:
    """Say whether a seat was rolled back since the account decided last."""
    if change is None or change.action != "rollback":
        return False
    last = journal.decisions(limit=1)
    return not last or last[0].record.decided_at < change.since
