"""One altered byte anywhere in a bundle is refused by name, whoever signed it anew."""

from __future__ import annotations

import random

import msgspec
import pytest

from runtime.bundles.archive import pack_files, unpack_files
from runtime.bundles.bundle import verify_bundle
from runtime.bundles.contract import Manifest, Signature, canonical
from runtime.errors import BundleRefused
from tests.fakes.graphs import tilt_bundle, tilt_signer
from tests.runtime.bundles.packed import EVERY_FILE, any_names, archive_of


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
