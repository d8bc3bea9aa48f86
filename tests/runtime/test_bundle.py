"""Bundles: what is written loads, and one altered byte anywhere is refused by name."""

from __future__ import annotations

import hashlib
import io
import random
import stat
import subprocess
import tarfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zstandard

from runtime.bundles.archive import MAX_ARCHIVE, MAX_FILE_BYTES, pack_files, unpack_files
from runtime.bundles.bundle import (
    ARCHIVE_SUFFIX,
    CONTENT,
    LoadedBundle,
    load_bundle,
    verify_bundle,
    write_bundle,
)
from runtime.bundles.contract import Manifest, Signature, canonical, manifest_hash
from runtime.bundles.golden import GoldenRow, golden_bytes, read_golden
from runtime.bundles.signing import Signer, create_key, load_signer, load_trusted
from runtime.errors import BundleRefused, KeyUnusable
from tests.fakes.graphs import (
    SIGNED_AT,
    tilt_bundle,
    tilt_files,
    tilt_graph,
    tilt_manifest,
    tilt_signer,
)

EVERY_FILE = (*CONTENT, "manifest.json", "signature")


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return tilt_signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def trusted(signer: Signer) -> dict[str, str]:
    return {signer.name: signer.public_key}


@pytest.fixture
def folder(tmp_path: Path, signer: Signer) -> Path:
    return tilt_bundle(tmp_path / "bundles", signer)


def archive_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ARCHIVE_SUFFIX)


def test_what_is_written_loads_from_the_folder_and_from_the_archive(folder, trusted):
    for path in (folder, archive_of(folder)):
        bundle = load_bundle(path, trusted)
        assert isinstance(bundle, LoadedBundle)
        assert bundle.hash == folder.name == manifest_hash(bundle.manifest)
        assert (bundle.stage, bundle.version) == ("staging", 1)
        assert set(bundle.inputs) == {"prices", "current"}


def test_the_same_inputs_give_the_same_bytes(tmp_path, signer):
    one, two = (tilt_bundle(tmp_path / name, signer) for name in "ab")
    assert one.name == two.name
    assert archive_of(one).read_bytes() == archive_of(two).read_bytes()


def test_promoting_again_keeps_the_hash_and_renews_the_signature(tmp_path, signer, trusted):
    first = tilt_bundle(tmp_path, signer)
    again = tilt_bundle(tmp_path, signer, version=2)
    assert first == again
    assert (
        load_bundle(again, trusted).version == load_bundle(archive_of(again), trusted).version == 2
    )


@pytest.mark.parametrize("name", EVERY_FILE)
def test_every_flipped_byte_of_every_file_is_refused_and_named(folder, trusted, name):
    path = folder / name
    original = path.read_bytes()
    seeded = random.Random(name)
    every = range(len(original))
    # All bytes of the small files, whose every bit has a meaning; a sample of the large ones.
    for position in every if len(original) < 1200 else sorted(seeded.sample(every, 300)):
        altered = bytearray(original)
        altered[position] ^= 1 << seeded.randrange(8)
        path.write_bytes(altered)
        with pytest.raises(BundleRefused, match=rf"^{name}: "):
            verify_bundle(folder, trusted)
    path.write_bytes(original)
    verify_bundle(folder, trusted)


def test_upper_case_hex_and_white_space_in_the_signature_are_refused_too(folder, trusted):
    path = folder / "signature"
    original = path.read_bytes()
    facts = msgspec.json.decode(original)
    shouted = msgspec.json.encode({**facts, "signature": facts["signature"].upper()})
    for altered in (original + b"\n", b" " + original, shouted):
        path.write_bytes(altered)
        with pytest.raises(BundleRefused, match=r"^signature: "):
            verify_bundle(folder, trusted)


def test_every_flipped_byte_of_the_archive_is_refused_and_named(folder, trusted):
    path = archive_of(folder)
    original = path.read_bytes()
    for position in range(len(original)):
        altered = bytearray(original)
        altered[position] ^= 1 << (position % 8)
        path.write_bytes(altered)
        with pytest.raises(BundleRefused, match=path.name):
            verify_bundle(path, trusted)


def test_a_truncated_archive_is_refused_at_any_length(folder, trusted):
    path = archive_of(folder)
    original = path.read_bytes()
    for length in [0, 1, 39, 40, 41, *range(100, len(original), 97), len(original) - 1]:
        path.write_bytes(original[:length])
        with pytest.raises(BundleRefused, match=path.name):
            verify_bundle(path, trusted)


