"""A ledger in which one study was tried honestly."""

from pathlib import Path

import pytest

from tests.fakes.ledgers import Scene, honest_scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return honest_scene(tmp_path)
