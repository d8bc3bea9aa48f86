"""What a job does when it is due: its steps in order, each an ordinary recorded run."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from pipelines.errors import NotebookInvalid, ScheduleInvalid
from pipelines.gates.policy import GatePolicy
from pipelines.judge import judge_study
from pipelines.ledger import RunOpened
from pipelines.runs.folder import new_folder, write_whole
from pipelines.runs.notebooks import run_notebook
from pipelines.runs.record import recorded
from pipelines.runs.warm import WarmKernels
from pipelines.schedules.book import Job
from pipelines.schedules.worker import Done
from pipelines.sweeps.sweep import sweep
from pipelines.workspace import Workspace
from runtime.bundles.contract import canonical
from runtime.clock import Clock

VERDICT = "verdict.json"  # in the folder of a gate's run


def perform(
    job: Job,
    schedule: str,
    workspace: Workspace,
    *,
    clock: Clock,
    policy: GatePolicy,
    warm: WarmKernels | None = None,
) -> Done:
    """Do the steps of a job; the first that fails is the last.

    Args:
        job: what to do.
        schedule: "JOB@SLOT"; every run that is opened names it.
        workspace: of this slot alone.
        clock: stamps the runs.
        policy: of the gates.
        warm: forks notebooks' kernels; None starts them cold.

    Raises:
        PlatformError: a step could not be started; what was before it is on record.
    """
    done, told, study = Done(run=""), [], job.study
    for step in job.does:
        if step == "notebook":
            done = _run(job, schedule, workspace, clock, warm)
            study = study or _studied(workspace, done.run)
        elif step == "sweep":
            done, study = _sweep(job, schedule, workspace, clock)
        else:
            done = _gate(study, schedule, workspace, clock, policy)
        told.append(done.result)
        if not done.complete:
            break
    return replace(done, result="; ".join(filter(None, told)))


def _run(
    job: Job, schedule: str, workspace: Workspace, clock: Clock, warm: WarmKernels | None
) -> Done:
    record = run_notebook(
        _notebook(job),
        job.parameters,
        workspace,
        clock=clock,
        timeout_s=job.timeout_s,
        warm=warm,
        schedule=schedule,
    )
    if record.complete:
        return Done(run=record.run)
    reason = f"{record.closed.cause}: {record.closed.message}"
    return Done(run=record.run, complete=False, reason=reason)


def _sweep(job: Job, schedule: str, workspace: Workspace, clock: Clock) -> tuple[Done, str]:
    """Sweep the declared space; return how it ended and whose space it was."""
    report = sweep(
        _notebook(job),
        workspace,
        clock=clock,
        sampler="grid" if job.trials is None else "random",
        n_trials=job.trials,
        trial_timeout_s=job.timeout_s,
        schedule=schedule,
    )
    complete = report.count("complete")
    done = Done(
        run=report.run,
        complete=complete > 0,
        reason="" if complete else "no configuration came to its end",
        result=f"{report.study}: {complete} of {len(report.trials)} configurations complete",
    )
    return done, report.study


def _gate(
    study: str, schedule: str, workspace: Workspace, clock: Clock, policy: GatePolicy
) -> Done:
    """Judge a study; its run is on record before the candidate's first cell is executed."""
    if not study:
        raise ScheduleInvalid("nothing to judge: the notebook recorded no trial of one study")
    folder = new_folder(workspace.path / "runs", f"{clock.now():%Y%m%dT%H%M%S}-{study}-gate")
    opened = RunOpened(
        run=folder.name,
        notebook="",
        notebook_hash="",
        parameters={"study": study},
        kind="gate",
        schedule=schedule,
    )
    with recorded(workspace.ledger(), clock, opened):
        judged = judge_study(study, workspace, policy=policy)
        verdict, tries = judged.verdict, judged.evidence.counted
        said: Mapping[str, object] = {
            "study": study,
            "candidate": verdict.candidate,
            "tries": tries,
            "stage": verdict.stage,
            "summary": verdict.summary,
            "verdicts": verdict.verdicts,
        }
        write_whole(folder / VERDICT, msgspec.json.format(canonical(said), indent=2) + b"\n")
    return Done(run=folder.name, result=f"{study} over {tries} tries: {verdict.stage}")


def _notebook(job: Job) -> Path:
    path = Path(job.notebook)
    if not path.is_file():
        raise NotebookInvalid(f"{path} is not there any more; sluice schedule add")
    return path


def _studied(workspace: Workspace, run: str) -> str:
    """Return the one study that a run tried; empty if it tried none or several."""
    names = {trial.study for trial in workspace.ledger().trials_of_run(run)}
    return names.pop() if len(names) == 1 else ""
