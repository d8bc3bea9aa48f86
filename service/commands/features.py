"""`sluice features`: browse views, check contracts, audit for leaks, see how a value came to be."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.options import Json, Workspace, finish, workspace_settings
from service.console import OK, REFUSED, Output, reported

app = typer.Typer(
    no_args_is_help=True,
    help="The feature store: what it holds, whether contracts hold, and whether anything leaks.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: [bold]sluice features list[/bold]",
)

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[VIEW]...", help="All views if none is named.", show_default=False),
]


@app.command(name="list", epilog="Example: [bold]sluice features list --json[/bold]")
def list_views(workspace: Workspace = None, json: Json = False) -> None:
    """List the views with what they hold."""
    output = Output(as_json=json)
    with reported(output):
        from service.features import browse

        browse.list_views(workspace_settings(workspace), output)


@app.command(epilog="Example: [bold]sluice features show us_equities[/bold]")
def show(
    name: Annotated[str, typer.Argument(help="A view, or a computed feature.")],
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Show one view's contract, or what a computed feature is made of."""
    output = Output(as_json=json)
    with reported(output):
        from service.features import browse

        browse.show(workspace_settings(workspace), output, name)


@app.command(epilog="Example: [bold]sluice features check && echo all contracts hold[/bold]")
def check(
    views: Names = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="A view older than its freshness is broken too.")
    ] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Check everything that views hold against their contracts; ends with 1 if one is broken."""
    output = Output(as_json=json)
    status = REFUSED
    with reported(output):
        from service.features import prove

        status = prove.check(workspace_settings(workspace), output, views or None, fresh=fresh)
    finish(status)


@app.command(
    epilog="Example: [bold]sluice features audit notebooks/strategies/momentum.ipynb[/bold]"
)
def audit(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VIEW|FEATURE|NOTEBOOK]...",
            help="All views if nothing is named.",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=2, help="Instants at which the future is cut off.")
    ] = 8,
    seed: Annotated[int, typer.Option(help="Seed of their draw.")] = 0,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Cut the future off and compare; ends with 1 and names feature, entity, date and cell."""
    output = Output(as_json=json)
    status = REFUSED
    with reported(output):
        from service.features import prove

        status = prove.audit(
            workspace_settings(workspace), output, targets or [], samples=samples, seed=seed
        )
    finish(status)


@app.command(
    epilog="Example: [bold]sluice features history AAPL us_equities.close --as-of 2010-06-30[/bold]"
)
def history(
    entity: Annotated[str, typer.Argument(help="For instance a symbol.")],
    field: Annotated[
        str, typer.Argument(metavar="VIEW.FIELD", help="For instance us_equities.close.")
    ],
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="DAY", help="Leave out what became known later."),
    ] = None,
    last: Annotated[int, typer.Option(min=1, help="Rows shown, the newest.")] = 20,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Show how the values of a field came to be: first prints, revisions, when each was known."""
    output = Output(as_json=json)
    with reported(output):
        from service.features import browse

        browse.history(workspace_settings(workspace), output, entity, field, as_of=as_of, last=last)


Features = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FEATURE]...", help="view.field, or a computed feature.", show_default=False
    ),
]
Symbols = Annotated[
    list[str] | None, typer.Option("--symbol", help="May be repeated; all if not given.")
]
At = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="As of an instant, UTC; now if not given."),
]


@app.command(epilog="Example: [bold]sluice features materialize --at 2022-12-28T21:30Z[/bold]")
def materialize(
    features: Features = None,
    symbol: Symbols = None,
    window: Annotated[
        list[str] | None,
        typer.Option(metavar="FEATURE=BARS", help="Keep the last bars online too; repeatable."),
    ] = None,
    at: At = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Bring the newest known values online; without a feature, all that the active bundle reads.

    What is new of their views is announced on the stream features.pit. Repeating it is harmless:
    an older value never replaces a newer one.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.features import online as commands

        commands.materialize(
            workspace_settings(workspace),
            output,
            features or [],
            symbol or [],
            windows=window or [],
            at=at,
        )


@app.command(epilog="Example: [bold]sluice features online --symbol AAPL --stale[/bold]")
def online(
    features: Features = None,
    symbol: Symbols = None,
    at: At = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="Show values that are too old as well, marked.")
    ] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Read the online store with the age of each value; ends with 1 if one is too old."""
    output = Output(as_json=json)
    status = REFUSED
    with reported(output):
        from service.features import online as commands

        status = commands.show(
            workspace_settings(workspace), output, features or [], symbol or [], at=at, stale=stale
        )
    finish(status)