def test_a_byte_flipped_before_packing_is_refused_by_the_files_name(folder, trusted):
    name, files = unpack_files(archive_of(folder).read_bytes(), "it", any_names)
    files["card.md"] = b"# lard\n"
    archive_of(folder).write_bytes(pack_files(name, files))
    with pytest.raises(BundleRefused, match=r"^card\.md: "):
        verify_bundle(archive_of(folder), trusted)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_missing_or_emptied_file_is_refused_and_named(folder, trusted, name):
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    with pytest.raises(BundleRefused, match=rf"^{name}: is missing"):
        verify_bundle(folder, trusted)
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleRefused, match=rf"^{name}: "):
        verify_bundle(folder, trusted)


def test_surplus_files_folders_and_links_are_refused_and_named(folder, trusted):
    surplus = folder / "run.py"
    surplus.write_text("print('hello')")
    with pytest.raises(BundleRefused, match=r"^run\.py: does not belong"):
        verify_bundle(folder, trusted)
    surplus.unlink()
    surplus.mkdir()
    with pytest.raises(BundleRefused, match=r"^run\.py: does not belong"):
        verify_bundle(folder, trusted)
    surplus.rmdir()
    card = folder / "card.md"
    (folder.parent / "card.md").write_bytes(card.read_bytes())
    card.unlink()
    card.symlink_to(folder.parent / "card.md")
    with pytest.raises(BundleRefused, match=r"^card\.md: is not a plain file"):
        verify_bundle(folder, trusted)


def test_an_unknown_signer_and_a_known_name_with_another_key_are_refused(tmp_path, folder, signer):
    with pytest.raises(BundleRefused, match=r"^signature: signer 'alice' is unknown; trusted: bob"):
        verify_bundle(folder, {"bob": signer.public_key})
    mallory = tilt_signer(tmp_path / "mallory", seed=9)  # calls herself alice
    forged = tilt_bundle(tmp_path / "forged", mallory)
    with pytest.raises(BundleRefused, match=r"^signature: 'alice' is trusted with another"):
        verify_bundle(forged, {signer.name: signer.public_key})


def test_a_signature_that_was_made_for_another_use_counts_for_none_here(folder, trusted, signer):
    """The same key may sign other things; those bytes must never read as a promotion."""
    file = folder / "signature"
    draft = msgspec.structs.replace(
        msgspec.json.decode(file.read_bytes(), type=Signature), signature=""
    )
    for context in (b"", b"sluice policy signature 1\n"):
        foreign = signer.key.sign(context + canonical(draft)).hex()
        file.write_bytes(canonical(msgspec.structs.replace(draft, signature=foreign)))
        with pytest.raises(BundleRefused, match="was not made by 'alice' over these facts"):
            verify_bundle(folder, trusted)


def test_a_manifest_resigned_for_other_bytes_is_refused(folder, trusted, signer):
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    better = canonical(msgspec.structs.replace(manifest, stage="production"))
    (folder / "manifest.json").write_bytes(better)
    with pytest.raises(BundleRefused, match=r"^manifest\.json: its hash"):
        verify_bundle(folder, trusted)


def test_a_signature_cannot_allow_more_than_the_gates(tmp_path, signer, trusted):
    path = write_bundle(
        tmp_path,
        tilt_manifest(),
        tilt_files(),
        signer=signer,
        signed_at=SIGNED_AT,
        version=1,
        stage="production",
    )
    with pytest.raises(BundleRefused, match=r"^signature: allows production, the gates allowed"):
        verify_bundle(path, trusted)


def test_a_bundle_under_another_name_is_refused(folder, trusted):
    moved = folder.rename(folder.with_name("0" * 64))
    with pytest.raises(BundleRefused, match=r"^manifest\.json: belongs to bundle"):
        verify_bundle(moved, trusted)


def test_a_graph_that_no_longer_gives_the_golden_rows_is_refused(tmp_path, signer, trusted):
    nudged = tilt_files(graph=tilt_graph(tilt=np.nextafter(8.0, 9.0)))
    path = tilt_bundle(tmp_path, signer, files=nudged)
    verify_bundle(path, trusted)  # signed and whole, and yet it decides otherwise
    with pytest.raises(BundleRefused, match=r"^golden\.parquet: row 0 .* weight differs"):
        load_bundle(path, trusted)


