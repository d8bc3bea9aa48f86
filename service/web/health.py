"""Whether the service lives and is ready, with the reason for every answer."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from runtime.errors import DatabaseUnavailable, JournalBroken
from service.books.accounts import Accounts
from service.trading.proof import Proved
from service.trading.seat import Seat
from service.web.answers import Check, Health


@dataclass(slots=True)
class HealthChecks:
    """Looks at journal, bundle and books; the chain is proved once, at the start."""

    accounts: Accounts
    seat: Seat[Proved]
    warm: Callable[[], None] = lambda: None  # proves what a roll-back would seat
    _proved: str = field(default="")  # what proving the chain found; empty until it was proved
    _broken: str = field(default="")
    _seating: Lock = field(default_factory=Lock)  # one proof at a time

    def prove(self) -> None:
        """Recompute the journal's chain and seat the bundle; slow, so done beside serving."""
        try:
            head = self.accounts.chain.verify()
            self._proved = f"proved up to entry {head.seq}"
        except (JournalBroken, DatabaseUnavailable) as error:
            self._broken = str(error)
        self.look()
        self.warm()

    def reseat(self) -> None:
        """Follow the registry now, once a proof that is under way has ended."""
        with self._seating:
            self.seat.refresh()

    def look(self) -> Health:
        """Return the present health; follows the registry first."""
        checks = tuple(self._safely(*one) for one in self._checks())
        ready = all(check.passed for check in checks)
        return Health(
            status="ready" if ready else "not ready", live=True, ready=ready, checks=checks
        )

    def _checks(self) -> tuple[tuple[str, Callable[[], tuple[bool, str]]], ...]:
        return (("journal", self._journal), ("bundle", self._bundle), ("books", self._books))

    def _safely(self, name: str, check: Callable[[], tuple[bool, str]]) -> Check:
        try:
            passed, reason = check()
        except DatabaseUnavailable as error:
            passed, reason = False, str(error)
        return Check(name=name, passed=passed, reason=reason)

    def _journal(self) -> tuple[bool, str]:
        head = self.accounts.chain.head()
        if self._broken:
            return False, self._broken
        return True, f"{head.seq:,} entries, chain {self._proved or 'not proved yet'}"

    def _bundle(self) -> tuple[bool, str]:
        if self._seating.acquire(blocking=False):
            try:
                self.seat.refresh()
            finally:
                self._seating.release()
        elif self.seat.sitting is None:
            return False, "is being verified"
        bundle = self.seat.sitting
        if bundle is None:
            return False, self.seat.refused or "none is active; run sluice promote STUDY"
        name = f"{bundle.manifest.study} version {bundle.version}, {bundle.stage}"
        if self.seat.refused:
            return True, f"{name} runs on: {self.seat.refused}"
        return True, f"{name}: signature, files, graph and golden rows verified"

    def _books(self) -> tuple[bool, str]:
        session = self.accounts.shown().journal.last_session()
        if session is None:
            return True, "no session was closed yet"
        if session.breaks:
            return False, f"{len(session.breaks)} breaks with the venues on {session.day}"
        return True, f"equal to the venues' records to 0.00 on {session.day}"


HURRY = 5.0  # seconds that a look is waited for


@dataclass(slots=True)
class Looking:
    """One look at a time, on one thread, and nobody waits long for it.

    A database that stands still may hold a look for most of a minute. Whoever asks meanwhile is
    told so, and no thread is spent on asking it again.
    """

    look: Callable[[], Health]
    monotonic: Callable[[], float]  # seconds
    hurry: float = HURRY  # seconds
    _under_way: "asyncio.Task[Health] | None" = None
    _begun: float = 0.0  # seconds, monotonic

    async def answer(self) -> Health:
        """Return what the look finds, or that it is not done yet."""
        if self._under_way is None or self._under_way.done():
            self._begun = self.monotonic()
            self._under_way = asyncio.create_task(asyncio.to_thread(self.look))
        try:
            return await asyncio.wait_for(asyncio.shield(self._under_way), self.hurry)
        except TimeoutError:
            waited = self.monotonic() - self._begun
            reason = f"the checks have had no answer for {waited:.0f} s; a database stands still"
            check = Check(name="answer", passed=False, reason=reason)
            return Health(status="not ready", live=True, ready=False, checks=(check,))
