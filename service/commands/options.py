"""What the commands share: the options every one of them has, the settings they open, their end."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from service.commands.opening import (
    file_settings,
    partial_settings,
    settings_of,
    workspace_settings,
)
from service.console import OK

__all__ = [
    "By",
    "Json",
    "Workspace",
    "day_of",
    "days_of",
    "file_settings",
    "finish",
    "partial_settings",
    "settings_of",
    "workspace_settings",
]

Workspace = Annotated[
    Path | None,
    typer.Option(
        "--workspace", "-w", help="Folder of lake, ledger, journal and bundles.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Answer as one JSON document on stdout.")]
By = Annotated[str, typer.Option(help="Who does it.", show_default=False)]


def day_of(name: str, text: str) -> date | None:
    """Return the day an option names, None for an empty one; QueryInvalid if it is none."""
    from service.faults import QueryInvalid

    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise QueryInvalid(f"{name}: {text!r} is not a day", "write 2017-01-31") from None


def days_of(first: str, last: str) -> "tuple[date | None, date | None]":
    """Return the days of --from and --to, None where not given; QueryInvalid if they are crossed.

    Nothing lies between crossed days: whatever is proved or summed over them would be as it should.
    """
    start, end = day_of("--from", first), day_of("--to", last)
    if start is not None and end is not None and start > end:
        from service.faults import QueryInvalid

        raise QueryInvalid(f"the first day {start} lies after the last, {end}", "exchange them")
    return start, end


def finish(status: int) -> None:
    """End the process with a status that is not 0."""
    if status != OK:
        raise typer.Exit(status)
