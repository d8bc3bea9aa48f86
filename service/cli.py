"""The command line `sluice`: thin commands; whatever is heavy is imported inside them."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands import staying
from service.commands.alerts import app as alerts
from service.commands.evidence import app as evidence
from service.commands.explain import app as explained
from service.commands.features import app as features
from service.commands.halts import app as halts
from service.commands.journal import app as journal
from service.commands.kill import app as kill
from service.commands.options import Json, Workspace, finish, settings_of
from service.commands.policy import app as policy
from service.commands.registry import app as registry
from service.commands.schedule import app as schedule
from service.commands.secrets import app as secrets
from service.commands.streams import app as streams
from service.commands.venue import app as venue
from service.console import OK, Output, reported

RESEARCH, LIVE = "Research", "Live"

app = typer.Typer(
    name="sluice",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From a notebook to a live signal: research, significance gates and a compact runtime.",
    epilog="Start with [bold]sluice demo[/bold]. Exit status: 0 done, 1 refused, 2 a mistake in"
    " what was typed or configured.",
)
app.add_typer(evidence)
app.add_typer(journal)
app.add_typer(explained)
app.add_typer(schedule, name="schedule", rich_help_panel=LIVE)
app.add_typer(features, name="features", rich_help_panel=RESEARCH)
app.add_typer(policy, name="policy", rich_help_panel=LIVE)
app.add_typer(kill, name="kill", rich_help_panel=LIVE)
app.add_typer(halts, name="halts", rich_help_panel=LIVE)
app.add_typer(registry, name="registry", rich_help_panel=LIVE)
app.add_typer(streams, name="streams", rich_help_panel=LIVE)
app.add_typer(venue, name="venue", rich_help_panel=LIVE)
app.add_typer(secrets, name="secrets", rich_help_panel=LIVE)
app.add_typer(alerts, name="alerts", rich_help_panel=LIVE)

Study = Annotated[str, typer.Argument(help="Name of the study, as `sluice studies` lists it.")]
Notebook = Annotated[Path, typer.Argument(help="The notebook.", show_default=False)]


@app.command(
    rich_help_panel=RESEARCH,
    epilog="Example: [bold]sluice demo --no-serve --json out.json[/bold]",
)
def demo(
    workspace: Workspace = None,
    serve: Annotated[bool, typer.Option(help="Serve the desk when all is done.")] = True,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file.")
    ] = None,
) -> None:
    """The whole path on real prices: data, studies, sweep, gates, bundle, replay, desk."""
    output = Output(as_json=False)
    with reported(output):
        from service.research.demo import run_demo

        settings = settings_of(workspace)
        status = run_demo(settings, console=output.console, json_path=json)
        if status == OK and serve:
            from service.commands.serve import serve as start

            start(settings, output)
    finish(status)


@app.command(
    rich_help_panel=RESEARCH,
    epilog="Example: [bold]sluice run notebooks/strategies/momentum.ipynb -p lookback=252[/bold]",
)
def run(
    notebook: Notebook,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="May be repeated."),
    ] = None,
    timeout: Annotated[
        int, typer.Option(min=1, help="Seconds until a run that hangs is ended.")
    ] = 900,
    every: Annotated[
        bool, typer.Option("--every", help="Run once per configuration of the search space.")
    ] = False,
    warm: Annotated[
        bool, typer.Option("--warm", help="Fork kernels from a parent that has imported.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time, with --every.")] = 2,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Execute a notebook with typed parameters; its trial is in the ledger before any result.

    Ends with 1 if a cell fails or the kernel dies; the cause is named and the notebook is kept.
    Kernels are cold unless --warm is given; each run is a process of its own either way.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.research.run import run_every, run_notebook

        if every:
            status = run_every(
                settings_of(workspace),
                output,
                notebook,
                parameter or [],
                timeout_seconds=timeout,
                warm=warm,
                workers=workers,
            )
        else:
            status = run_notebook(
                settings_of(workspace),
                output,
                notebook,
                parameter or [],
                timeout_seconds=timeout,
                warm=warm,
            )
    finish(status)


@app.command(
    rich_help_panel=RESEARCH,
    epilog="Example: [bold]sluice sweep notebooks/strategies/reversal.ipynb --trials 20[/bold]",
)
def sweep(
    notebook: Notebook,
    trials: Annotated[
        int | None, typer.Option(min=1, help="At most this many; the whole grid if not given.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Warm worker processes.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of the proposals.")] = 0,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Try configurations of the space the study declares; every one of them is counted."""
    output = Output(as_json=json)
    with reported(output):
        from service.research.sweep import sweep_notebook

        status = sweep_notebook(
            settings_of(workspace), output, notebook, trials=trials, workers=workers, seed=seed
        )
    finish(status)


@app.command(rich_help_panel=RESEARCH, epilog="Example: [bold]sluice studies --json[/bold]")
def studies(workspace: Workspace = None, json: Json = False) -> None:
    """List the studies with their trials, best result, holdout and verdict."""
    output = Output(as_json=json)
    with reported(output):
        from service.research.studies import list_studies

        status = list_studies(settings_of(workspace), output)
    finish(status)


