"""What the journal's commands answer: as JSON for machines, as tables for people."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from rich.console import Console


class BreakLine(msgspec.Struct, frozen=True, kw_only=True):
    """A break on record."""

    break_id: str
    day: date
    age_days: int
    kind: str
    venue: str
    symbol: str
    execution_id: str
    ours: str
    theirs: str
    amount: Decimal  # USD in suspense
    resolved_at: datetime | None
    by: str
    reason: str


class BreaksAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The breaks of an account."""

    account: str
    open: int
    items: tuple[BreakLine, ...]


class ResolveRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who resolves which break, and why."""

    break_id: str  # or the beginning of it
    by: str
    reason: str


class Booked(msgspec.Struct, frozen=True, kw_only=True):
    """What an action or a correction left."""

    account: str
    name: str
    fresh: bool  # False = it was booked before
    symbol: str
    quantity: Decimal  # units held now
    basis: Decimal  # USD
    cash: Decimal  # USD
    journal_head: str


class Announced(msgspec.Struct, frozen=True, kw_only=True):
    """What was booked of the lake's actions."""

    account: str
    booked: tuple[str, ...]  # ids; those booked before are not repeated
    unclear: tuple[str, ...]  # in words, what cannot be booked as it was announced
    cash: Decimal  # USD
    journal_head: str


class SessionLine(msgspec.Struct, frozen=True, kw_only=True):
    """One session's profit in parts, USD."""

    day: date
    profit: Decimal
    parts: Mapping[str, Decimal]


class Attributed(msgspec.Struct, frozen=True, kw_only=True):
    """A period's profit in parts, USD; parts sum to profit, in the whole and in each session."""

    account: str
    first: date
    last: date
    profit: Decimal
    parts: Mapping[str, Decimal]
    sessions: tuple[SessionLine, ...]


class DelayLine(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions are worth that are acted on a number of sessions late."""

    delay: int  # sessions
    decisions: int
    excess: float  # fraction
    error: float  # of its mean
    rank: float


class DecisionLine(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of a page."""

    seq: int
    decision_id: str
    tick: str
    bundle: str
    study: str
    planned: int
    denied: int
    orders: int
    refused: bool


class DecisionPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of decisions, newest first."""

    items: tuple[DecisionLine, ...]
    next: int | None  # for --before; None = this was the last page


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was written."""

    what: str
    path: str
    rows: int
    head: str  # of the chain it was proved against
    sha256: str


class Redecided(msgspec.Struct, frozen=True, kw_only=True):
    """What deciding again has shown."""

    decisions: int  # that decided something
    refusals: int  # that say why they decided nothing
    whole: int  # of both: from what was read to the routes; of the others the graph alone
    evaluations: int  # of graphs
    differences: tuple[str, ...]  # tick, decision, field: was, is
    seconds: float


def _print(console: "Console", headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in headings:
        table.add_column(name)
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row))
    console.print(table)


def show_breaks(console: "Console", lines: Sequence[BreakLine]) -> None:
    """Print breaks."""
    if not lines:
        console.print("[green]no break is open[/green]")
        return
    headings = ("break", "day", "days", "class", "venue", "what", "ours", "theirs", "USD", "by")
    rows = [
        (
            one.break_id,
            one.day,
            one.age_days,
            one.kind,
            one.venue,
            one.symbol or "cash",
            one.ours or "nothing",
            one.theirs or "nothing",
            f"{one.amount:,.2f}",
            f"{one.by}: {one.reason}" if one.by else "open",
        )
        for one in lines
    ]
    _print(console, headings, rows)


def show_booked(console: "Console", answer: Booked) -> None:
    """Print what the books hold now."""
    done = "booked" if answer.fresh else "was booked before; nothing changed"
    console.print(
        f"{answer.name} {done}: {answer.account} holds {answer.quantity} {answer.symbol}, "
        f"basis {answer.basis:,.2f} USD, cash {answer.cash:,.2f} USD",
        markup=False,
    )


def show_announced(console: "Console", answer: Announced) -> None:
    """Print what was booked."""
    for name in answer.booked:
        console.print(name, markup=False)
    for words in answer.unclear:
        console.print(f"not booked: {words}; book by hand what it was", markup=False)
    console.print(f"{len(answer.booked)} booked for {answer.account}", markup=False)


def show_attributed(console: "Console", answer: Attributed, names: Sequence[str]) -> None:
    """Print the parts by year and in total."""
    years: dict[int, list[SessionLine]] = {}
    for one in answer.sessions:
        years.setdefault(one.day.year, []).append(one)
    shown = [name for name in names if any(one.parts[name] for one in answer.sessions)]
    rows: list[Sequence[object]] = []
    for year, lines in years.items():
        sums = [f"{sum(one.parts[name] for one in lines):,.0f}" for name in shown]
        rows.append((year, *sums, f"{sum(one.profit for one in lines):,.0f}"))
    total = [f"{answer.parts[name]:,.0f}" for name in shown]
    rows.append(("all", *total, f"{answer.profit:,.0f}"))
    _print(console, ("USD", *shown, "profit"), rows)
    console.print(f"[dim]{answer.profit:,.2f} USD, to the cent the sum of its parts[/dim]")


def show_delays(console: "Console", lines: Sequence[DelayLine], horizon: int) -> None:
    """Print one line per delay."""
    console.print(f"excess over the mean name in the {horizon} sessions after the delay")
    rows = [
        (one.delay, one.decisions, f"{one.excess:+.3%}", f"{one.error:.3%}", f"{one.rank:+.3f}")
        for one in lines
    ]
    _print(console, ("sessions late", "decisions", "excess", "error", "rank"), rows)


def show_decisions(console: "Console", page: DecisionPage) -> None:
    """Print a page."""
    rows = [
        (
            one.seq,
            one.tick,
            one.decision_id,
            one.study,
            one.bundle[:12],
            "refused" if one.refused else f"{one.planned} planned, {one.denied} denied",
            f"{one.orders} orders",
        )
        for one in page.items
    ]
    _print(console, ("no.", "tick", "decision", "study", "bundle", "plan", "left"), rows)
    if page.next is not None:
        console.print(f"[dim]more with --before {page.next}[/dim]")


def show_exported(console: "Console", answer: Exported) -> None:
    """Print what was written."""
    console.print(
        f"{answer.rows:,} rows of {answer.what} in {answer.path}, "
        f"proved against head {answer.head}",
        markup=False,
        soft_wrap=True,
    )


def show_redecided(console: "Console", answer: Redecided) -> None:
    """Print whether all came out alike."""
    for line in answer.differences[:20]:
        console.print(line, markup=False)
    console.print(
        f"{answer.decisions:,} decisions and {answer.refusals:,} refusals again, {answer.whole:,} "
        f"of them whole, {answer.evaluations:,} evaluations in {answer.seconds:.1f} s: "
        + (
            f"[red]{len(answer.differences)} differ[/red]"
            if answer.differences
            else "[green]0 differences[/green]"
        )
    )
