"""`sluice latency`: how long orders took from decision to answer, kept for the fill model."""

from typing import TYPE_CHECKING

import msgspec

from runtime.clock import WallClock
from runtime.execution.latency import measure_latency, save_latency
from service.books.accounts import LIVE
from service.console import OK, Output
from service.databases import open_runtime
from service.records import open_journal
from service.settings import Settings, require_records
from service.trading.paper import latency_path

if TYPE_CHECKING:
    from rich.console import Console


class LatencyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A measurement, and where it was kept."""

    account: str
    orders: int
    first: str
    last: str
    median_ms: float
    p05_ms: float
    p95_ms: float
    worst_ms: float
    journal_head: str
    stored: str | None  # the file; None = only shown


def show_latency(settings: Settings, output: Output, *, account: str, store: bool) -> int:
    """Measure an account's latencies, and keep them for paper venues and backtests if asked to."""
    require_records(settings)
    journal = open_journal(settings, open_runtime(settings), account or LIVE)
    found = measure_latency(journal, at=WallClock().now())
    path = latency_path(settings)
    if store:
        save_latency(path, found)
    every = found.milliseconds
    answer = LatencyAnswer(
        account=found.account,
        orders=found.orders,
        first=found.first.isoformat(),
        last=found.last.isoformat(),
        median_ms=every[len(every) // 2],
        p05_ms=every[5],
        p95_ms=every[95],
        worst_ms=every[-1],
        journal_head=found.journal_head,
        stored=str(path) if store else None,
    )
    output.answer(answer, lambda console: _show(console, answer))
    return OK


def _show(console: "Console", answer: LatencyAnswer) -> None:
    console.print(
        f"{answer.account}: {answer.orders} acknowledged orders, {answer.first[:10]} to "
        f"{answer.last[:10]}; median {answer.median_ms:.1f} ms, 5 % below {answer.p05_ms:.1f}, "
        f"5 % above {answer.p95_ms:.1f}, worst {answer.worst_ms:.1f}"
    )
    kept = f"kept in {answer.stored}" if answer.stored else "not kept; --store does"
    console.print(f"[dim]{kept}[/dim]", soft_wrap=True)
