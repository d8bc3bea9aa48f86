"""The quarantine on the command line: what waits, and what becomes of it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from featurestore.contract import REMEDIES
from service.console import Output
from service.features.common import open_store
from service.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 50  # rows a person is shown


def waiting(settings: Settings, output: Output, view: str | None) -> None:
    """Print the open rows."""
    store = open_store(settings)
    if view is not None:
        store.view(view)
    rows = store.quarantine(view).to_dicts()
    output.answer(rows, lambda console: _show(console, rows))


def _show(console: "Console", rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    if not rows:
        console.print("Nothing waits in the quarantine.")
        return
    table = Table(box=None, header_style="dim", pad_edge=False, expand=True)
    for name in ("view", "batch", "row"):
        table.add_column(name, no_wrap=True)
    table.add_column("why, and what to do", ratio=1)
    for row in rows[:SHOWN]:
        where = f"{row['field']}: " if row["field"] else ""
        table.add_row(
            row["view"],
            row["batch"][:12],
            str(row["row"]),
            escape(f"{where}{row['reason']}; {REMEDIES[row['reason']]}")
            + f"\n[dim]{escape(row['content'])}[/dim]",
        )
    console.print(table)
    if len(rows) > SHOWN:
        console.print(f"[dim]and {len(rows) - SHOWN:,} more; --json lists all[/dim]")


def release(
    settings: Settings,
    output: Output,
    view: str,
    batch: str,
    *,
    why: str,
    by: str,
    rows: Sequence[int] | None,
) -> None:
    """Let rows into their view."""
    report = open_store(settings).release(view, batch, why=why, by=by, rows=rows)
    text = f"{report.accepted} rows are in {view} now, {report.unchanged} were there already"
    output.answer(asdict(report), lambda console: console.print(text))


def drop(
    settings: Settings,
    output: Output,
    view: str,
    batch: str,
    *,
    why: str,
    by: str,
    rows: Sequence[int] | None,
) -> None:
    """Close rows for good."""
    count = open_store(settings).drop(view, batch, why=why, by=by, rows=rows)
    text = f"{count} rows of {view} are closed; they stay on file with the reason"
    output.answer({"view": view, "dropped": count}, lambda console: console.print(text))
