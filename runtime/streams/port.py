"""The port of a stream: messages in order, read by groups, acknowledged, recovered, trimmed.

What every adapter promises:

1. `publish` returns once its messages are in the log, all of them, in order.
2. Each group sees every message after its start; within a group each goes to one consumer.
3. A message that was read is pending until it is acknowledged. Who crashed left its messages
   pending; `recover` hands them to somebody else and counts the delivery.
4. So nothing is lost, and a message may come twice: `Message.key` tells a repeat.
5. `trim` removes only what every group has acknowledged.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from runtime.errors import MessageInvalid

NO_WAIT = timedelta(0)
_NAME = re.compile(r"[a-z0-9][a-z0-9_.+-]*")


class Message(msgspec.Struct, frozen=True, gc=False):
    """What is published."""

    key: str  # the same thing said again has the same key; consumers drop repeats by it
    payload: bytes


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A message as one group received it; pending until it is acknowledged."""

    id: str  # place in the stream, opaque
    key: str
    payload: bytes
    deliveries: int  # how often it was handed out, this time included


@dataclass(frozen=True, slots=True, kw_only=True)
class Buried:
    """A poison message: set aside for a person, no longer pending."""

    id: str
    key: str
    payload: bytes
    deliveries: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How far a group is behind."""

    waiting: int  # messages it never received
    pending: int  # messages received and not acknowledged
    age: timedelta  # of the oldest message it has not acknowledged; 0 if there is none


class Stream(Protocol):
    """One named stream. Every method raises StreamUnavailable if the storage does not answer."""

    @property
    def name(self) -> str:
        """Return the stream's name."""
        ...

    @property
    def connection(self) -> int:
        """Return a number that grows when the storage may have been started anew."""
        ...

    def publish(self, messages: Sequence[Message]) -> tuple[str, ...]:
        """Append messages, all or none; return their places.

        After StreamUnavailable it is unknown whether they are in: publish them again, consumers
        drop repeats by key.
        """
        ...

    def subscribe(self, group: str, *, from_start: bool = True) -> None:
        """Make a group that begins with the oldest message kept, or the next; nothing if it is."""
        ...

    def read(
        self, group: str, consumer: str, *, count: int, wait: timedelta = NO_WAIT
    ) -> list[Delivery]:
        """Hand out up to `count` messages that the group never received, oldest first.

        Args:
            group: a subscribed group; GroupUnknown otherwise.
            consumer: who receives them.
            count: at most so many.
            wait: how long to wait for the first one, at most; an adapter may give up earlier.
        """
        ...

    def recover(self, group: str, consumer: str, *, idle: timedelta, count: int) -> list[Delivery]:
        """Hand out again what has been pending for at least `idle`, oldest first."""
        ...

    def release(self, group: str, consumer: str, found: Sequence[Delivery]) -> None:
        """Give messages back as if they had not been handed out; `recover` finds them at once."""
        ...

    def acknowledge(self, group: str, ids: Sequence[str]) -> int:
        """Mark messages as handled; return how many were pending."""
        ...

    def bury(self, group: str, delivery: Delivery, reason: str) -> bool:
        """Set a pending message aside for good, in one step; False if it was not pending."""
        ...

    def buried(self, group: str) -> list[Buried]:
        """Return the group's poison messages, oldest first."""
        ...

    def revive(self, group: str, ids: Sequence[str]) -> int:
        """Hand poison messages to their group once more; return how many were found."""
        ...

    def groups(self) -> tuple[str, ...]:
        """Return the names of all groups, sorted."""
        ...

    def lag(self, group: str, *, now: datetime) -> Lag:
        """Tell how far a group is behind at `now`, UTC."""
        ...

    def trim(self) -> int:
        """Remove what every group has acknowledged; return how many. Without groups: nothing."""
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...


def checked_name(name: str) -> str:
    """Return a stream's or group's name; MessageInvalid if it would not travel well."""
    if not _NAME.fullmatch(name):
        raise MessageInvalid(
            f"name {name!r} must be lower case letters, digits, dots, dashes, pluses and "
            "underscores, e.g. signals.momentum"
        )
    return name
