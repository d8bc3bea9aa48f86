"""The live service as it runs: what it loads, how it starts and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.fakes.trading import promoted_workspace
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
NEVER = (
    *("pipelines", "pandas", "scipy", "sklearn", "vectorbt", "optuna", "papermill", "matplotlib"),
    *("numba", "pyarrow", "ndonnx", "nbformat", "polars", "onnxruntime", "deltalake"),
)
# What `sluice serve` has no use for, though other commands and what pytest serves with load it.
NOT_SERVED = {"typer.main", "pydantic.main", "attr._make", "rich.console", "pygments.lexer"}
SERVED = """
import json, sys, time
from pathlib import Path
from litestar.testing import TestClient
from service.app import create_app
from service.settings import read_settings
from service.wiring import open_live
live = open_live(read_settings({}, workspace=Path(sys.argv[1])), monotonic=time.monotonic)
with TestClient(create_app(live)) as client:
    while client.get("/health").status_code != 200:
        time.sleep(0.1)
    for path in ("/", "/equity", "/sessions", "/decisions", "/bundles", "/metrics", "/schema"):
        assert client.get(path).status_code == 200, path
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


@contextmanager
def served(workspace: Path, port: int, *python: str, stderr=subprocess.PIPE):
    words = ("-m", "service", "serve", "-w", workspace, "--port", str(port))
    child = subprocess.Popen(
        [sys.executable, *python, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def answer(port: int, path: str) -> bytes | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as reply:
            return reply.read()
    except (OSError, HTTPException):  # not there yet, not ready yet, or slow
        return None


def wait_for(port: int, path: str) -> bytes:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        body = answer(port, path)
        if body is not None:
            return body
        time.sleep(0.05)
    pytest.fail(f"no answer at {path}")


def test_serving_every_noun_loads_no_research_code_no_polars_and_no_graph_runtime(tmp_path):
    settings = promoted_workspace(tmp_path / "ws")
    done = subprocess.run(
        [sys.executable, "-c", SERVED, str(settings.workspace)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert loaded.isdisjoint(NEVER), loaded.intersection(NEVER)


def test_serving_loads_neither_the_library_of_the_command_line_nor_what_it_checks_types_with(
    tmp_path,
):
    settings = promoted_workspace(tmp_path / "ws")
    port, told = free_port(), tmp_path / "told"  # more than a pipe holds
    with (
        told.open("w") as stderr,
        served(settings.workspace, port, "-X", "importtime", stderr=stderr) as child,
    ):
        wait_for(port, "/health")
        assert all(answer(port, path) for path in ("/equity", "/schema", "/metrics"))
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=20) == 0
    lines = told.read_text().splitlines()
    loaded = {line.split("|")[-1].strip() for line in lines if line.startswith("import time:")}
    assert {"litestar.app", "sqlalchemy.engine", "service.app"} <= loaded
    assert not loaded & NOT_SERVED
    assert not {name.split(".")[0] for name in loaded} & {*NEVER}


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_the_service_starts_answers_and_ends_on_a_signal_without_a_traceback(tmp_path, name):
    settings = promoted_workspace(tmp_path / "ws")
    port = free_port()
    with served(settings.workspace, port) as child:
        assert b"Sluice desk" in wait_for(port, "/")
        assert json.loads(wait_for(port, "/health"))["ready"]
        child.send_signal(name)
        printed, complained = child.communicate(timeout=60)
        assert child.returncode == 0, complained
    assert f"http://127.0.0.1:{port}" in printed
    assert "Traceback" not in complained
