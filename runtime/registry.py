"""Which bundle sits in which seat: append-only, hash-chained, monotonic, answerable for any day."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import Connection, Engine

from runtime.chain import ChainedLog, Head, HeadAnchor
from runtime.contract import Stage, canonical
from runtime.database import reading, transaction
from runtime.errors import RegistryConflict

CHAMPION = "champion"
_KIND = "seat"

Action = Literal["activate", "rollback", "retire"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the registry's history: who put which bundle into a seat, and why."""

    action: Action
    role: str  # the seat, e.g. "champion"
    study: str
    bundle: str  # hash, hex
    version: int  # monotonic per study
    stage: Stage
    by: str
    why: str
    at: str  # ISO 8601, UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """What the registry needs to know of a verified bundle."""

    study: str
    bundle: str  # hash, hex
    version: int
    stage: Stage


class Registry:
    """Seats and their bundles over one chained log; every method is one transaction."""

    def __init__(
        self, engine: Engine, table: str = "registry", anchor: HeadAnchor | None = None
    ) -> None:
        """Open the registry in a database, making its table if needed.

        Args:
            engine: from `runtime.database.open_database`.
            table: of the chain.
            anchor: a file outside the database that remembers the head after each change.
        """
        self._engine, self._anchor = engine, anchor
        self._log = ChainedLog(engine, table)

    def activate(
        self, promoted: Promoted, *, role: str = CHAMPION, by: str, why: str, at: datetime
    ) -> Change:
        """Put a bundle into a seat; the one that sits there already changes nothing.

        Args:
            promoted: facts of a bundle that has verified.
            role: the seat.
            by: who decided it.
            why: in words.
            at: UTC, from the caller's clock.

        Raises:
            RegistryConflict: the stage is retired, or the version is not above every version
                of the study that was ever active: an old bundle cannot be slipped back.
        """
        if promoted.stage == "retired":
            raise RegistryConflict(f"bundle {promoted.bundle[:12]} is retired")
        with self._writing() as connection:
            history = self._changes(connection)
            sitting = _sitting(history, role)
            if sitting and (sitting.bundle, sitting.version) == (promoted.bundle, promoted.version):
                return sitting
            newest = _newest(history, promoted.study)
            if promoted.version <= newest:
                raise RegistryConflict(
                    f"version {promoted.version} of study {promoted.study} is not newer than "
                    f"version {newest}, which was active; promote again or roll back"
                )
            return self._append(connection, history, "activate", role, promoted, by, why, at)

    def rollback(self, *, role: str = CHAMPION, by: str, why: str, at: datetime) -> Change:
        """Put the bundle back that sat in the seat before the present one was activated.

        Raises:
            RegistryConflict: the seat is empty, or nothing sat there before.
        """
        with self._writing() as connection:
            history = self._changes(connection)
            stack = _stack(history, role)
            if len(stack) < 2:
                raise RegistryConflict(f"seat {role} has no earlier bundle to roll back to")
            before = stack[-2]
            promoted = Promoted(
                study=before.study,
                bundle=before.bundle,
                version=before.version,
                stage=before.stage,
            )
            return self._append(connection, history, "rollback", role, promoted, by, why, at)

    def retire(self, *, role: str = CHAMPION, by: str, why: str, at: datetime) -> Change:
        """Empty a seat; RegistryConflict if nothing sits there."""
        with self._writing() as connection:
            history = self._changes(connection)
            sitting = _sitting(history, role)
            if sitting is None:
                raise RegistryConflict(f"seat {role} is empty already")
            promoted = Promoted(
                study=sitting.study,
                bundle=sitting.bundle,
                version=sitting.version,
                stage="retired",
            )
            return self._append(connection, history, "retire", role, promoted, by, why, at)

    def active(self, role: str = CHAMPION, *, at: datetime | None = None) -> Change | None:
        """Return what sits in a seat, now or at a time in the past; None if it is empty."""
        history = self.history(role)
        if at is not None:
            history = tuple(change for change in history if datetime.fromisoformat(change.at) <= at)
        return _sitting(list(history), role)

    def newest_version(self, study: str) -> int:
        """Return the highest version of a study that was ever active, 0 if none was."""
        with reading(self._engine) as connection:
            return _newest(self._changes(connection), study)

    def history(self, role: str | None = None) -> tuple[Change, ...]:
        """Return all changes of a seat, or of all seats, oldest first."""
        with reading(self._engine) as connection:
            changes = self._changes(connection)
        return tuple(change for change in changes if role is None or change.role == role)

    def head(self) -> Head:
        """Return where the registry's chain stands."""
        return self._log.head()

    def verify(self) -> Head:
        """Recompute the chain; JournalBroken names the first entry that does not hold."""
        return self._log.verify(() if self._anchor is None else self._anchor.heads())

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Yield the only writer's transaction; what it appended is then remembered outside."""
        with transaction(self._engine) as connection:
            self._log.lock(connection)
            before = self._log.head(connection)
            yield connection
            head = self._log.head(connection)
        if self._anchor is not None and head != before:
            self._anchor.record(head)

    def _changes(self, connection: Connection) -> list[Change]:
        entries = self._log.entries(_KIND, connection=connection)
        return [msgspec.json.decode(entry.payload, type=Change) for entry in entries]

    def _append(
        self,
        connection: Connection,
        history: list[Change],
        action: Action,
        role: str,
        promoted: Promoted,
        by: str,
        why: str,
        at: datetime,
    ) -> Change:
        if not by.strip() or not why.strip():
            raise RegistryConflict(f"{action} of seat {role} must say who does it and why")
        earlier = [change for change in history if change.role == role]
        if earlier and at < datetime.fromisoformat(earlier[-1].at):
            raise RegistryConflict(
                f"{action} at {at.isoformat()} lies before the last change of seat {role}, "
                f"which was at {earlier[-1].at}"
            )
        change = Change(
            action=action,
            role=role,
            study=promoted.study,
            bundle=promoted.bundle,
            version=promoted.version,
            stage=promoted.stage,
            by=by,
            why=why,
            at=at.isoformat(),
        )
        key = f"{role}/{len(earlier) + 1}"
        self._log.append(connection, _KIND, key, at, canonical(change))
        return change


def _sitting(history: list[Change], role: str) -> Change | None:
    last = next((change for change in reversed(history) if change.role == role), None)
    return None if last is None or last.action == "retire" else last


def _stack(history: list[Change], role: str) -> list[Change]:
    """Return who would sit in a seat after each roll-back, the present one last."""
    stack: list[Change] = []
    for change in history:
        if change.role != role:
            continue
        match change.action:
            case "activate":
                stack.append(change)
            case "rollback":
                stack = [*stack[:-2], change]
            case "retire":
                stack = []
    return stack


def _newest(history: list[Change], study: str) -> int:
    return max((change.version for change in history if change.study == study), default=0)
