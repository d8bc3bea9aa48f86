"""What the demo found, as figures for machines and as two tables for people."""

import math
from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table

from pipelines.judge import Judged
from pipelines.performance import sharpe
from pipelines.promote import PromotedBundle
from service.books.index import Index
from service.books.reading import Reading
from service.trading.engines import Replayed


class StudyFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One study; Sharpe ratios are annualised and in excess of the benchmark."""

    name: str
    trials: int
    best_sharpe: float
    spa_p: float | None
    reality_check_p: float | None
    dsr: float | None
    pbo: float | None
    lookahead: bool
    parity: bool
    holdout_sharpe: float | None  # None while it is sealed
    verdict: Literal["refused", "staging", "production"]
    summary: str
    candidate: dict[str, int | float | str | bool]


class BundleFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One promoted bundle."""

    study: str
    hash: str
    path: str
    stage: str
    report: str


class ReplayFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The replayed years; Sharpe ratios are annualised, of raw daily returns."""

    sessions: int = 0
    decisions: int = 0
    orders: int = 0
    fills: int = 0
    breaks: int = 0
    sharpe: float | None = None
    benchmark_sharpe: float | None = None
    first: str | None = None
    last: str | None = None
    equity: str | None = None  # USD at the end


class DemoFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Everything `--json` writes."""

    studies: list[StudyFigures]
    bundles: list[BundleFigures]
    replay: ReplayFigures
    journal_head: str
    seconds: dict[str, float]


def study_figures(judged: Judged, promoted: PromotedBundle | None) -> StudyFigures:
    """Collect what is said of one study."""
    verdict = judged.verdict
    by_gate = {one.gate: one for one in verdict.verdicts}
    return StudyFigures(
        name=verdict.study,
        trials=judged.evidence.counted,
        best_sharpe=float(verdict.figures["best_sharpe"] or math.nan),
        spa_p=by_gate["spa"].statistic,
        reality_check_p=_float(verdict.figures.get("reality_check_p")),
        dsr=by_gate["dsr"].statistic,
        pbo=by_gate["pbo"].statistic,
        lookahead=by_gate["lookahead"].passed,
        parity=by_gate["parity"].passed,
        holdout_sharpe=None if promoted is None else sharpe(promoted.holdout.excess),
        verdict=verdict.stage,
        summary=verdict.summary,
        candidate=dict(judged.trial.parameters),
    )


def bundle_figures(promoted: PromotedBundle) -> BundleFigures:
    """Collect where a promoted bundle lies."""
    bundle = promoted.bundle
    return BundleFigures(
        study=bundle.manifest.study,
        hash=bundle.hash,
        path=str(bundle.location),
        stage=bundle.stage,
        report=str(bundle.location / "report.html"),
    )


def replay_figures(replayed: Replayed) -> ReplayFigures:
    """Collect what the journal holds after a replay."""
    result, journal = replayed.result, replayed.journal
    curve = Reading(journal=journal, index=Index(journal), inputs_of=lambda _: {}).equity(
        replayed.first, replayed.last
    )
    return ReplayFigures(
        sessions=result.sessions,
        decisions=result.decisions,
        orders=result.orders,
        fills=result.fills,
        breaks=result.breaks,
        sharpe=curve.strategy.sharpe,
        benchmark_sharpe=curve.reference.sharpe,
        first=replayed.first.isoformat(),
        last=replayed.last.isoformat(),
        equity=str(curve.equity[-1]) if curve.equity else None,
    )


def show_studies(console: Console, studies: list[StudyFigures]) -> None:
    """Print one row per study, and what the gates say in words."""
    table = _table("Studies", "study")
    for name in (
        "trials",
        "best\nSharpe",
        "SPA p",
        "DSR",
        "PBO",
        "look-\nahead",
        "parity",
        "holdout\nSharpe",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    colours = {"refused": "red", "staging": "yellow", "production": "green"}
    for one in studies:
        colour = colours[one.verdict]
        table.add_row(
            f"[bold]{one.name}[/bold]",
            str(one.trials),
            _number(one.best_sharpe, 2),
            _number(one.spa_p, 3),
            _number(one.dsr, 2),
            _number(one.pbo, 2),
            "clean" if one.lookahead else "[red]leaks[/red]",
            "exact" if one.parity else "[red]differs[/red]",
            "sealed" if one.holdout_sharpe is None else _number(one.holdout_sharpe, 2),
            f"[bold {colour}]{one.verdict}[/bold {colour}]",
        )
    console.print(table)
    console.print(
        "[dim]Sharpe ratios are annualised, net of costs and in excess of the equal-weighted"
        " universe;\nthe universe is a list of survivors, so raw returns flatter.[/dim]",
        soft_wrap=True,
    )
    for one in studies:
        console.print(f"[bold]{one.name}[/bold]: {one.summary}", soft_wrap=True)


def show_replay(console: Console, replay: ReplayFigures, journal_head: str) -> None:
    """Print the replayed years."""
    if not replay.sessions:
        console.print("\nNothing passed the gates, so nothing was traded.")
        return
    table = _table(f"Paper trading, {replay.first} to {replay.last}")
    for name in ("sessions", "decisions", "orders", "fills", "breaks", "Sharpe", "bench-\nmark"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("equity,\nUSD", justify="right", no_wrap=True)
    table.add_row(
        *(f"{n:,}" for n in (replay.sessions, replay.decisions, replay.orders, replay.fills)),
        f"[{'red' if replay.breaks else 'green'}]{replay.breaks}[/]",
        _number(replay.sharpe, 2),
        _number(replay.benchmark_sharpe, 2),
        "" if replay.equity is None else f"{float(replay.equity):,.0f}",
    )
    console.print(table)
    console.print(f"[dim]Journal head {journal_head}[/dim]")


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for name in columns:
        table.add_column(name, no_wrap=True)
    return table


def _float(value: float | int | str | None) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _number(value: float | None, digits: int) -> str:
    return "n/a" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
