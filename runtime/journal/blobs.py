"""What a decision saw, as bytes: one canonical form, named by its SHA-256, compressed at rest."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from math import prod
from threading import get_ident
from typing import NamedTuple

import msgspec
import zstandard

from runtime.bundles.inputs import Array
from runtime.decoding import from_json
from runtime.errors import JournalBroken

_Shapes = list[tuple[str, list[int]]]  # name and shape of each array, as its header says


def hash_of(data: bytes) -> str:
    """Return the name of some bytes: SHA-256, hex."""
    return hashlib.sha256(data).hexdigest()


class Encoded(NamedTuple):
    """Arrays and their bytes, so that what is named early is not encoded again to be stored."""

    arrays: Mapping[str, Array]
    name: str  # SHA-256 of the bytes, hex
    data: bytes

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> "Encoded":
        """Encode and name arrays; they are not to be changed afterwards."""
        data = encode_arrays(arrays)
        return cls(arrays, hash_of(data), data)


def encode_arrays(arrays: Mapping[str, Array]) -> bytes:
    """Return the one encoding of named float64 arrays.

    One line of JSON, [[name, shape], ...] in alphabetical order, then each array's values row by
    row as little-endian float64.
    """
    names = sorted(arrays)
    header = msgspec.json.encode([[name, list(arrays[name].shape)] for name in names])
    return b"".join((header, b"\n", *(_values_of(arrays[name]) for name in names)))


def _values_of(array: Array) -> bytes:
    import numpy as np

    return np.ascontiguousarray(array, dtype="<f8").tobytes()


def decode_arrays(data: bytes) -> dict[str, Array]:
    """Return the arrays that `encode_arrays` wrote; JournalBroken if the bytes do not add up."""
    import numpy as np

    header, _, body = data.partition(b"\n")
    try:
        shapes = from_json(header, _Shapes)
    except msgspec.DecodeError as error:
        raise JournalBroken(f"stored inputs cannot be read: {error}") from error
    arrays: dict[str, Array] = {}
    start = 0
    for name, shape in shapes:
        size = prod(shape) * 8
        part = body[start : start + size]
        if len(part) != size:
            raise JournalBroken(f"stored inputs end inside {name}")
        arrays[name] = np.frombuffer(part, dtype="<f8").reshape(shape)
        start += size
    if start != len(body):
        raise JournalBroken("stored inputs hold more bytes than their header says")
    return arrays


def compress(data: bytes) -> bytes:
    """Return the bytes as a zstd frame; the name is of the bytes, not of the frame."""
    return _compressor(get_ident()).compress(data)


@lru_cache(maxsize=8)  # making one costs as much as a small frame; no two threads may share one
def _compressor(thread: int) -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=1)


@lru_cache(maxsize=8)
def _decompressor(thread: int) -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor()


def restore(name: str, stored: bytes, what: str = "inputs") -> bytes:
    """Return the bytes of a stored frame; JournalBroken if they no longer carry their name.

    Args:
        name: SHA-256 of the bytes, hex.
        stored: the frame.
        what: it holds, for the error's text.
    """
    try:
        data = _decompressor(get_ident()).decompress(stored)
    except zstandard.ZstdError as error:
        raise JournalBroken(f"stored {what} {name} cannot be unpacked: {error}") from error
    if hash_of(data) != name:
        raise JournalBroken(f"stored {what} {name} were changed")
    return data
