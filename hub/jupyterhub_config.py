"""JupyterHub on one host: JupyterLab for people who share one workspace and one ledger.

`hub/start.py` starts it and passes, in the environment:

    SLUICE_WORKSPACE       folder with lake, ledger and runs; every kernel gets it, so trials meet
    SLUICE_LAKE_URL, SLUICE_LEDGER_URL    handed to every kernel as well, when they are set
    SLUICE_HUB_PORT        the one public port, on 127.0.0.1
    SLUICE_HUB_PASSWORD    the shared password of this start; taken out of the environment at once
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HUB = Path(__file__).resolve().parent
NOTEBOOKS = HUB.parent / "notebooks"
COPIED = ".sluice-copied.json"  # what we put into a home, so that an edited notebook is kept
HANDED_ON = ("SLUICE_LAKE_URL", "SLUICE_LEDGER_URL")  # where the workspace's parts are elsewhere
NEVER_COPIED = {".ipynb_checkpoints", "__pycache__"}


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lay_out_notebooks(source: Path, home: Path) -> None:
    """Give a person a working copy of the repository's notebooks.

    A notebook that the person changed or saved is never touched; one that is still as we copied it
    follows the repository. So the repository's own notebooks stay clean, whoever runs them.
    """
    home.mkdir(parents=True, exist_ok=True)
    record = home / COPIED
    copied: dict[str, str] = json.loads(record.read_text()) if record.exists() else {}
    for original in sorted(path for path in source.rglob("*") if path.is_file()):
        name = original.relative_to(source)
        if NEVER_COPIED.intersection(name.parts):
            continue
        copy = home / name
        if copy.exists() and _digest(copy) != copied.get(name.as_posix()):
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(original, copy)
        copied[name.as_posix()] = _digest(copy)
    record.write_text(json.dumps(copied, indent=1, sort_keys=True))


def write_kernelspec(folder: Path, python: str) -> None:
    """Make `python3`, the kernel that the notebooks name, the project's own interpreter.

    The module opens a run record in the workspace's ledger before the first cell.
    """
    spec = folder / "kernels" / "python3"
    spec.mkdir(parents=True, exist_ok=True)
    arguments = [python, "-m", "pipelines.runs.kernel", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(
        json.dumps(
            {
                "argv": arguments,
                "display_name": "Sluice (Python 3)",
                "language": "python",
                "metadata": {"debugger": True},
            }
        )
    )


def configure(c: Any, environ: Mapping[str, str], password: str) -> None:
    """Set every option that differs from JupyterHub's default."""
    workspace = Path(environ["SLUICE_WORKSPACE"]).resolve()
    state = workspace / "hub"
    homes = state / "homes"
    state.mkdir(parents=True, exist_ok=True)
    write_kernelspec(state / "jupyter", sys.executable)

    # Addresses: one public port; the hub's and the proxy's own ports are nobody else's business.
    c.JupyterHub.bind_url = f"http://127.0.0.1:{environ['SLUICE_HUB_PORT']}"
    c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{free_port()}"
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{free_port()}"
    c.ConfigurableHTTPProxy.command = [str(HUB / "node_modules/.bin/configurable-http-proxy")]
    c.ConfigurableHTTPProxy.pid_file = str(state / "proxy.pid")

    # State: one SQLite file and a cookie secret, so that a browser stays signed in over a restart.
    c.JupyterHub.db_url = f"sqlite:///{state / 'jupyterhub.sqlite'}"
    c.JupyterHub.cookie_secret_file = str(state / "cookie_secret")

    # People: whoever knows this start's password, under any name of their own.
    c.JupyterHub.authenticator_class = "shared-password"
    c.SharedPasswordAuthenticator.user_password = password
    c.Authenticator.allow_all = True
    c.Authenticator.username_pattern = r"[a-z][a-z0-9-]{0,31}"  # it becomes a folder's name

    # Servers: a JupyterLab process per person, on the project's interpreter.
    c.JupyterHub.spawner_class = "simple"
    c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
    c.Spawner.default_url = "/lab"
    c.Spawner.notebook_dir = str(homes / "{username}")
    c.SimpleLocalProcessSpawner.home_dir_template = str(homes / "{username}")
    c.Spawner.environment = {
        **{name: environ[name] for name in HANDED_ON if name in environ},
        "SLUICE_WORKSPACE": str(workspace),
        "JUPYTER_PATH": str(state / "jupyter"),
        "JUPYTER_CONFIG_PATH": str(HUB / "lab"),  # news and update checks are off
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", "")]),
    }
    c.Spawner.args = [
        "--LabApp.extension_manager=readonly",  # asks no package index
        *(["--allow-root"] if os.geteuid() == 0 else []),
    ]
    c.Spawner.start_timeout = c.Spawner.http_timeout = 60
    c.Spawner.pre_spawn_hook = lambda spawner: lay_out_notebooks(
        NOTEBOOKS, homes / spawner.user.name
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


loaded_by_jupyterhub = globals().get("get_config")  # traitlets defines it for configuration files
if loaded_by_jupyterhub is not None:
    configure(loaded_by_jupyterhub(), os.environ, os.environ.pop("SLUICE_HUB_PASSWORD"))
