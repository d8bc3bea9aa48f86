"""`sluice schedule add|list|remove|run`: notebooks that run by cron, each fire a recorded run."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.options import Json, Workspace, finish, workspace_settings
from service.console import Output, reported

PANEL = "Notebooks on a schedule"


def attach(app: typer.Typer) -> None:
    """Add the commands to the group `sluice schedule`."""
    app.command(
        rich_help_panel=PANEL,
        epilog="Example: [bold]sluice schedule add notebooks/strategies/momentum.ipynb"
        " --cron '0 7 * * 1-5' --zone America/New_York -p lookback=252 --name weekdays[/bold]",
    )(add)
    app.command(
        name="list", rich_help_panel=PANEL, epilog="Example: [bold]sluice schedule list[/bold]"
    )(list_)
    app.command(
        rich_help_panel=PANEL, epilog="Example: [bold]sluice schedule remove weekdays[/bold]"
    )(remove)
    app.command(rich_help_panel=PANEL, epilog="Example: [bold]sluice schedule run --warm[/bold]")(
        run
    )


def add(
    notebook: Annotated[Path, typer.Argument(help="The notebook.", show_default=False)],
    cron: Annotated[
        str,
        typer.Option(
            metavar="'M H DOM MON DOW'",
            help="Minute, hour, day, month, weekday, as cron reads them.",
            show_default=False,
        ),
    ],
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="May be repeated."),
    ] = None,
    name: Annotated[str, typer.Option(help="Of the job; the notebook's own if left out.")] = "",
    zone: Annotated[
        str,
        typer.Option(help="Time zone of the expression; in UTC no hour is skipped or repeated."),
    ] = "UTC",
    grace: Annotated[
        int, typer.Option(min=1, help="Seconds after which a slot is missed instead of run.")
    ] = 3600,
    timeout: Annotated[
        int, typer.Option(min=1, help="Seconds until a run that hangs is ended.")
    ] = 900,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Schedule a notebook: parameters and cron expression are checked now.

    It runs while `sluice schedule run` is up. A job never overlaps itself, and a slot that nobody
    ran is on record as missed, with the reason.
    """
    output = Output(as_json=json)
    with reported(output):
        from runtime.clock import WallClock
        from service.research.schedule import add_job

        status = add_job(
            workspace_settings(workspace),
            output,
            notebook,
            parameter or [],
            expression=cron,
            zone=zone,
            name=name,
            grace_seconds=grace,
            timeout_seconds=timeout,
            clock=WallClock(),
        )
    finish(status)


def list_(
    limit: Annotated[int, typer.Option(min=1, help="How many slots of each, newest first.")] = 5,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """List the scheduled notebooks, when each is due next and what its last slots became."""
    output = Output(as_json=json)
    with reported(output):
        from runtime.clock import WallClock
        from service.research.schedule import list_jobs

        status = list_jobs(workspace_settings(workspace), output, limit=limit, clock=WallClock())
    finish(status)


def remove(
    name: Annotated[str, typer.Argument(help="Of the job, as `sluice schedule list` shows it.")],
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Take a notebook off the schedule; its runs and slots stay on record."""
    output = Output(as_json=json)
    with reported(output):
        from service.research.schedule import remove_job

        status = remove_job(workspace_settings(workspace), output, name)
    finish(status)


def run(
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 2,
    warm: Annotated[
        bool, typer.Option("--warm", help="Fork kernels from a parent that has imported.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Run what is due now and end; 1 if a run failed.")
    ] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Run scheduled notebooks as they come due, until Ctrl-C.

    Several of these may share a workspace: each slot is claimed by one of them before any work.
    Runs under way come to their end before the worker does.
    """
    output = Output(as_json=json)
    with reported(output):
        from runtime.clock import WallClock
        from service.research.schedule import run_worker

        status = run_worker(
            workspace_settings(workspace),
            output,
            workers=workers,
            warm=warm,
            once=once,
            clock=WallClock(),
        )
    finish(status)
