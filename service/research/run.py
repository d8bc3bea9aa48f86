"""`sluice run`: one notebook, typed parameters, a named cause if it fails."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.definition import load_definition
from pipelines.runs.many import run_many
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
from service.research.kernels import kernels
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
    warm: bool = False,
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

        with kernels(output.console, wanted=warm) as parent:
            record = execute(
                notebook,
                values,
                workspace,
                clock=WallClock(),
                timeout_s=timeout_seconds,
                on_progress=show,
                warm=parent,
            )
    output.answer(record, lambda console: _show(console, record))
    return OK if record.complete else REFUSED


def run_every(
    settings: Settings,
    output: Output,
    notebook: Path,
    parameters: list[str],
    *,
    timeout_seconds: float,
    warm: bool,
    workers: int,
) -> int:
    """Execute a notebook once per configuration of its study; returns the exit status."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    workspace = open_workspace(settings.workspace, environ=os.environ)
    fixed = parameters_from_text(declared(notebook), parameters, notebook.name)
    points = [
        point
        for point in load_definition(notebook, fixed).study.configurations()
        if all(point.get(name, value) == value for name, value in fixed.items())
    ]
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with (
        kernels(output.console, wanted=warm) as parent,
        Progress(*columns, console=output.console, transient=True) as progress,
    ):
        task = progress.add_task(notebook.name, total=len(points))
        records = run_many(
            notebook,
            [fixed | point for point in points],
            workspace,
            clock=WallClock(),
            workers=workers,
            timeout_s=timeout_seconds,
            warm=parent,
            on_run=lambda _: progress.advance(task),
        )
    failed = [record for record in records if not record.complete]

    def show(console: "Console") -> None:
        for record in failed or records[-1:]:
            _show(console, record)
        console.print(f"{len(records) - len(failed)} of {len(records)} runs complete")

    output.answer(records, show)
    return REFUSED if failed else OK


def _show(console: "Console", record: RunRecord) -> None:
    closed = record.closed
    word = "[green]complete[/green]" if record.complete else f"[red]failed: {closed.cause}[/red]"
    console.print(f"[bold]{record.run}[/bold]  {word}  {closed.seconds:.1f} s")
    if closed.message:
        where = "" if closed.cell is None else f"cell {closed.cell + 1}: "
        console.print(f"  {where}{closed.message}", markup=False)
    console.print(f"  notebook  {record.executed or 'none was written'}", markup=False)
    console.print(f"  log       {record.log}", markup=False)
