"""A/B arms as an operator sees them: which seat with capital earns more, net of costs."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import partial

from runtime.errors import RegistryConflict
from runtime.joint.arms import Judged, judge, paired
from runtime.joint.shares import MemberDay
from runtime.registry import CHAMPION, Allocation, ArmTest, Change, Registry, judging
from runtime.registry.changes import sitting
from service.operator.seats import ArmAnswer, ArmsAnswer

ALPHA, BOUND = 0.05, 0.02  # where nobody says otherwise


def declared(
    earlier: Sequence[Allocation],
    fractions: Mapping[str, str],
    *,
    control: str | None,
    alpha: float | None,
    bound: float | None,
) -> ArmTest | None:
    """Return how seats that share the capital are judged; None if there is only one.

    What is not said stays as it is while the same seats share, so that other fractions alone do
    not begin the test anew.

    Raises:
        RegistryConflict: the champion does not share, and nobody said who is the control.
    """
    if len(fractions) < 2:
        if (control, alpha, bound) != (None, None, None):
            raise RegistryConflict("one seat has the capital, there is nothing to compare it with")
        return None
    last = earlier[-1] if earlier else None
    same = last.test if last is not None and set(last.fractions) == set(fractions) else None
    if control is None and same is None and CHAMPION not in fractions:
        raise RegistryConflict(
            f"the champion has no capital; say which of {', '.join(sorted(fractions))} is the "
            "control that the others are compared with"
        )
    return ArmTest(
        control=control or (same.control if same else CHAMPION),
        alpha=alpha if alpha is not None else (same.alpha if same else ALPHA),
        bound=bound if bound is not None else (same.bound if same else BOUND),
    )


def arms_of(account: str, registry: Registry, days: Sequence[MemberDay]) -> ArmsAnswer:
    """Judge every arm that shares the capital now; no arms if no test is declared.

    Args:
        account: that the seats share.
        registry: who sits where, and how the capital is shared.
        days: of all seats, oldest first; from `runtime.joint.shares.Shares`.
    """
    allocations = registry.allocations()
    began, seats = judging(allocations), registry.seats()
    if began is None or began.test is None:
        return ArmsAnswer(account=account, since=None, arms=())
    control = seats.get(began.test.control)
    roles = sorted(set(began.fractions) - {began.test.control})
    if control is None:
        return ArmsAnswer(account=account, since=began.at, arms=())
    asked = partial(_asked, registry.history(), allocations)
    found = [
        _judged(began, seats[role], control, days, asked(seats[role], control))
        for role in roles
        if role in seats
    ]
    return ArmsAnswer(account=account, since=began.at, arms=tuple(found))


def standing_of(
    bundle: str, registry: Registry, days: Sequence[MemberDay]
) -> tuple[bool, str, str] | None:
    """Return what the last test says in which a bundle and the champion shared the capital.

    It does not matter whether that test still runs, nor whether the bundle still has its seat.
    What counts is the champion of now, or the last one where the seat is empty: against one that
    never shared with it nothing is shown.

    Args:
        bundle: hash.
        registry: who sits where, and how the capital is shared.
        days: of all seats, oldest first.

    Returns:
        Whether the bundle beats the champion, the seat it had, and words; None if they never
        shared the capital under a test, or the bundle is the champion.
    """
    history, allocations = registry.history(), registry.allocations()
    champion = next((one for one in reversed(history) if one.role == CHAMPION), None)
    if champion is None or champion.bundle == bundle:
        return None
    for number in range(len(allocations), 0, -1):
        one, began = allocations[number - 1], judging(allocations[:number])
        if began is None or began.test is None or CHAMPION not in one.fractions:
            continue
        until = allocations[number].at if number < len(allocations) else None
        shared = [
            change
            for role in sorted(set(one.fractions) - {CHAMPION})
            for change in _sat(history, role, one.at, until)
            if change.bundle == bundle
        ]
        if not shared:
            continue
        arm, control = shared[-1], began.test.control
        if control not in {CHAMPION, arm.role}:
            return False, arm.role, f"it was compared with {control}, not with the champion"
        asked = _asked(history, allocations[:number], arm, champion)
        found = _judged(began, arm, champion, days, asked)
        return found.decision == arm.role, arm.role, found.words
    return None


def _sat(history: Sequence[Change], role: str, since: str, until: str | None) -> list[Change]:
    """Return what sat in a seat at an instant, and what was put there up to another one."""
    begun = datetime.fromisoformat(since)
    ended = None if until is None else datetime.fromisoformat(until)
    first = sitting([one for one in history if one.since <= begun], role)
    later = [
        one
        for one in history
        if one.role == role
        and one.action != "retire"
        and begun < one.since
        and (ended is None or one.since < ended)
    ]
    return later if first is None else [first, *later]


def _judged(
    began: Allocation, arm: Change, control: Change, days: Sequence[MemberDay], asked: int
) -> ArmAnswer:
    """Weigh one arm against a control on the terms that a test began with."""
    assert began.test is not None
    since = datetime.fromisoformat(began.at).date()
    pairs = paired(days, (arm.role, arm.bundle), (control.role, control.bundle), since)
    judged = judge(
        pairs,
        bound=began.test.bound,
        alpha=began.test.alpha,
        arms=len(began.fractions) - 1,
        asked=asked,
    )
    return _answer(arm, control, began.test, judged, asked)


def _asked(
    history: Sequence[Change], allocations: Sequence[Allocation], arm: Change, control: Change
) -> int:
    """Count how often a test of these two bundles was begun, in whatever seats, this one too."""
    begun: set[str] = set()
    for number, one in enumerate(allocations, 1):
        first = judging(allocations[:number])
        if first is None:
            continue
        until = allocations[number].at if number < len(allocations) else None
        sat = {
            change.bundle for role in one.fractions for change in _sat(history, role, one.at, until)
        }
        if {arm.bundle, control.bundle} <= sat:
            begun.add(first.at)
    return max(1, len(begun))


def _answer(arm: Change, control: Change, test: ArmTest, judged: Judged, asked: int) -> ArmAnswer:
    evidence = judged.evidence
    decision, when = _decision(judged, arm.role, control.role)
    sides = {arm.role: evidence.better, control.role: evidence.worse}
    return ArmAnswer(
        role=arm.role,
        study=arm.study,
        bundle=arm.bundle,
        control_role=control.role,
        control=control.bundle,
        alpha=test.alpha,
        bound=test.bound,
        days=evidence.days,
        clipped=evidence.clipped,
        first=judged.days[0] if judged.days else None,
        last=judged.days[-1] if judged.days else None,
        arm_return=judged.arm,
        control_return=judged.control,
        mean=evidence.mean,
        low=evidence.low,
        high=evidence.high,
        better=evidence.better,
        worse=evidence.worse,
        needed=judged.needed,
        asked=asked,
        decision=decision,
        decided_on=when,
        words=_words(decision, when, sides.get(decision, max(sides.values())), judged)
        + (f"; begun {asked} times" if asked > 1 else ""),
    )


def _decision(judged: Judged, arm: str, control: str) -> tuple[str, date | None]:
    """Return who was decided for, and when; what came first stays."""
    evidence = judged.evidence
    ends = [
        (since, role)
        for since, role in ((evidence.better_since, arm), (evidence.worse_since, control))
        if since is not None
    ]
    if not ends:
        return "undecided", None
    since, role = min(ends)
    return role, judged.days[since - 1]


def _words(decision: str, when: date | None, weight: float, judged: Judged) -> str:
    days = judged.evidence.days
    if when is None:
        return f"undecided after {days} sessions, evidence {weight:.2f} of {judged.needed:.0f}"
    return f"{decision} is better, decided on {when}; evidence after {days} sessions {weight:.2f}"
