"""The registry as an operator sees and changes it: seats, promotions, roll-backs, shares, tests."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine

from runtime.bundles.contract import StopBands
from runtime.clock import Clock
from runtime.errors import RegistryConflict
from runtime.joint.identity import JointLog
from runtime.joint.shadow_log import Compared, ShadowLog
from runtime.joint.shares import Shares
from runtime.journal.queries import JournalQueries
from runtime.registry import CHALLENGER, CHAMPION, Allocation, Change, Registry
from service.faults import NotFound
from service.operator.arms import arms_of, declared, standing_of
from service.operator.seats import (
    ArmsAnswer,
    ChangeAnswer,
    CompareAnswer,
    MemberDayAnswer,
    RegistryAnswer,
    SeatAnswer,
    SharesAnswer,
)


@dataclass(frozen=True, slots=True)
class Registrar:
    """Questions to the registry, and the changes that need no signature."""

    registry: Registry
    shadows: ShadowLog
    joints: JointLog
    journal: JournalQueries  # of the live account
    clock: Clock

    def show(self, at: datetime | None = None) -> RegistryAnswer:
        """Return every seat, now or as of a time in the past.

        Args:
            at: UTC; None = now, with the comparisons of today.
        """
        seats = self.registry.seats(at=at)
        allocation = self.registry.allocation(at=at)
        fractions = {} if allocation is None else allocation.shares
        if allocation is None and CHAMPION in seats:
            fractions = {CHAMPION: Decimal(1)}
        return RegistryAnswer(
            at=(at or self.clock.now()).isoformat(),
            seats=tuple(
                SeatAnswer(
                    **_facts(change),
                    since=change.at,
                    stopped=change.stopped,
                    fraction=fractions.get(role),
                    comparison=None if at is not None else self._compared(change),
                )
                for role, change in seats.items()
            ),
            shared=allocation is not None,
            max_turnover=None if allocation is None else allocation.turnover,
        )

    def history(self, role: str | None = None) -> tuple[ChangeAnswer, ...]:
        """Return every change, newest first; shares of the capital among them."""
        found = [change_answer(change) for change in self.registry.history(role)]
        for one in self.registry.allocations() if role is None else ():
            words = ", ".join(f"{name} {part}" for name, part in one.shares.items())
            found.append(
                ChangeAnswer(
                    at=one.at,
                    action="allocate",
                    role="",
                    study=f"{words or 'all to the champion'}{_judged_by(one)}",
                    bundle="",
                    version=0,
                    stage="",
                    by=one.by,
                    why=one.why,
                    bands={},
                )
            )
        return tuple(sorted(found, key=lambda one: one.at, reverse=True))

    def rollback(self, role: str, *, by: str, why: str) -> ChangeAnswer:
        """Put the bundle back that sat in a seat before; RegistryConflict if none did."""
        change = self.registry.rollback(role=role, by=by, why=why, at=self.clock.now())
        return change_answer(change)

    def retire(self, role: str, *, by: str, why: str) -> ChangeAnswer:
        """Empty a seat; RegistryConflict if it is empty, or has capital."""
        return change_answer(self.registry.retire(role=role, by=by, why=why, at=self.clock.now()))

    def allocate(
        self,
        fractions: Mapping[str, str],
        *,
        max_turnover: str | None,
        by: str,
        why: str,
        control: str | None = None,
        alpha: float | None = None,
        bound: float | None = None,
    ) -> None:
        """Share the capital anew, and declare how the arms are judged.

        Args:
            fractions: role -> fraction of equity.
            max_turnover: fraction of equity per tick.
            by: who decided it.
            why: in words.
            control: seat that the others are compared with; None = as before, or the champion.
            alpha: chance, at most, that the test ever decides anything wrongly; None = as before.
            bound: daily differences are clipped to it; None = as before.

        Raises:
            RegistryConflict: a fraction, a seat or the test is not usable.
        """
        test = declared(
            self.registry.allocations(), fractions, control=control, alpha=alpha, bound=bound
        )
        self.registry.allocate(
            fractions, max_turnover=max_turnover, test=test, by=by, why=why, at=self.clock.now()
        )

    def arms(self) -> ArmsAnswer:
        """Judge the seats that share the capital by what they earned, net of costs."""
        days = Shares(self.journal, self.joints).follow().days
        return arms_of(self.journal.account, self.registry, days)

    def standing(self, bundle: str) -> tuple[bool, str, str] | None:
        """Return what the last test says in which a bundle shared the champion's capital."""
        if self.registry.allocations() == ():
            return None  # so nobody's books need to be read
        days = Shares(self.journal, self.joints).follow().days
        return standing_of(bundle, self.registry, days)

    def compare(self, role: str = CHALLENGER) -> CompareAnswer:
        """Weigh the challenger in a seat against the champion it was seated against.

        Raises:
            NotFound: no challenger sits there.
        """
        change = self.registry.active(role)
        found = None if change is None else self._compared(change)
        if found is None:
            raise NotFound(
                f"no challenger sits in seat {role}",
                "seat one with sluice registry challenge BUNDLE",
            )
        return found

    def shares(self, days: int) -> SharesAnswer:
        """Return what each bundle of the live account has and made, newest close first.

        Args:
            days: how many closes.
        """
        shares = Shares(self.journal, self.joints).follow()
        closes = sorted({one.day for one in shares.days})[-days:]
        return SharesAnswer(
            account=self.journal.account,
            days=tuple(
                MemberDayAnswer(
                    day=one.day,
                    role=one.role,
                    bundle=one.bundle,
                    equity=one.equity,
                    cash=one.cash,
                    given=one.given,
                    profit=one.profit,
                    fees=one.fees,
                    returned=one.returned,
                )
                for one in reversed(shares.days)
                if one.day in closes
            ),
        )

    def _compared(self, change: Change) -> CompareAnswer | None:
        if change.comparison is None:
            return None
        found = self.shadows.compare(
            self.journal.account, change.bundle, change.comparison, change.since
        )
        return _answer(change, found)


