"""Keeps what was granted alive, in a thread of its own, for as long as the process runs."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from runtime.clock import Clock

LONGEST, SHORTEST = timedelta(minutes=1), timedelta(milliseconds=100)  # between two rounds


class Kept(Protocol):
    """Something that ends unless it is looked after."""

    @property
    def fault(self) -> str:
        """Why the last round failed, in words; "" = it did not."""
        ...

    def keep(self) -> datetime:
        """Do what is due; return when to come back, UTC."""
        ...


@dataclass(slots=True, kw_only=True)
class Keeper:
    """Goes round everything that must be kept; logins at Vault first, what they made after."""

    kept: Sequence[Kept]
    clock: Clock
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)

    def round(self) -> timedelta:
        """Do what is due everywhere; return how long to wait until the next round."""
        due = [one.keep() for one in self.kept]
        wait = min(due, default=self.clock.now() + LONGEST) - self.clock.now()
        return min(max(wait, SHORTEST), LONGEST)

    def faults(self) -> tuple[str, ...]:
        """Return what failed in the last round, in words."""
        return tuple(one.fault for one in self.kept if one.fault)

    def start(self) -> threading.Thread:
        """Go round until `stop`, or until the process ends."""
        thread = threading.Thread(target=self._run, name="secrets", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """End after the round that is under way."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(self.round().total_seconds()):
            pass
