"""Starting the hub: what it refuses in one clear line, and whose notebooks it touches."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from traitlets.config import Config

from tests.servers import free_port

HUB = Path(__file__).resolve().parents[2] / "hub"


def load(name: str) -> ModuleType:
    """Import a file of hub/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"hub_{name}", HUB / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(workspace: Path, *arguments: str, path: str) -> subprocess.CompletedProcess[str]:
    """Run hub/start.py, expecting it to end."""
    return subprocess.run(
        [sys.executable, str(HUB / "start.py"), "--workspace", str(workspace), *arguments],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_taken_port_is_named_with_the_way_out(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = start(tmp_path, "--port", port, path=os.environ["PATH"])
    assert done.returncode == 1
    assert f"port {port} cannot be used" in done.stderr
    assert "--port 0" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_node_the_missing_packages_are_named(tmp_path):
    done = start(tmp_path, "--port", "0", path=str(tmp_path))
    assert done.returncode == 1
    assert "install the packages nodejs and npm" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", ["not a number", "999999999"])
def test_the_pid_file_of_a_proxy_that_is_gone_is_removed(tmp_path, content):
    pid_file = tmp_path / "proxy.pid"
    pid_file.write_text(content)
    load("start")._forget_dead_proxy(pid_file)
    assert not pid_file.exists()


def test_the_pid_file_of_a_zombie_is_removed_and_of_a_living_process_kept(tmp_path):
    pid_file = tmp_path / "proxy.pid"
    child = subprocess.Popen(["sleep", "60"])
    try:
        pid_file.write_text(str(child.pid))
        load("start")._forget_dead_proxy(pid_file)
        assert pid_file.exists()
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and not yet reaped
        load("start")._forget_dead_proxy(pid_file)
        assert not pid_file.exists()
    finally:
        child.kill()
        child.wait()


def test_a_persons_copy_follows_the_repository_until_it_is_edited(tmp_path):
    lay_out = load("jupyterhub_config").lay_out_notebooks
    source, home = tmp_path / "notebooks", tmp_path / "home"
    (source / "strategies" / ".ipynb_checkpoints").mkdir(parents=True)
    (source / "strategies" / ".ipynb_checkpoints" / "a.ipynb").write_text("left by Lab")
    for name in ("a", "b"):
        (source / "strategies" / f"{name}.ipynb").write_text("first")
    lay_out(source, home)
    assert not (home / "strategies" / ".ipynb_checkpoints").exists()
    (home / "strategies" / "b.ipynb").write_text("mine")
    for name in ("a", "b"):
        (source / "strategies" / f"{name}.ipynb").write_text("second")
    lay_out(source, home)
    assert (home / "strategies" / "a.ipynb").read_text() == "second"
    assert (home / "strategies" / "b.ipynb").read_text() == "mine"
    lay_out(source, home)
    assert (home / "strategies" / "b.ipynb").read_text() == "mine"


def test_the_configuration_keeps_every_address_on_this_host(tmp_path):
    config = Config()
    environ = {
        "SLUICE_WORKSPACE": str(tmp_path),
        "SLUICE_HUB_PORT": "8000",
        "SLUICE_LEDGER_URL": "postgresql://ledger",
        "OTHER_SECRET": "not handed on",
        "PATH": "/bin",
    }
    load("jupyterhub_config").configure(config, environ, "a long password")
    for url in (
        config.JupyterHub.bind_url,
        config.JupyterHub.hub_bind_url,
        config.ConfigurableHTTPProxy.api_url,
    ):
        assert url.startswith("http://127.0.0.1:")
    assert config.Spawner.environment["SLUICE_WORKSPACE"] == str(tmp_path)
    assert config.Spawner.environment["SLUICE_LEDGER_URL"] == "postgresql://ledger"
    assert "SLUICE_LAKE_URL" not in config.Spawner.environment
    assert "OTHER_SECRET" not in config.Spawner.environment
    assert "a long password" not in str(config.Spawner)
    config.Spawner.pre_spawn_hook(SimpleNamespace(user=SimpleNamespace(name="alice")))
    assert (tmp_path / "hub" / "homes" / "alice").is_dir()
