"""Answers encoded once and served until the journal moves: a hot read costs no query and no thread.

1. An answer checked less than `FRESH` seconds ago is returned as it is.
2. Otherwise the journal's head is read on a thread; if it has not moved, the answer stands.
3. Otherwise the answer is built anew, on the same thread.
"""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import msgspec

FRESH = 0.25  # seconds an answer may be served without looking at the journal's head
CAPACITY = 512  # answers kept; all are dropped when there are more

Key = tuple[Hashable, ...]


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
    _kept: dict[Key, _Kept] = field(default_factory=dict)

    async def answer(self, key: Key, build: Callable[[], Any]) -> bytes:
        """Return the JSON of `build()` for the present state.

        Args:
            key: names the question with all its parameters.
            build: reads what is needed; runs on a thread, may raise.
        """
        kept = self._kept.get(key)
        if kept is not None and self.monotonic() - kept.checked_at < FRESH:
            return kept.body
        return await asyncio.to_thread(self._renew, key, build)

    def _renew(self, key: Key, build: Callable[[], Any]) -> bytes:
        checked_at, head = self.monotonic(), self.head()
        kept = self._kept.get(key)
        if kept is None or kept.head != head:
            kept = _Kept(msgspec.json.encode(build()), head, checked_at)
            if len(self._kept) >= CAPACITY:
                self._kept.clear()
            self._kept[key] = kept
        kept.checked_at = checked_at
        return kept.body