@app.command(
    epilog="Example: [bold]sluice features skew && echo online is what the lake says[/bold]"
)
def skew(
    features: Features = None,
    symbol: Symbols = None,
    at: At = None,
    textfile: Annotated[
        Path | None,
        typer.Option(help="Leave the figures there, too, for Prometheus' node exporter (.prom)."),
    ] = None,
    stop: Annotated[
        bool,
        typer.Option("--stop", help="Stop new risk of every study that reads what is in doubt."),
    ] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Hold what is online against the lake; ends with 1 and names the cause of each difference.

    With --stop a study that trades on a feature which differs, or for which a rule fires, gets a
    drift stop: check 8 blocks what it wants until two persons release it with sluice kill off.
    """
    output = Output(as_json=json)
    status = REFUSED
    with reported(output):
        from service.features import online as commands

        status = commands.skew(
            workspace_settings(workspace),
            output,
            features or [],
            symbol or [],
            at=at,
            textfile=textfile,
            stop=stop,
        )
    finish(status)


@app.command(epilog="Example: [bold]sluice features rules --json > sluice-features.yml[/bold]")
def rules(json: Json = False) -> None:
    """Show the thresholds of skew, drift and age; --json is a rule file of Prometheus."""
    output = Output(as_json=json)
    with reported(output):
        from service.features import online as commands

        commands.rules(output)


@app.command(epilog="Example: [bold]sluice features follow --once[/bold]")
def follow(
    group: Annotated[
        str, typer.Option(help="Readers of one group share the messages.", show_default=True)
    ] = "online",
    once: Annotated[bool, typer.Option("--once", help="Take what is there and end.")] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Keep the online store up to date from the stream features.pit, until stopped.

    For a host whose lake is elsewhere and whose online store is its own. Computed features wait for
    the next materialization.
    """
    output = Output(as_json=json)
    status = OK
    with reported(output):
        from service.flows.following import follow as followed

        status = followed(workspace_settings(workspace), output, group=group, once=once)
    finish(status)


@app.command(epilog="Example: [bold]sluice features quarantine us_equities[/bold]")
def quarantine(
    view: Annotated[str | None, typer.Argument(help="One view; all if not given.")] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """List the rows that were set aside, with the reason and what to do about it."""
    output = Output(as_json=json)
    with reported(output):
        from service.features import aside

        aside.waiting(workspace_settings(workspace), output, view)


View = Annotated[str, typer.Argument(help="The view.")]
Batch = Annotated[str, typer.Argument(help="The batch, or its beginning.")]
Row = Annotated[
    list[int] | None, typer.Option("--row", help="A row of the batch; all open ones if not given.")
]
Why = Annotated[str, typer.Option("--why", help="The reason, kept for good.")]
By = Annotated[str, typer.Option("--by", help="Who decides.")]


@app.command(
    epilog="Example: [bold]sluice features release us_equities 3f2a --why checked --by ada[/bold]"
)
def release(
    view: View,
    batch: Batch,
    why: Why = "",
    by: By = "",
    row: Row = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Let quarantined rows into their view; a value out of range may be vouched for."""
    output = Output(as_json=json)
    with reported(output):
        from service.features import aside

        aside.release(
            workspace_settings(workspace), output, view, batch, why=why, by=by, rows=row or None
        )


@app.command(
    epilog="Example: [bold]sluice features drop us_equities 3f2a --why 'a typo' --by ada[/bold]"
)
def drop(
    view: View,
    batch: Batch,
    why: Why = "",
    by: By = "",
    row: Row = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Close quarantined rows for good; they stay on file."""
    output = Output(as_json=json)
    with reported(output):
        from service.features import aside

        aside.drop(
            workspace_settings(workspace), output, view, batch, why=why, by=by, rows=row or None
        )


@app.command(epilog="Example: [bold]sluice features tidy --days 30[/bold]")
def tidy(
    days: Annotated[
        int, typer.Option(min=0, help="Leave files alone that were given up more recently.")
    ] = 7,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Join small files; delete what neither the newest version nor a run or bundle needs."""
    output = Output(as_json=json)
    with reported(output):
        from datetime import timedelta

        from service.research.tidy import tidy as tidy_lake

        tidy_lake(workspace_settings(workspace), output, older_than=timedelta(days=days))
