"""What the journal answers on the command line: breaks, books, attribution, exports, proof."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.options import (
    By,
    Json,
    Workspace,
    day_of,
    days_of,
    finish,
    workspace_settings,
)
from service.console import Output, reported

LIVE = "Live"

app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})
breaks = typer.Typer(
    no_args_is_help=True,
    help="Differences between our books and a venue's, open until somebody resolves them.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: [bold]sluice breaks list[/bold]",
)
books = typer.Typer(
    no_args_is_help=True,
    help="What changes the books without a trade: splits, dividends, charges, reversals, busts.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: [bold]sluice books split AAPL 4:1 --on 2020-08-31 --id aapl-2020[/bold]",
)
app.add_typer(breaks, name="breaks", rich_help_panel=LIVE)
app.add_typer(books, name="books", rich_help_panel=LIVE)

Account = Annotated[str, typer.Option(help="Whose books; those the desk shows if not given.")]
First = Annotated[str, typer.Option("--from", metavar="DAY", help="First day.")]
Last = Annotated[str, typer.Option("--to", metavar="DAY", help="Last day.")]
Symbol = Annotated[str, typer.Argument(help="The symbol.", show_default=False)]
Effective = Annotated[str, typer.Option("--on", metavar="DAY", help="First session it holds for.")]
ActionId = Annotated[str, typer.Option("--id", help="A name of its own; it is booked once.")]


@breaks.command(name="list", epilog="Example: [bold]sluice breaks list --all[/bold]")
def list_breaks(
    every: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    account: Account = "",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """List open breaks with class, age and the amount in suspense; ends with 1 if there are any."""
    output = Output(as_json=json)
    with reported(output):
        from service.books.keeping import list_breaks as listed

        status = listed(workspace_settings(workspace), output, account, every=every)
    finish(status)


@breaks.command(epilog="Example: [bold]sluice breaks resolve 3f2a --by ada --reason late[/bold]")
def resolve(
    name: Annotated[str, typer.Argument(metavar="BREAK", help="Its id, or the beginning of it.")],
    by: By,
    reason: Annotated[str, typer.Option(help="What it was, in words.", show_default=False)],
    account: Account = "",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Close a break in your name; the amount leaves suspense and both stand in the journal."""
    output = Output(as_json=json)
    with reported(output):
        from service.books.keeping import resolve_break

        resolve_break(workspace_settings(workspace), output, account, name, by=by, reason=reason)


