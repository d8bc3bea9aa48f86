"""A workspace with a champion, and the command line over its registry."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from service.cli import app
from tests.fakes.trading import promoted_workspace


@pytest.fixture
def settings(tmp_path):
    """A workspace whose champion is version 1 of study tilt."""
    return promoted_workspace(tmp_path / "ws")


@pytest.fixture
def sluice(settings):
    def run(*words: str, status: int = 0) -> str:
        done = CliRunner().invoke(
            app,
            ["registry", *words, "-w", str(settings.workspace)],
            env={"COLUMNS": "300"},
        )
        assert done.exit_code == status, done.output
        return done.output

    return run
