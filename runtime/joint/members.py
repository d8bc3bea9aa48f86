"""Bundles at work in an account that others trade too, and what stands for all of them."""

from dataclasses import dataclass, replace
from decimal import Decimal

import msgspec

from runtime.bundles.bundle import LoadedBundle
from runtime.bundles.contract import SizingPolicy, Stage
from runtime.bundles.inference import Decided, DecisionSession
from runtime.errors import BundleRefused, DecisionInvalid
from runtime.joint.identity import Joint, JointSeat
from runtime.registry import CHAMPION


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One bundle at work in an account that others trade too."""

    role: str
    bundle: LoadedBundle
    fraction: Decimal  # of the account's equity when the capital was shared
    stopped: bool = False
    urgent: bool = False  # took its seat by a roll-back: decides now, whatever its schedule

    @property
    def seat(self) -> JointSeat:
        """Return the member as it is written down."""
        return JointSeat(
            role=self.role,
            study=self.bundle.manifest.study,
            bundle=self.bundle.hash,
            version=self.bundle.version,
            fraction=format(self.fraction, "f"),
            stopped=self.stopped,
        )


def joint_of(members: tuple[Member, ...], max_turnover: Decimal | None) -> Joint:
    """Return the facts of what members are together."""
    limit = None if max_turnover is None else format(max_turnover, "f")
    seats = tuple(member.seat for member in sorted(members, key=lambda one: one.role))
    return Joint(seats=seats, max_turnover=limit)


class _NoGraph(DecisionSession):
    """Stands where a single bundle has its graph; several bundles each have their own."""

    def __init__(self) -> None:
        self.input_names = ()

    def run(self, inputs: object) -> Decided:
        raise DecisionInvalid("several bundles have no graph in common; each member has its own")


def joint_bundle(joint: Joint, members: tuple[Member, ...]) -> LoadedBundle:
    """Return what stands where a single bundle does: the universe of all, the strictest stage.

    Raises:
        BundleRefused: members do not share calendar and price, so one plan cannot price them.
    """
    first = next((one for one in members if one.role == CHAMPION), members[0])
    manifests = [member.bundle.manifest for member in members]
    for name in ("calendar", "price_feature"):
        found = sorted({str(getattr(manifest, name)) for manifest in manifests})
        if len(found) > 1:
            raise BundleRefused(
                f"manifest.json: bundles of one account need one {name}, were {', '.join(found)}; "
                "allocate the capital to bundles that share it"
            )
    stage: Stage = "production"
    if any(member.bundle.stage == "staging" for member in members):
        stage = "staging"
    known = first.bundle.manifest
    manifest = msgspec.structs.replace(
        known,
        study=joint.study,
        symbols=tuple(dict.fromkeys(name for one in manifests for name in one.symbols)),
        inputs=(),
        sizing=_sizing(known.sizing, [one.sizing for one in manifests]),
    )
    return replace(
        first.bundle,
        hash=joint.hash,
        manifest=manifest,
        signature=msgspec.structs.replace(first.bundle.signature, stage=stage),
        session=_NoGraph(),
    )


def _sizing(first: SizingPolicy, every: list[SizingPolicy]) -> SizingPolicy:
    return msgspec.structs.replace(first, lot=min(one.lot for one in every))