@books.command(epilog="Example: [bold]sluice books split XYZ 1:8 --on 2024-05-06 --id x[/bold]")
def split(
    symbol: Symbol,
    ratio: Annotated[str, typer.Argument(metavar="NEW:OLD", help="For instance 4:1.")],
    on: Effective,
    action: ActionId,
    in_lieu: Annotated[
        str, typer.Option(help="USD per new unit paid for a fraction; fractions stay if not given.")
    ] = "",
    account: Account = "",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Book a split: the basis stays, units are scaled, a fraction is sold where cash is paid."""
    output = Output(as_json=json)
    with reported(output):
        from service.books.keeping import book_action
        from service.books.typed import split_of

        settings = workspace_settings(workspace)
        event = split_of(action, symbol, day_of("--on", on), ratio, in_lieu)
        book_action(settings, output, account, event)


@books.command(epilog="Example: [bold]sluice books dividend XYZ 0.24 --on 2024-05-06 --id d[/bold]")
def dividend(
    symbol: Symbol,
    per_unit: Annotated[str, typer.Argument(metavar="USD", help="Per unit.")],
    on: Effective,
    action: ActionId,
    account: Account = "",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Book a dividend on what was held before the ex-date; it is income, no price profit."""
    output = Output(as_json=json)
    with reported(output):
        from service.books.keeping import book_action
        from service.books.typed import dividend_of

        event = dividend_of(action, symbol, day_of("--on", on), per_unit)
        book_action(workspace_settings(workspace), output, account, event)


@books.command(
    epilog="Example: [bold]sluice books charge borrow 3.17 XYZ --on 2024-05-06 --id b[/bold]"
)
def charge(
    kind: Annotated[str, typer.Argument(help="borrow, interest or tax.")],
    amount: Annotated[
        str, typer.Argument(metavar="USD", help="Whole cents; what was given, as -- -3.17.")
    ],
    symbol: Symbol,
    on: Effective,
    action: ActionId,
    account: Account = "",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Book borrow, interest or tax."""
    output = Output(as_json=json)
    with reported(output):
        from service.books.keeping import book_action
        from service.books.typed import charge_of

        event = charge_of(action, kind, amount, symbol, day_of("--on", on))
        book_action(workspace_settings(workspace), output, account, event)


@books.command(
    epilog="Example: [bold]sluice books reverse aapl-2020 --by ada --reason 'called off'[/bold]"
)
def reverse(
    action: Annotated[str, typer.Argument(metavar="ACTION", help="Id it was booked under.")],
    by: By,
    reason: Annotated[str, typer.Option(help="Why, in words.", show_default=False)],
    account: Account = "",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Take a split or a dividend back that was called off or revised; both entries stand.

    The books are put where they would stand without it. Paper venues take it back as the next
    session begins, and what the lake knows of that day then is booked by itself. Of several splits
    of a symbol the one that was booked last is taken back first.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.books.keeping import take_back

        settings = workspace_settings(workspace)
        take_back(settings, output, account, action, by=by, reason=reason)


@books.command(epilog="Example: [bold]sluice books lake us_actions --from 2024-01-02[/bold]")
def lake(
    view: Annotated[str, typer.Argument(help="A feature view of splits and dividends.")],
    first: First = "",
    last: Last = "",
    account: Account = "",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Book what the lake knows now of splits and dividends of the symbols the account traded.

    By effective date, each once. An action that took effect before what is booked already restates
    its symbol; a fraction that a venue pays in cash is booked with `sluice books split` instead.
    Ends with 1 if an action cannot be booked as it was announced; the others are.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.books.keeping import book_announced

        days = days_of(first, last)
        status = book_announced(workspace_settings(workspace), output, account, view, days)
    finish(status)


@books.command(
    epilog="Example: [bold]sluice books bust primary 8f31 --by ada --reason error[/bold]"
)
def bust(
    venue: Annotated[str, typer.Argument(help="The venue that takes it back.")],
    execution: Annotated[str, typer.Argument(metavar="EXECUTION", help="The execution's id.")],
    by: By,
    reason: Annotated[str, typer.Option(help="Why, in words.", show_default=False)],
    replaced_by: Annotated[
        str, typer.Option("--replaced-by", help="Id of the execution that takes its place.")
    ] = "",
    quantity: Annotated[str, typer.Option(help="Units of that one; as before if not given.")] = "",
    price: Annotated[str, typer.Option(help="Its price; as before if not given.")] = "",
    fee: Annotated[str, typer.Option(help="Its fee; as before if not given.")] = "",
    account: Account = "",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Take an execution back, or replace it; the original entry stays as it is."""
    output = Output(as_json=json)
    with reported(output):
        from service.books.keeping import correct
        from service.books.typed import Replacement

        right = Replacement.typed(replaced_by, quantity, price, fee)
        correct(
            workspace_settings(workspace),
            output,
            account,
            (venue, execution),
            right,
            by=by,
            reason=reason,
        )


@app.command(rich_help_panel=LIVE, epilog="Example: [bold]sluice attribution --json[/bold]")
def attribution(
    first: First = "",
    last: Last = "",
    account: Account = "",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Split the account's profit into its causes, session by session, to the cent."""
    output = Output(as_json=json)
    with reported(output):
        from service.books.keeping import show_attribution

        days = days_of(first, last)
        show_attribution(workspace_settings(workspace), output, account, days)


@app.command(rich_help_panel=LIVE, epilog="Example: [bold]sluice decay --horizon 21[/bold]")
def decay(
    horizon: Annotated[int, typer.Option(min=1, help="Sessions each return spans.")] = 5,
    delays: Annotated[int, typer.Option(min=0, help="Latest delay, sessions.")] = 10,
    first: First = "",
    last: Last = "",
    account: Account = "",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Show what decisions would have earned, acted on later and later."""
    output = Output(as_json=json)
    with reported(output):
        from service.books.keeping import show_decay

        days = days_of(first, last)
        settings = workspace_settings(workspace)
        show_decay(settings, output, account, days, horizon=horizon, delays=delays)


@app.command(
    rich_help_panel=LIVE, epilog="Example: [bold]sluice decisions --symbol AAPL --verdict denied[/]"
)
def decisions(
    first: First = "",
    last: Last = "",
    symbol: Annotated[str, typer.Option(help="That planned an order in it.")] = "",
    bundle: Annotated[str, typer.Option(help="Of a bundle, by the beginning of its hash.")] = "",
    verdict: Annotated[
        str, typer.Option(help="ordered, denied, refused, or a check such as '3 size'.")
    ] = "",
    before: Annotated[int, typer.Option(help="The page after this number.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="A page's length.")] = 20,
    account: Account = "",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Find decisions of any year by day, symbol, bundle and verdict, newest first."""
    output = Output(as_json=json)
    with reported(output):
        from service.books.keeping import list_decisions

        start, end = days_of(first, last)
        list_decisions(
            workspace_settings(workspace),
            output,
            account,
            start=start,
            end=end,
            symbol=symbol or None,
            bundle=bundle or None,
            verdict=verdict or None,
            before=before or None,
            limit=limit,
        )


@app.command(
    rich_help_panel=LIVE, epilog="Example: [bold]sluice export fills --out fills.parquet[/bold]"
)
def export(
    what: Annotated[str, typer.Argument(help="decisions, orders, fills or sessions.")],
    out: Annotated[Path, typer.Option(help="The Parquet file.", show_default=False)],
    first: First = "",
    last: Last = "",
    account: Account = "",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Prove the journal and write a part of it to Parquet, with the head it was proved against."""
    output = Output(as_json=json)
    with reported(output):
        from service.books.keeping import write_export

        days = days_of(first, last)
        write_export(workspace_settings(workspace), output, account, what, out, days)


@app.command(
    rich_help_panel=LIVE, epilog="Example: [bold]sluice redecide --evaluations 1000000[/bold]"
)
def redecide(
    first: First = "",
    last: Last = "",
    evaluations: Annotated[
        int, typer.Option(min=0, help="Go on, shuffled, until graphs were run that often.")
    ] = 0,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads that go on.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the shuffled order.")] = 0,
    account: Account = "",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Decide journalled decisions again from the journal alone; ends with 1 if a byte differs.

    Graph, range checks, plan, guardrails and routes run as they did live, on what was seen then and
    on the account as the entries before left it; each entry is compared to its last byte. With
    --evaluations, graphs are run many times more, in threads, loaded anew every ten thousand.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.books.keeping import redecide as again

        status = again(
            workspace_settings(workspace),
            output,
            account,
            days_of(first, last),
            evaluations=evaluations,
            threads=threads,
            seed=seed,
        )
    finish(status)
