"""The zygote: a process that imported the heavy code once and forks for every kernel.

1. import an allow-listed preload and compile what every run compiles; never a user's code
2. count the threads in /proc/self/task: beside this one only the sleeper of one library may be
   there, else a fork could hang, so refuse to serve
3. per request, when nothing else runs and that one cannot wake by itself: fork; the child gets
   its own session, files, environment, folder, seeds and limits
4. the requester's socket is a lease: when it closes, the child's process group is killed
5. a child is never used twice, and dies with the zygote

Started as `python -m pipelines.runs.zygote SOCKET` by `pipelines.runs.warm`; Linux only. One JSON
line on stdout says whether it serves. Only the standard library is imported before the preload.
"""

import contextlib
import ctypes
import gc
import json
import os
import random
import resource
import runpy
import selectors
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from pipelines.runs.preload import (
    asleep,
    in_huge_pages,
    keep_memory,
    preload,
    threads,
    warm_up,
)

MESSAGE_BYTES = 1 << 18  # a request with its environment fits
_FILES = 16  # descriptors a request may carry
_PR_SET_PDEATHSIG = 1  # Linux, prctl(2)


class _Zygote:
    """The single-threaded server loop."""

    def __init__(self, listener: socket.socket, sleepers: set[int]) -> None:
        self.listener, self.sleepers = listener, sleepers
        self.selector = selectors.DefaultSelector()
        self.leases: dict[socket.socket, int] = {}  # connection -> child; 0 before its request
        self.wake, self.woken = socket.socketpair()
        for end in (self.wake, self.woken):
            end.setblocking(False)

    def serve(self) -> None:
        """Answer requests until the socket is taken away."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(self.woken.fileno())
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.wake, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.listener:
                    connection, _address = self.listener.accept()
                    self.leases[connection] = 0
                    self.selector.register(connection, selectors.EVENT_READ)
                elif key.fileobj is self.wake:
                    with contextlib.suppress(BlockingIOError):
                        self.wake.recv(4096)
                    self._reap()
                elif isinstance(key.fileobj, socket.socket):
                    self._hear(key.fileobj)

    def _hear(self, connection: socket.socket) -> None:
        """Take a request, or notice that a lease has ended."""
        try:
            message, files, _flags, _address = socket.recv_fds(connection, MESSAGE_BYTES, _FILES)
        except OSError:
            message, files = b"", []
        if not message:
            self._release(connection)
            return
        request = json.loads(message)
        reason = self._unfit()
        if reason:
            for descriptor in files:
                os.close(descriptor)
            self._tell(connection, {"refused": reason})
            self._release(connection)
            return
        child = os.fork()
        if child == 0:
            _become(request, files, os.getppid())
        for descriptor in files:
            os.close(descriptor)
        self.leases[connection] = child
        self._tell(connection, {"pid": child})

    def _unfit(self) -> str:
        """Say why a fork could hang now, empty if it cannot; kernels that run are left alone.

        A thread that is new, or one that is awake, may hold a lock that nobody in the child would
        ever release.
        """
        others = threads() - {os.getpid()}
        if others - self.sleepers:
            return "a thread has started in it, so that it cannot fork any more"
        if not all(asleep(thread) for thread in others):
            return "a thread of it is awake, so that it cannot fork now"
        return ""

    def _release(self, connection: socket.socket) -> None:
        """Kill what a closed lease had started."""
        child = self.leases.pop(connection)
        self.selector.unregister(connection)
        connection.close()
        if child > 0:
            _kill(child)

    def _reap(self) -> None:
        """Tell the lease holders of children that ended."""
        while True:
            try:
                child, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if child == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            for connection, held in self.leases.items():
                if held == child:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.killpg(child, signal.SIGKILL)  # what it left in its group
                    self.leases[connection] = -1
                    self._tell(connection, {"returncode": code})

    def _tell(self, connection: socket.socket, answer: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # gone; its end is noticed when it is read
            connection.send(json.dumps(answer).encode())


def _kill(child: int) -> None:
    """Kill a child's process group; one that had no time to make its group is killed alone."""
    try:
        os.killpg(child, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _become(request: dict[str, Any], files: list[int], zygote: int) -> None:
    """Be the requested program from here on; never returns."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setsid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != zygote:
            os._exit(1)
        _take_files(files, request["fds"])
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        if request.get("memory_bytes"):
            limit = int(request["memory_bytes"])
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        random.seed()
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()
        sys.path[0] = request["cwd"]
        sys.argv = [request["module"], *request["argv"]]
        gc.enable()
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException as error:  # noqa: BLE001  (the program's own end, told on its stderr)
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _take_files(files: list[int], targets: list[int]) -> None:
    """Put the received descriptors where the request wants them; close all others of the zygote."""
    first = 3 + max([*files, *targets, 64])
    parked = []
    for number, descriptor in enumerate(files):
        os.dup2(descriptor, first + number, inheritable=True)
        parked.append(first + number)
    os.closerange(3, first)
    os.closerange(first + len(parked), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    for descriptor, target in zip(parked, targets, strict=True):
        os.dup2(descriptor, target, inheritable=True)
    for descriptor in parked:
        if descriptor not in targets:
            os.close(descriptor)


def main(address: str) -> int:
    """Preload, count threads, serve."""
    keep_memory()
    done, sleepers = preload()
    warm_up()
    gc.collect()
    gc.freeze()
    in_huge_pages()
    count = len(threads() - sleepers)
    verdict = {
        "threads": count,
        "sleepers": len(sleepers),
        "preloaded": done,
        "pid": os.getpid(),
    }
    print(json.dumps(verdict), flush=True)  # noqa: T201  (the parent reads it)
    if count != 1:
        return 3
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        Path(address).chmod(0o600)
        listener.listen(64)
        print(json.dumps({"serving": address}), flush=True)  # noqa: T201
        _Zygote(listener, sleepers).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
