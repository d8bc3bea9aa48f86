"""Warm kernels for a command: had where they can be had, else kernels stay cold and it says so."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console

from pipelines.errors import WarmRefused
from pipelines.runs.warm import WarmKernels


@contextmanager
def kernels(console: Console, *, wanted: bool) -> Iterator[WarmKernels | None]:
    """Yield warm kernels if they are wanted and can be had, else None: kernels stay cold."""
    if not wanted:
        yield None
        return
    with ExitStack() as stack:
        try:
            parent = stack.enter_context(WarmKernels())
        except WarmRefused as refused:
            console.print(f"[yellow]{refused}[/yellow]")
            parent = None
        yield parent
