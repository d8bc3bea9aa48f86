"""A promotion is a new signature on the same bytes; the newest one the registry knows counts."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from runtime.bundles.bundle import SIGNATURE, load_bundle, promote_bundle, verify_bundle
from runtime.bundles.contract import Signature, StopBands, canonical
from runtime.bundles.signing import load_trusted
from runtime.errors import BundleRefused
from tests.fakes.graphs import tilt_bundle, tilt_manifest, tilt_signer

LATER = datetime(2017, 3, 1, tzinfo=UTC)
BANDS = StopBands(max_drawdown="0.10", max_daily_loss="0.03")


@pytest.fixture
def signer(tmp_path):
    return tilt_signer(tmp_path / "keys")


@pytest.fixture
def trusted(signer, tmp_path):
    return load_trusted(tmp_path / "keys" / "trusted.json")


@pytest.fixture
def folder(tmp_path, signer):
    """A bundle that the gates allowed in production, signed for it."""
    manifest = tilt_manifest(stage="production")
    return tilt_bundle(tmp_path / "bundles", signer, manifest=manifest)


def promoted(folder, trusted, signer, **changes) -> Signature:
    facts = {
        "signed_at": LATER,
        "version": 2,
        "stage": "production",
        "by": "ada",
        "why": "a quarter on paper",
        "bands": BANDS,
    }
    return promote_bundle(folder, trusted, signer, **facts | changes)


def test_it_keeps_every_byte_and_says_who_why_when_and_the_bands(folder, trusted, signer):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    promoted(folder, trusted, signer)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {SIGNATURE}
    for place in (folder, folder.with_name(f"{folder.name}.tar.zst")):
        found = verify_bundle(place, trusted)
        assert found.hash == folder.name
        signed = found.signature
        assert (signed.version, signed.stage, signed.signer) == (2, "production", "alice")
        assert (signed.by, signed.why, signed.signed_at) == (
            "ada",
            "a quarter on paper",
            LATER.isoformat(),
        )
        assert signed.bands == BANDS


@pytest.mark.parametrize(
    "change",
    [
        {"bands": StopBands(max_drawdown="0.90")},
        {"bands": None},
        {"why": "another reason"},
        {"by": "eve"},
        {"version": 9},
    ],
)
def test_no_word_of_it_can_be_changed_afterwards(folder, trusted, signer, change):
    signed = promoted(folder, trusted, signer)
    forged = msgspec.structs.replace(signed, **change)
    with pytest.raises(BundleRefused, match="was not made by 'alice' over these facts"):
        verify_bundle(folder, trusted, forged)
    (folder / SIGNATURE).write_bytes(canonical(forged))
    with pytest.raises(BundleRefused, match="was not made by 'alice' over these facts"):
        load_bundle(folder, trusted)


def test_an_older_signature_put_back_changes_nothing_where_the_registry_names_the_newer(
    folder, trusted, signer
):
    """Once allowed in production, then taken back to paper: the old permit must not return."""
    old = (folder / SIGNATURE).read_bytes()
    assert verify_bundle(folder, trusted).signature.stage == "production"
    demoted = promoted(folder, trusted, signer, stage="staging")
    (folder / SIGNATURE).write_bytes(old)
    found = load_bundle(folder, trusted, demoted)
    assert (found.stage, found.version) == ("staging", 2)


def test_the_gates_bound_what_a_signature_can_allow(tmp_path, trusted, signer):
    folder = tilt_bundle(tmp_path / "bundles", signer, manifest=tilt_manifest(stage="staging"))
    before = (folder / SIGNATURE).read_bytes()
    with pytest.raises(BundleRefused, match="allows production, the gates allowed staging"):
        promoted(folder, trusted, signer)
    assert (folder / SIGNATURE).read_bytes() == before


def test_a_promotion_of_another_bundle_does_not_count(tmp_path, folder, trusted, signer):
    other = tilt_bundle(tmp_path / "bundles", signer, manifest=tilt_manifest(schedule="daily"))
    signed = promoted(other, trusted, signer, stage="staging")
    with pytest.raises(BundleRefused, match=r"its hash is .*, signed was"):
        verify_bundle(folder, trusted, signed)


@pytest.mark.parametrize("text", ["0", "-0.1", "1.5", "much", "NaN"])
def test_a_band_that_is_no_fraction_is_refused(text):
    with pytest.raises(ValueError, match="max_drawdown must be a fraction"):
        StopBands(max_drawdown=text)


def test_signatures_made_before_there_were_bands_still_hold(folder, trusted):
    """Facts that are not there are not written, so the signed bytes stay what they were."""
    raw = msgspec.json.decode((folder / SIGNATURE).read_bytes())
    assert raw.keys().isdisjoint({"by", "why", "bands"})
    assert verify_bundle(folder, trusted).signature.bands is None
