"""Answers encoded once and served until the journal moves: a hot read costs no query and no thread.

1. An answer checked less than `FRESH` seconds ago is returned as it is.
2. Otherwise the journal's head is read on a thread; if it has not moved, the answer stands.
3. Otherwise the answer is built anew, on the same thread.
4. If that fails, or takes longer than `HURRY`, the last answer is given with its age while the
   work goes on, one thread a question; after `STALE` an old answer is none.
5. A database that has just failed, or has not told the head for `STILL`, is left alone: old answers
   are given at once, and who asks what was never answered is told at once. One question tries it
   again after a rest.
"""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from runtime.breaker import Breaker
from runtime.errors import DatabaseUnavailable

FRESH = 0.25  # seconds an answer may be served without looking at the journal's head
HURRY = 1.0  # seconds that whoever has an older answer waits for a newer one
STILL = 2.0  # seconds without the journal's head: the database stands still
STALE = 900.0  # seconds for which an answer is given when no newer one is to be had
CAPACITY = 512  # answers kept; all are dropped when there are more

Key = tuple[Hashable, ...]


class Aged(bytes):
    """An answer that may be out of date."""

    age: float  # seconds since it was known to be right

    @classmethod
    def of(cls, body: bytes, age: float) -> "Aged":
        """Return an answer with its age."""
        aged = cls(body)
        aged.age = age
        return aged


@dataclass(slots=True)
class _Kept:
    body: bytes
    head: Hashable
    checked_at: float  # seconds, monotonic


@dataclass(slots=True)
class Snapshots:
    """Encoded answers by question, valid while `head` stays the same."""

    head: Callable[[], Hashable]  # identifies the state that every answer depends on
    monotonic: Callable[[], float]  # seconds
    hurry: float = HURRY  # seconds
    breaker: Breaker = field(default_factory=lambda: Breaker(first=0.5, most=5.0))
    _kept: dict[Key, _Kept] = field(default_factory=dict)
    _renewing: dict[Key, "asyncio.Task[bytes]"] = field(default_factory=dict)
    _looking: dict[Key, float] = field(default_factory=dict)  # since when the head is asked for

    async def answer(self, key: Key, build: Callable[[], Any]) -> bytes:
        """Return the JSON of `build()` for the present state, or for an earlier one, `Aged`.

        Args:
            key: names the question with all its parameters.
            build: reads what is needed; runs on a thread, may raise.

        Raises:
            DatabaseUnavailable: it does not answer, and there is no answer young enough.
        """
        kept = self._kept.get(key)
        if kept is not None and self.monotonic() - kept.checked_at < FRESH:
            return kept.body
        if kept is not None and self.monotonic() - kept.checked_at > STALE:
            kept = None
        if key not in self._renewing and self._left_alone():
            if kept is None:
                raise DatabaseUnavailable(
                    "the database does not answer, and this was not answered lately; it is asked "
                    "again every few seconds"
                )
            return Aged.of(kept.body, self.monotonic() - kept.checked_at)
        renewing = self._renewal(key, build)
        if kept is None:
            return await asyncio.shield(renewing)
        try:
            return await asyncio.wait_for(asyncio.shield(renewing), self.hurry)
        except (TimeoutError, DatabaseUnavailable):
            return Aged.of(kept.body, self.monotonic() - kept.checked_at)

    def _left_alone(self) -> bool:
        """Say whether the database is not to be asked just now."""
        now = self.monotonic()
        still = any(now - since > STILL for since in list(self._looking.values()))
        return still or not self.breaker.allows(now)

    def _renewal(self, key: Key, build: Callable[[], Any]) -> "asyncio.Task[bytes]":
        """Return the work on a question, begun now unless it goes on already."""
        standing = self._renewing.get(key)
        if standing is not None:
            return standing
        task = asyncio.create_task(asyncio.to_thread(self._renew, key, build))
        self._renewing[key] = task

        def over(done: "asyncio.Task[bytes]") -> None:
            self._renewing.pop(key, None)
            if not done.cancelled():
                done.exception()  # whoever waits is told; nobody may be waiting any more

        task.add_done_callback(over)
        return task

    def _renew(self, key: Key, build: Callable[[], Any]) -> bytes:
        checked_at = self._looking[key] = self.monotonic()
        try:
            head = self.head()
        except DatabaseUnavailable:
            self.breaker.failed(self.monotonic())
            raise
        finally:
            del self._looking[key]
        self.breaker.worked()
        kept = self._kept.get(key)
        if kept is None or kept.head != head:
            kept = _Kept(msgspec.json.encode(build()), head, checked_at)
            if len(self._kept) >= CAPACITY:
                self._kept.clear()
            self._kept[key] = kept
        kept.checked_at = checked_at
        return kept.body
