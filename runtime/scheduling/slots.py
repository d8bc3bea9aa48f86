"""What became of every slot of a schedule: claimed once before work, ended once, on a chain.

A slot is one time at which a job is due, named by its session. (job, slot) is unique: a second
process finds the claim, or the end, and does nothing. A claim whose process died is taken up by
the epoch that follows it; the session itself is idempotent, so nothing happens twice.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

import msgspec
from sqlalchemy import Connection, Engine

from runtime.anchored import appending
from runtime.chain import ChainedLog, Draft, Entry, HeadAnchor
from runtime.decoding import from_json
from runtime.errors import ClockInDoubt
from runtime.scheduling.fence import Fence

TABLE = "schedule"
SKEW = timedelta(seconds=30)  # the record may lie this far ahead of a process's clock
Ending = Literal["done", "late", "skipped"]


class SlotNote(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry of the schedule's chain says."""

    job: str
    slot: date
    epoch: int
    holder: str
    outcome: str  # "claimed", "resumed", "gave up", "done", "late", "skipped"
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """The slots of one job, as one process may change them."""

    log: ChainedLog
    fence: Fence
    job: str
    anchor: HeadAnchor | None = None  # remembers the head after each change, outside the database

    @classmethod
    def open(
        cls, engine: Engine, fence: Fence, job: str, anchor: HeadAnchor | None = None
    ) -> "Slots":
        """Open the schedule's chain for one job."""
        return cls(log=ChainedLog(engine, TABLE), fence=fence, job=job, anchor=anchor)

    def claim(self, slot: date, at: datetime) -> bool:
        """Claim a slot before any work on it; False if it has ended.

        Raises:
            Superseded: another process has taken over.
            ClockInDoubt: the record was written later than this process's clock says it is.
        """
        key, note = self._key(slot), self._note(slot, "claimed")
        with appending(self.log, self.anchor) as connection:
            self.fence.check(connection)
            if self.log.find("end", key, connection) is not None:
                return False
            self._believe(connection, at)
            standing = self.log.find("claim", key, connection)
            if standing is None:
                self._once(connection, "claim", key, at, note)
            elif _decode(standing).epoch != self.fence.epoch:
                taken_up = msgspec.structs.replace(note, outcome="resumed")
                self._once(connection, "resume", f"{key}/{self.fence.epoch}", at, taken_up)
        return True

    def end(self, slot: date, outcome: Ending, at: datetime, reason: str = "") -> bool:
        """End a slot; False if it has ended already.

        Raises:
            Superseded: another process has taken over.
        """
        return self.end_all([slot], outcome, at, reason) == 1

    def end_all(
        self, slots: Iterable[date], outcome: Ending, at: datetime, reason: str = ""
    ) -> int:
        """End several slots in one commit and return how many had not ended."""
        ended = 0
        with appending(self.log, self.anchor) as connection:
            self.fence.check(connection)
            for slot in slots:
                note = self._note(slot, outcome, reason)
                ended += self._once(connection, "end", self._key(slot), at, note)
        return ended

    def gave_up(self, slot: date, at: datetime, reason: str) -> None:
        """Note that this process gives a slot up; a later one may take it up again."""
        note = self._note(slot, "gave up", reason)
        with appending(self.log, self.anchor) as connection:
            self.fence.check(connection)
            key = f"{self._key(slot)}/{self.fence.epoch}"
            self._once(connection, "gave up", key, at, note)

    def last_ended(self) -> date | None:
        """Return the newest slot of this job that has ended, None before the first."""
        ended = (_decode(entry) for entry in self.log.entries("end"))
        return max((note.slot for note in ended if note.job == self.job), default=None)

    def notes(self) -> tuple[SlotNote, ...]:
        """Return everything on record about this job, oldest first."""
        return tuple(note for _, note in recorded(self.log) if note.job == self.job)

    def _key(self, slot: date) -> str:
        return f"{self.job}/{slot.isoformat()}"

    def _note(self, slot: date, outcome: str, reason: str = "") -> SlotNote:
        fence = self.fence
        return SlotNote(
            job=self.job,
            slot=slot,
            epoch=fence.epoch,
            holder=fence.holder,
            outcome=outcome,
            reason=reason,
        )

    def _once(
        self, connection: Connection, kind: str, key: str, at: datetime, note: SlotNote
    ) -> bool:
        """Append a note under a key that is free; False, and nothing changes, if it is not."""
        if self.log.find(kind, key, connection) is not None:
            return False
        self.log.extend(connection, [Draft(kind, key, at, msgspec.json.encode(note))])
        return True

    def _believe(self, connection: Connection, at: datetime) -> None:
        """Refuse to work on a clock that lies behind what is on record already."""
        head = self.log.head(connection)
        for newest in self.log.entries(after=head.seq - 1, connection=connection):
            if newest.at > at + SKEW:
                raise ClockInDoubt(
                    f"this host says {at.isoformat()}, and {_decode(newest).holder} wrote at "
                    f"{newest.at.isoformat()}; set the clock that is wrong, nothing is decided "
                    "until they agree"
                )


def endings(engine: Engine) -> tuple[tuple[datetime, SlotNote], ...]:
    """Return how every slot of every job ended, with the time it is on record at, oldest first."""
    log = ChainedLog(engine, TABLE)
    return tuple((entry.at, _decode(entry)) for entry in log.entries("end"))


def recorded(log: ChainedLog) -> Iterator[tuple[datetime, SlotNote]]:
    """Yield what is on record about every slot of every job, with when it was written."""
    for entry in log.entries():
        yield entry.at, _decode(entry)


def _decode(entry: Entry) -> SlotNote:
    return from_json(entry.payload, SlotNote)
