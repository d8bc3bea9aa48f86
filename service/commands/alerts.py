"""`sluice alerts`: what people must hear of, who took it, and the watch that tells them."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.options import (
    By,
    Json,
    Workspace,
    file_settings,
    partial_settings,
    workspace_settings,
)
from service.console import REFUSED, Output, reported

if TYPE_CHECKING:
    from rich.console import Console

    from runtime.alerts.alert import Alert

app = typer.Typer(
    no_args_is_help=True,
    help="Alerts: what is open, who took it, how the feed does, and the watch that tells people.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: [bold]sluice alerts list[/bold]",
)

Which = Annotated[str, typer.Argument(metavar="ALERT", help="Its id, or its key.")]


@app.command(name="list", epilog="Example: [bold]sluice alerts list --all --json[/bold]")
def list_alerts(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """List the open alerts; ends with 1 if nobody has taken one of them."""
    output = Output(as_json=json)
    with reported(output):
        from service.operator.alarms import open_book

        book = open_book(file_settings(workspace))
        found = (*book.past(), *book.current()) if everything else book.open()

        def render(console: "Console") -> None:
            if not found:
                console.print("no alert is open")
            for one in found:
                _show(console, one)

        output.answer(found, render)
    if any(not one.answered for one in found):
        raise typer.Exit(REFUSED)


@app.command(epilog="Example: [bold]sluice alerts ack heartbeat.trade --by ada[/bold]")
def ack(
    which: Which,
    by: By,
    note: Annotated[str, typer.Option(help="What you do about it.")] = "",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Take an alert on: it climbs no further."""
    output = Output(as_json=json)
    with reported(output):
        from runtime.clock import WallClock
        from service.operator.alarms import open_book

        book = open_book(file_settings(workspace))
        done = book.acknowledge(which, by=by, at=WallClock().now(), note=note)
        output.answer(done, lambda console: _show(console, done))


@app.command(epilog="Example: [bold]sluice alerts resolve trade.denied --how 'limit raised'[/bold]")
def resolve(
    which: Which,
    how: Annotated[str, typer.Option(help="How it ended.", show_default=False)],
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """End an alert; what the watch still finds is raised again at once."""
    output = Output(as_json=json)
    with reported(output):
        from runtime.clock import WallClock
        from service.operator.alarms import open_book

        book = open_book(file_settings(workspace))
        done = book.resolve(which, at=WallClock().now(), how=how)
        output.answer(done, lambda console: _show(console, done))


@app.command(name="test", epilog="Example: [bold]sluice alerts test oncall[/bold]")
def send_a_test(
    receiver: Annotated[str, typer.Argument(help="A receiver of the file SLUICE_ALERTS names.")],
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Send one notice that asks for nothing, to see whether a receiver is reached."""
    output = Output(as_json=json)
    with reported(output):
        from runtime.alerts.alert import Alert
        from runtime.alerts.escalation import read_escalation
        from runtime.clock import WallClock
        from service.faults import NotFound
        from service.operator.alarms import open_notifier

        settings, now = workspace_settings(workspace), WallClock().now()
        escalation = read_escalation(settings.alerts)
        if receiver not in escalation.receivers:
            known = ", ".join(sorted(escalation.receivers))
            raise NotFound(f"there is no receiver {receiver}", f"name one of {known}")
        trial = Alert(
            id="test",
            key="test",
            severity="ticket",
            title="a test: nothing has happened",
            raised_at=now,
            last_at=now,
        )
        open_notifier(settings, escalation).tell(receiver, trial, level=0)
        output.answer(
            {"receiver": receiver, "reached": True},
            lambda console: console.print(f"{receiver} was reached"),
        )


@app.command(epilog="Example: [bold]sluice alerts budget --json[/bold]")
def budget(workspace: Workspace = None, json: Json = False) -> None:
    """Show how many sessions ran on time, and how much of the error budget is left."""
    output = Output(as_json=json)
    with reported(output):
        from runtime.clock import WallClock
        from service.operator.alarms import feed_budget

        found = feed_budget(workspace_settings(workspace), WallClock().now())
        share = found.good_share
        told = {
            "objective": found.objective.name,
            "target": found.objective.target,
            "days": found.objective.window.days,
            "sessions": found.events,
            "failed": found.failures,
            "on_time": share,
            "budget_left": found.left,
        }

        def render(console: "Console") -> None:
            on_time = "no session yet" if share is None else f"{share:.1%} on time"
            console.print(
                f"{found.objective.name}: {on_time} of {found.events} sessions in"
                f" {found.objective.window.days} days, objective {found.objective.target:.0%},"
                f" {found.left:.0%} of the error budget is left"
            )

        output.answer(told, render)


@app.command(epilog="Example: [bold]sluice alerts watch --expect trade[/bold]")
def watch(
    expect: Annotated[
        list[str] | None,
        typer.Option(help="A process that must be heard of; may be repeated. [default: trade]"),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Go one round and end.")] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Watch from outside: hear who falls silent, tell people, climb until somebody answers.

    Run it as a process of its own, best on another host that sees the same workspace. Who is told
    is in the file that SLUICE_ALERTS names. Goes round every second until SIGINT or SIGTERM. A
    secret that cannot be had, with Vault down, is an alert itself: the watch does what it can
    without, and takes the rest when Vault is back.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.operator.watching import run

        run(partial_settings(workspace), output, tuple(expect or ("trade",)), once=once)


def _show(console: "Console", one: "Alert") -> None:
    if not one.open:
        state = f"over: {one.resolution}"
    elif one.acknowledged_by:
        state = f"taken by {one.acknowledged_by}" + (f": {one.note}" if one.note else "")
    else:
        state = "NOT TAKEN"
    console.print(
        f"{one.raised_at:%Y-%m-%d %H:%M:%S} UTC  {one.severity:6}  {one.title}  ({state})",
        markup=False,
    )
    told = ", ".join(sorted({f"{n.receiver} (level {n.level})" for n in one.notices})) or "nobody"
    console.print(f"    {one.id}  seen {one.seen} times, told: {told}", markup=False)
    if one.detail:
        console.print(f"    {one.detail}", markup=False)
