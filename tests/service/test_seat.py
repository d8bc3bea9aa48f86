"""The seat: what does not verify never sits down, and what sits stays."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from runtime.bundles.signing import load_trusted
from runtime.database import open_database
from runtime.errors import BundleRefused
from runtime.registry import Change, Promoted, Registry
from service.trading.proof import Proved, prove_apart, prove_here
from service.trading.seat import RETRY, Seat
from tests.fakes.graphs import tilt_bundle, tilt_manifest
from tests.fakes.trading import promoted_workspace


@pytest.fixture
def settings(tmp_path):
    return promoted_workspace(tmp_path / "ws")


def seat_of(settings) -> Seat[Proved]:
    registry = Registry(open_database(settings.database_url))
    trusted = load_trusted(settings.trusted_keys)
    return Seat(
        registry,
        lambda change: prove_here(settings.bundles / change.bundle, trusted),
    )


def activate_second(settings) -> Path:
    from runtime.bundles.signing import load_signer

    signer = load_signer(settings.workspace / "keys" / "signing.key")
    manifest = msgspec.structs.replace(tilt_manifest(), decide_cell=0, trials=4)
    files = notebook_with_one_cell()
    folder = tilt_bundle(settings.bundles, signer, manifest=manifest, files=files, version=2)
    Registry(open_database(settings.database_url)).activate(
        Promoted(study="tilt", bundle=folder.name, version=2, stage="staging"),
        by="alice",
        why="newer",
        at=datetime(2017, 6, 1, tzinfo=UTC),
    )
    return folder


def notebook_with_one_cell() -> dict[str, bytes]:
    from tests.fakes.graphs import tilt_files

    cell = {"cell_type": "code", "metadata": {}, "source": "def decide(xp, inputs): ..."}
    return tilt_files() | {"notebook.ipynb": msgspec.json.encode({"cells": [cell]})}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_the_active_bundle_sits_and_a_newer_one_takes_its_place(settings):
    seat = seat_of(settings)
    first = seat.refresh()
    folder = activate_second(settings)
    second = seat.refresh()
    assert first.version == 1
    assert (second.version, second.hash) == (2, folder.name)
    assert seat.refused == ""


@pytest.mark.parametrize("name", ["graph.onnx", "notebook.ipynb", "manifest.json", "signature"])
def test_a_tampered_newer_bundle_is_refused_by_file_and_the_previous_one_runs_on(settings, name):
    seat = seat_of(settings)
    seat.refresh()
    flip(activate_second(settings) / name)
    assert seat.refresh().version == 1
    assert name in seat.refused


def test_a_cold_start_with_a_tampered_bundle_falls_back_to_the_one_before(settings):
    flip(activate_second(settings) / "report.html")
    seat = seat_of(settings)
    assert seat.refresh().version == 1
    assert "report.html" in seat.refused
    assert seat.refresh().version == 1  # and stays there


def test_a_repaired_bundle_sits_down_by_itself_and_a_broken_one_is_not_proved_at_each_look(
    settings,
):
    now, proofs = [100.0], []
    registry = Registry(open_database(settings.database_url))
    trusted = load_trusted(settings.trusted_keys)

    def prove(change: Change) -> Proved:
        proofs.append(change.bundle)
        return prove_here(settings.bundles / change.bundle, trusted)

    seat = Seat(registry, prove, monotonic=lambda: now[0])
    seat.refresh()
    card = activate_second(settings) / "card.md"
    good = card.read_bytes()
    flip(card)
    for _ in range(5):
        assert seat.refresh().version == 1
    assert len(proofs) == 2
    card.write_bytes(good)
    now[0] += RETRY
    assert seat.refresh().version == 2
    assert seat.refused == ""


def test_while_nothing_verifies_the_proof_is_not_made_at_each_look_either(settings):
    now, proofs = [100.0], []

    def refuse(change: Change) -> Proved:
        proofs.append(change.bundle)
        raise BundleRefused("card.md: is missing")

    seat = Seat(Registry(open_database(settings.database_url)), refuse, monotonic=lambda: now[0])
    for _ in range(3):
        assert seat.refresh() is None
    assert len(proofs) == 1
    assert "card.md" in seat.refused


def test_an_empty_seat_has_no_bundle_and_no_complaint(tmp_path):
    registry = Registry(open_database(f"sqlite:///{tmp_path / 'runtime.db'}"))
    seat: Seat[Proved] = Seat(registry, lambda change: pytest.fail(change.bundle))
    assert seat.refresh() is None
    assert seat.refused == ""


def test_a_proof_in_a_process_of_its_own_says_the_same(settings):
    (folder,) = (path for path in settings.bundles.iterdir() if path.is_dir())
    trusted = load_trusted(settings.trusted_keys)
    assert prove_apart(folder, trusted) == prove_here(folder, trusted)
    flip(folder / "golden.parquet")
    with pytest.raises(BundleRefused, match=r"^golden\.parquet: "):
        prove_apart(folder, trusted)
