"""The process that executes one notebook by papermill and tells its parent what really happens.

Started by `pipelines.runs.notebooks` as `python -m pipelines.runs.child SPEC`. Events go to the
parent through a pipe, one JSON object per line: the kernel's pid, cells as they start and end, an
exception, the kernel's exit code. The output file is never taken as evidence.
"""

import asyncio
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from pipelines.runs.lean import without_grammars
from pipelines.runs.processes import die_with_parent
from runtime.decoding import from_json

_LONG_CELL_S = 0.5


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is asked to do."""

    notebook: str  # with the parameters written in
    output: str
    folder: str  # working directory of the kernel
    memory_bytes: int | None  # address space of the kernel
    events: int  # file descriptor to write events to
    kernel: str = "python3"  # name of the kernelspec


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened."""

    event: str  # "kernel", "started", "executed", "error", "dead", "unstarted", "done"
    pid: int = 0
    cell: int = -1  # 0-based index in the notebook
    name: str = ""  # of the exception
    text: str = ""  # of the exception
    returncode: int | None = None


def main() -> int:
    """Execute the notebook named by the specification; return 0 if papermill came to its end."""
    die_with_parent()
    spec = from_json(Path(sys.argv[1]).read_bytes(), ChildSpec)

    def tell(event: Event) -> None:
        os.write(spec.events, msgspec.json.encode(event) + b"\n")

    if spec.memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (spec.memory_bytes, spec.memory_bytes))
    return _execute(spec, tell)


def _execute(spec: ChildSpec, tell: Callable[[Event], None]) -> int:
    """Run papermill with an engine that reports; papermill stays in charge of execution."""
    with without_grammars():
        import papermill.execute
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from papermill.engines import papermill_engines
    from papermill.exceptions import PapermillExecutionError

    # papermill's own writer copies the notebook and encodes it in Python, half of its process.
    papermill.execute.write_ipynb = _write
    kernels: list[Any] = []
    papermill_engines.register("sluice", _engine(tell, kernels))
    try:
        papermill.execute.execute_notebook(
            spec.notebook,
            spec.output,
            engine_name="sluice",
            kernel_name=spec.kernel,
            progress_bar=False,
            cwd=spec.folder,
            autosave_cell_every=0,
            request_save_on_cell_execute=False,  # the engine below saves
            partial_output=spec.output,
        )
    except PapermillExecutionError:
        return 1  # told by the engine, with the cell
    except (DeadKernelError, CellExecutionError, CellTimeoutError):
        tell(Event(event="dead", returncode=kernels[-1].wait() if kernels else None))
        return 1
    except RuntimeError as error:  # jupyter_client: the kernel died before it answered
        code = kernels[-1].poll() if kernels else None
        tell(Event(event="unstarted", text=str(error), returncode=code))
        return 1
    tell(Event(event="done"))
    return 0


def _engine(tell: Callable[[Event], None], kernels: list[Any]) -> Any:
    """Return papermill's engine, reporting; `kernels` receives the kernel's process."""
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine
    from papermill.log import logger
    from traitlets.config import Config

    from pipelines.runs.prompt import PromptManager

    class Client(PapermillNotebookClient):  # type: ignore[misc]
        def start_new_kernel(self, **kwargs: Any) -> Any:
            started = super().start_new_kernel(**kwargs)
            kernels.append(self.km.provisioner.process)
            tell(Event(event="kernel", pid=self.km.provisioner.pid))
            return started

    class ReportingEngine(NBClientEngine):  # type: ignore[misc]
        @classmethod
        def execute_managed_notebook(
            cls,
            nb_man: Any,
            kernel_name: str,
            partial_output: str,
            start_timeout: int = 60,
            **_: Any,
        ) -> Any:
            saver = _Saver(nb_man, partial_output)
            reporter = _Reporter(tell, saver, nb_man.cell_exception)
            nb_man.cell_exception = reporter.failed
            client = Client(
                nb_man,
                kernel_name=kernel_name,
                startup_timeout=start_timeout,
                log=logger,
                kernel_manager_class=PromptManager,
                extra_arguments=["--HistoryManager.enabled=False"],
                config=Config({"KernelManager": {"transport_encryption": "auto"}}),
                on_cell_start=reporter.started,
                on_cell_executed=reporter.executed,
            )
            try:
                return client.execute()
            except BaseException:
                saver.not_now()
                saver.save()  # papermill writes only what it came through with
                raise

    return ReportingEngine


class _Saver:
    """Keeps what a run has so far, for the case that it is killed in a long cell.

    papermill would write the whole notebook before and after every cell, a third of its own work;
    a cell that ends soon is not worth that.
    """

    def __init__(self, nb_man: Any, path: str) -> None:
        self._nb_man, self._path = nb_man, path
        self._timer: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """Save if the cell that starts now takes long; the first one is saved at once."""
        if self._timer is None:
            self.save()
        self.not_now()
        self._timer = asyncio.get_running_loop().call_later(_LONG_CELL_S, self.save)

    def not_now(self) -> None:
        """The cell has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def save(self) -> None:
        """Write the notebook as it stands."""
        _write(self._nb_man.nb, self._path)


def _write(notebook: Any, path: str) -> None:
    """Write a notebook; who reads it afterwards brings it into its final form."""
    Path(path).write_bytes(msgspec.json.encode(notebook))


class _Reporter:
    """Tells the parent what happens to each cell."""

    def __init__(
        self, tell: Callable[[Event], None], saver: _Saver, stock: Callable[..., None]
    ) -> None:
        self._tell, self._saver, self._stock = tell, saver, stock

    def started(self, cell: Any, cell_index: int) -> None:
        """A cell begins."""
        self._saver.soon()
        self._tell(Event(event="started", cell=cell_index))

    def executed(self, cell: Any, cell_index: int, execute_reply: Any) -> None:
        """A cell came to its end."""
        self._saver.not_now()
        self._tell(Event(event="executed", cell=cell_index))

    def failed(self, cell: Any, cell_index: int, exception: Any, **kwargs: Any) -> None:
        """A cell raised; papermill's own treatment of it follows."""
        name, text = str(exception.ename), str(exception.evalue)
        self._tell(Event(event="error", cell=cell_index, name=name, text=text))
        self._stock(cell, cell_index=cell_index, exception=exception, **kwargs)


if __name__ == "__main__":
    sys.exit(main())
