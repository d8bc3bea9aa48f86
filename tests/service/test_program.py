"""What is typed plainly for a process that stays means what the library makes of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from typer.main import get_command

from service.__main__ import plainly
from service.cli import app
from service.commands import staying

ROOT = Path(__file__).resolve().parents[2]
COMMAND = get_command(app)
DEFAULTS = {
    "serve": {"workspace": None, "host": None, "port": None, "json": False},
    "trade": {"workspace": None, "delay": 5, "late": None, "json": False},
}
OPTIONS = ("--host", "--port", "--workspace", "-w", "--json", "--delay", "--late", "--help", "-h")
VALUES = (
    *("0.0.0.0", "::1", "a folder", "é", ".", "8080", "08080", "1", "65535", "65536", "99999999"),
    *("0", "+1", "1_0", "5.5", "\uff11", " 7", "-1", "-", "--", "", "--port=81", "-w.", "--hos"),
)
typed = st.lists(
    st.one_of(st.tuples(st.sampled_from(OPTIONS), st.sampled_from(VALUES)), st.just(("--json",))),
    max_size=3,
).map(lambda pairs: [word for pair in pairs for word in pair])


def started_by_the_library(arguments):
    """What the library would start, and with which options."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for name in DEFAULTS:
            patch.setattr(staying, name, lambda name=name, **options: found.append((name, options)))
        COMMAND.main(arguments, prog_name="sluice", standalone_mode=False)
    return found


@settings(max_examples=80)
@given(command=st.sampled_from(sorted(DEFAULTS)), words=typed)
def test_what_is_taken_plainly_is_what_the_library_takes(command, words):
    plain = plainly([command, *words])
    assume(plain is not None)
    started, options = plain
    assert started_by_the_library([command, *words]) == [(started, DEFAULTS[started] | options)]


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("serve", {}),
        ("serve --host 0.0.0.0 --port 8080", {"host": "0.0.0.0", "port": 8080}),
        ("serve -w ws --json", {"workspace": Path("ws"), "json": True}),
        ("trade --workspace ws", {"workspace": Path("ws")}),
        ("trade --delay 7", {"delay": 7}),
    ],
)
def test_what_the_chart_and_the_readme_type_is_taken_plainly(line, options):
    command, *words = line.split()
    assert plainly([command, *words]) == (command, options)


@pytest.mark.parametrize(
    "line",
    [
        *("", "--help", "kill", "serve --help", "serve --port 0", "serve --port 70000", "serve -w"),
        *("serve --delay 5", "serve --port=80", "trade --port 80", "trade --late 3", "trade more"),
    ],
)
def test_whatever_else_is_typed_is_left_to_the_library(line):
    assert plainly(line.split()) is None


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--help",), 0, "Start with sluice demo"),
        (("serve", "--port", "0"), 2, "greater than or equal to 1"),
        (("serve", "-w", "no-such-folder"), 2, "error: "),
        (("trade", "-w", "no-such-folder"), 2, "error: "),
    ],
)
def test_the_program_ends_in_words_however_it_was_started(tmp_path, words, status, said):
    done = subprocess.run(
        [sys.executable, "-m", "service", *words],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