def open_registrar(
    engine: Engine, registry: Registry, journal: JournalQueries, clock: Clock
) -> Registrar:
    """Return the registry as an operator sees it; `journal` is of the live account."""
    return Registrar(
        registry=registry,
        shadows=ShadowLog(engine),
        joints=JointLog(engine),
        journal=journal,
        clock=clock,
    )


def decided(found: CompareAnswer) -> bool:
    """Say whether the evidence is for the challenger."""
    return found.decision == "challenger"


def open_bundle_folder(bundles: Path, text: str) -> Path:
    """Return the folder of the bundle whose hash begins with `text`; NotFound if not just one."""
    name = Path(text).name
    found = sorted(
        path for path in bundles.glob(f"{name}*") if path.is_dir() and len(path.name) == 64
    )
    if not name or len(found) != 1:
        raise NotFound(
            f"{len(found)} bundles in {bundles} begin with {text!r}",
            "give the beginning of one bundle's hash",
        )
    return found[0]


@dataclass(frozen=True, slots=True)
class Promotions:
    """Changes that need a signature; the key and the graph runtime are opened when one is made."""

    registrar: Registrar
    bundles: Path  # one folder per bundle hash
    sign: Callable[[Path, "Request"], Change]  # signs, loads, activates

    def promote(self, asked: "Request") -> Change:
        """Sign a bundle anew and put it into a seat.

        Raises:
            RegistryConflict: it sits as a challenger, or has ever shared the capital with the
                champion, and the test has not decided for it.
        """
        folder = open_bundle_folder(self.bundles, asked.bundle)
        seats = self.registrar.registry.seats()
        where = [role for role, one in seats.items() if one.bundle == folder.name]
        challenging = [role for role in where if role.startswith(CHALLENGER)]
        if asked.role == CHAMPION:
            for better, role, words in self._tests(folder.name, where):
                asked = _proven(asked, better, role, words)
        change = self.sign(folder, asked)
        for role in challenging if asked.role == CHAMPION else ():
            self.registrar.registry.retire(
                role=role, by=asked.by, why="became champion", at=self.registrar.clock.now()
            )
        return change

    def _tests(self, bundle: str, roles: Sequence[str]) -> list[tuple[bool, str, str]]:
        """Return what each test says: whether the bundle beats the champion, its seat, words.

        One on capital counts after it ended too, or ending it would be a way round it.
        """
        found = [
            (decided(one), role, one.words)
            for role in roles
            if role.startswith(CHALLENGER)
            for one in (self.registrar.compare(role),)
        ]
        shared = self.registrar.standing(bundle)
        return found if shared is None else [*found, shared]


