"""`sluice run`: one notebook, typed parameters, a named cause if it fails."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.runs.notebooks import (
    RunProgress,
    RunRecord,
    declared,
    parameters_from_text,
)
from pipelines.runs.notebooks import run_notebook as execute
from pipelines.workspace import open_workspace
from runtime.clock import WallClock
from service.console import OK, REFUSED, Output
from service.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console


def run_notebook(
    settings: Settings,
    output: Output,
    notebook: Path,
    parameters: list[str],
    *,
    timeout_seconds: float,
) -> int:
    """Execute a notebook and report how it ended; returns the exit status."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    workspace = open_workspace(settings.workspace, environ=os.environ)
    values = parameters_from_text(declared(notebook), parameters, notebook.name)
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TextColumn("cell {task.completed} of {task.total}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=output.console, transient=True) as progress:
        task = progress.add_task(notebook.name, total=None)

        def show(step: RunProgress) -> None:
            progress.update(task, total=step.cells, completed=step.cell + 1)

        record = execute(
            notebook,
            values,
            workspace,
            clock=WallClock(),
            timeout_s=timeout_seconds,
            on_progress=show,
        )
    output.answer(record, lambda console: _show(console, record))
    return OK if record.complete else REFUSED


def _show(console: "Console", record: RunRecord) -> None:
    closed = record.closed
    word = "[green]complete[/green]" if record.complete else f"[red]failed: {closed.cause}[/red]"
    console.print(f"[bold]{record.run}[/bold]  {word}  {closed.seconds:.1f} s")
    if closed.message:
        where = "" if closed.cell is None else f"cell {closed.cell + 1}: "
        console.print(f"  {where}{closed.message}", markup=False)
    console.print(f"  notebook  {record.executed or 'none was written'}", markup=False)
    console.print(f"  log       {record.log}", markup=False)
