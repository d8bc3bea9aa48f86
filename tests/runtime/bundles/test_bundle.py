"""Bundles: what is written loads, the same bytes each time, and only what makes sense does."""

from __future__ import annotations

import hashlib
import stat

import msgspec
import numpy as np
import pytest

from runtime.bundles.bundle import LoadedBundle, load_bundle, verify_bundle, write_bundle
from runtime.bundles.contract import canonical, manifest_hash
from runtime.bundles.golden import GoldenRow, golden_bytes, read_golden
from runtime.bundles.signing import create_key, load_signer, load_trusted
from runtime.errors import BundleRefused, KeyUnusable
from tests.fakes.graphs import SIGNED_AT, tilt_bundle, tilt_files, tilt_graph, tilt_manifest
from tests.runtime.bundles.packed import archive_of


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
