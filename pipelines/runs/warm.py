"""Warm kernels: start a zygote, and ask it for processes that have imported everything already.

Opt-in, for sweeps of notebook runs; kernels are cold by default. What is warm is code that was
imported, ours included, never a user's; every run is a process of its own, so that nothing leaks
from one to the next.
"""

import hashlib
import json
import os
import signal
import site
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.errors import WarmRefused
from pipelines.runs.processes import child_environment, die_with_parent, kill_group

KERNEL = "sluice-warm"  # name of the kernelspec and of the provisioner
_START_S = 120.0  # imports and compilation, on a busy machine
_THREADLESS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "_RJEM_MALLOC_CONF": "background_thread:false",
    "MPLBACKEND": "agg",
}


class Leased:
    """A process that a zygote forked for us; looks like `subprocess.Popen` to its users."""

    stdin = stdout = stderr = None

    def __init__(self, connection: socket.socket, pid: int) -> None:
        """Hold the lease: closing it kills the process and its group."""
        self._connection, self.pid = connection, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, None while it runs; -9 if the zygote died and took it along."""
        if self.returncode is None:
            self._listen(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code; subprocess.TimeoutExpired if it takes longer."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
            self._listen(left)
        return self.returncode

    def _listen(self, timeout: float | None) -> None:
        self._connection.settimeout(timeout)
        try:
            answer = self._connection.recv(4096)
        except (BlockingIOError, TimeoutError):
            return
        except OSError:
            answer = b""
        code = json.loads(answer)["returncode"] if answer else -int(signal.SIGKILL)
        self.returncode = int(code)

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, if it runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the process to end."""
        self.send_signal(signal.SIGTERM)

    def release(self) -> None:
        """Give the lease back: whatever still runs of it is killed."""
        self._connection.close()


def fork(
    address: str,
    module: str,
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    files: Mapping[int, int],
    memory_bytes: int | None = None,
) -> Leased:
    """Ask a zygote for a process that runs a module as `__main__`.

    Args:
        address: the zygote's socket.
        module: what `python -m` would run.
        arguments: sys.argv after the module's name.
        env: the whole environment.
        cwd: working directory, also first on sys.path.
        files: descriptor it is to have -> descriptor of ours.
        memory_bytes: address space it may use; None for no limit.

    Raises:
        WarmRefused: the zygote does not answer, or says why it cannot fork.
    """
    request = {
        "module": module,
        "argv": list(arguments),
        "env": dict(env),
        "cwd": cwd,
        "fds": list(files),
        "memory_bytes": memory_bytes,
    }
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(address)
        socket.send_fds(connection, [json.dumps(request).encode()], list(files.values()))
        answer = connection.recv(4096)
    except OSError as error:
        connection.close()
        raise WarmRefused(f"the warm parent at {address} does not answer: {error}") from error
    told = json.loads(answer) if answer else {"refused": "it does not answer, it has ended"}
    if "refused" in told:
        connection.close()
        raise WarmRefused(f"the warm parent at {address} forks no kernel: {told['refused']}")
    return Leased(connection, int(told["pid"]))


def _sources(folder: str) -> Iterator[object]:
    """Yield folder, name, time and size of the files below a folder, byte code left out.

    Asked at every run, of 250 files: directory entries are a third of the price of paths.
    """
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.name != "__pycache__":
                    yield from _sources(entry.path)
            elif not entry.name.endswith(".pyc"):
                known = entry.stat()
                yield (folder, entry.name, known.st_mtime_ns, known.st_size)


def imported_code() -> str:
    """Return a hash of what a parent imports: interpreter, installed packages, our own modules."""
    ours = Path(__file__).resolve().parents[2]
    facts: list[object] = [sys.version]
    for folder in sorted(set(site.getsitepackages())):
        with suppress(OSError):
            facts.append((folder, Path(folder).stat().st_mtime_ns))
    for package in ("featurestore", "runtime", "pipelines"):
        facts += _sources(str(ours / package))
    return hashlib.sha256(repr(sorted(map(repr, facts))).encode()).hexdigest()


