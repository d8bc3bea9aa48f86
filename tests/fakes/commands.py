"""A command of the platform run in this process: where its answer is judged, not how it ends."""

from __future__ import annotations

import os
import subprocess

from typer.testing import CliRunner

from service.cli import app


def inside(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `sluice` with these arguments, and with no setting of ours but those given."""
    words = [str(one) for one in arguments]
    unset = {name: None for name in os.environ if name.startswith("SLUICE_")}
    shown = {"COLUMNS": "140", "NO_COLOR": "1"}
    done = CliRunner().invoke(app, words, env=unset | shown | environ)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)
