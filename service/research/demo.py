"""`sluice demo`: the whole path on real prices, in a workspace of its own that is made anew.

1. data       market history into the lake, contracts checked
2. notebooks  both study notebooks executed; each submits its own trial
3. sweep      every configuration of the declared search spaces, recorded
4. gates      each study judged over all its trials
5. promotion  what passes spends its holdout once and becomes a signed bundle
6. replay     the bundle trades the sealed years on paper, day by day
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import msgspec
from rich.console import Console

from featurestore.sources.embedded import ingest_embedded
from pipelines.definition import load_definition
from pipelines.errors import RunFailed
from pipelines.gates.policy import default_policy
from pipelines.judge import Judged, judge_study
from pipelines.promote import PromotedBundle
from pipelines.runs.notebooks import RunProgress, RunRecord, run_notebook
from pipelines.runs.warm import WarmKernels
from pipelines.sweeps.sweep import SweepProgress, sweep
from pipelines.workspace import Workspace
from runtime.chain import ChainedLog
from runtime.clock import WallClock
from runtime.database import open_database
from runtime.journal.store import Journal
from service.console import OK
from service.databases import open_runtime
from service.faults import NotFound
from service.research.demo_tables import (
    DemoFigures,
    ReplayFigures,
    bundle_figures,
    replay_figures,
    show_replay,
    show_studies,
    study_figures,
)
from service.research.kernels import kernels
from service.research.promotion import promote_candidate
from service.research.steps import Step, Steps
from service.settings import Settings, read_settings
from service.trading.engines import active_bundle, progress_note, replay_bundle

NOTEBOOKS = (
    Path("notebooks/strategies/momentum.ipynb"),
    Path("notebooks/strategies/reversal.ipynb"),
)
MARK = ".demo"  # a folder without this file is never touched; it says what the demo left
WORKERS = 2
BY = "demo"


def run_demo(settings: Settings, *, console: Console, json_path: Path | None) -> int:
    """Run the path from market history to replayed years and print what came of it.

    Args:
        settings: names the workspace; an earlier demo in it is removed, or moved aside if
            anything was added to its records since.
        console: for progress and tables.
        json_path: receives the same figures for machines.

    Returns:
        Exit status 0, whatever the gates said.
    """
    if json_path is not None and (json_path.is_dir() or not json_path.absolute().parent.is_dir()):
        raise NotFound(f"{json_path} cannot be written", "name a file in a folder that is there")
    notebooks = _notebooks()
    workspace = _fresh_workspace(settings, console)
    steps = Steps(console, time.perf_counter)
    _ingest(notebooks, workspace, steps)
    with ExitStack() as stack:
        warm = _run_notebooks(
            notebooks,
            workspace,
            steps,
            kernel_parent=lambda: stack.enter_context(kernels(console, wanted=True)),
        )
        names = _sweep(notebooks, workspace, steps)
        judged = _judge(names, workspace, steps)
        promoted = _promote(judged, settings, workspace, steps, warm)
    replay, head = _replay(promoted, settings, steps)
    figures = DemoFigures(
        studies=[study_figures(one, promoted.get(name)) for name, one in judged.items()],
        bundles=[bundle_figures(one) for one in promoted.values()],
        replay=replay,
        journal_head=head,
        seconds=steps.total(),
    )
    _show(console, figures)
    (settings.workspace / MARK).write_text(_heads(settings))
    if json_path is not None:
        json_path.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
    return OK


def _show(console: Console, figures: DemoFigures) -> None:
    console.print()
    show_studies(console, figures.studies)
    console.print()
    show_replay(console, figures.replay, figures.journal_head)
    for bundle in figures.bundles:
        console.print(f"[bold]{bundle.study}[/bold] gate report: {bundle.report}", soft_wrap=True)
    console.print(f"[dim]{figures.seconds['total']:.1f} s in all[/dim]")


def _notebooks() -> tuple[Path, ...]:
    """Return the study notebooks; NotFound if the command is not run from the repository."""
    root = Path(__file__).resolve().parents[2]
    found = tuple(root / path for path in NOTEBOOKS)
    for path in found:
        if not path.is_file():
            raise NotFound(f"there is no notebook {path}", "run the demo in a full checkout")
    return found


def _fresh_workspace(settings: Settings, console: Console) -> Workspace:
    """Return an empty workspace; an earlier demo's is removed, or moved aside if it was used."""
    folder = settings.workspace
    own = replace(read_settings({}, workspace=folder), host=settings.host, port=settings.port)
    if settings != own:
        raise NotFound(
            "the demo keeps everything in its own folder, but the environment names other places",
            "unset SLUICE_DATABASE_URL, _LEDGER_URL, _LAKE_URL, _POLICY and _VENUES",
        )
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).is_file():
            raise NotFound(
                f"{folder} holds something that is not a demo's workspace",
                "name an empty folder with --workspace",
            )
        if (folder / MARK).read_text() == _heads(settings):
            shutil.rmtree(folder)
            console.print(f"[dim]Removed the earlier demo in {folder}[/dim]", soft_wrap=True)
        else:
            aside = folder.with_name(f"{folder.name}-{WallClock().now():%Y%m%dT%H%M%S}")
            folder.rename(aside)
            console.print(f"[dim]Kept what was done since in {aside}[/dim]", soft_wrap=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    console.print(f"[dim]Workspace {folder}[/dim]\n", soft_wrap=True)
    return Workspace(folder)


def _heads(settings: Settings) -> str:
    """Return where ledger, journal and registry stand: whoever adds to them changes it."""
    lines = []
    for url, table in (
        (settings.ledger_url, "ledger"),
        (settings.database_url, "journal"),
        (settings.database_url, "registry"),
    ):
        if Path(url.removeprefix("sqlite:///")).is_file():
            lines.append(f"{table} {ChainedLog(open_database(url), table).head().hash}")
    return "\n".join(lines) + "\n"


def _ingest(notebooks: Sequence[Path], workspace: Workspace, steps: Steps) -> None:
    with steps.step("data", "Market history into the lake, contracts checked") as step:
        reports = ingest_embedded(workspace.store())
        workspace.save()
        for notebook in notebooks:
            workspace.research_reader(load_definition(notebook, {}).study)  # seals its holdout
        accepted = sum(report.accepted for report in reports)
        aside = sum(report.quarantined for report in reports)
        step.found = (
            f"{accepted:,} observations in {len(reports)} feature views, {aside} quarantined, "
            f"{len(notebooks)} holdouts sealed, snapshot {workspace.snapshot.hash[:12]}"
        )


def _run_notebooks(
    notebooks: Sequence[Path],
    workspace: Workspace,
    steps: Steps,
    *,
    kernel_parent: Callable[[], WarmKernels | None],
) -> WarmKernels | None:
    """Run the study notebooks; return what their kernels were forked from."""
    with steps.step("notebooks", "Two studies asked in notebooks") as step:
        warm = kernel_parent()
        cells: dict[str, tuple[int, int]] = {}

        def show(notebook: Path, progress: RunProgress) -> None:
            cells[notebook.name] = (progress.cell, progress.cells)
            step.at(
                sum(done for done, _ in cells.values()),
                sum(all_ for _, all_ in cells.values()),
                f"{notebook.name} cell {progress.cell + 1}",
            )

        def run(notebook: Path) -> RunRecord:
            return run_notebook(
                notebook,
                {},
                workspace,
                clock=WallClock(),
                on_progress=lambda progress: show(notebook, progress),
                warm=warm,
            )

        with ThreadPoolExecutor(len(notebooks)) as pool:
            records = list(pool.map(run, notebooks))
        for record in records:
            if not record.complete:
                raise RunFailed(
                    f"{record.notebook}: {record.closed.cause}: {record.closed.message}; "
                    f"see {record.log}"
                )
        step.found = f"{len(records)} executed, each submitted its own trial"
    return warm


def _sweep(notebooks: Sequence[Path], workspace: Workspace, steps: Steps) -> list[str]:
    """Try every declared configuration; return the studies' names."""
    names = []
    for notebook in notebooks:
        with steps.step("sweep", f"Every configuration of {notebook.stem}") as step:

            def show(progress: SweepProgress, step: Step = step) -> None:
                best = progress.best.value if progress.best else None
                note = "" if best is None else f"best excess Sharpe {best:.2f}"
                step.at(progress.done, progress.total, note)

            report = sweep(notebook, workspace, clock=WallClock(), workers=WORKERS, on_trial=show)
            names.append(report.study)
            step.found = (
                f"{report.study}: {len(report.trials)} configurations, all in the ledger"
                + ("" if report.best is None else f", best excess Sharpe {report.best.value:.2f}")
            )
    return names


def _judge(names: Sequence[str], workspace: Workspace, steps: Steps) -> dict[str, Judged]:
    judged = {}
    with steps.step("gates", "Each study judged over all its trials") as step:
        step.expect(len(names))
        for name in names:
            judged[name] = judge_study(name, workspace, policy=default_policy())
            step.advance(f"{name}: {judged[name].verdict.stage}")
        step.found = ", ".join(f"{name} {one.verdict.stage}" for name, one in judged.items())
    return judged


def _promote(
    judged: Mapping[str, Judged],
    settings: Settings,
    workspace: Workspace,
    steps: Steps,
    warm: WarmKernels | None,
) -> dict[str, PromotedBundle]:
    """Promote what passed; the clearest result comes last and so takes the champion's seat."""
    passed = [one for one in judged.values() if one.verdict.stage != "refused"]
    passed.sort(key=lambda one: -float(one.verdict.figures["spa_p"] or 0.0))
    promoted: dict[str, PromotedBundle] = {}
    for one in passed:
        name = one.verdict.study
        with steps.step("promotion", f"The holdout of {name} is opened, once") as step:

            def show(progress: RunProgress, step: Step = step) -> None:
                step.at(progress.cell, progress.cells, "notebook as promoted")

            promoted[name] = promote_candidate(
                settings, workspace, name, by=BY, progress=show, warm=warm
            )
            bundle = promoted[name].bundle
            step.found = f"{name} is bundle {bundle.hash[:12]}, signed for {bundle.stage}"
    return promoted


def _replay(
    promoted: Mapping[str, PromotedBundle], settings: Settings, steps: Steps
) -> tuple[ReplayFigures, str]:
    """Trade the sealed years with the champion; return its figures and the journal's head."""
    if not promoted:
        journal = Journal(open_runtime(settings))
        return ReplayFigures(), journal.head().hash
    with steps.step("replay", "The sealed years on paper, day by day") as step:
        replayed = replay_bundle(
            settings,
            active_bundle(settings),
            on_start=step.expect,
            on_session=lambda outcome: step.advance(progress_note(outcome)),
        )
        figures = replay_figures(replayed)
        step.found = (
            f"{figures.sessions:,} sessions, {figures.fills:,} fills, {figures.breaks} breaks"
        )
    return figures, replayed.result.journal_head
