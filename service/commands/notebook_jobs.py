"""`sluice schedule add|list|remove|run`: notebooks, sweeps and gates by cron, all on record."""

from typing import Annotated

import typer

from service.commands.options import Json, Workspace, finish, workspace_settings
from service.console import Output, reported

PANEL = "Notebooks, sweeps and gates on a schedule"


def attach(app: typer.Typer) -> None:
    """Add the commands to the group `sluice schedule`."""
    app.command(
        rich_help_panel=PANEL,
        epilog="Example: [bold]sluice schedule add notebooks/strategies/momentum.ipynb"
        " --sweep --gate --cron '0 2 * * 2-6' --zone America/New_York --name nightly[/bold]",
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
    subject: Annotated[
        str,
        typer.Argument(
            metavar="NOTEBOOK|STUDY",
            help="The notebook; or a study that is only judged, with --gate.",
            show_default=False,
        ),
    ],
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
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Sweep its declared space instead of running it once.")
    ] = False,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Of the sweep, drawn at random; the whole space if left out."),
    ] = None,
    gate: Annotated[
        bool, typer.Option("--gate", help="Judge the study afterwards, and record the verdict.")
    ] = False,
    name: Annotated[str, typer.Option(help="Of the job; the notebook's own if left out.")] = "",
    zone: Annotated[
        str,
        typer.Option(help="Time zone of the expression; in UTC no hour is skipped or repeated."),
    ] = "UTC",
    grace: Annotated[
        int, typer.Option(min=1, help="Seconds after which a slot is missed instead of run.")
    ] = 3600,
    timeout: Annotated[
        int, typer.Option(min=1, help="Seconds until a run, or a sweep's trial, is ended.")
    ] = 900,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Schedule a notebook, its sweep, or the gates: everything is checked now.

    It runs while `sluice schedule run` is up. A job never overlaps itself, and a slot that nobody
    ran is on record as missed, with the reason.
    """
    output = Output(as_json=json)
    with reported(output):
        from runtime.clock import WallClock
        from service.research.schedule import Asked, add_job

        asked = Asked(
            subject=subject,
            parameters=parameter or [],
            cron=cron,
            zone=zone,
            name=name,
            sweep=sweep,
            trials=trials,
            gate=gate,
            grace_s=grace,
            timeout_s=timeout,
        )
        status = add_job(workspace_settings(workspace), output, asked, clock=WallClock())
    finish(status)


def list_(
    limit: Annotated[int, typer.Option(min=1, help="How many slots of each, newest first.")] = 5,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """List the scheduled jobs, when each is due next and what its last slots became."""
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
    """Take a job off the schedule; its runs and slots stay on record."""
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
    """Run scheduled jobs as they come due, until Ctrl-C.

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