def _proven(asked: "Request", better: bool, role: str, words: str) -> "Request":
    if not better and not asked.despite:
        raise RegistryConflict(
            f"{role} is not shown to be better: {words}; wait, or say --despite WHY"
        )
    why = f"{asked.why}; {words}"
    if not better:
        why = f"{why}; promoted despite that: {asked.despite}"
    return msgspec.structs.replace(asked, why=why)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A promotion as it is asked for."""

    bundle: str  # hash, or its beginning
    role: str
    stage: str = ""  # "" = as it is signed now
    by: str
    why: str
    bands: StopBands | None = None
    despite: str = ""  # why it is promoted before the test has decided
    alpha: float | None = None  # of a challenger
    bound: float | None = None


def _judged_by(one: Allocation) -> str:
    """Return how an allocation lets its arms be judged, in words."""
    if one.test is None:
        return ""
    return (
        f", judged against {one.test.control} at alpha {one.test.alpha:g}, bound {one.test.bound:g}"
    )


def change_answer(change: Change) -> ChangeAnswer:
    """Return a change as it is answered."""
    return ChangeAnswer(**_facts(change), at=change.at, action=change.action)


def _facts(change: Change) -> dict[str, Any]:
    bands = None if change.promotion is None else change.promotion.bands
    return {
        "role": change.role,
        "study": change.study,
        "bundle": change.bundle,
        "version": change.version,
        "stage": change.stage,
        "by": change.by,
        "why": change.why,
        "bands": {} if bands is None else msgspec.to_builtins(bands),
    }


def _answer(change: Change, found: Compared) -> CompareAnswer:
    test, evidence = change.comparison, found.evidence
    assert test is not None
    decision, when = "undecided", None
    ends = [
        (since, word)
        for since, word in (
            (evidence.better_since, "challenger"),
            (evidence.worse_since, "champion"),
        )
        if since is not None
    ]
    if ends:
        since, decision = min(ends)
        when = found.days[since - 1]
    return CompareAnswer(
        role=change.role,
        challenger=change.bundle,
        study=change.study,
        champion=test.against,
        alpha=test.alpha,
        bound=test.bound,
        since=change.at,
        days=evidence.days,
        clipped=evidence.clipped,
        first=found.days[0] if found.days else None,
        last=found.days[-1] if found.days else None,
        challenger_return=found.challenger,
        champion_return=found.champion,
        mean=evidence.mean,
        low=evidence.low,
        high=evidence.high,
        better=evidence.better,
        worse=evidence.worse,
        needed=1 / test.alpha,
        decision=decision,
        decided_on=when,
        words=_words(
            decision,
            when,
            evidence.worse if decision == "champion" else evidence.better,
            1 / test.alpha,
            evidence.days,
        ),
    )


def _words(decision: str, when: date | None, evidence: float, needed: float, days: int) -> str:
    if decision == "undecided":
        return f"undecided after {days} days, evidence {evidence:.2f} of the {needed:.0f} needed"
    return f"the {decision} is better, decided on {when}; evidence after {days} days {evidence:.2f}"
