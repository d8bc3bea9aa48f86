"""`sluice streams`: what travels, how far its readers are, and what could not be handled."""

from typing import Annotated

import typer

from service.commands.options import Json, Workspace, finish, workspace_settings
from service.console import OK, Output, reported

app = typer.Typer(
    no_args_is_help=True,
    help="The streams features.pit and signals.STRATEGY: lag, poison messages, what waits.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: [bold]sluice streams list[/bold]",
)

Name = Annotated[str, typer.Argument(metavar="STREAM", help="For instance signals.momentum.")]
Group = Annotated[str, typer.Argument(metavar="GROUP", help="A consumer group of it.")]


@app.command(name="list", epilog="Example: [bold]sluice streams list --json[/bold]")
def list_streams(workspace: Workspace = None, json: Json = False) -> None:
    """List every stream with how far each of its groups is behind."""
    output = Output(as_json=json)
    with reported(output):
        from service.flows.flowing import list_streams as listed

        listed(workspace_settings(workspace), output)


@app.command(epilog="Example: [bold]sluice streams publish --account live[/bold]")
def publish(
    account: Annotated[
        str, typer.Option(help="Whose decisions; `live`, or the account of a replay.")
    ] = "live",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Announce the decisions that stand in the journal and on no stream yet.

    Live trading does it by itself; after an outage nobody has to. Each message carries the
    decision's id, by which consumers drop what they have seen.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.flows.flowing import publish as announced

        announced(workspace_settings(workspace), output, account)


@app.command(epilog="Example: [bold]sluice streams buried signals.momentum desk[/bold]")
def buried(name: Name, group: Group, workspace: Workspace = None, json: Json = False) -> None:
    """List the poison messages of a group with the reason; ends with 1 if there are any."""
    output = Output(as_json=json)
    status = OK
    with reported(output):
        from service.flows.flowing import buried as found

        status = found(workspace_settings(workspace), output, name, group)
    finish(status)


@app.command(epilog="Example: [bold]sluice streams revive signals.momentum desk 17[/bold]")
def revive(
    name: Name,
    group: Group,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="As `buried` lists them.")],
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Hand poison messages to their group once more, when the cause is mended."""
    output = Output(as_json=json)
    with reported(output):
        from service.flows.flowing import revive as revived

        revived(workspace_settings(workspace), output, name, group, ids)


@app.command(epilog="Example: [bold]sluice streams trim[/bold]")
def trim(
    name: Annotated[
        list[str] | None, typer.Argument(metavar="[STREAM]...", help="All if none is named.")
    ] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Remove what every group has acknowledged; what a group still needs stays."""
    output = Output(as_json=json)
    with reported(output):
        from service.flows.flowing import trim as trimmed

        trimmed(workspace_settings(workspace), output, name or [])