class WarmKernels:
    """A running zygote and the kernelspec that leads to it; use as a context manager.

    When the code that the zygote has imported changes on disk, the next run gets a new zygote;
    runs of the old one come to their end.
    """

    def __init__(self, *, environ: Mapping[str, str] = os.environ) -> None:
        """Start a zygote and wait until it serves.

        Raises:
            WarmRefused: not on Linux, or it does not serve; callers go on with cold kernels.
        """
        if sys.platform != "linux":
            raise WarmRefused("warm kernels need Linux; kernels stay cold")
        self._environ = dict(environ)
        self._ended_later: list[tuple[subprocess.Popen[bytes], Any]] = []
        self._guard = threading.Lock()
        # Linux ends a zygote with the thread that started it, so that one stays.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="sluice-warm")
        self._starter.submit(self._launch).result()

    def _launch(self) -> None:
        """Start a zygote; what it imports is what stands on disk now."""
        self.code = imported_code()
        self._folder = tempfile.TemporaryDirectory(prefix="sluice-warm-")
        self.folder = Path(self._folder.name)
        self.address = str(self.folder / "zygote")
        private = {"JUPYTER_RUNTIME_DIR": str(self.folder), "IPYTHONDIR": str(self.folder)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.runs.zygote", self.address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,
            env=child_environment(_THREADLESS | private, self._environ),
        )
        try:
            self.threads, self.sleepers, self.preloaded = self._await()
            self._write_kernelspec()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "WarmKernels":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def jupyter_path(self) -> str:
        """Return the folder that JUPYTER_PATH must name for the kernelspec to be found."""
        return str(self.folder / "share")

    def _follow_the_code(self) -> tuple[str, str]:
        """Return address and kernelspecs of a zygote that holds the code as it is now."""
        with self._guard:
            if imported_code() != self.code:
                self._ended_later.append((self.process, self._folder))
                self._starter.submit(self._launch).result()
            return self.address, self.jupyter_path

    def start(
        self, module: str, arguments: Sequence[str], *, env: Mapping[str, str], log: int, keep: int
    ) -> Leased:
        """Fork a process that runs a module, its output in `log`, with the descriptor `keep`."""
        address, specs = self._follow_the_code()
        path = os.pathsep.join(filter(None, (specs, env.get("JUPYTER_PATH"))))
        with Path(os.devnull).open("rb") as nothing:
            return fork(
                address,
                module,
                arguments,
                env={**env, "JUPYTER_PATH": path},
                cwd=str(Path.cwd()),
                files={0: nothing.fileno(), 1: log, 2: log, keep: keep},
            )

    def close(self) -> None:
        """End the zygotes and everything they forked."""
        for process, folder in [*self._ended_later, (self.process, self._folder)]:
            kill_group(process.pid)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
            folder.cleanup()
        self._ended_later.clear()
        self._starter.shutdown(wait=False)

    def _await(self) -> tuple[int, int, tuple[str, ...]]:
        stdout = self.process.stdout
        assert stdout is not None
        os.set_blocking(stdout.fileno(), False)
        deadline, received = time.monotonic() + _START_S, b""
        while received.count(b"\n") < 2 and time.monotonic() < deadline:
            part = stdout.read()
            if part:
                received += part
            elif self.process.poll() is not None:
                break
            else:
                time.sleep(0.02)
        lines = [json.loads(line) for line in received.splitlines()]
        if len(lines) < 2:
            count = lines[0]["threads"] if lines else None
            why = f"it has {count} threads" if count else "it did not start"
            raise WarmRefused(f"the warm parent does not serve: {why}; kernels stay cold")
        first = lines[0]
        return int(first["threads"]), int(first["sleepers"]), tuple(first["preloaded"])

    def _write_kernelspec(self) -> None:
        folder = self.folder / "share" / "kernels" / KERNEL
        folder.mkdir(parents=True)
        spec: dict[str, Any] = {
            "argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "Python 3 (warm)",
            "language": "python",
            "metadata": {
                "kernel_provisioner": {
                    "provisioner_name": KERNEL,
                    "config": {"address": self.address},
                }
            },
        }
        (folder / "kernel.json").write_text(json.dumps(spec, indent=1))
