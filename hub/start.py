"""Start JupyterHub on this host: `just hub`, or `.venv/bin/python hub/start.py`.

1. install the Node proxy from its lock file, if it is not there;
2. start the hub with a password made for this start;
3. wait until it answers, then say where it is and how to sign in;
4. stay until Ctrl-C, then stop the hub, its proxy and everyone's servers.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

HUB = Path(__file__).resolve().parent
PROXY = HUB / "node_modules/.bin/configurable-http-proxy"
FIRST_NOTEBOOK = "strategies/momentum.ipynb"
START_TIMEOUT = 60.0  # seconds until the hub answers
STOP_TIMEOUT = 30.0  # seconds for servers and proxy to end before they are killed
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class HubError(Exception):
    """The hub could not start; the text says what to do."""


def main(arguments: Sequence[str]) -> int:
    """Run the hub until it is interrupted; the exit status is 0 after Ctrl-C, 1 after a failure."""
    console = Console(highlight=False, soft_wrap=True)  # an address is never broken in two
    options = _options(arguments)
    workspace = Path(options.workspace).expanduser().resolve()
    try:
        port = _port(options.port)
        _install_proxy(console)
        return _run(console, workspace, port)
    except HubError as failure:
        errors = Console(stderr=True, highlight=False, soft_wrap=True)
        errors.print(f"[bold red]hub:[/] {escape(str(failure))}")
        return 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="just hub",
        description="JupyterHub on this host; trials land in the workspace's ledger.",
    )
    parser.add_argument(
        "--workspace",
        default=os.environ.get("SLUICE_WORKSPACE") or ".sluice/demo",
        help="folder with lake and ledger (default: SLUICE_WORKSPACE, else .sluice/demo)",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=8000,
        help="port on 127.0.0.1; 0 takes a free one (default 8000)",
    )
    return parser.parse_args(arguments)


def _port(wanted: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except (OSError, OverflowError) as refused:
            raise HubError(f"port {wanted} cannot be used ({refused}); try --port 0") from None
        return int(probe.getsockname()[1])


def _install_proxy(console: Console) -> None:
    """Install configurable-http-proxy beside this file, from package-lock.json, once."""
    if shutil.which("node") is None or (not PROXY.exists() and shutil.which("npm") is None):
        raise HubError(
            "Node.js is missing, JupyterHub's proxy needs it: install the packages nodejs and npm"
            " (Debian: apt-get install nodejs npm), then start again"
        )
    if PROXY.exists():
        return
    console.print("Installing the hub's Node proxy from hub/package-lock.json")
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=HUB,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 or not PROXY.exists():
        raise HubError(f"`npm ci` in hub/ ended with {done.returncode}:\n{done.stderr.strip()}")


def _run(console: Console, workspace: Path, port: int) -> int:
    state = workspace / "hub"
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o700)
    _forget_dead_proxy(state / "proxy.pid")
    password = secrets.token_urlsafe(12)
    log = state / "hub.log"
    with log.open("wb") as sink, _stopping_on_signals():
        hub = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "--config", str(HUB / "jupyterhub_config.py")],
            cwd=state,
            env={
                **os.environ,
                "SLUICE_WORKSPACE": str(workspace),
                "SLUICE_HUB_PORT": str(port),
                "SLUICE_HUB_PASSWORD": password,
            },
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us alone; we stop the hub in order
            preexec_fn=_end_with_parent,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_until_it_answers(hub, f"{address}/hub/health", log)
            _welcome(console, address, password, workspace, log)
            status = hub.wait()
            raise HubError(f"JupyterHub ended by itself with {status}; its log is {log}")
        except KeyboardInterrupt:
            console.print("Stopping the hub and everyone's servers")
            return 0
        finally:
            _stop(hub)


@contextlib.contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _forget_dead_proxy(pid_file: Path) -> None:
    """Remove the pid file of a proxy that is gone or a zombie: the hub cannot stop those."""
    try:
        pid = int(pid_file.read_text())
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        state = "gone"
    except ValueError:
        state = "unreadable"
    if state in {"gone", "unreadable", "Z", "X"} and Path("/proc/self").exists():
        pid_file.unlink(missing_ok=True)


def _wait_until_it_answers(hub: subprocess.Popen[bytes], url: str, log: Path) -> None:
    give_up = time.monotonic() + START_TIMEOUT
    while hub.poll() is None and time.monotonic() < give_up:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise HubError(f"JupyterHub did not start; its log ({log}) ends:\n{end}")


def _welcome(console: Console, address: str, password: str, workspace: Path, log: Path) -> None:
    rows = {
        "Open": f"[bold]{address}/hub/user-redirect/lab/tree/{FIRST_NOTEBOOK}[/]",
        "Sign in": "any name of lower-case letters, for instance [bold]alice[/]",
        "Password": f"[bold]{password}[/]  (made for this start, shown once)",
        "Workspace": escape(str(workspace)),
        "Log": escape(str(log)),
        "Stop": "Ctrl-C",
    }
    console.print("[bold green]Sluice hub is up[/]")
    for name, text in rows.items():
        console.print(f"  {name:<10} {text}")
    if not (workspace / "workspace.json").exists():
        console.print("  No market history there yet: run [bold]just demo --no-serve[/] first.")


def _stop(hub: subprocess.Popen[bytes]) -> None:
    """End the hub and wait for it: it stops the proxy and everyone's servers on the way."""
    if hub.poll() is None:
        hub.terminate()
        try:
            hub.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            hub.kill()
            hub.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
