"""Archives: bounds that are looked at before anything is read, and no path that leads out."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest
import zstandard

from runtime.bundles.archive import MAX_ARCHIVE, MAX_FILE_BYTES, unpack_files
from runtime.bundles.bundle import verify_bundle
from runtime.errors import BundleRefused
from tests.runtime.bundles.packed import EVERY_FILE, any_names, archive_of


def sealed(raw: bytes) -> bytes:
    body = zstandard.ZstdCompressor().compress(raw)
    return body + b"\x50\x2a\x4d\x18\x20\x00\x00\x00" + hashlib.sha256(body).digest()


def tar_header(name: str, size: int, kind: bytes, sparse: bytes = b"") -> bytes:
    """One GNU tar header by hand; `sparse` is what stands at offset 386."""
    header = bytearray(512)
    header[: len(name)] = name.encode()
    header[100:108], header[108:124] = b"0000644\0", b"0000000\0" * 2
    header[124:148] = f"{size:011o}\0".encode() + b"00000000000\0"
    header[156:157], header[257:265] = kind, b"ustar  \0"
    header[386 : 386 + len(sparse)] = sparse
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


def test_a_sparse_member_cannot_make_a_few_bytes_fill_the_memory():
    """GNU's old sparse format says how large the file is apart from how much is stored."""
    claimed = 40 * 2**30
    runs = b"00000000000\0" * 8 + b"\0" + f"{claimed:011o}\0".encode()
    raw = tar_header("a/card.md", 0, b"S", runs) + bytes(1024)
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        (member,) = tar.getmembers()
        assert (member.isreg(), member.size) == (True, claimed)  # what the trap looks like
    archive = sealed(raw)
    assert len(archive) < 200
    with pytest.raises(BundleRefused, match="not a plain file"):
        unpack_files(archive, "it", any_names)


def test_a_member_that_is_shorter_than_it_claims_is_refused():
    for size, message in ((600, "cannot be unpacked"), (2**33 - 1, "larger than")):
        raw = tar_header("a/card.md", size, b"0") + bytes(512)
        with pytest.raises(BundleRefused, match=message):
            unpack_files(sealed(raw), "it", any_names)


def test_an_archive_s_names_are_refused_before_anything_is_read(monkeypatch):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name in ("a/card.md", "a/run.py"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    read = []
    monkeypatch.setattr(tarfile.TarFile, "extractfile", lambda _, member: read.append(member.name))

    def check(names) -> None:
        assert set(names) == {"card.md", "run.py"}
        raise BundleRefused("run.py: does not belong to a bundle")

    with pytest.raises(BundleRefused, match="does not belong"):
        unpack_files(sealed(raw.getvalue()), "it", check)
    assert read == []


def test_a_surplus_file_of_a_folder_is_refused_before_anything_is_read(
    folder, trusted, monkeypatch
):
    (folder / "huge.bin").write_bytes(b"x")
    opened = []
    monkeypatch.setattr(Path, "open", lambda path, *_: opened.append(path))
    with pytest.raises(BundleRefused, match=r"^huge\.bin: does not belong"):
        verify_bundle(folder, trusted)
    assert opened == []


def test_files_and_archives_beyond_their_bounds_are_refused_unread(folder, trusted):
    for path, limit in ((folder / "card.md", MAX_FILE_BYTES), (archive_of(folder), MAX_ARCHIVE)):
        with path.open("r+b") as file:
            file.truncate(limit + 1)  # a hole: it takes no room on the disk
    with pytest.raises(BundleRefused, match=r"^card\.md: is larger than"):
        verify_bundle(folder, trusted)
    with pytest.raises(BundleRefused, match="is larger than"):
        verify_bundle(archive_of(folder), trusted)


def test_archives_with_links_or_paths_that_lead_out_are_refused():
    for name in ("../../etc/passwd", "/etc/passwd", "a/b/c", "alone", "a/..", "a/."):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
        with pytest.raises(BundleRefused, match="it: "):
            unpack_files(sealed(buffer.getvalue()), "it", any_names)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        link = tarfile.TarInfo("a/card.md")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(BundleRefused, match="not a plain file"):
        unpack_files(sealed(buffer.getvalue()), "it", any_names)


def test_the_archive_carries_no_time_and_no_owner_and_zstd_reads_it(folder):
    path = archive_of(folder)
    raw = (
        subprocess.run(["zstd", "-dc", path], capture_output=True, check=False) if _zstd() else None
    )
    body = path.read_bytes()
    content = raw.stdout if raw else zstandard.ZstdDecompressor().decompress(body[:-40])
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == sorted(f"{folder.name}/{n}" for n in EVERY_FILE)
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}


def _zstd() -> bool:
    import shutil

    return shutil.which("zstd") is not None
