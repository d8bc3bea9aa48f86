"""Starts processes of the fault world in milliseconds: imports once, then forks on command.

`python -m tests.fakes.fault_zygote` reads one JSON object a line on stdin, {"id", "folder", "url",
"sessions", "point", "times", "act", "without", "skip", "venue", "venue_answer", "cold"}, and forks
a process that trades; with "serve" one that holds the venues at that address, until it is killed.
The bundle is taken as proved, as it was in `learn`; a "cold" process has it proved anew, as one
that is started does. On stdout: "started ID PID", from the process itself "begun ID CPU" with the
seconds of CPU it took to open everything, children included, "reached ID" when it stops at its
point, and "ended ID STATUS" when it has ended (negative: the signal that ended it).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from runtime.bundles import proving
from tests.fakes.fault_world import VENUE_ANSWER, At, acknowledge, serve_venues, trade_on


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def stop_here(name: str) -> None:
    say(f"reached {name}")
    os.kill(os.getpid(), signal.SIGSTOP)


def spent() -> float:
    """Return seconds of CPU of this process and of the children it waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def work(asked: dict[str, object]) -> None:
    """Trade as asked; the process ends with it."""
    name, folder = str(asked["id"]), Path(str(asked["folder"]))
    acts = {
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "stop": lambda: stop_here(name),
    }
    times = int(str(asked.get("times", 1)))
    reached = At(str(asked.get("point", "")), times, acts[str(asked.get("act", "kill"))])
    without = asked.get("without", [])
    assert isinstance(without, list)
    folder.mkdir(parents=True, exist_ok=True)
    if asked.get("cold"):
        proving._proved.clear()
    if "serve" in asked:
        serve_venues(folder, str(asked["serve"]))
        say(f"begun {name}")
        while True:
            signal.pause()
    world = trade_on(
        folder,
        str(asked["url"]),
        int(str(asked["sessions"])),
        reached=reached,
        told=acknowledge(folder / "acknowledged"),
        holder=name,
        without=frozenset(str(one) for one in without),
        skip=int(str(asked.get("skip", 0))),
        begun=lambda: say(f"begun {name} {spent():.3f}"),
        venue=str(asked.get("venue", "")),
        venue_answer=float(str(asked.get("venue_answer", VENUE_ANSWER))),
    )
    world.close()


def learn() -> None:
    """Import what a trading process imports, and take as proved what it had proved.

    The one trades in a process of its own: threads it starts must not be there when we fork.
    """
    hears, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        with tempfile.TemporaryDirectory() as name:
            trade_on(Path(name), f"sqlite:///{name}/runtime.db", 2).close()
        os.write(tells, json.dumps([sorted(sys.modules), sorted(proving._proved)]).encode())
        os._exit(0)
    os.close(tells)
    with os.fdopen(hears, "rb") as told:
        names, proved = json.loads(told.read())
    os.waitpid(pid, 0)
    proving._proved.update(proved)
    for name in names:
        with contextlib.suppress(ImportError, AttributeError):
            importlib.import_module(name)


def main() -> None:
    """Fork until stdin ends; then end every process that is left."""
    learn()
    say("ready zygote")
    children: dict[int, str] = {}
    waking, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    pending = b""
    while True:
        ready, _, _ = select.select([0, waking], [], [])
        if waking in ready:
            os.read(waking, 4096)
            while children:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                say(f"ended {children.pop(pid)} {os.waitstatus_to_exitcode(status)}")
        if 0 in ready:
            read = os.read(0, 65536)
            if not read:
                break
            *lines, pending = (pending + read).split(b"\n")
            for line in lines:
                asked = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    status = 1
                    try:
                        work(asked)
                        status = 0
                    finally:  # a traceback is printed here, and nothing of the zygote runs on
                        if status:
                            traceback.print_exc()
                        os._exit(status)
                children[pid] = asked["id"]
                say(f"started {asked['id']} {pid}")
    for pid in children:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
    sys.exit(0)
