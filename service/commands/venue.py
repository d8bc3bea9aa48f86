"""`sluice venue`: paper venues in a process of their own, and what their own records say."""

from typing import Annotated

import typer

from service.commands.options import Json, Workspace, days_of, finish, workspace_settings
from service.console import Output, reported

app = typer.Typer(
    no_args_is_help=True,
    help="Paper venues in a process of their own: an exchange to trade with, and a second book.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: [bold]SLUICE_VENUE_URL=tcp://127.0.0.1:8090 sluice venue serve[/bold]",
)

Account = Annotated[str, typer.Option(help="Whose orders; those of live trading if not given.")]


@app.command(epilog="Example: [bold]sluice venue serve --price us_equities.close[/bold]")
def serve(
    listen: Annotated[
        str, typer.Option(help="tcp://HOST:PORT or unix:///PATH; SLUICE_VENUE_URL if not given.")
    ] = "",
    price: Annotated[
        str,
        typer.Option(
            metavar="VIEW.FIELD", help="Closes to hold bars against; the champion's if not given."
        ),
    ] = "",
    exposed: Annotated[
        bool,
        typer.Option("--exposed", help="Listen where other hosts can reach it, unencrypted."),
    ] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Hold the workspace's paper venues until interrupted.

    They fill by the file of venues, out of their own view of the lake, into records of their own.
    Who trades needs SLUICE_VENUE_URL and the same SLUICE_VENUE_TOKEN. What is sent is not
    encrypted: an address that other hosts can reach needs --exposed, and a tunnel before it.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.operator.venues import serve_venues

        status = serve_venues(
            workspace_settings(workspace), output, listen=listen, price=price, exposed=exposed
        )
    finish(status)


@app.command(epilog="Example: [bold]sluice venue status --json[/bold]")
def status(account: Account = "", workspace: Workspace = None, json: Json = False) -> None:
    """Ask the process of venues which it holds, what works there and where its chains stand."""
    output = Output(as_json=json)
    with reported(output):
        from service.operator.venues import show_venues

        show_venues(workspace_settings(workspace), output, account)


@app.command(epilog="Example: [bold]sluice venue verify[/bold]")
def verify(workspace: Workspace = None, json: Json = False) -> None:
    """Prove the record of every paper venue: its chain, and its tables against its chain."""
    output = Output(as_json=json)
    with reported(output):
        from service.operator.venues import prove_venues

        prove_venues(workspace_settings(workspace), output)


@app.command(epilog="Example: [bold]sluice venue reconcile --from 2026-01-02[/bold]")
def reconcile(
    first: Annotated[str, typer.Option("--from", metavar="DAY", help="First day.")] = "",
    last: Annotated[str, typer.Option("--to", metavar="DAY", help="Last day.")] = "",
    account: Account = "",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Compare the journal with the venues' own records, session by session, to the cent.

    Ends with 1 if there is any difference: of executions, positions or cash.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.operator.venues import reconcile_venues

        days = days_of(first, last)
        status = reconcile_venues(workspace_settings(workspace), output, account, days)
    finish(status)
