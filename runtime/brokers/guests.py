"""Who is connected to a process of venues: strangers for a moment, guests who proved the token.

Each kind has a limit of its own. A stranger too many takes the place of the oldest stranger, who
had the most time to say who it is; so nobody without the token can keep out those who have it.
"""

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field

from runtime.errors import VenueProtocol

CONNECTIONS = 64  # guests at most, at once
STRANGERS = 16  # who have not said who they are, at most, at once


@dataclass(slots=True, eq=False, kw_only=True)
class Guest:
    """One connection whose caller knows the token."""

    caller: socket.socket
    number: int  # in the order of arrival
    account: str
    venue: str
    epoch: int | None = None  # by which it logged on last; None = it never did
    ended: bool = False
    turn: threading.Lock = field(default_factory=threading.Lock)  # held while it is answered

    def check(self) -> None:
        """Raise VenueProtocol if a later connection has taken over; in `turn`."""
        if self.ended:
            raise VenueProtocol(
                f"{self.account} has logged on to {self.venue} over a later connection"
            )


@dataclass(slots=True)
class Guests:
    """All connections of a process."""

    _strangers: dict[socket.socket, int] = field(default_factory=dict)  # -> number, oldest first
    _known: dict[socket.socket, Guest] = field(default_factory=dict)
    _arrived: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def arrived(self, caller: socket.socket) -> None:
        """Take a stranger, and end the oldest one if there are too many."""
        with self._lock:
            if len(self._strangers) >= STRANGERS:
                oldest = next(iter(self._strangers))
                del self._strangers[oldest]
                _end(oldest)
            self._arrived += 1
            self._strangers[caller] = self._arrived

    def proved(self, caller: socket.socket, account: str, venue: str) -> Guest:
        """Make a guest of a stranger who proved the token.

        Raises:
            VenueProtocol: there are too many guests, or the stranger has been ended meanwhile.
        """
        with self._lock:
            number = self._strangers.pop(caller, None)
            if number is None:
                raise VenueProtocol("its place was taken by a later caller")
            if len(self._known) >= CONNECTIONS:
                raise VenueProtocol(f"{CONNECTIONS} callers are connected already")
            guest = Guest(caller=caller, number=number, account=account, venue=venue)
            self._known[caller] = guest
            return guest

    def left(self, caller: socket.socket) -> None:
        """Forget a connection that has ended."""
        with self._lock:
            self._strangers.pop(caller, None)
            self._known.pop(caller, None)

    def logged_on(self, guest: Guest, epoch: int) -> None:
        """End older connections by which the same epoch logged on; returns once they are silent.

        Their callers gave them up, but what they had sent may still lie in a buffer. It must not
        take effect after a later connection was told that it never arrived. Connections of an
        earlier epoch need no end: the record refuses them, each in its own transaction.

        Args:
            guest: who logged on, by the record's leave; its `turn` is not held.
            epoch: by which.

        Raises:
            VenueProtocol: it is itself older than one that logged on.
        """
        with self._lock:
            guest.epoch = epoch
            same = [
                one
                for one in self._known.values()
                if (one.account, one.venue, one.epoch) == (guest.account, guest.venue, epoch)
            ]
        for one in sorted(same, key=lambda one: one.number)[:-1]:
            with one.turn:
                one.ended = True
            if one is not guest:
                _end(one.caller)
        with guest.turn:
            guest.check()

    def end_all(self) -> None:
        """End every connection."""
        with self._lock:
            for caller in (*self._strangers, *self._known):
                _end(caller)


def _end(caller: socket.socket) -> None:
    with suppress(OSError):
        caller.shutdown(socket.SHUT_RDWR)
