"""`sluice gate`: the verdict on a study over all its trials, and what would change it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipelines.gates.policy import default_policy
from pipelines.judge import Judged
from pipelines.judge import judge_study as judge
from pipelines.promote import report_data
from pipelines.report.page import render
from pipelines.workspace import open_workspace
from runtime.bundles.contract import GateVerdict
from service.console import OK, REFUSED, Output
from service.faults import NotFound
from service.research.promotion import origin
from service.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console


REPOSITORY = Path(__file__).resolve().parents[2]


class GateAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the gates say of a study."""

    study: str
    stage: str  # refused, staging, production
    summary: str
    trials: int
    candidate: str  # trial key
    parameters: dict[str, int | float | str | bool]
    verdicts: tuple[GateVerdict, ...]
    figures: dict[str, float | int | str | None]


def judge_study(
    settings: Settings, output: Output, study: str, *, report: Path | None = None
) -> int:
    """Judge a study, record the verdict and report; returns 1 if it is refused.

    Args:
        settings: name the workspace.
        output: where the verdict is told.
        study: its name.
        report: receives the page with pictures, reasons and what would change each verdict.
    """
    if report is not None and (report.is_dir() or not report.absolute().parent.is_dir()):
        raise NotFound(f"{report} cannot be written", "name a file in a folder that is there")
    workspace = open_workspace(settings.workspace, environ=os.environ)
    with output.console.status(f"Judging {study}"):
        judged = judge(study, workspace, policy=default_policy())
    if report is not None:
        page = render(report_data(judged, None, workspace, origin(REPOSITORY)))
        report.write_text(page, encoding="utf-8")
    answer = _answer(judged)
    output.answer(answer, lambda console: _show(console, answer))
    return REFUSED if answer.stage == "refused" else OK


def _answer(judged: Judged) -> GateAnswer:
    verdict = judged.verdict
    return GateAnswer(
        study=verdict.study,
        stage=verdict.stage,
        summary=verdict.summary,
        trials=judged.evidence.counted,
        candidate=judged.trial.key,
        parameters=dict(judged.trial.parameters),
        verdicts=verdict.verdicts,
        figures=dict(verdict.figures),
    )


def _show(console: "Console", answer: GateAnswer) -> None:
    from rich.markup import escape
    from rich.table import Table

    colour = {"refused": "red", "staging": "yellow"}.get(answer.stage, "green")
    console.print(
        f"[bold]{answer.study}[/bold] over {answer.trials} trials: "
        f"[bold {colour}]{answer.stage}[/bold {colour}]"
    )
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("gate", "", "statistic", "threshold"):
        table.add_column(name, justify="right" if name in ("statistic", "threshold") else "left")
    table.add_column("reason, and what would change it", ratio=1)
    for one in answer.verdicts:
        would = f"\n[dim]{escape(one.would_change)}[/dim]" if one.would_change else ""
        table.add_row(
            f"[bold]{one.gate}[/bold]",
            "[green]passed[/green]" if one.passed else "[red]failed[/red]",
            "–" if one.statistic is None else f"{one.statistic:.4g}",
            "–" if one.threshold is None else f"{one.comparison} {one.threshold:g}",
            escape(one.reason) + would,
        )
    console.print(table)
    parameters = ", ".join(f"{name}={value}" for name, value in answer.parameters.items())
    console.print(f"candidate {answer.candidate[:12]}: {escape(parameters)}")
    if answer.stage != "refused":
        console.print(f"[dim]Next: sluice promote {answer.study} opens its holdout, once[/dim]")
