"""Several bundles that trade one account together: who they are, and the name of what they are.

A decision that several bundles take together names them by one hash, as one of a single bundle
names that bundle. What the hash stands for is in a chained log of its own, written before the
first decision that names it.
"""

import hashlib
from datetime import datetime
from decimal import Decimal

import msgspec
from sqlalchemy import Engine

from runtime.anchored import appending, verified
from runtime.bundles.contract import canonical
from runtime.chain import ChainedLog, Head, HeadAnchor
from runtime.decoding import from_json
from runtime.scheduling.fence import Fence

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

    def __init__(
        self, engine: Engine, fence: Fence | None = None, anchor: HeadAnchor | None = None
    ) -> None:
        """Open the log, making its table if needed.

        Args:
            engine: from `runtime.database.open_database`.
            fence: the right of a trading process to write; None for who only reads.
            anchor: a file outside the database that remembers the head after each change.
        """
        self._log, self._fence, self._anchor = ChainedLog(engine, TABLE), fence, anchor
        self._known: dict[str, Joint | None] = {}

    def record(self, joint: Joint, at: datetime) -> None:
        """Write down what a hash stands for, once.

        Raises:
            Superseded: another process trades the account now; nothing was written.
        """
        if self.find(joint.hash) is None:
            with appending(self._log, self._anchor) as connection:
                if self._fence is not None:
                    self._fence.check(connection)
                self._log.append(connection, _KIND, joint.hash, at, canonical(joint))
            self._known[joint.hash] = joint

    def find(self, name: str) -> Joint | None:
        """Return what a hash stands for, None if it is no joint's."""
        if self._known.get(name) is None:
            entry = self._log.find(_KIND, name)
            if entry is None:
                return None
            self._known[name] = from_json(entry.payload, Joint)
        return self._known[name]

    def verify(self) -> Head:
        """Recompute the chain; JournalBroken names the first entry that does not hold."""
        return verified(self._log, self._anchor)
