"""The desk of a decision that was taken before: every question is answered as it was then.

Only what the scene, the decision's inputs and the fold of the journal hold can be asked; the code
that decides is the live one. A question that was not asked then is an error, which the decision
meets as it would meet one of the outside, so it ends up in a difference and never in silence.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar, cast

import msgspec
import numpy as np

from runtime.bundles.bundle import LoadedBundle
from runtime.bundles.contract import Stage
from runtime.bundles.inputs import Array, CurrentWeights, Newest
from runtime.clock import ReplayClock
from runtime.desk import Desk
from runtime.domain import Quote
from runtime.errors import DecisionInvalid, OrderInvalid
from runtime.joint.identity import Joint
from runtime.joint.joint_graph import kept_as
from runtime.joint.members import Member, joint_bundle
from runtime.joint.shares import Shares
from runtime.journal.store import Journal
from runtime.kill.switch import KillSwitch
from runtime.market.states import Published
from runtime.policies.policy import Policy
from runtime.ports import Broker, Feed
from runtime.proof import scene as scenes
from runtime.proof.past import Past
from runtime.proof.recording import windows_of
from runtime.proof.scene import Scene
from runtime.proof.standing import Standing

Answer = TypeVar("Answer")
Load = Callable[[str], LoadedBundle]  # bundle hash -> the bundle, verified and loaded


@dataclass(slots=True)
class Answers:
    """What one scene answers; questions that may be asked again are answered in order."""

    scene: Scene
    windows: Mapping[tuple[str, tuple[str, ...], int], Array]
    _groups: dict[tuple[str, ...], int] = field(init=False)
    _ages: dict[tuple[str, int], datetime] = field(init=False)
    _quotes: dict[tuple[str, str], list[Quote]] = field(init=False)
    _killed: int = 0
    _approved: int = 0

    def __post_init__(self) -> None:
        scene = self.scene
        self._groups = {symbols: number for number, symbols in enumerate(scene.groups)}
        self._ages = {(feature, group): at for feature, group, at in scene.ages}
        self._quotes = {}
        for quote in reversed(scene.quotes):
            self._quotes.setdefault((quote.venue, quote.symbol), []).append(quote)

    def window(self, feature: str, symbols: Sequence[str], *, length: int, at: datetime) -> Array:
        """Return what the store gave."""
        names = tuple(symbols)
        group = self._groups.get(names, -1)
        scenes.fail_again(self.scene.failed, scenes.window_question(feature, group, length))
        values = self.windows.get((feature, names, length))
        if values is None:
            raise DecisionInvalid(f"{length} of {feature} were not read when this was decided")
        return values

    def latest(self, feature: str, symbols: Sequence[str], *, at: datetime) -> Newest:
        """Refuse: how old the newest values were is kept, and what else they were is not."""
        raise DecisionInvalid(f"a decision asks how old {feature} is, not what it was")

    def oldest(self, feature: str, symbols: Sequence[str], *, at: datetime) -> datetime:
        """Return how old the newest values were."""
        group = self._groups.get(tuple(symbols), -1)
        scenes.fail_again(self.scene.failed, scenes.latest_question(feature, group))
        known = self._ages.get((feature, group))
        if known is None:
            raise DecisionInvalid(f"the newest {feature} was not read when this was decided")
        return known

    def quote(self, venue: str, symbol: str) -> Quote:
        """Return what a venue showed."""
        if self.scene.failed:
            scenes.fail_again(self.scene.failed, scenes.quote_question(venue, symbol))
        shown = self._quotes.get((venue, symbol))
        if not shown:
            raise OrderInvalid(f"{venue} was not asked for {symbol} when this was decided")
        return shown.pop() if len(shown) > 1 else shown[0]

    def killed(self) -> dict[str, str]:
        """Return what the kill switch said when it was read that often."""
        self._killed += 1
        scenes.fail_again(self.scene.failed, scenes.kill_question(self._killed))
        return _nth(self.scene.killed, self._killed, "the kill switch")

    def approved(self) -> str | None:
        """Return what the registry said when it was asked that often."""
        self._approved += 1
        scenes.fail_again(self.scene.failed, scenes.approved_question(self._approved))
        return _nth(self.scene.approved, self._approved, "the registry")

    def market(self, at: datetime) -> Mapping[str, Published]:
        """Return what was published."""
        scenes.fail_again(self.scene.failed, scenes.MARKET_QUESTION)
        return self.scene.market or {}

    def halts(self, at: datetime) -> Mapping[str, Published]:
        """Return what was told to be halted."""
        scenes.fail_again(self.scene.failed, scenes.HALTS_QUESTION)
        return self.scene.halts


def _nth(answers: Sequence[Answer], number: int, whom: str) -> Answer:
    if number > len(answers):
        raise DecisionInvalid(f"{whom} was asked {len(answers)} times when this was decided")
    return answers[number - 1]


@dataclass(slots=True)
class _Venue:
    """A venue that shows again what it showed."""

    name: str
    answers: Answers

    def quote(self, symbol: str, at: datetime) -> Quote:
        return self.answers.quote(self.name, symbol)


@dataclass(slots=True)
class _PaperVenue(_Venue):
    """The same, to be told from one that trades with money."""

    def expire_before(self, opened: datetime) -> None:
        raise OrderInvalid(f"{self.name} shows quotes again, and trades nothing")

    def on_bars(self, bars: Sequence[Any], at: datetime) -> int:
        raise OrderInvalid(f"{self.name} shows quotes again, and trades nothing")


def played(
    decision: Past,
    answers: Answers,
    policy: Policy,
    *,
    bundles: "Bundles",
    standing: Standing,
    shares: Shares,
) -> Desk:
    """Return the desk a decision was taken at.

    Args:
        decision: as it was journalled.
        answers: of its scene.
        policy: the limits that were in force.
        bundles: loaded, those of several in one account too.
        standing: the account as it stood just before.
        shares: each member's books, where several bundles trade the account.

    Raises:
        BundleRefused: a bundle does not verify any more.
    """
    scene = answers.scene
    bundle, members, joint = bundles.of(decision.bundle, scene)

    def limits(at: datetime) -> Policy:
        scenes.fail_again(scene.failed, scenes.POLICY_QUESTION)
        return policy

    kind = _PaperVenue if scene.simulated else _Venue
    told = scene.market is not None or scenes.MARKET_QUESTION in scene.failed
    return Desk(
        bundle=bundle,
        reader=answers,
        feed=cast(Feed, None),  # the bars are in the scene
        journal=cast(Journal, standing),
        brokers=tuple(cast(Broker, kind(name, answers)) for name in scene.venues),
        policy=policy,
        calendar=standing.history.calendar,
        clock=ReplayClock(decision.decided_at),
        kill=cast(KillSwitch, _Kill(answers)),
        approved=answers.approved,
        market=answers.market if told else None,
        halts=answers.halts,
        freshness=scene.freshness,
        volume=scene.volume,
        caller=scene.caller,
        limits=limits,
        standing=nullcontext,
        members=members,
        joint=joint,
        shares=shares if members else None,
    )


@dataclass(slots=True)
class _Kill:
    """The kill switch as it was read."""

    answers: Answers

    def engaged(self) -> dict[str, str]:
        return self.answers.killed()


@dataclass(slots=True)
class Bundles:
    """Bundles by hash, each loaded once, and what several of them are together."""

    load: Load
    find: Callable[[str], Joint | None]  # what the hash of a joint stands for
    _loaded: dict[str, LoadedBundle] = field(default_factory=dict)
    _staged: dict[tuple[str, Stage], LoadedBundle] = field(default_factory=dict)
    _joined: dict[tuple[Any, ...], tuple[LoadedBundle, tuple[Member, ...]]] = field(
        default_factory=dict
    )

    def of(self, name: str, scene: Scene) -> tuple[LoadedBundle, tuple[Member, ...], Joint | None]:
        """Return who decided in a scene, the members and their joint if they were several.

        Raises:
            BundleRefused: one of them does not verify.
            DecisionInvalid: the hash of several is not on record.
        """
        if not scene.roles:
            return self._signed(name, scene.stages[0]), (), None
        joint = self.find(name)
        if joint is None:
            raise DecisionInvalid(f"what the bundles of {name[:12]} were is not on record")
        key = (name, scene.roles, scene.stages, scene.urgent)
        if key not in self._joined:
            seats = {seat.role: seat for seat in joint.seats}
            members = tuple(
                Member(
                    role=role,
                    bundle=self._signed(seats[role].bundle, stage),
                    fraction=Decimal(seats[role].fraction),
                    stopped=seats[role].stopped,
                    urgent=role in scene.urgent,
                )
                for role, stage in zip(scene.roles, scene.stages, strict=True)
            )
            self._joined[key] = joint_bundle(joint, members), members
        return *self._joined[key], joint

    def bare(self, name: str) -> LoadedBundle:
        """Return a bundle as its folder has it; of several in one account the first."""
        joint = self.find(name)
        name = name if joint is None else joint.seats[0].bundle
        if name not in self._loaded:
            self._loaded[name] = self.load(name)
        return self._loaded[name]

    def _signed(self, name: str, stage: Stage) -> LoadedBundle:
        """Return a bundle as it was signed then: a promotion may have changed its stage since."""
        if (name, stage) not in self._staged:
            if name not in self._loaded:
                self._loaded[name] = self.load(name)
            bundle = self._loaded[name]
            signature = msgspec.structs.replace(bundle.signature, stage=stage)
            self._staged[name, stage] = replace(bundle, signature=signature)
        return self._staged[name, stage]


def seen_windows(
    decision: Past,
    inputs: Mapping[str, Array],
    scene: Scene,
    bundles: Bundles,
    more: Mapping[str, Array],
) -> dict[tuple[str, tuple[str, ...], int], Array]:
    """Return what was read, by feature, symbols and length.

    Args:
        decision: as it was journalled.
        inputs: that its graph was given.
        scene: of the decision.
        bundles: whose inputs name what stands where.
        more: the scene's own arrays: what was read and did not become an input.
    """
    found: dict[tuple[str, tuple[str, ...], int], Array] = {}
    for number, (feature, group, length) in enumerate(scene.reads):
        found[feature, scene.groups[group], length] = more[str(number)]
    if not decision.symbols:
        return found
    bundle, members, _ = bundles.of(decision.bundle, scene)
    named = [(bundle, "")] if not members else [(one.bundle, one.role) for one in members]
    for one, role in named:
        if role and f"weight {role}" not in inputs:
            continue
        for name, source in one.inputs.items():
            if isinstance(source, CurrentWeights):
                continue
            kept = kept_as(source, role) if role else name
            values = inputs.get(f"{kept} for {role}", inputs.get(kept))
            if values is None:
                continue
            for feature, length in windows_of([source]):
                shaped = values if values.ndim == 2 else values[:, np.newaxis]
                found[feature, one.manifest.symbols, length] = shaped
    return found
