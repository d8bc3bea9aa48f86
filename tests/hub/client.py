"""A person at the hub, without a browser: sign in, take a token, start a server, run a notebook."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import websocket

from tests.servers import die_with_parent

ROOT = Path(__file__).resolve().parents[2]
GONE_TIMEOUT = 20.0  # seconds for every process of the hub to end


class HubTestError(AssertionError):
    """The hub did not do what a person expects; the text carries what it said."""


@dataclass(frozen=True, kw_only=True)
class RunningHub:
    """A hub that `hub/start.py` started, as its own welcome describes it."""

    address: str
    password: str
    workspace: Path
    pid: int

    @property
    def log(self) -> str:
        """The end of the hub's log, for a failure's text."""
        return (self.workspace / "hub" / "hub.log").read_text(errors="replace")[-4000:]


@contextlib.contextmanager
def running_hub(workspace: Path) -> Iterator[RunningHub]:
    """Run `hub/start.py` on free ports; at the end nothing that it started is left."""
    starter = subprocess.Popen(
        [sys.executable, str(ROOT / "hub/start.py"), "--workspace", str(workspace), "--port", "0"],
        cwd=workspace,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,
    )
    assert starter.stdout is not None
    assert starter.stderr is not None
    family: set[int] = set()
    try:
        said = ""
        while "Stop " not in said:
            line = starter.stdout.readline()
            if not line:
                raise HubTestError(f"hub/start.py ended early:\n{said}{starter.stderr.read()}")
            said += line
        address = re.search(r"Open\s+(http://[^/\s]+)", said)
        password = re.search(r"Password\s+(\S+)", said)
        assert address, said
        assert password, said
        hub = RunningHub(
            address=address[1], password=password[1], workspace=workspace, pid=starter.pid
        )
        yield hub
    finally:
        family = descendants(starter.pid)
        starter.terminate()
        starter.wait(40)
        starter.stdout.close()
        starter.stderr.close()
        left = wait_until_gone(family)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert not left, f"processes of the hub were left after it stopped: {left}"


def descendants(pid: int) -> set[int]:
    """Pids of all processes below this one, at this moment."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update(below)
        waiting.extend(below)
    return found


def wait_until_gone(pids: set[int]) -> set[int]:
    """Wait for processes to end; those that are left when patience is."""
    give_up = time.monotonic() + GONE_TIMEOUT
    left = pids
    while left and time.monotonic() < give_up:
        left = {pid for pid in left if is_running(pid)}
        time.sleep(0.05)
    return left


def is_running(pid: int) -> bool:
    """Whether a process exists and is not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def sign_in(hub: RunningHub, name: str, password: str) -> httpx.Client:
    """Fill in the hub's login form, as a browser does; the client then holds the cookies."""
    browser = httpx.Client(base_url=hub.address, follow_redirects=True, timeout=30, trust_env=False)
    browser.get("/hub/login")
    browser.post(
        "/hub/login?next=/hub/home",
        data={"username": name, "password": password, "_xsrf": _xsrf(browser)},
    )
    return browser


def mint_token(hub: RunningHub, name: str, scopes: list[str]) -> str:
    """Sign in and ask the hub's API for a token that can do no more than these scopes."""
    with contextlib.closing(sign_in(hub, name, hub.password)) as browser:
        answer = browser.post(
            f"/hub/api/users/{name}/tokens",
            json={"expires_in": 600, "note": "test", "scopes": scopes},
            headers={"X-XSRFToken": _xsrf(browser), "Referer": f"{hub.address}/hub/token"},
        )
        assert answer.status_code == 201, f"{answer.status_code}: {answer.text}\n{hub.log}"
        return str(answer.json()["token"])


def _xsrf(browser: httpx.Client) -> str:
    """The hub's own token among the cookies: each path has one."""
    for cookie in browser.cookies.jar:
        if cookie.name == "_xsrf" and cookie.path == "/hub/":
            return str(cookie.value)
    raise HubTestError(f"no _xsrf cookie from the hub: {list(browser.cookies.jar)}")


def with_token(hub: RunningHub, token: str) -> httpx.Client:
    """A client that has this token and nothing else."""
    return httpx.Client(
        base_url=hub.address,
        headers={"Authorization": f"token {token}"},
        timeout=60,
        trust_env=False,
    )


def start_server(hub: RunningHub, api: httpx.Client, name: str) -> None:
    """Start a person's server and follow its progress stream until it is ready."""
    asked = api.post(f"/hub/api/users/{name}/server")
    assert asked.status_code in {201, 202}, f"{asked.status_code}: {asked.text}"
    with api.stream("GET", f"/hub/api/users/{name}/server/progress") as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                event = json.loads(line.removeprefix("data:"))
                if event.get("failed"):
                    raise HubTestError(f"the server did not start: {event}\n{hub.log}")
                if event.get("ready"):
                    return
    raise HubTestError(f"the progress stream ended before the server was ready\n{hub.log}")


class Kernel:
    """A kernel behind the hub's proxy, spoken to over its WebSocket."""

    def __init__(self, hub: RunningHub, token: str, name: str, kernel_id: str) -> None:
        self._session = uuid.uuid4().hex
        address = hub.address.replace("http://", "ws://")
        self._socket = websocket.create_connection(
            f"{address}/user/{name}/api/kernels/{kernel_id}/channels?session_id={self._session}",
            header=[f"Authorization: token {token}"],
            timeout=60,
            http_no_proxy=["*"],
        )

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def run(self, source: str) -> list[dict[str, Any]]:
        """Run one cell; its output messages, or HubTestError with the traceback."""
        request = uuid.uuid4().hex
        header = {
            "msg_id": request,
            "msg_type": "execute_request",
            "username": "",
            "session": self._session,
            "version": "5.3",
        }
        content = {
            "code": source,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        self._socket.send(json.dumps({**message, "channel": "shell", "buffers": []}))
        outputs: list[dict[str, Any]] = []
        replied = idle = False
        while not (replied and idle):
            answer = json.loads(self._socket.recv())
            if answer.get("parent_header", {}).get("msg_id") != request:
                continue
            kind, said = answer["msg_type"], answer["content"]
            if kind == "error":
                trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(said["traceback"]))
                raise HubTestError(f"this cell failed:\n{source}\n{trace}")
            if kind in {"stream", "display_data", "execute_result"}:
                outputs.append({"kind": kind, **said})
            replied = replied or kind == "execute_reply"
            idle = idle or (kind == "status" and said["execution_state"] == "idle")
        return outputs


def start_kernel(api: httpx.Client, name: str, notebook: str) -> str:
    """Open a notebook as Lab does: a session with the kernel that the notebook names."""
    content = api.get(f"/user/{name}/api/contents/{notebook}").raise_for_status().json()["content"]
    wanted = content["metadata"]["kernelspec"]["name"]
    answer = api.post(
        f"/user/{name}/api/sessions",
        json={
            "path": notebook,
            "name": notebook,
            "type": "notebook",
            "kernel": {"name": wanted},
        },
    )
    assert answer.status_code == 201, f"{answer.status_code}: {answer.text}"
    return str(answer.json()["kernel"]["id"])
