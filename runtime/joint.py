"""Several bundles that trade one account together: who they are, and the name of what they are.

A decision that several bundles take together names them by one hash, as one of a single bundle
names that bundle. What the hash stands for is in a chained log of its own, written before the
first decision that names it.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

import msgspec
from sqlalchemy import Engine

from runtime.bundle import LoadedBundle
from runtime.chain import ChainedLog, Head
from runtime.contract import Manifest, SizingPolicy, Stage, canonical
from runtime.database import transaction
from runtime.errors import BundleRefused, DecisionInvalid
from runtime.inference import Decided, DecisionSession
from runtime.inputs import Array
from runtime.registry import CHAMPION

TABLE, _KIND = "joints", "joint"


class JointSeat(msgspec.Struct, frozen=True, kw_only=True):
    """One of the bundles."""

    role: str
    study: str
    bundle: str  # hash, hex
    version: int
    fraction: str  # of the account's equity when the capital was shared, exact
    stopped: bool = False  # sells what it holds and decides nothing


class Joint(msgspec.Struct, frozen=True, kw_only=True):
    """Bundles and how they share an account; in order of role."""

    seats: tuple[JointSeat, ...]
    max_turnover: str | None = None  # fraction of equity per tick

    @property
    def hash(self) -> str:
        """Return the name: SHA-256 of the canonical bytes, hex."""
        return hashlib.sha256(canonical(self)).hexdigest()

    @property
    def fractions(self) -> dict[str, Decimal]:
        """Return role -> fraction of capital."""
        return {seat.role: Decimal(seat.fraction) for seat in self.seats}

    @property
    def study(self) -> str:
        """Return the studies' names in one."""
        return "+".join(dict.fromkeys(seat.study for seat in self.seats))

    def seat(self, role: str) -> JointSeat | None:
        """Return what sits in a seat, None if it has none of the capital."""
        return next((seat for seat in self.seats if seat.role == role), None)


class JointLog:
    """What every joint hash stands for; append-only and hash-chained."""

    def __init__(self, engine: Engine) -> None:
        """Open the log, making its table if needed."""
        self._log = ChainedLog(engine, TABLE)
        self._known: dict[str, Joint | None] = {}

    def record(self, joint: Joint, at: datetime) -> None:
        """Write down what a hash stands for, once."""
        if self.find(joint.hash) is None:
            with transaction(self._log.engine) as connection:
                self._log.append(connection, _KIND, joint.hash, at, canonical(joint))
            self._known[joint.hash] = joint

    def find(self, name: str) -> Joint | None:
        """Return what a hash stands for, None if it is no joint's."""
        if self._known.get(name) is None:
            entry = self._log.find(_KIND, name)
            if entry is None:
                return None
            self._known[name] = msgspec.json.decode(entry.payload, type=Joint)
        return self._known[name]

    def verify(self) -> Head:
        """Recompute the chain; JournalBroken names the first entry that does not hold."""
        return self._log.verify()


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


def spread(manifest: Manifest, symbols: tuple[str, ...], values: Array, out: Array) -> None:
    """Add a member's values to an array over the symbols of all, in place."""
    rows = {symbol: row for row, symbol in enumerate(symbols)}
    for symbol, value in zip(manifest.symbols, values.tolist(), strict=True):
        out[rows[symbol]] += value
