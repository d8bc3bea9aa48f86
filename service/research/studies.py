"""`sluice studies`: what was asked, how often it was tried, what the gates said."""

import os
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from pipelines.ledger import Lease, Ledger, StudyRecord
from pipelines.workspace import open_workspace
from service.console import OK, Output
from service.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console


class StudyLine(msgspec.Struct, frozen=True, kw_only=True):
    """One study as the list shows it."""

    name: str
    question: str
    trials: int
    at_least: int  # tries that are proved: under any name, with notebook runs that left no trial
    charged: int  # N as it is judged: with kernels that read the data and left no trial
    read_by: tuple[str, ...]  # those kernels: when, who, run or notebook
    asked_as: tuple[str, ...]  # other names of the same question
    by_status: dict[str, int]
    verdict: str | None  # of the last judgement; None if never judged
    holdout: str  # "sealed", or when and by whom it was spent
    bundle: str | None  # hash of the last promotion


def list_studies(settings: Settings, output: Output) -> int:
    """Print every study of the workspace's ledger; returns the exit status."""
    ledger = open_workspace(settings.workspace, environ=os.environ).ledger()
    lines = [_line(ledger, study) for study in ledger.studies()]
    output.answer(lines, lambda console: _show(console, lines))
    return OK


def _line(ledger: Ledger, study: StudyRecord) -> StudyLine:
    spent = ledger.holdout(study.name)
    judged = ledger.judgements(study.name)
    charge = ledger.charge(study.name)
    promoted = [one for one in ledger.promotions() if one.study == study.name]
    return StudyLine(
        name=study.name,
        question=str(study.declaration.get("question", "")),
        trials=study.trials,
        at_least=charge.at_least,
        charged=charge.at_most,
        read_by=tuple(_reader(at, lease) for at, lease in ledger.silent_reads(study.name)),
        asked_as=charge.studies[1:],
        by_status=study.by_status,
        verdict=judged[-1].stage if judged else None,
        holdout="sealed" if spent is None else f"spent {spent.at:%Y-%m-%d} by {spent.by}",
        bundle=promoted[-1].bundle if promoted else None,
    )


def _reader(at: datetime, lease: Lease) -> str:
    """Say when and by whom a question's prices were read without a trial."""
    where = lease.notebook or (f"run {lease.run}" if lease.run else "no notebook")
    return f"{at:%Y-%m-%d %H:%M} {lease.by or 'unknown'}, {where}"


def _show(console: "Console", lines: list[StudyLine]) -> None:
    from rich.markup import escape
    from rich.table import Table

    if not lines:
        console.print("No study yet. Declare one by running its notebook: sluice run NOTEBOOK")
        return
    table = Table(box=None, header_style="dim", pad_edge=False, expand=True)
    table.add_column("study", ratio=1)
    table.add_column("trials", justify="right", no_wrap=True)
    for name in ("verdict", "holdout", "bundle"):
        table.add_column(name, no_wrap=True)
    colours = {"refused": "red", "staging": "yellow", "production": "green", None: "dim"}
    for line in lines:
        rest = [f"{n} {name}" for name, n in line.by_status.items() if n and name != "complete"]
        if line.charged > line.trials:
            names = f", with {' and '.join(line.asked_as)}" if line.asked_as else ""
            least = "" if line.at_least == line.charged else f"{line.at_least} to "
            rest.append(f"{least}{line.charged} charged{names}")
        read = [f"[yellow]read, no trial: {escape(one)}[/yellow]" for one in line.read_by[-5:]]
        colour = colours[line.verdict]
        table.add_row(
            "\n".join([f"[bold]{line.name}[/bold]", f"[dim]{escape(line.question)}[/dim]", *read]),
            "\n".join([str(line.trials), *rest]),
            f"[{colour}]{line.verdict or 'not judged'}[/{colour}]",
            line.holdout,
            (line.bundle or "")[:12],
        )
    console.print(table)
