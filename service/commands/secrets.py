"""`sluice secrets`: what is referred to and whether it is there, a move into Vault, a rotation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.options import Json
from service.console import REFUSED, Output, reported

if TYPE_CHECKING:
    from rich.console import Console

    from service.secrets.moving import Moved
    from service.secrets.source import Secrets

app = typer.Typer(
    no_args_is_help=True,
    help="Secrets by reference: in the environment, or in Vault. No command prints a value.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: [bold]sluice secrets show[/bold]",
)


def _secrets() -> "Secrets":
    import os

    from runtime.clock import WallClock
    from service.secrets.source import Secrets

    return Secrets(environ=os.environ, clock=WallClock())


@app.command(epilog="Example: [bold]sluice secrets show --json[/bold]")
def show(json: Json = False) -> None:
    """List the settings that refer to a secret, and whether it is there.

    Ends with 1 if one is not. A reference is a setting's value of the form secret:PATH#FIELD.
    """
    output = Output(as_json=json)
    missing = False
    with reported(output):
        from featurestore.errors import PlatformError

        secrets = _secrets()
        found: dict[str, dict[str, str]] = {}
        for name, ref in secrets.references().items():
            try:
                secrets.source.read(ref.path, ref.field)
                state = "there"
            except PlatformError as error:
                state, missing = str(error), True
            found[name] = {"reference": str(ref), "state": state}

        def render(console: "Console") -> None:
            if not found:
                console.print(f"no setting refers to a secret (source: {secrets.kind})")
            for name, one in found.items():
                console.print(f"{name}  {one['reference']}  {one['state']}", markup=False)

        output.answer({"source": secrets.kind, "settings": found}, render)
    if missing:
        raise typer.Exit(REFUSED)


@app.command(
    epilog="Example: [bold]sluice secrets migrate .env --path sluice/live --dry-run[/bold]"
)
def migrate(
    file: Annotated[Path, typer.Argument(help="A .env file; it is left as it is.")],
    path: Annotated[str, typer.Option(help="Where in Vault's key-value store.")] = "sluice",
    only: Annotated[
        list[str] | None,
        typer.Option(help="Move this variable; may be repeated. All if not given."),
    ] = None,
    replace: Annotated[bool, typer.Option(help="Overwrite a field that differs.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    json: Json = False,
) -> None:
    """Move the variables of a .env file into Vault: all or none, read back and compared by hash.

    Prints the references that take the values' place. A dry run ends with 1 if the move would be
    refused. Needs VAULT_ADDR and a login, either
    SLUICE_VAULT_ROLE_ID with SLUICE_VAULT_SECRET_ID_FILE, or VAULT_TOKEN.
    """
    output, blocked = Output(as_json=json), False
    with reported(output):
        from service.secrets.moving import DIFFERENT
        from service.secrets.moving import migrate as move

        chosen = tuple(only or ())
        done = move(file, _secrets().vault, path, only=chosen, replace=replace, dry_run=dry_run)
        blocked = dry_run and not replace and any(one.state == DIFFERENT for one in done.secrets)
        output.answer(done, lambda console: _moved(console, done, blocked=blocked))
    if blocked:
        raise typer.Exit(REFUSED)


@app.command(epilog="Example: [bold]sluice secrets rotate sluice#sluice_operator_token[/bold]")
def rotate(
    reference: Annotated[str, typer.Argument(metavar="PATH#FIELD", help="Which secret.")],
    json: Json = False,
) -> None:
    """Give a secret in Vault a new random value, without showing it.

    Services that refer to it take the new one within half a minute and the old one for ten more
    minutes, so nobody's call fails meanwhile.
    """
    output = Output(as_json=json)
    with reported(output):
        from runtime.secrets.source import SCHEME, SecretRef
        from service.secrets.moving import rotate as renew

        ref = SecretRef.parse(SCHEME + reference.removeprefix(SCHEME))
        done = renew(_secrets().vault, ref)
        output.answer(
            done,
            lambda console: console.print(
                f"{ref} has a new value (version {done.version});"
                " the one before is accepted for ten minutes"
            ),
        )


def _moved(console: "Console", done: "Moved", *, blocked: bool) -> None:
    told = "would be moved to" if done.dry_run else "in"
    console.print(
        f"{len(done.secrets)} variables {told} {done.path}"
        + ("" if done.dry_run else f" (version {done.version}), read back and equal by SHA-256")
    )
    for one in done.secrets:
        console.print(f"{one.variable}={one.reference}  ({one.state})", markup=False)
    if blocked:
        console.print("what is different there is left as it is: refused without --replace")
    if not done.dry_run:
        console.print("write these lines in place of the values, then delete the file")
