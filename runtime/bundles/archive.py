"""A bundle as one file: a deterministic .tar.zst that notices its own damage.

The file is one zstd frame followed by a skippable frame (RFC 8878, section 3.1.2) that holds the
SHA-256 of everything before it; `tar --zstd` reads it like any other archive.
"""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable, Mapping
from struct import Struct

import zstandard

from runtime.errors import BundleRefused

MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_UNPACKED = 512 * 1024 * 1024  # bytes, of all files and their headers
MAX_ARCHIVE = MAX_UNPACKED  # bytes; compressed it is hardly ever larger
MAX_FILES = 64
LEVEL = 10
_SKIPPABLE = Struct("<II")  # magic number, length
_MAGIC = 0x184D2A50
_TRAILER = _SKIPPABLE.size + 32


def pack_files(folder: str, files: Mapping[str, bytes]) -> bytes:
    """Return the archive of `folder` with these files: sorted names, no times, no owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(f"{folder}/{name}")  # mtime, uid and gid are zero
            entry.size, entry.mode = len(files[name]), 0o644
            tar.addfile(entry, io.BytesIO(files[name]))
    body = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(buffer.getvalue())
    return body + _SKIPPABLE.pack(_MAGIC, 32) + hashlib.sha256(body).digest()


def unpack_files(
    data: bytes, name: str, check: Callable[[Iterable[str]], None]
) -> tuple[str, dict[str, bytes]]:
    """Return folder name and files of an archive, everything in memory.

    Args:
        data: the archive.
        name: how to call it in a refusal.
        check: is told the names of all files before any of them is read; raises to refuse them.

    Raises:
        BundleRefused: truncated, damaged, too large, or holding anything but plain files.
    """
    body, trailer = data[:-_TRAILER], data[-_TRAILER:]
    if len(data) <= _TRAILER or trailer[: _SKIPPABLE.size] != _SKIPPABLE.pack(_MAGIC, 32):
        raise BundleRefused(f"{name}: is truncated or not a bundle archive")
    if hashlib.sha256(body).digest() != trailer[_SKIPPABLE.size :]:
        raise BundleRefused(f"{name}: is damaged, its checksum does not fit")
    try:
        size = zstandard.get_frame_parameters(body).content_size
        if not 0 < size <= MAX_UNPACKED:
            raise BundleRefused(f"{name}: unpacks to {size} bytes, at most {MAX_UNPACKED}")
        raw = zstandard.ZstdDecompressor().decompress(body, max_output_size=MAX_UNPACKED)
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as tar:
            return _members(tar, name, check)
    except (zstandard.ZstdError, tarfile.TarError, OSError, ValueError) as error:
        raise BundleRefused(f"{name}: cannot be unpacked ({error})") from error


def _members(
    tar: tarfile.TarFile, name: str, check: Callable[[Iterable[str]], None]
) -> tuple[str, dict[str, bytes]]:
    """Return folder and files; headers are judged first, so nothing is read that is not wanted."""
    members: dict[str, tarfile.TarInfo] = {}
    folders, total = set(), 0
    for member in tar:
        folder, slash, plain = member.name.partition("/")
        # A sparse member is a regular file to `isreg`, and unpacks to any size it likes.
        regular = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
        if not (regular and slash) or "/" in plain or plain in ("", ".", "..", *members):
            raise BundleRefused(f"{name}: {member.name!r} is not a plain file of one folder")
        if len(members) == MAX_FILES:
            raise BundleRefused(f"{name}: holds more than {MAX_FILES} files")
        total += member.size
        if member.size > MAX_FILE_BYTES or total > MAX_UNPACKED:
            raise BundleRefused(f"{name}: {plain} is larger than {MAX_FILE_BYTES} bytes")
        folders.add(folder)
        members[plain] = member
    if len(folders) != 1:
        raise BundleRefused(f"{name}: holds {len(folders)} folders, must hold one")
    check(members)
    files = {plain: _content(tar, member, name) for plain, member in members.items()}
    return folders.pop(), files


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> bytes:
    opened = tar.extractfile(member)
    data = b"" if opened is None else opened.read()
    if len(data) != member.size:
        raise BundleRefused(f"{name}: {member.name} ends after {len(data)} of {member.size} bytes")
    return data
