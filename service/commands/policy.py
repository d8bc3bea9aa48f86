"""`sluice policy`: what is in force, a dry run of a file, reload, rollback, review, overrides."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import By, Json, Workspace, settings_of
from service.console import REFUSED, Output, reported

if TYPE_CHECKING:
    from rich.console import Console

    from service.operator.control import DiffAnswer, OverrideAnswer, PolicyAnswer

app = typer.Typer(
    no_args_is_help=True,
    help="The guardrail policy: its limits, its history and its overrides.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: [bold]sluice policy diff new.toml[/bold]",
)

Why = Annotated[str, typer.Option(help="Why, in words.", show_default=False)]
OverrideId = Annotated[str, typer.Argument(metavar="OVERRIDE", help="Its id.")]


def _policies(workspace: Path | None) -> Any:
    from service.operator.policies import open_policies
    from service.settings import require_records

    settings = settings_of(workspace)
    require_records(settings)
    policies = open_policies(settings)
    policies.begin()
    return policies


@app.command(epilog="Example: [bold]sluice policy show --json[/bold]")
def show(
    text: Annotated[bool, typer.Option(help="Print the file as it was installed.")] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Show the policy in force, its overrides and its history."""
    output = Output(as_json=json)
    with reported(output):
        found = _policies(workspace).show()
        output.answer(found, lambda console: _show(console, found, text=text))


@app.command(epilog="Example: [bold]sluice policy diff new.toml[/bold]")
def diff(
    file: Annotated[
        Path | None,
        typer.Argument(help="A policy file; the configured one if not given.", show_default=False),
    ] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Compare a policy file with the policy in force; changes nothing.

    Ends with 1 if the file would let more through somewhere, with 0 if it is equal or tighter.
    """
    output = Output(as_json=json)
    with reported(output):
        from runtime.policies.policy import policy_text

        policies = _policies(workspace)
        found = policies.diff(file and policy_text(file), str(file))
        output.answer(found, lambda console: _diff(console, found))
    if found.looser:
        raise typer.Exit(REFUSED)


@app.command(epilog="Example: [bold]sluice policy reload --by ada --why review[/bold]")
def reload(by: By, why: Why, workspace: Workspace = None, json: Json = False) -> None:
    """Read the policy file again; every process follows at its next tick.

    Ends with 1 if the file is not taken: the previous policy stays in force.
    """
    output = Output(as_json=json)
    with reported(output):
        policies = _policies(workspace)
        done = policies.reload(by=by, why=why)
        found = policies.show(changed=done.changed)
        output.answer(found, lambda console: _show(console, found))
    if done.refused:
        raise typer.Exit(REFUSED)


@app.command(epilog="Example: [bold]sluice policy rollback 3 --by ada --why 'too tight'[/bold]")
def rollback(
    number: Annotated[int, typer.Argument(help="Number of an earlier policy.")],
    by: By,
    why: Why,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Bring an earlier policy back into force; it stands until the file changes."""
    output = Output(as_json=json)
    with reported(output):
        policies = _policies(workspace)
        policies.rollback(number, by=by, why=why)
        found = policies.show()
        output.answer(found, lambda console: _show(console, found))


@app.command(
    epilog="Example: [bold]sluice policy review 3 --by ada --why 'yearly; nothing to change'[/bold]"
)
def review(
    number: Annotated[int, typer.Argument(help="Number of the policy in force.")],
    by: By,
    why: Annotated[str, typer.Option(help="What came of it, in words.", show_default=False)],
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Put on record that you have looked at every limit in force; due every year."""
    output = Output(as_json=json)
    with reported(output):
        found = _policies(workspace).review(number, by=by, why=why)
        output.answer(found, lambda console: _show(console, found))


@app.command(
    epilog="Example: [bold]sluice policy override loss.max_drawdown 0.6 --minutes 30 --by ada"
    " --why 'month end'[/bold]"
)
def override(
    limit: Annotated[str, typer.Argument(help="Name of a limit, SECTION.NAME.")],
    value: Annotated[str, typer.Argument(help="As it would stand in the file.")],
    minutes: Annotated[int, typer.Option(min=1, help="Until it ends by itself.")],
    by: By,
    why: Why,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Ask to change one limit for a while; in force once a second person approves."""
    output = Output(as_json=json)
    with reported(output):
        from service.operator.control import OverrideRequest

        asked = OverrideRequest(limit=limit, value=value, seconds=60 * minutes, by=by, why=why)
        found = _policies(workspace).ask(asked)
        output.answer(found, lambda console: _override(console, found))


@app.command(epilog="Example: [bold]sluice policy approve 3f2a90c1d2e4 --by ben[/bold]")
def approve(
    override_id: OverrideId, by: By, workspace: Workspace = None, json: Json = False
) -> None:
    """Approve an override as another person than who asked for it."""
    output = Output(as_json=json)
    with reported(output):
        found = _policies(workspace).approve(override_id, by=by)
        output.answer(found, lambda console: _override(console, found))


@app.command(epilog="Example: [bold]sluice policy revoke 3f2a90c1d2e4 --by ada[/bold]")
def revoke(
    override_id: OverrideId, by: By, workspace: Workspace = None, json: Json = False
) -> None:
    """End an override before its time."""
    output = Output(as_json=json)
    with reported(output):
        found = _policies(workspace).revoke(override_id, by=by)
        output.answer(found, lambda console: _override(console, found))


def _show(console: "Console", found: "PolicyAnswer", *, text: bool = False) -> None:
    active = found.active
    console.print(
        f"Policy [bold]{active.number}[/bold] {active.hash[:12]} is in force since"
        f" {active.at:%Y-%m-%d %H:%M} UTC ({active.origin}, by {active.by}: {active.why})"
    )
    console.print(f"file: {found.file}")
    if found.refused:
        console.print(f"the file is not in force: {found.refused}", markup=False)
    last = found.review
    if last.at is not None and last.due is not None:
        console.print(
            f"policy {last.number} was reviewed on {last.at:%Y-%m-%d} by {last.by}: {last.why};"
            f" next by {last.due:%Y-%m-%d}",
            markup=False,
        )
    if last.overdue:
        console.print(f"[yellow]overdue[/yellow] {last.overdue}")
    for one in found.overrides:
        _override(console, one)
    for entry in found.history[1:]:
        console.print(
            f"{entry.number:>4}  {entry.hash[:12]}  {entry.at:%Y-%m-%d %H:%M}  {entry.origin},"
            f" by {entry.by}: {entry.why}",
            markup=False,
        )
    if text:
        console.print(found.text, markup=False, highlight=False)


def _diff(console: "Console", found: "DiffAnswer") -> None:
    if not found.changes:
        console.print(f"no limit differs from {found.before[:12]}")
    for one in found.changes:
        before, after = (
            "left out (blocks)" if value is None else value for value in (one.before, one.after)
        )
        console.print(f"{one.effect:>8}  {one.limit}: {before} -> {after}", markup=False)


def _override(console: "Console", one: "OverrideAnswer") -> None:
    state = "in force" if one.in_force else "waits for a second person"
    if one.revoked_by:
        state = f"revoked by {one.revoked_by}"
    approved = f", approved by {one.approved_by}" if one.approved_by else ""
    console.print(
        f"override {one.id}: {one.limit} = {one.value} until {one.ends:%Y-%m-%d %H:%M} UTC, {state}"
        f" (asked by {one.by}{approved}: {one.why})",
        markup=False,
    )
