"""The child that looks at an untrusted graph first: started when it is needed, or ahead of that.

It loads for as long as the process that starts it, so a process that will need one starts it first
and loads its own part meanwhile. A child that is never asked anything ends with its parent.
"""

import os
import subprocess
import sys

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
_ahead: list[subprocess.Popen[bytes]] = []


def start_ahead() -> None:
    """Start the child of this process's next proof, if none waits already."""
    if not _ahead:
        _ahead.append(_start())


def take() -> subprocess.Popen[bytes]:
    """Return a child that is yet to be asked; nobody else has it."""
    while _ahead:
        child = _ahead.pop()
        if child.poll() is None:
            return child
        _close(child)
    return _start()


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # -P: a folder called runtime where we happen to stand is not ours.
        [sys.executable, "-P", "-m", "runtime.bundles.proving"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **dict.fromkeys(_THREADS, "1")},
    )


def _close(child: subprocess.Popen[bytes]) -> None:
    """Close the pipes of a child that has ended."""
    for pipe in (child.stdin, child.stderr):
        if pipe is not None:
            pipe.close()
