"""What tests that kill and stop processes share: a parent of processes, and a folder in memory."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.killer import Zygote, zygote

_MEMORY = Path("/dev/shm")  # killing a process loses no page, so no test need wait for disks


@pytest.fixture(scope="module")
def killer() -> Iterator[Zygote]:
    with zygote() as made:
        yield made


@pytest.fixture
def folder() -> Iterator[Path]:
    fast = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=fast, prefix="sluice-faults-") as name:
        yield Path(name)