def test_a_graph_with_other_inputs_than_declared_is_refused(tmp_path, signer, trusted):
    manifest = tilt_manifest()
    renamed = msgspec.structs.replace(manifest.inputs[0], name="closes")
    manifest = msgspec.structs.replace(manifest, inputs=(renamed, manifest.inputs[1]))
    path = tilt_bundle(tmp_path, signer, manifest=manifest)
    with pytest.raises(BundleRefused, match=r"^graph\.onnx: wants the inputs"):
        load_bundle(path, trusted)


UNPINNED = msgspec.structs.replace(tilt_manifest().inputs[0], view_hash=None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 2}, "schema version 2"),
        ({"symbols": ("AAA", "AAA")}, "unique"),
        ({"schedule": "now_and_then"}, "no schedule"),
        ({"symbols": ()}, "present"),
        ({"inputs": tilt_manifest().inputs[:1] * 2}, "two inputs share a name"),
        ({"inputs": (UNPINNED,)}, "input prices names no view version"),
    ],
)
def test_a_signed_manifest_that_makes_no_sense_is_refused(tmp_path, signer, trusted, change, words):
    manifest = msgspec.structs.replace(tilt_manifest(), **change)
    path = write_bundle(
        tmp_path, manifest, tilt_files(), signer=signer, signed_at=SIGNED_AT, version=1
    )
    with pytest.raises(BundleRefused, match=rf"^manifest\.json: .*{words}"):
        verify_bundle(path, trusted)


def test_a_signed_manifest_that_can_be_written_in_two_ways_is_refused(folder, trusted, signer):
    manifest = (folder / "manifest.json").read_bytes()
    for loose in (manifest + b"\n", manifest[:-1] + b',"note":"nobody reads this"}'):
        name = hashlib.sha256(loose).hexdigest()
        signed = signer.sign(name, signed_at=SIGNED_AT, version=1, stage="staging")
        other = folder.rename(folder.with_name(name))
        (other / "manifest.json").write_bytes(loose)
        (other / "signature").write_bytes(canonical(signed))
        with pytest.raises(BundleRefused, match=r"^manifest\.json: is not in canonical form"):
            verify_bundle(other, trusted)
        folder = other


def test_an_existing_folder_with_other_bytes_is_not_promoted_over(folder, signer):
    (folder / "card.md").write_bytes(b"changed")
    with pytest.raises(BundleRefused, match=r"^card\.md: .* holds other bytes"):
        tilt_bundle(folder.parent, signer)


def test_paths_that_are_no_bundle_are_refused(tmp_path, trusted):
    for name in ("nothing", "nothing.tar.zst"):
        with pytest.raises(BundleRefused, match=name):
            verify_bundle(tmp_path / name, trusted)


def sealed(raw: bytes) -> bytes:
    body = zstandard.ZstdCompressor().compress(raw)
    return body + b"\x50\x2a\x4d\x18\x20\x00\x00\x00" + hashlib.sha256(body).digest()


def any_names(names) -> None:
    """Accept every name."""


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


def test_golden_rows_survive_parquet_to_the_bit():
    values = np.array([0.1, -0.0, 5e-324, 1.7976931348623157e308])
    row = GoldenRow(
        at="2016-01-29",
        inputs={"w": np.stack([values, values * 0.5], axis=1), "c": values},
        score=values,
        weight=values[::-1].copy(),
    )
    data = golden_bytes([row, row])
    assert data == golden_bytes([row, row])
    back = read_golden(data)[1]
    assert back.inputs["w"].tobytes() == row.inputs["w"].tobytes()
    assert back.inputs["c"].tobytes() == row.inputs["c"].tobytes()
    assert (back.score.tobytes(), back.weight.tobytes()) == (
        row.score.tobytes(),
        row.weight.tobytes(),
    )


def test_keys_are_private_never_overwritten_and_never_shown(tmp_path):
    signer = create_key(tmp_path, "alice", b"\x07" * 32)
    path = tmp_path / "signing.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_signer(path).public_key == signer.public_key
    assert load_trusted(tmp_path / "trusted.json") == {"alice": signer.public_key}
    assert "07" * 32 not in repr(signer)
    with pytest.raises(KeyUnusable, match="never overwritten"):
        create_key(tmp_path, "alice", b"\x08" * 32)
    path.chmod(0o644)
    with pytest.raises(KeyUnusable, match="chmod 600"):
        load_signer(path)
    path.chmod(0o600)
    path.write_text("{}")
    with pytest.raises(KeyUnusable, match="does not hold"):
        load_signer(path)
    with pytest.raises(KeyUnusable, match="does not exist"):
        load_trusted(tmp_path / "nobody.json")
