"""A signer, the keys that are trusted, and a bundle that he signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.bundles.signing import Signer
from tests.fakes.graphs import tilt_bundle, tilt_signer


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return tilt_signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def trusted(signer: Signer) -> dict[str, str]:
    return {signer.name: signer.public_key}


@pytest.fixture
def folder(tmp_path: Path, signer: Signer) -> Path:
    return tilt_bundle(tmp_path / "bundles", signer)
