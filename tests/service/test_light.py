"""The live service as it runs: what it loads, how it starts and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.trading import promoted_workspace

ROOT = Path(__file__).resolve().parents[2]
NEVER = (
    *("pipelines", "pandas", "scipy", "sklearn", "vectorbt", "optuna", "papermill", "matplotlib"),
    *("numba", "pyarrow", "ndonnx", "nbformat", "polars", "onnxruntime", "deltalake"),
)
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(workspace: Path, port: int):
    child = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "serve", "-w", workspace, "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def answer(port: int, path: str) -> bytes | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as reply:
            return reply.read()
    except (urllib.error.URLError, ConnectionError):
        return None


def wait_for(port: int, path: str) -> bytes:
    deadline = time.monotonic() + 30
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


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_the_service_starts_answers_and_ends_on_a_signal_without_a_traceback(tmp_path, name):
    settings = promoted_workspace(tmp_path / "ws")
    port = free_port()
    with served(settings.workspace, port) as child:
        assert b"Sluice desk" in wait_for(port, "/")
        assert json.loads(wait_for(port, "/health"))["ready"]
        child.send_signal(name)
        printed, complained = child.communicate(timeout=20)
        assert child.returncode == 0, complained
    assert f"http://127.0.0.1:{port}" in printed
    assert "Traceback" not in complained
