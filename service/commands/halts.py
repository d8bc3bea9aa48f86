"""`sluice halts`: tell of a halt or a resume, and list what is halted; needs no service."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.options import By, Json, Workspace, file_settings
from service.console import REFUSED, Output, reported

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    no_args_is_help=True,
    help="Halts of trading: told by code, on until each symbol is told to resume.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: [bold]sluice halts tell AAPL T1 --by ada --reason 'news pending'[/bold]",
)

Reason = Annotated[str, typer.Option(help="Where it was published, or why.", show_default=False)]


@app.command(epilog="Example: [bold]sluice halts tell AAPL T1 --by ada --reason news[/bold]")
def tell(
    symbol: Annotated[str, typer.Argument(help="The symbol; '*' halts the market.")],
    code: Annotated[str, typer.Argument(help="As published, such as T1; unknown ones halt too.")],
    by: By,
    reason: Reason,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Tell of a halt: no new order in the symbol, and paper venues fill none; cancels pass."""
    _told(Output(as_json=json), workspace, symbol, code, by, reason)


@app.command(epilog="Example: [bold]sluice halts resume AAPL --by ada --reason reopened[/bold]")
def resume(
    symbol: Annotated[str, typer.Argument(help="The symbol.")],
    by: By,
    reason: Reason,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Tell that a symbol trades again; a halt never ends by itself."""
    _told(Output(as_json=json), workspace, symbol, None, by, reason)


@app.command(name="list", epilog="Example: [bold]sluice halts list[/bold]")
def list_halts(workspace: Workspace = None, json: Json = False) -> None:
    """List the symbols that are halted now; ends with 1 if any is."""
    output = Output(as_json=json)
    with reported(output):
        found = _show(output, workspace)
    if found:
        raise typer.Exit(REFUSED)


def _told(
    output: Output, workspace: Workspace, symbol: str, code: str | None, by: str, reason: str
) -> None:
    with reported(output):
        from runtime.clock import WallClock
        from runtime.market.recorded import HaltMessage
        from service.trading.halts import doubt, told_halts

        settings = file_settings(workspace)
        halts = told_halts(settings)
        now = WallClock().now()
        message = HaltMessage(symbol=symbol, at=now, code=code, resumes=code is None)
        halts.tell(message, by=by, reason=reason)
        _show(output, workspace)
        unknown = doubt(settings, symbol)
        if unknown:
            output.console.print(unknown, markup=False)


def _show(output: Output, workspace: Workspace) -> dict[str, str]:
    from runtime.clock import WallClock
    from service.trading.halts import told_halts

    halts = told_halts(file_settings(workspace))
    names = dict.fromkeys(one.symbol for one in halts.messages())
    on = halts.halted(tuple(names), WallClock().now())
    found = {name: f"{one.state.value}, code {one.code}" for name, one in on.items()}

    def show(console: "Console") -> None:
        for name, state in found.items():
            console.print(f"{name} is {state}", markup=False)
        if not found:
            console.print("nothing is halted")

    output.answer(found, show)
    return found
