"""`sluice kill`: stop trading, see what is stopped, release; needs no service and no database."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import By, Json, Workspace, file_settings
from service.console import REFUSED, Output, reported

if TYPE_CHECKING:
    from rich.console import Console

    from service.operator.control import EngagedAnswer, KillAnswer

app = typer.Typer(
    no_args_is_help=True,
    help="The kill switch: on at once, off by two persons; works with everything else down.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: [bold]sluice kill on --by ada --reason 'prices look wrong'[/bold]",
)

Scope = Annotated[str, typer.Argument(help="all, account.X, study.X, symbol.X or drift.STUDY.")]
Reason = Annotated[str, typer.Option(help="Why, in words.", show_default=False)]


def _killing(workspace: Path | None) -> Any:
    from runtime.clock import WallClock
    from service.operator.killing import open_killing

    return open_killing(file_settings(workspace), WallClock())


@app.command(epilog="Example: [bold]sluice kill on symbol.AAPL --by ada --reason halt[/bold]")
def on(
    by: By, reason: Reason, scope: Scope = "all", workspace: Workspace = None, json: Json = False
) -> None:
    """Stop new orders, cancel all, confirm by query, and list what is still open.

    Ends with 1 if it is not certain that nothing works any more.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.operator.control import EngageRequest

        done = _killing(workspace).engage(EngageRequest(scope=scope, reason=reason, by=by))
        output.answer(done, lambda console: _engaged(console, done))
    if not done.complete:
        raise typer.Exit(REFUSED)


@app.command(
    epilog="Example: [bold]sluice kill off all --by ada --second ben --reason checked[/bold]"
)
def off(
    scope: Scope,
    by: By,
    second: Annotated[str, typer.Option(help="Another person who agrees.", show_default=False)],
    reason: Reason,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Allow a scope again; needs the names of two persons."""
    output = Output(as_json=json)
    with reported(output):
        from service.operator.control import ReleaseRequest

        asked = ReleaseRequest(scope=scope, reason=reason, by=by, second=second)
        found = _killing(workspace).release(asked)
        output.answer(found, lambda console: _state(console, found))


@app.command(epilog="Example: [bold]sluice kill show[/bold]")
def show(workspace: Workspace = None, json: Json = False) -> None:
    """Show what is stopped, by whom and why; ends with 1 if anything is."""
    output = Output(as_json=json)
    with reported(output):
        found = _killing(workspace).state()
        output.answer(found, lambda console: _state(console, found))
    if found.engaged:
        raise typer.Exit(REFUSED)


def _state(console: "Console", found: "KillAnswer") -> None:
    if not found.engaged:
        console.print("nothing is stopped")
    for stop in found.stops:
        who = f", by {stop.by} at {stop.at}" if stop.by else ""
        console.print(f"{stop.scope} is stopped: {stop.reason}{who}", markup=False)


def _engaged(console: "Console", done: "EngagedAnswer") -> None:
    for stop in done.stops:
        console.print(f"{stop.scope} is stopped: {stop.reason}", markup=False)
    console.print(
        f"{done.found} orders worked: {done.cancelled} cancelled, {done.ended} over before that"
    )
    for order in done.still_open:
        console.print(
            f"STILL OPEN at {order.venue}: {order.order_id} {order.symbol} ({order.reason})",
            markup=False,
        )
    for venue in done.unreachable:
        console.print(f"NO ANSWER from {venue}", markup=False)
