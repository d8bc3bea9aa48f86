"""`sluice schedule`: who trades, which ticks ran, late or not at all, and when the next is due."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from service.commands.notebook_jobs import attach
from service.commands.options import Json, Workspace, finish, workspace_settings
from service.console import OK, Output, reported

if TYPE_CHECKING:
    from rich.console import Console

    from service.settings import Settings

SOON = timedelta(days=14)  # no exchange is closed for longer

app = typer.Typer(
    help="Show who trades the live account, what became of each tick, and when the next is due."
    " A tick is claimed before any work and ends once: done, late or skipped, with the reason.\n\n"
    "The commands below run research notebooks by cron; they trade nothing.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
attach(app)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the schedule's chain."""

    at: datetime  # UTC, when it was written
    job: str
    session: date
    outcome: str  # claimed, resumed, gave up, done, late, skipped
    epoch: int
    holder: str
    reason: str


class ScheduleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Who trades the account, and what became of its ticks."""

    account: str
    epoch: int | None  # None = nobody has ever traded it
    holder: str
    since: datetime | None  # UTC
    next_close: Mapping[str, datetime]  # job -> close of the next session, UTC
    entries: tuple[Entry, ...]  # newest first


@app.callback(invoke_without_command=True, epilog="Example: [bold]sluice schedule --limit 5[/bold]")
def schedule(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many entries, the newest first.")] = 20,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Show who trades the live account, what became of each tick, and when the next is due.

    A tick is claimed before any work and ends once: done, late or skipped, with the reason.

    The commands below run research notebooks by cron; they trade nothing.
    """
    if context.invoked_subcommand is not None:
        if workspace is not None or json:
            raise typer.BadParameter(
                f"write --workspace and --json after {context.invoked_subcommand}"
            )
        return
    output = Output(as_json=json)
    with reported(output):
        answer = read_schedule(workspace_settings(workspace), limit=limit)
        output.answer(answer, lambda console: _show(console, answer))
    finish(OK)


def read_schedule(settings: "Settings", *, limit: int) -> ScheduleAnswer:
    """Read the record of the live account's schedule.

    Raises:
        DatabaseUnavailable: the runtime's database does not answer.
    """
    from runtime.chain import ChainedLog
    from runtime.clock import WallClock
    from runtime.scheduling.fence import Epochs
    from runtime.scheduling.slots import TABLE, recorded
    from service.books.accounts import LIVE as ACCOUNT
    from service.databases import open_runtime
    from service.settings import require_records

    require_records(settings)
    engine = open_runtime(settings)
    last = Epochs(engine).last(ACCOUNT)
    found = [
        Entry(
            at=at,
            job=note.job,
            session=note.slot,
            outcome=note.outcome,
            epoch=note.epoch,
            holder=note.holder,
            reason=note.reason,
        )
        for at, note in recorded(ChainedLog(engine, TABLE))
    ]
    return ScheduleAnswer(
        account=ACCOUNT,
        epoch=last[0] if last else None,
        holder=last[1] if last else "",
        since=last[2] if last else None,
        next_close=_next_closes({one.job for one in found}, WallClock().now()),
        entries=tuple(reversed(found[-limit:])),
    )


def _next_closes(jobs: Iterable[str], now: datetime) -> dict[str, datetime]:
    """Return when each job's exchange closes next; jobs end with the exchange's name."""
    from featurestore.calendars import load_calendar

    closes = {}
    for job in sorted(jobs):
        calendar = load_calendar(job.rpartition(" ")[2])
        ahead = calendar.sessions(now.date(), min((now + SOON).date(), calendar.last))
        after = [session.close for session in ahead if session.close > now]
        if after:
            closes[job] = after[0]
    return closes


def _show(console: "Console", answer: ScheduleAnswer) -> None:
    from rich.table import Table

    if answer.since is None:
        console.print("nobody has traded this account yet; start sluice trade")
        return
    console.print(
        f"account {answer.account} is traded by {answer.holder}, epoch {answer.epoch}, "
        f"since {answer.since:%Y-%m-%d %H:%M:%S} UTC"
    )
    for job, close in answer.next_close.items():
        console.print(f"{job}: the next close is {close:%Y-%m-%d %H:%M} UTC")
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("written", "session", "outcome", "epoch", "by", "reason"):
        table.add_column(name)
    for one in answer.entries:
        written = f"{one.at:%Y-%m-%d %H:%M:%S}"
        cells = (written, f"{one.session}", one.outcome, f"{one.epoch}", one.holder, one.reason)
        table.add_row(*cells)
    console.print(table)
