"""A kernel that has a run record before its first cell; what the hub starts as `python3`.

1. open a run in the workspace's ledger: who, which kernel, which notebook if it is known
2. tell the kernel its run, so that its reads and trials name it
3. serve as ipykernel does
4. close the run when the kernel ends; one that is killed leaves it open, which reads as crashed

Started as `python -m pipelines.runs.kernel -f CONNECTION_FILE`.
"""

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path

from featurestore.errors import PlatformError
from pipelines.ledger.records import RunClosed, RunOpened
from pipelines.workspace import open_workspace
from runtime.clock import Clock, WallClock

_CONNECTION_FILE = re.compile(r"kernel-(.+)\.json$")  # as jupyter_client names it


def kernel_id(arguments: Sequence[str]) -> str:
    """Return the kernel's id from its connection file's name; empty if it has none."""
    found = (_CONNECTION_FILE.search(argument) for argument in arguments)
    return next((match[1] for match in found if match), "")


@contextlib.contextmanager
def recorded(
    kernel: str, *, clock: Clock, environ: MutableMapping[str, str], process: int
) -> Iterator[str | None]:
    """Open the run of a kernel, and close it when the kernel comes to its end.

    Args:
        kernel: id of the kernel; empty if unknown.
        clock: stamps the run.
        environ: of the kernel; names workspace, person and notebook, and is told the run.
        process: id of the kernel's process; tells restarted kernels of one second apart.

    Yields:
        The run. None where a run was opened already by who executes this notebook, and where no
        workspace answers: nothing can be read or tried there either.
    """
    if environ.get("SLUICE_RUN"):
        yield None
        return
    try:
        workspace = open_workspace(environ=environ, clock=clock)
        ledger = workspace.ledger()
    except PlatformError as error:
        sys.stderr.write(f"this kernel has no run record: {error}\n")
        yield None
        return
    started = clock.now()
    named = f"{started:%Y%m%dT%H%M%S}-kernel-{kernel[:8] or 'unknown'}-{process}"
    notebook = Path(workspace.notebook) if workspace.notebook else None
    ledger.open_run(
        RunOpened(
            run=named,
            notebook=workspace.notebook,
            notebook_hash=(
                "" if notebook is None else hashlib.sha256(notebook.read_bytes()).hexdigest()
            ),
            parameters={},
            kind="kernel",
            by=workspace.by,
            kernel=kernel,
        )
    )
    environ["SLUICE_RUN"] = named
    try:
        yield named
    finally:
        seconds = (clock.now() - started).total_seconds()
        ledger.close_run(named, RunClosed(status="complete", seconds=seconds))


def main() -> None:
    """Serve as a kernel until it is told to end."""
    here = Path.cwd()
    sys.path[:] = [entry for entry in sys.path if entry and Path(entry) != here]
    from ipykernel import kernelapp  # after the notebook's folder has left the path

    kernel = kernel_id(sys.argv)
    with recorded(kernel, clock=WallClock(), environ=os.environ, process=os.getpid()):
        kernelapp.launch_new_instance()


if __name__ == "__main__":
    main()
