"""The command line, run as a person runs it: answers, exit statuses, one sentence per mistake."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from runtime.bundles.bundle import ARCHIVE_SUFFIX, CONTENT
from service.console import Output, reported
from tests.fakes.commands import inside
from tests.fakes.trading import promoted_workspace, traded_workspace

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    *("demo", "run", "sweep", "studies", "gate", "promote"),
    *("verify", "audit", "replay", "trade", "serve", "why", "explain", "card", "gap", "calibrate"),
    *("latency", "board"),
)
EVERY_FILE = (*CONTENT, "manifest.json", "signature")


def sluice(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    return subprocess.run(
        [sys.executable, "-m", "service.cli", *map(str, arguments)],
        cwd=ROOT,
        env=kept | {"COLUMNS": "140", "NO_COLOR": "1"} | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def traded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "ws"
    return traded_workspace(folder, end=date(2017, 3, 31))[0]


@pytest.fixture
def bundle(tmp_path):
    settings = promoted_workspace(tmp_path / "ws")
    return settings, next(path for path in settings.bundles.iterdir() if path.is_dir())


def only_a_sentence(done: subprocess.CompletedProcess[str], status: int) -> str:
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert len(done.stderr.strip().splitlines()) <= 3
    return done.stderr


def test_help_lists_every_command_and_loads_nothing_heavy():
    done = sluice("--help")
    assert done.returncode == 0
    assert all(f" {name} " in done.stdout for name in COMMANDS)
    heavy = "{'numpy', 'polars', 'sqlalchemy', 'onnxruntime', 'litestar', 'pipelines'}"
    probe = f"import sys, service.cli; print(sorted({heavy} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert loaded.stdout.strip() == "[]", loaded.stdout + loaded.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself_with_an_example(name):
    done = inside(name, "--help")
    assert done.returncode == 0
    assert f"Example: sluice {name}" in done.stdout


def test_verify_prints_each_check(bundle):
    settings, folder = bundle
    for path in (folder, folder.with_name(folder.name + ARCHIVE_SUFFIX), folder.name):
        done = inside("verify", path, "-w", settings.workspace)
        assert done.returncode == 0, done.stderr
        for check in (*EVERY_FILE, "graph", "golden rows"):
            assert any(check in line and "ok" in line for line in done.stdout.splitlines()), check
        assert "verified" in done.stdout


@pytest.mark.parametrize("name", EVERY_FILE)
def test_verify_refuses_a_flipped_byte_and_names_the_file(bundle, name):
    settings, folder = bundle
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 3] ^= 4
    (folder / name).write_bytes(data)
    done = inside("verify", folder, "-w", settings.workspace, "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["verified"], answer["file"]) == (1, False, name)
    assert name in inside("verify", folder, "-w", settings.workspace).stdout


def test_verify_refuses_a_truncated_archive(bundle):
    settings, folder = bundle
    archive = folder.with_name(folder.name + ARCHIVE_SUFFIX)
    archive.write_bytes(archive.read_bytes()[:-7])
    assert sluice("verify", archive, "-w", settings.workspace).returncode == 1


def test_why_leads_from_any_order_to_the_cell(traded):
    decision = json.loads(sluice("why", "2017-02-28", "-w", traded.workspace, "--json").stdout)
    tree = inside("why", decision["decision"]["decision_id"][:12], "-w", traded.workspace)
    assert tree.returncode == 0, tree.stderr
    for word in ("bundle", "study", "trial", "run", "notebook", "def decide(xp, inputs):"):
        assert word in tree.stdout
    orders = [word for line in tree.stdout.splitlines() for word in line.split() if len(word) == 8]
    found = next(
        done
        for done in (inside("why", word, "-w", traded.workspace) for word in orders)
        if done.returncode == 0
    )
    assert found.stdout.startswith("order ")
    for word in ("guardrails: 8 passed", "filled", "cell 4", "def decide(xp, inputs):"):
        assert word in found.stdout


def test_explain_says_what_each_input_did_and_decides_the_same_again(traded):
    answer = json.loads(inside("explain", "2017-02-28", "-w", traded.workspace, "--json").stdout)
    moved = [one["moved"] for one in answer["inputs"]]
    assert moved == sorted(moved, reverse=True)
    assert moved[0] > 0
    assert all(len(one["weight"]) in (0, len(answer["symbols"])) for one in answer["inputs"])
    shown = inside("explain", answer["decision_id"][:12], "-w", traded.workspace)
    assert shown.returncode == 0, shown.stderr
    assert "moved as the median symbol did" in " ".join(shown.stdout.split())


def test_mistakes_end_with_2_and_one_sentence(traded, tmp_path):
    assert "SLUICE_PORT" in only_a_sentence(sluice("serve", SLUICE_PORT="x"), 2)
    assert "yesterday" in only_a_sentence(
        inside("replay", "--from", "yesterday", "-w", traded.workspace), 2
    )
    assert "zzz" in only_a_sentence(inside("why", "zzz", "-w", traded.workspace), 2)
    assert "sluice demo" in only_a_sentence(inside("replay", "-w", tmp_path / "none"), 2)
    assert "sluice demo" in only_a_sentence(inside("why", "zzz", "-w", tmp_path / "none"), 2)
    assert "not a workspace" in only_a_sentence(inside("replay", "-w", tmp_path), 2)
    assert "there is no bundle" in only_a_sentence(inside("verify", "none", "-w", tmp_path), 2)
    assert "workspace" in only_a_sentence(inside("studies", "-w", tmp_path / "none"), 2)
    assert sluice("no-such-command").returncode == 2


def test_a_mistake_under_json_is_json_too(traded):
    done = sluice("why", "zzz", "-w", traded.workspace, "--json")
    problem = json.loads(done.stderr)
    assert (done.returncode, done.stdout) == (2, "")
    assert problem["error"] == "NotFound"
    assert "zzz" in problem["detail"]


def test_an_address_in_use_is_named(traded):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = sluice("serve", "--port", port, "-w", traded.workspace)
    assert str(port) in only_a_sentence(done, 2)


@pytest.mark.parametrize(
    ("database", "command"),
    [("runtime.db", "replay"), ("runtime.db", "audit"), ("research.db", "studies")],
)
def test_a_file_that_is_no_database_is_named_in_a_sentence(bundle, database, command):
    settings, _ = bundle
    (settings.workspace / "workspace.json").write_text("{}")
    for left in settings.workspace.glob(f"{database}-*"):
        left.unlink()
    (settings.workspace / database).write_bytes(b"garbage, not a database" * 500)
    told = only_a_sentence(sluice(command, "-w", settings.workspace), 2)
    assert database in told
    assert "is not a database" in told


def test_keys_that_are_a_folder_are_named_in_a_sentence(bundle, tmp_path):
    settings, folder = bundle
    told = only_a_sentence(
        inside("verify", folder, "--keys", tmp_path, "-w", settings.workspace), 2
    )
    assert "Is a directory" in told


def test_the_demo_looks_for_the_folder_of_its_figures_before_it_begins(tmp_path):
    figures = tmp_path / "no" / "such" / "figures.json"
    workspace = tmp_path / "ws"
    told = only_a_sentence(inside("demo", "--no-serve", "--json", figures, "-w", workspace), 2)
    assert "figures.json" in told
    assert not workspace.exists()


@pytest.mark.parametrize("command", [("serve",), ("trade",), ("replay",), ("why", "zzz")])
def test_a_folder_that_is_no_workspace_is_left_as_it_was(tmp_path, command):
    for folder, words in ((tmp_path / "typo", "there is no workspace"), (tmp_path, "is not a")):
        told = only_a_sentence(inside(*command, "-w", folder), 2)
        assert words in told
        assert "sluice demo" in told
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_where_nothing_was_promoted_says_what_to_do(tmp_path):
    (tmp_path / "workspace.json").write_text("{}")
    assert "sluice promote" in only_a_sentence(inside("replay", "-w", tmp_path), 2)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "/disk/full: No space left on device; make room on its disk and repeat"),
        (errno.EACCES, "/disk/full: Permission denied; give this user the right to it and repeat"),
        (errno.EROFS, "/disk/full: Read-only file system; make its disk writable and repeat"),
    ],
)
def test_what_the_system_refuses_is_one_sentence_with_what_to_do(capsys, number, words):
    for as_json in (False, True):
        with pytest.raises(SystemExit) as ended, reported(Output(as_json=as_json)):
            raise OSError(number, os.strerror(number), "/disk/full")
        assert ended.value.code == 2
        told = capsys.readouterr()
        assert told.out == ""
        said = json.loads(told.err)["detail"] if as_json else told.err.strip().partition(": ")[2]
        assert said == words
