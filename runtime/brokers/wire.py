"""What a venue of its own process and its clients say to each other; docs/broker-adapters.md.

A message is its length in four bytes, big-endian, and that much JSON. The venue greets; the client
says who it is and proves that it knows the token, the venue proves the same; from then on each
question has one answer, in order, under the question's number. The token itself is never sent.
"""

import hashlib
import hmac
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import msgspec

from runtime.decoding import from_json
from runtime.domain import Bar, Order
from runtime.errors import (
    DatabaseUnavailable,
    EntryConflict,
    OrderInvalid,
    RuntimeFault,
    Superseded,
    VenueProtocol,
    VenueRefused,
    VenuesInvalid,
)
from runtime.journal.actions import Dividend, Reversal, Split

PROTOCOL = 1
LARGEST = 16 << 20  # bytes of a message
STRANGER = 4 << 10  # bytes of a message of somebody who has not proved the token yet
PAGE = 5_000  # executions in one answer
_LENGTH = struct.Struct(">I")
# What a venue may refuse with, by name; anything else is an outcome that nobody knows.
FAULTS: Mapping[str, type[RuntimeFault]] = {
    one.__name__: one
    for one in (OrderInvalid, Superseded, EntryConflict, DatabaseUnavailable, VenueRefused)
}


class Greeting(msgspec.Struct, frozen=True, kw_only=True):
    """The venue's first word."""

    protocol: int
    nonce: str  # hex, new for every connection


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, for which account and venue, and the proof of the token."""

    account: str
    venue: str  # "" = only wants to know which there are
    nonce: str
    proof: str  # hex


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """The venue's proof, and its venues."""

    proof: str  # hex
    venues: tuple[str, ...]


class _Question(msgspec.Struct, frozen=True, kw_only=True, tag_field="ask"):
    """A question; its type says what is asked."""


class LogOn(_Question, frozen=True, kw_only=True, tag="log_on"):
    """Serve this connection, and none of an earlier epoch."""

    epoch: int


class AskQuote(_Question, frozen=True, kw_only=True, tag="quote"):
    """What is shown."""

    symbol: str
    at: datetime


class Submit(_Question, frozen=True, kw_only=True, tag="submit"):
    """Take an order, once by its id."""

    order: Order


class Find(_Question, frozen=True, kw_only=True, tag="find"):
    """Where an order stands."""

    order_id: str


class Report(_Question, frozen=True, kw_only=True, tag="report"):
    """An order's quantities."""

    order_id: str


class Cancel(_Question, frozen=True, kw_only=True, tag="cancel"):
    """End an order."""

    order_id: str


class AskWorking(_Question, frozen=True, kw_only=True, tag="working"):
    """Every order that works."""


class ExpireBefore(_Question, frozen=True, kw_only=True, tag="expire_before"):
    """End what was for earlier sessions."""

    opened: datetime


class OnBars(_Question, frozen=True, kw_only=True, tag="on_bars"):
    """A session has closed."""

    bars: tuple[Bar, ...]
    at: datetime


class OnActions(_Question, frozen=True, kw_only=True, tag="on_actions"):
    """Splits and dividends are in effect, or were taken back."""

    splits: tuple[Split, ...]
    dividends: tuple[Dividend, ...]
    reversals: tuple[Reversal, ...] = ()


class AskExecutions(_Question, frozen=True, kw_only=True, tag="executions"):
    """At most `PAGE` executions numbered above."""

    after: int


class AskStatement(_Question, frozen=True, kw_only=True, tag="statement"):
    """The venue's record of a day."""

    day: date


class AskHead(_Question, frozen=True, kw_only=True, tag="head"):
    """Where the venue's chain stands."""


Question: TypeAlias = (
    LogOn
    | AskQuote
    | Submit
    | Find
    | Report
    | Cancel
    | AskWorking
    | ExpireBefore
    | OnBars
    | OnActions
    | AskExecutions
    | AskStatement
    | AskHead
)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A question and its number on this connection."""

    number: int
    question: msgspec.Raw


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one question, or under 0 to the greeting: what was asked for, or why not."""

    number: int
    said: msgspec.Raw = msgspec.Raw(b"null")
    fault: str = ""  # a name of `FAULTS`; "" = none
    words: str = ""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a venue listens."""

    host: str  # "" of a socket in a file
    port: int
    path: Path | None

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"tcp://{self.host}:{self.port}"


def address_of(url: str) -> Address:
    """Read tcp://HOST:PORT or unix:///PATH; VenuesInvalid if it is neither."""
    parts = urlsplit(url)
    try:
        if parts.scheme == "unix" and parts.path and not parts.netloc:
            return Address("", 0, Path(unquote(parts.path)))
        if parts.scheme == "tcp" and parts.hostname and parts.port is not None and not parts.path:
            return Address(parts.hostname, parts.port, None)
    except ValueError:  # a port that is none
        pass
    raise VenuesInvalid(
        f"{url!r} is no place of a venue; write tcp://127.0.0.1:8090 or unix:///path"
    )


def proof(token: str, who: str, *parts: str) -> str:
    """Return what only a holder of the token can say, hex: HMAC-SHA256 over who and the parts."""
    text = "\x1f".join(("sluice venue", who, *parts))
    return hmac.new(token.encode(), text.encode(), hashlib.sha256).hexdigest()


def proved(said: str, token: str, who: str, *parts: str) -> bool:
    """Return whether somebody said what only a holder of the token can say."""
    return hmac.compare_digest(said.encode(), proof(token, who, *parts).encode())


def send(to: socket.socket, message: Any) -> None:
    """Send one message; OSError if that fails, VenueProtocol if it is too large."""
    data = msgspec.json.encode(message)
    if len(data) > LARGEST:
        raise VenueProtocol(f"a message of {len(data)} bytes is larger than {LARGEST}")
    to.sendall(_LENGTH.pack(len(data)) + data)


def receive(of: socket.socket, largest: int = LARGEST, *, deadline: float | None = None) -> bytes:
    """Return the next message.

    Args:
        of: whose; its own timeout is for each piece of the message.
        largest: bytes.
        deadline: by `time.monotonic`, when the whole has to be here; None = no matter.

    Raises:
        OSError: nobody is there, or not in time.
        VenueProtocol: the message is too large.
    """
    (length,) = _LENGTH.unpack(_exactly(of, _LENGTH.size, deadline))
    if length > largest:
        raise VenueProtocol(f"a message of {length} bytes is larger than {largest}")
    return _exactly(of, length, deadline)


def _exactly(of: socket.socket, length: int, deadline: float | None) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0.0:
                raise TimeoutError("a message was not whole in time")
            of.settimeout(left)
        more = of.recv(min(length - len(parts), 1 << 20))
        if not more:
            raise ConnectionResetError("the other side closed the connection")
        parts += more
    return bytes(parts)


def read(data: bytes | msgspec.Raw, type_: Any) -> Any:
    """Return a message as what it must be; VenueProtocol if it is not."""
    try:
        return from_json(data, type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise VenueProtocol(f"what was received is not of protocol {PROTOCOL}: {error}") from error
