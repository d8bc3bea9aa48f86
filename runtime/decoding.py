"""Typed decoding from any thread. Two threads that meet a class first at once end the process.

msgspec works out how to decode a class when it is first asked to, and keeps that on the class
before it is complete: a second thread that comes meanwhile reads what is not there yet (SIGSEGV,
seen with msgspec 0.22 under a service's threads). So one thread at a time works a kind out.
"""

from threading import Lock
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
_ONE_AT_A_TIME = Lock()
_JSON: dict[Any, msgspec.json.Decoder[Any]] = {}
_MSGPACK: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


def json_decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """Return the decoder of a kind from JSON; may be used by any thread."""
    decoder = _JSON.get(kind)
    if decoder is None:
        with _ONE_AT_A_TIME:
            decoder = _JSON.setdefault(kind, msgspec.json.Decoder(kind))
    return decoder


def from_json(data: bytes | str | msgspec.Raw, kind: type[T]) -> T:
    """Return what JSON says; msgspec.DecodeError if it is none, or not of this kind."""
    found: T = json_decoder(kind).decode(data)
    return found


def from_msgpack(data: bytes, kind: type[T]) -> T:
    """Return what MessagePack says; msgspec.DecodeError if it is none, or not of this kind."""
    decoder = _MSGPACK.get(kind)
    if decoder is None:
        with _ONE_AT_A_TIME:
            decoder = _MSGPACK.setdefault(kind, msgspec.msgpack.Decoder(kind))
    found: T = decoder.decode(data)
    return found


def from_plain(content: object, kind: type[T], *, strict: bool = True) -> T:
    """Return plain mappings and lists, as TOML is read, as a kind; msgspec.ValidationError if not.

    Args:
        content: what was read.
        kind: what it must be.
        strict: whether text may not stand for a number.
    """
    json_decoder(kind)  # works the kind out; what was worked out serves every format
    return msgspec.convert(content, kind, strict=strict)
