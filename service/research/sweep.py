"""`sluice sweep`: every configuration counted, progress while it goes, the best ones at the end."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipelines.sweeps.sweep import SweepProgress, SweepReport, SweepTrial, sweep
from pipelines.workspace import open_workspace
from runtime.clock import WallClock
from service.console import OK, REFUSED, Output
from service.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 10  # trials in the table


class TrialLine(msgspec.Struct, frozen=True, kw_only=True):
    """One trial as the sweep reports it."""

    key: str
    parameters: dict[str, int | float | str | bool]
    status: str
    value: float | None  # annualised Sharpe ratio in excess of the benchmark
    reason: str


class SweepAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole sweep, trials in order of proposal."""

    run: str
    study: str
    trials: tuple[TrialLine, ...]
    complete: int
    failed: int
    pruned: int
    seconds: float


def sweep_notebook(
    settings: Settings,
    output: Output,
    notebook: Path,
    *,
    trials: int | None,
    workers: int,
    seed: int,
) -> int:
    """Sweep a notebook's declared space; returns 1 if no trial came to an end."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    workspace = open_workspace(settings.workspace, environ=os.environ)
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[best]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=output.console, transient=True) as progress:
        task = progress.add_task(notebook.name, total=None, best="")

        def show(step: SweepProgress) -> None:
            value = step.best.value if step.best else None
            best = "" if value is None else f"best excess Sharpe {value:.2f}"
            progress.update(task, total=step.total, completed=step.done, best=best)

        report = sweep(
            notebook,
            workspace,
            clock=WallClock(),
            workers=workers,
            seed=seed,
            sampler="grid" if trials is None else "random",
            n_trials=trials,
            on_trial=show,
        )
    answer = _answer(report)
    output.answer(answer, lambda console: _show(console, answer))
    return OK if answer.complete else REFUSED


def _answer(report: SweepReport) -> SweepAnswer:
    return SweepAnswer(
        run=report.run,
        study=report.study,
        trials=tuple(_line(trial) for trial in report.trials),
        complete=report.count("complete"),
        failed=report.count("failed") + report.count("crashed"),
        pruned=report.count("pruned"),
        seconds=report.seconds,
    )


def _line(trial: SweepTrial) -> TrialLine:
    return TrialLine(
        key=trial.key,
        parameters=dict(trial.parameters),
        status=trial.status,
        value=trial.value,
        reason=trial.reason,
    )


def _show(console: "Console", answer: SweepAnswer) -> None:
    from rich.table import Table

    console.print(
        f"[bold]{answer.study}[/bold]: {len(answer.trials)} configurations, all of them in the"
        f" ledger ({answer.complete} complete, {answer.failed} failed, {answer.pruned} pruned),"
        f" {answer.seconds:.1f} s"
    )
    ranked = sorted(
        (one for one in answer.trials if one.value is not None), key=lambda one: -(one.value or 0.0)
    )
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("excess Sharpe", justify="right")
    for name in answer.trials[0].parameters if answer.trials else ():
        table.add_column(name, justify="right")
    table.add_column("trial", style="dim")
    for one in ranked[:SHOWN]:
        table.add_row(f"{one.value:.3f}", *map(str, one.parameters.values()), one.key[:12])
    console.print(table)
    for one in answer.trials:
        if one.status != "complete":
            console.print(f"[red]{one.status}[/red] {one.key[:12]}: ", end="")
            console.print(one.reason, markup=False)
    console.print(f"[dim]Next: sluice gate {answer.study}[/dim]")
