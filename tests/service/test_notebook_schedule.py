"""`sluice schedule add|list|remove|run`: a scheduled notebook leaves an ordinary recorded run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from typer.testing import CliRunner

from pipelines.workspace import Workspace
from runtime.clock import ReplayClock
from service.cli import app
from service.commands.options import workspace_settings
from service.console import Output
from service.research.schedule import Scheduled, run_worker
from tests.fakes.notebooks import code_cell, tiny_notebook, write_notebook


@pytest.fixture
def place(tmp_path, market_lake):
    workspace = Workspace(
        tmp_path / "ws", lake_url=market_lake.fresh_url(), snapshot=market_lake.snapshot
    )
    workspace.save()
    return workspace


@pytest.fixture
def report(tmp_path):
    return write_notebook(
        tmp_path / "report.ipynb",
        code_cell("level = 1", "parameters"),
        code_cell("print(10 // level)"),
    )


def sluice(place, *arguments):
    typed = ["schedule", *map(str, arguments), "-w", str(place.path)]
    return CliRunner().invoke(app, typed, env={"COLUMNS": "200"})


def fire(place, after):
    """Look once, at a time to come."""
    clock = ReplayClock(datetime.now(UTC) + after)
    settings, output = workspace_settings(place.path), Output(as_json=True)
    return run_worker(settings, output, workers=1, warm=False, once=True, clock=clock)


def listed(place):
    return msgspec.json.decode(sluice(place, "list", "--json").stdout, type=list[Scheduled])


def test_a_scheduled_notebook_runs_with_its_parameters_and_its_run_names_the_schedule(
    place, report
):
    added = sluice(place, "add", report, "--cron", "* * * * *", "-p", "level=5", "--name", "often")
    assert added.exit_code == 0, added.output
    assert fire(place, timedelta(minutes=2)) == 0
    (kept,) = listed(place)
    assert (kept.job.name, kept.job.parameters) == ("often", {"level": 5})
    slot = kept.slots[0]
    assert slot.outcome == "complete", slot.reason
    (run,) = place.ledger().runs()
    assert run.opened.run == slot.run
    assert run.opened.schedule == f"often@{slot.slot:%Y-%m-%dT%H:%M:%SZ}"
    assert run.opened.parameters == {"level": 5}
    assert run.status == "complete"
    assert '"schedule": "often@' in (place.path / "runs" / slot.run / "status.json").read_text()
    place.ledger().verify()


def test_what_fails_ends_with_1_and_the_cell_s_error(place, report):
    assert sluice(place, "add", report, "--cron", "* * * * *", "-p", "level=0").exit_code == 0
    assert fire(place, timedelta(minutes=2)) == 1
    (kept,) = listed(place)
    assert kept.slots[0].outcome == "failed"
    assert "ZeroDivisionError" in kept.slots[0].reason


def test_mistakes_are_told_when_a_job_is_added_not_when_it_is_due(place, report):
    for more, words in (
        (("--cron", "0 7 * *"), "five fields"),
        (("--cron", "0 7 * * *", "-p", "depth=2"), "depth"),
        (("--cron", "0 7 * * *", "--zone", "Nowhere"), "no time zone"),
    ):
        refused = sluice(place, "add", report, *more)
        assert refused.exit_code == 2, refused.output
        assert words in refused.output
    assert listed(place) == []
    assert "nothing is scheduled" in sluice(place, "list").output


def test_a_removed_job_is_gone_and_options_go_after_the_command(place, report):
    assert sluice(place, "add", report, "--cron", "0 7 * * 1-5").exit_code == 0
    assert "report  0 7 * * 1-5 UTC  next" in sluice(place, "list").output
    assert sluice(place, "remove", "report").exit_code == 0
    assert sluice(place, "remove", "report").exit_code == 2
    early = CliRunner().invoke(app, ["schedule", "-w", str(place.path), "list"])
    assert early.exit_code == 2
    assert "after list" in early.output


def test_a_sweep_and_its_gate_run_by_cron_and_leave_trials_verdict_and_runs_on_record(
    place, tmp_path
):
    study = tiny_notebook(tmp_path / "tiny.ipynb")
    typed = ("--sweep", "--gate", "--cron", "* * * * *")
    assert sluice(place, "add", study, *typed).exit_code == 0
    assert fire(place, timedelta(minutes=2)) == 0
    (kept,) = listed(place)
    assert kept.job.does == ("sweep", "gate")
    slot = kept.slots[0]
    ledger = place.ledger()
    swept, judged = ledger.runs()
    assert (swept.opened.kind, judged.opened.kind) == ("sweep", "gate")
    schedule = f"tiny@{slot.slot:%Y-%m-%dT%H:%M:%SZ}"
    assert swept.opened.schedule == judged.opened.schedule == schedule
    assert swept.status == judged.status == "complete"
    trials = ledger.trials("tiny")
    assert {trial.run for trial in trials} == {swept.opened.run}
    (judgement,) = ledger.judgements("tiny")
    tried = len(trials)
    assert judgement.trials == tried == ledger.charge("tiny").at_most
    said = f"tiny: {tried} of {tried} configurations complete; tiny over {tried} tries: "
    assert (slot.run, slot.result) == (judged.opened.run, f"{said}{judgement.stage}")
    folder = place.path / "runs" / judged.opened.run
    assert msgspec.json.decode((folder / "verdict.json").read_bytes())["stage"] == judgement.stage
    assert said in sluice(place, "list").output


def test_a_gate_alone_names_a_study_and_one_that_cannot_judge_fails_on_record(place, tmp_path):
    hourly = ("--gate", "--cron", "* * * * *")
    unknown = sluice(place, "add", "tiny", *hourly)
    assert unknown.exit_code == 2
    assert "no study 'tiny'" in unknown.output
    place.ledger().declare_study({"name": "tiny"})
    assert sluice(place, "add", "tiny", *hourly).exit_code == 0
    assert fire(place, timedelta(minutes=2)) == 1
    (kept,) = listed(place)
    assert (kept.job.does, kept.job.study, kept.job.notebook) == (("gate",), "tiny", "")
    assert "no trial yet" in kept.slots[0].reason
    (run,) = place.ledger().runs()
    assert (run.opened.kind, run.status) == ("gate", "failed")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--trials", "3"), "add --sweep"),
        (("--sweep", "-p", "level=2"), "drop -p"),
    ],
)
def test_options_that_a_job_of_its_kind_would_pass_over_are_refused(place, report, more, words):
    refused = sluice(place, "add", report, "--cron", "0 7 * * *", *more)
    assert refused.exit_code == 2, refused.output
    assert words in refused.output
