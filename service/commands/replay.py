"""`sluice replay`: past sessions on paper, with progress and the figures of the account."""

from datetime import date
from typing import TYPE_CHECKING

import msgspec

from runtime.engine import SessionOutcome
from service.books.index import Index
from service.books.reading import Reading
from service.console import OK, REFUSED, Output
from service.faults import QueryInvalid
from service.settings import Settings, require_records
from service.trading.crew import replay_crew
from service.trading.engines import Replayed, progress_note
from service.web.answers import CurveSummary

if TYPE_CHECKING:
    from rich.console import Console


class ReplayAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal holds of the days that were asked for."""

    bundle: str
    study: str
    account: str
    ran: int  # sessions run now; the others of the range were closed before
    first: str
    last: str
    sessions: int  # closed in the range
    not_closed: int  # without a bar of that day for every symbol, or passed over
    decisions: int
    orders: int
    fills: int
    breaks: int
    equity: str  # USD at the last close
    strategy: CurveSummary
    benchmark: CurveSummary
    information_ratio: float | None
    journal_head: str


def replay_sessions(
    settings: Settings, output: Output, *, first: str | None, last: str | None
) -> int:
    """Replay whoever has capital and report; returns 1 if the books and a venue differ."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    require_records(settings)
    start, end = _day("--from", first), _day("--to", last)
    columns = (
        TextColumn("[bold]replay"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[day]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=output.console, transient=True) as progress:
        task = progress.add_task("replay", total=None, day="")

        def show(outcome: SessionOutcome) -> None:
            progress.update(task, advance=1, day=progress_note(outcome))

        replayed = replay_crew(
            settings,
            first=start,
            last=end,
            on_start=lambda total: progress.update(task, total=total),
            on_session=show,
        )
    answer = _answer(replayed)
    output.answer(answer, lambda console: _show(console, answer))
    return REFUSED if answer.breaks else OK


def _day(option: str, text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise QueryInvalid(f"{option}: {text!r} is not a day", "write YYYY-MM-DD") from None


def _answer(replayed: Replayed) -> ReplayAnswer:
    journal, result = replayed.journal, replayed.result
    reading = Reading(journal=journal, index=Index(journal), inputs_of=lambda _: {})
    curve = reading.equity(replayed.first, replayed.last)
    return ReplayAnswer(
        bundle=replayed.bundle.hash,
        study=replayed.bundle.manifest.study,
        account=journal.account,
        ran=replayed.ran,
        first=replayed.first.isoformat(),
        last=replayed.last.isoformat(),
        sessions=result.sessions,
        not_closed=replayed.days - result.sessions,
        decisions=result.decisions,
        orders=result.orders,
        fills=result.fills,
        breaks=result.breaks,
        equity=str(curve.equity[-1]) if curve.equity else "0.00",
        strategy=curve.strategy,
        benchmark=curve.reference,
        information_ratio=curve.information_ratio,
        journal_head=result.journal_head,
    )


def _show(console: "Console", answer: ReplayAnswer) -> None:
    from rich.table import Table

    if not answer.ran:
        console.print(
            f"Nothing was left to run: account {answer.account} has closed "
            f"{answer.sessions:,} sessions of that range before."
        )
    if answer.not_closed:
        console.print(
            f"[red]{answer.not_closed:,} sessions of the range are not closed[/red]: no bar of "
            "that day for some symbol, or passed over by an earlier replay."
        )
    console.print(
        f"[bold]{answer.study}[/bold] on paper, {answer.first} to {answer.last}: "
        f"{answer.sessions:,} sessions, {answer.decisions:,} decisions, {answer.orders:,} orders, "
        f"{answer.fills:,} fills, "
        + (f"[red]{answer.breaks} breaks[/red]" if answer.breaks else "[green]no break[/green]")
    )
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("", "return", "a year", "volatility", "Sharpe", "drawdown"):
        table.add_column(name, justify="right" if name else "left")
    for name, curve in (("strategy", answer.strategy), ("benchmark", answer.benchmark)):
        table.add_row(
            name,
            _percent(curve.total_return),
            _percent(curve.annual_return),
            _percent(curve.annual_volatility),
            "–" if curve.sharpe is None else f"{curve.sharpe:.2f}",
            _percent(curve.max_drawdown),
        )
    console.print(table)
    console.print(f"[dim]journal head {answer.journal_head}[/dim]")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
