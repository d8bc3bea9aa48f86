"""`sluice promote`: the holdout is spent once, the candidate becomes a signed bundle."""

import getpass
import os
from typing import TYPE_CHECKING

import msgspec

from pipelines.performance import figures
from pipelines.promote import PromotedBundle
from pipelines.workspace import open_workspace
from service.console import OK, Output
from service.research.promotion import promote_candidate
from service.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console


class PromoteAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What promotion made."""

    study: str
    stage: str
    bundle: str  # hash, hex
    path: str
    version: int
    parameters: dict[str, int | float | str | bool]
    research: dict[str, float]
    holdout: dict[str, float]


def promote_study(settings: Settings, output: Output, study: str, *, by: str) -> int:
    """Promote a study's candidate and report; returns the exit status."""
    workspace = open_workspace(settings.workspace, environ=os.environ)
    promoted = promote_candidate(settings, workspace, study, by=by or getpass.getuser())
    answer = _answer(promoted)
    output.answer(answer, lambda console: _show(console, answer))
    return OK


def _answer(promoted: PromotedBundle) -> PromoteAnswer:
    bundle, judged = promoted.bundle, promoted.judged
    return PromoteAnswer(
        study=bundle.manifest.study,
        stage=bundle.stage,
        bundle=bundle.hash,
        path=str(bundle.location),
        version=bundle.version,
        parameters=dict(bundle.manifest.parameters),
        research=figures(judged.evaluation.backtest),
        holdout=figures(promoted.holdout),
    )


def _show(console: "Console", answer: PromoteAnswer) -> None:
    from rich.table import Table

    console.print(
        f"[bold]{answer.study}[/bold] version {answer.version} is in [bold]{answer.stage}[/bold]"
    )
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("figure")
    table.add_column("research", justify="right")
    table.add_column("holdout", justify="right")
    for name, value in answer.research.items():
        table.add_row(name.replace("_", " "), f"{value:.3f}", f"{answer.holdout[name]:.3f}")
    console.print(table)
    console.print(f"bundle  {answer.path}", markup=False)
    console.print(f"report  {answer.path}/report.html", markup=False)
