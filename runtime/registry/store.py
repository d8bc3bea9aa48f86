"""The registry in a database: append-only, hash-chained, monotonic, answerable for any day."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime

import msgspec
from sqlalchemy import Connection, Engine

from runtime.anchored import appending, verified
from runtime.bundles.contract import canonical
from runtime.chain import ChainedLog, Entry, Head, HeadAnchor
from runtime.database import reading
from runtime.decoding import from_json
from runtime.errors import RegistryConflict
from runtime.registry import changes
from runtime.registry.changes import (
    CHAMPION,
    Action,
    Allocation,
    ArmTest,
    Change,
    Comparison,
    Promoted,
    check_fractions,
    check_test,
)
from runtime.scheduling.fence import Fence

_SEAT, _ALLOCATION = "seat", "allocation"


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
        self,
        promoted: Promoted,
        *,
        role: str = CHAMPION,
        by: str,
        why: str,
        at: datetime,
        comparison: Comparison | None = None,
    ) -> Change:
        """Put a bundle into a seat; the one that sits there already changes nothing.

        Args:
            promoted: facts of a bundle that has verified.
            role: the seat.
            by: who decided it.
            why: in words.
            at: UTC, from the caller's clock.
            comparison: how a challenger is judged.

        Raises:
            RegistryConflict: the stage is retired, or the version is not above every version
                of the study that was ever active: an old bundle cannot be slipped back.
        """
        if promoted.stage == "retired":
            raise RegistryConflict(f"bundle {promoted.bundle[:12]} is retired")
        with self._writing() as connection:
            history = self._changes(connection)
            sitting = changes.sitting(history, role)
            if (
                sitting
                and not sitting.stopped
                and (sitting.bundle, sitting.version) == (promoted.bundle, promoted.version)
            ):
                return sitting
            newest = changes.newest(history, promoted.study)
            if promoted.version <= newest:
                raise RegistryConflict(
                    f"version {promoted.version} of study {promoted.study} is not newer than "
                    f"version {newest}, which was active; promote again or roll back"
                )
            return self._append(
                connection, history, "activate", role, promoted, by, why, at, comparison
            )

    def rollback(self, *, role: str = CHAMPION, by: str, why: str, at: datetime) -> Change:
        """Put the bundle back that sat in the seat before the present one was activated.

        Raises:
            RegistryConflict: the seat is empty, or nothing sat there before.
        """
        with self._writing() as connection:
            history = self._changes(connection)
            stack = changes.stack(history, role)
            if len(stack) < 2:
                raise RegistryConflict(f"seat {role} has no earlier bundle to roll back to")
            return self._append(
                connection, history, "rollback", role, _promoted(stack[-2]), by, why, at
            )

    def stop(
        self,
        *,
        role: str = CHAMPION,
        bundle: str,
        by: str,
        why: str,
        at: datetime,
        fence: Fence | None = None,
    ) -> Change | None:
        """Take a bundle out of a seat because it left its stop bands.

        The bundle before it takes over; if there is none, what sits there is stopped: it stays in
        the seat only to sell what it holds.

        Args:
            role: the seat.
            bundle: hash of what is stopped; if another sits there by now, nothing changes.
            by: who or what noticed.
            why: in words, with the figures.
            at: UTC.
            fence: of a process that stops what it trades; one that was superseded stops nothing,
                since what it saw is no longer what is held.

        Returns:
            The change, None if there was nothing to change.

        Raises:
            Superseded: another process trades the account now; nothing was changed.
        """
        with self._writing() as connection:
            if fence is not None:
                fence.check(connection)
            history = self._changes(connection)
            stack = changes.stack(history, role)
            if not stack or stack[-1].bundle != bundle or stack[-1].stopped:
                return None
            earlier = stack[-2] if len(stack) > 1 and not stack[-2].stopped else None
            action: Action = "stop" if earlier is None else "rollback"
            promoted = _promoted(earlier or stack[-1])
            return self._append(connection, history, action, role, promoted, by, why, at)

    def retire(self, *, role: str = CHAMPION, by: str, why: str, at: datetime) -> Change:
        """Empty a seat.

        Raises:
            RegistryConflict: nothing sits there, or an allocation gives it capital.
        """
        with self._writing() as connection:
            history = self._changes(connection)
            sitting = changes.sitting(history, role)
            if sitting is None:
                raise RegistryConflict(f"seat {role} is empty already")
            allocation = self._newest_allocation(connection)
            if allocation is not None and role in allocation.fractions:
                raise RegistryConflict(
                    f"seat {role} has {allocation.fractions[role]} of the capital; allocate it "
                    "anew first, without that seat"
                )
            retired = msgspec.structs.replace(sitting, stage="retired", promotion=None)
            return self._append(
                connection, history, "retire", role, _promoted(retired), by, why, at
            )

    def allocate(
        self,
        fractions: Mapping[str, str],
        *,
        max_turnover: str | None = None,
        test: ArmTest | None = None,
        by: str,
        why: str,
        at: datetime,
    ) -> Allocation:
        """Share the capital anew; no fraction at all gives it back to the champion alone.

        Args:
            fractions: role -> fraction of equity, exact decimals that add up to at most 1; the
                rest stays in cash.
            max_turnover: fraction of equity that may be traded per tick.
            test: how the seats are judged against one of them.
            by: who decided it.
            why: in words.
            at: UTC, from the caller's clock.

        Raises:
            RegistryConflict: a fraction is not usable, or a seat is empty.
        """
        check_fractions(fractions, max_turnover)
        if test is not None:
            check_test(fractions, test)
        _check_said("allocation", by, why)
        with self._writing() as connection:
            history = self._changes(connection)
            for role in sorted(fractions):
                if changes.sitting(history, role) is None:
                    raise RegistryConflict(f"seat {role} is empty; put a bundle there first")
            earlier = self._allocations(connection)
            if earlier and at < datetime.fromisoformat(earlier[-1].at):
                raise RegistryConflict(
                    f"an allocation at {at.isoformat()} lies before the last one, "
                    f"which was at {earlier[-1].at}"
                )
            allocation = Allocation(
                fractions=dict(fractions),
                max_turnover=max_turnover,
                test=test,
                by=by,
                why=why,
                at=at.isoformat(),
            )
            key = str(len(earlier) + 1)
            self._log.append(connection, _ALLOCATION, key, at, canonical(allocation))
        return allocation

    def active(self, role: str = CHAMPION, *, at: datetime | None = None) -> Change | None:
        """Return what sits in a seat, now or at a time in the past; None if it is empty."""
        return changes.sitting(_until(self.history(role), at), role)

    def seats(self, *, at: datetime | None = None) -> dict[str, Change]:
        """Return what sits in every seat that is not empty, champion first."""
        history = _until(self.history(), at)
        found = ((role, changes.sitting(history, role)) for role in changes.roles(history))
        return {role: change for role, change in found if change is not None}

    def before(self, role: str = CHAMPION) -> Change | None:
        """Return what a roll-back would put into a seat; None if nothing sat there before."""
        stack = changes.stack(self.history(role), role)
        return stack[-2] if len(stack) > 1 else None

    def allocation(self, *, at: datetime | None = None) -> Allocation | None:
        """Return how the capital is shared, now or at a time in the past; None = not shared."""
        with reading(self._engine) as connection:
            found = self._allocations(connection)
        if at is not None:
            found = [one for one in found if datetime.fromisoformat(one.at) <= at]
        return found[-1] if found and found[-1].fractions else None

    def allocations(self) -> tuple[Allocation, ...]:
        """Return every allocation that was ever declared, oldest first."""
        with reading(self._engine) as connection:
            return tuple(self._allocations(connection))

    def newest_version(self, study: str) -> int:
        """Return the highest version of a study that was ever active, 0 if none was."""
        with reading(self._engine) as connection:
            return changes.newest(self._changes(connection), study)

    def history(self, role: str | None = None) -> tuple[Change, ...]:
        """Return all changes of a seat, or of all seats, oldest first."""
        with reading(self._engine) as connection:
            found = self._changes(connection)
        return tuple(change for change in found if role is None or change.role == role)

    def head(self) -> Head:
        """Return where the registry's chain stands."""
        return self._log.head()

    def verify(self) -> Head:
        """Recompute the chain; JournalBroken names the first entry that does not hold."""
        return verified(self._log, self._anchor)

    def _writing(self) -> AbstractContextManager[Connection]:
        return appending(self._log, self._anchor)

    def _entries(self, kind: str, connection: Connection) -> Iterator[Entry]:
        return self._log.entries(kind, connection=connection)

    def _changes(self, connection: Connection) -> list[Change]:
        entries = self._entries(_SEAT, connection)
        return [from_json(entry.payload, Change) for entry in entries]

    def _allocations(self, connection: Connection) -> list[Allocation]:
        entries = self._entries(_ALLOCATION, connection)
        return [from_json(entry.payload, Allocation) for entry in entries]

    def _newest_allocation(self, connection: Connection) -> Allocation | None:
        found = self._allocations(connection)
        return found[-1] if found else None

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
        comparison: Comparison | None = None,
    ) -> Change:
        _check_said(f"{action} of seat {role}", by, why)
        earlier = [change for change in history if change.role == role]
        if earlier and at < earlier[-1].since:
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
            promotion=promoted.promotion,
            comparison=comparison,
        )
        key = f"{role}/{len(earlier) + 1}"
        self._log.append(connection, _SEAT, key, at, canonical(change))
        return change


def _check_said(what: str, by: str, why: str) -> None:
    if not by.strip() or not why.strip():
        raise RegistryConflict(f"{what} must say who does it and why")


def _promoted(change: Change) -> Promoted:
    return Promoted(
        study=change.study,
        bundle=change.bundle,
        version=change.version,
        stage=change.stage,
        promotion=change.promotion,
    )


def _until(history: tuple[Change, ...], at: datetime | None) -> tuple[Change, ...]:
    return history if at is None else tuple(one for one in history if one.since <= at)