@app.command(rich_help_panel=RESEARCH, epilog="Example: [bold]sluice gate momentum[/bold]")
def gate(
    study: Study,
    report: Annotated[
        Path | None, typer.Option(help="Write the page with pictures and remedies to this file.")
    ] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Judge a study over all its trials; ends with 1 if the verdict is refused."""
    output = Output(as_json=json)
    with reported(output):
        from service.research.gate import judge_study

        status = judge_study(settings_of(workspace), output, study, report=report)
    finish(status)


@app.command(
    rich_help_panel=RESEARCH, epilog="Example: [bold]sluice calibrate --analysts 500[/bold]"
)
def calibrate(
    studies: Annotated[int, typer.Option(min=20, help="Simulated studies per claim.")] = 1000,
    analysts: Annotated[int, typer.Option(min=20, help="Simulated analysts.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything simulated.")] = 0,
    json: Json = False,
) -> None:
    """Judge studies of known worth: do the gates err as seldom as they say? A minute or so.

    Ends with 1 if a claim does not hold.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.research.calibrate import calibrate as simulate

        status = simulate(output, studies=studies, analysts=analysts, seed=seed)
    finish(status)


@app.command(rich_help_panel=RESEARCH, epilog="Example: [bold]sluice promote momentum[/bold]")
def promote(
    study: Study,
    by: Annotated[str, typer.Option(help="Who promotes; signs for the look at the holdout.")] = "",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Spend the sealed holdout once and sign the candidate into a bundle.

    Ends with 1 if the gates refuse the study or its holdout was spent before.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.research.promote import promote_study

        status = promote_study(settings_of(workspace), output, study, by=by)
    finish(status)


@app.command(
    rich_help_panel=LIVE, epilog="Example: [bold]sluice verify .sluice/demo/bundles/3f2a...[/bold]"
)
def verify(
    bundle: Annotated[
        Path, typer.Argument(help="A bundle's folder or its .tar.zst.", show_default=False)
    ],
    keys: Annotated[
        Path | None,
        typer.Option(help="File of trusted signers; the workspace's own if not given."),
    ] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Check signature, every file, graph and golden rows; ends with 1 and names the file if not."""
    output = Output(as_json=json)
    with reported(output):
        from service.commands.verify import verify_bundle

        status = verify_bundle(settings_of(workspace), output, bundle, keys=keys)
    finish(status)


@app.command(rich_help_panel=LIVE, epilog="Example: [bold]sluice audit --json[/bold]")
def audit(
    remember: Annotated[
        bool,
        typer.Option("--remember", help="Write down where chains end of which no head is kept."),
    ] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Prove every record from its first entry; ends with 1 and names the break.

    Journal, registry, policies, schedule, joint accounts, shadows, ledger, leases, halts and the
    records of paper venues in the workspace: each chain is recomputed and compared with the heads
    remembered outside; the rows of the journal and of venues are derived from their entries again.
    A chain whose file of heads is gone has not passed. Records that others keep are named.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.commands.audit import audit_records

        status = audit_records(settings_of(workspace), output, remember=remember)
    finish(status)


@app.command(
    rich_help_panel=LIVE,
    epilog="Example: [bold]sluice replay --from 2017-01-03 --to 2017-12-29[/bold]",
)
def replay(
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="DAY", help="First session; the holdout's if not given."),
    ] = None,
    last: Annotated[
        str | None,
        typer.Option("--to", metavar="DAY", help="Last session; the holdout's if not given."),
    ] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Trade past sessions on paper; goes on where a killed one stopped.

    The champion trades; where the registry gives several bundles capital, all of them in one
    account, over the days that are sealed for every one.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.commands.replay import replay_sessions

        status = replay_sessions(settings_of(workspace), output, first=first, last=last)
    finish(status)


@app.command(rich_help_panel=LIVE, epilog="Example: [bold]sluice trade[/bold]")
def trade(
    delay: Annotated[
        int, typer.Option(min=1, help="Minutes between a close and its tick.", show_default=True)
    ] = 5,
    late: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Hours after its time for which a missed session is still run, once; later it is "
            "skipped, on record.  [dim]\\[default: 120][/dim]",
            show_default=False,
        ),
    ] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Trade what the registry names on paper under the wall clock, in a process of its own.

    Each session is run once, after its close, by the exchange's calendar; without a bar of that
    session in the lake nothing is decided. Start it several times, on one host or over one
    PostgreSQL on many: one process trades, the others stand by and take over if it ends or stalls.
    """
    staying.trade(workspace=workspace, delay=delay, late=late, json=json)


@app.command(rich_help_panel=LIVE, epilog="Example: [bold]sluice serve --port 9000[/bold]")
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on.")] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Serve the desk, the API and the metrics until interrupted."""
    staying.serve(workspace=workspace, host=host, port=port, json=json)


@app.command(rich_help_panel=LIVE, epilog="Example: [bold]sluice why 5f1c02ab[/bold]")
def why(
    identifier: Annotated[
        str,
        typer.Argument(
            metavar="DECISION", help="Decision or order id, or its beginning; or a day."
        ),
    ],
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Walk back from an order or decision to the notebook cell that decided it."""
    output = Output(as_json=json)
    with reported(output):
        from service.commands.why import explain

        status = explain(settings_of(workspace), output, identifier)
    finish(status)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
