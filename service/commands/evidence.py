"""`sluice card`, `gap`, `latency`, `routing`, `board`: what the records show."""

from typing import Annotated

import typer

from service.commands.options import Json, Workspace, finish, settings_of
from service.console import Output, reported

RESEARCH, LIVE = "Research", "Live"

app = typer.Typer()


@app.command(
    rich_help_panel=RESEARCH, epilog="Example: [bold]sluice card 3f2a91c07b44 --check[/bold]"
)
def card(
    bundle: Annotated[str, typer.Argument(help="Hash, its beginning, or the bundle's folder.")],
    check: Annotated[
        bool, typer.Option("--check", help="Write it anew from ledger and lake, and compare.")
    ] = False,
    memo: Annotated[bool, typer.Option("--memo", help="The deployment memo instead.")] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Show a bundle's model card; with --check, ends with 1 if the evidence says otherwise."""
    output = Output(as_json=json)
    with reported(output):
        from service.research.card import show_card

        status = show_card(settings_of(workspace), output, bundle, check=check, memo=memo)
    finish(status)


@app.command(rich_help_panel=RESEARCH, epilog="Example: [bold]sluice gap 3f2a91c07b44[/bold]")
def gap(
    bundle: Annotated[str, typer.Argument(help="Hash, its beginning, or the bundle's folder.")],
    live: Annotated[
        bool, typer.Option("--live", help="The live account instead of the bundle's replay.")
    ] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Compare what trades cost in the journal with what a realistic backtest foretold, one by one.

    Ends with 1 if fewer than 80 % of trades are within 10 % of the slippage seen.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.research.gap import show_gap

        status = show_gap(settings_of(workspace), output, bundle, live=live)
    finish(status)


@app.command(rich_help_panel=LIVE, epilog="Example: [bold]sluice latency --store[/bold]")
def latency(
    account: Annotated[str, typer.Option(help="Whose orders; the live account if not given.")] = "",
    store: Annotated[
        bool, typer.Option("--store", help="Let paper venues and backtests draw from it.")
    ] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Measure how long orders took from decision to acknowledgement, from the journal."""
    output = Output(as_json=json)
    with reported(output):
        from service.commands.latency import show_latency

        status = show_latency(settings_of(workspace), output, account=account, store=store)
    finish(status)


@app.command(rich_help_panel=RESEARCH, epilog="Example: [bold]sluice routing --markets 20[/bold]")
def routing(
    markets: Annotated[int, typer.Option(min=1, help="Sets of venues that are drawn.")] = 20,
    orders: Annotated[int, typer.Option(min=1, help="Counted in each of them.")] = 400,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 7,
    json: Json = False,
) -> None:
    """Measure the router on simulated venues against sending all to the primary one.

    Ends with 1 if it saves less than 10 % of slippage, or finds a right venue less than 95 % of
    the time.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.research.routing import show_routing

        status = show_routing(output, markets=markets, orders=orders, seed=seed)
    finish(status)


@app.command(rich_help_panel=RESEARCH, epilog="Example: [bold]sluice board --port 9001[/bold]")
def board(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8081,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Serve the board of studies: trials, luck, overfitting and equity of every one, in a browser.

    The address that is printed holds the token that opens it; SLUICE_OPERATOR_TOKEN if it is set.
    """
    output = Output(as_json=json)
    with reported(output):
        from secrets import token_urlsafe

        from service.research.board import serve_board

        settings = settings_of(workspace)
        token = settings.operator_token or token_urlsafe(24)
        status = serve_board(settings, output, host=host, port=port, token=token)
    finish(status)
