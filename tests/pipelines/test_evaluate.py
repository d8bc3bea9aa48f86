"""A trial is in the ledger before its result is seen, failed ones too; the seal holds."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from featurestore.errors import HoldoutSealed, ViewUnknown
from pipelines.definition import load_definition
from pipelines.errors import StrategyInvalid, StudyInvalid, TrialPruned, WorkspaceMissing
from pipelines.evaluate import evaluate, evaluate_trial
from pipelines.research import (
    Period,
    preview,
    submit,
    submit_notebook,
    vectorbt_plot,
    vectorbt_statistics,
)
from pipelines.workspace import Workspace, open_workspace
from runtime.clock import ReplayClock
from tests.fakes.notebooks import STRATEGY, STUDY, tiny_notebook

NOW = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path, market_lake):
    return Workspace(
        tmp_path,
        lake_url=market_lake.fresh_url(),
        snapshot=market_lake.snapshot,
        clock=ReplayClock(NOW),
    )


def definition(tmp_path, parameters=None, **cells):
    return load_definition(tiny_notebook(tmp_path / "tiny.ipynb", **cells), parameters or {})


def test_a_trial_is_recorded_with_its_returns(workspace, tmp_path):
    trial = evaluate_trial(definition(tmp_path), workspace)
    recorded = workspace.ledger().trial(trial.key)
    assert (recorded.status, recorded.parameters) == ("complete", {"lookback": 21, "top": 3})
    assert recorded.snapshot_hash == workspace.snapshot.hash
    returns = workspace.ledger().returns(trial.key)
    assert returns.net.tobytes() == trial.backtest.net.tobytes()
    assert returns.benchmark.tobytes() == trial.backtest.benchmark.tobytes()
    assert returns.dates[0] == np.datetime64("2001-02-01")
    assert recorded.figures == trial.figures
    assert repr(trial).endswith("of tiny: lookback=21, top=3")


def test_a_trial_is_open_while_it_is_evaluated(workspace, tmp_path, monkeypatch):
    seen = []

    def look(*_args, **_named):
        seen.extend(record.status for record in workspace.ledger().trials("tiny"))
        raise TrialPruned("seen enough")

    monkeypatch.setattr("pipelines.evaluate.evaluate", look)
    with pytest.raises(TrialPruned):
        evaluate_trial(definition(tmp_path), workspace)
    assert seen == ["crashed"]  # opened, and not yet closed
    assert workspace.ledger().trials("tiny")[0].status == "pruned"


@pytest.mark.parametrize(
    ("strategy", "error", "words"),
    [
        (STRATEGY.replace("[:, 0]", "[:, 99]"), StrategyInvalid, "tiny.ipynb cell 3, line 2"),
        (STRATEGY.replace("us_equities.close", "us_equities.volume"), ViewUnknown, "volume"),
        (STRATEGY.replace("us_equities.close", "nothing.close"), ViewUnknown, "nothing"),
        (STRATEGY.replace("lookback + 1", "lookback + 99"), StudyInvalid, "warm-up of 64"),
    ],
)
def test_a_failed_trial_is_counted_with_its_reason(workspace, tmp_path, strategy, error, words):
    with pytest.raises(error, match=words):
        evaluate_trial(definition(tmp_path, strategy=strategy), workspace)
    (recorded,) = workspace.ledger().trials("tiny")
    assert recorded.status == "failed"
    assert words in recorded.reason
    workspace.ledger().verify()


def test_a_configuration_outside_the_space_leaves_no_trace(workspace, tmp_path):
    with pytest.raises(StudyInvalid, match="top=4 is not in the declared search space"):
        evaluate_trial(definition(tmp_path, {"top": 4}), workspace)
    assert workspace.ledger().studies() == ()


def test_the_reader_of_research_holds_nothing_of_the_holdout(workspace, tmp_path):
    study = definition(tmp_path).study
    reader = workspace.research_reader(study)
    with pytest.raises(HoldoutSealed):
        reader.window(study.price_feature, ("AAPL",), length=1, at=datetime(2003, 1, 3, tzinfo=UTC))
    assert workspace.research_panel(study).days[-1] == date(2002, 12, 31)


def test_evaluating_twice_gives_the_same_bits(workspace, tmp_path):
    first = evaluate(definition(tmp_path), workspace)
    second = evaluate(definition(tmp_path), workspace)
    assert first.graph == second.graph
    assert first.backtest.net.tobytes() == second.backtest.net.tobytes()
    assert first.backtest.inputs_hash == second.backtest.inputs_hash


def test_a_notebook_submits_the_same_trial_as_a_sweep(workspace, tmp_path):
    loaded = definition(tmp_path)
    submitted = submit(loaded.study, loaded.strategy, workspace=workspace)
    assert submitted.key == evaluate_trial(loaded, workspace, source="sweep").key
    (recorded,) = workspace.ledger().trials("tiny")
    assert (recorded.attempts, recorded.reproducible) == (2, True)


def test_a_preview_shows_one_decision_and_records_nothing(workspace, tmp_path):
    loaded = definition(tmp_path)
    table = preview(loaded.study, loaded.strategy, date(2002, 5, 31), workspace=workspace)
    assert [row[2] for row in table.rows] == ["33.33%"] * 3
    assert [float(row[1]) for row in table.rows] == sorted(
        (float(row[1]) for row in table.rows), reverse=True
    )
    assert workspace.ledger().studies() == ()


def test_vectorbt_confirms_a_real_trial_and_its_picture_is_interactive(workspace, tmp_path):
    loaded = definition(tmp_path)
    trial = submit(loaded.study, loaded.strategy, workspace=workspace)
    rows = {row[0]: row[1] for row in vectorbt_statistics(trial).rows}
    assert float(rows["Largest difference to our equity"]) <= 1e-9
    assert rows["Sharpe ratio"] == f"{trial.figures['sharpe']:.2f}"
    bundle, _ = vectorbt_plot(trial)._repr_mimebundle_()
    assert len(bundle["application/vnd.plotly.v1+json"]["data"]) >= 2
    assert bundle["image/png"].startswith(b"\x89PNG")


def test_a_saved_workspace_opens_with_the_same_data(workspace, market_lake):
    workspace.save()
    again = open_workspace(workspace.path, environ={})
    assert again.snapshot == market_lake.snapshot
    assert (again.lake_url, again.ledger_url) == (workspace.lake_url, workspace.ledger_url)
    named = open_workspace(
        environ={
            "SLUICE_WORKSPACE": str(workspace.path),
            "SLUICE_RUN": "r1",
            "SLUICE_LEDGER_URL": "sqlite:///elsewhere.db",
        }
    )
    assert (named.run, named.ledger_url) == ("r1", "sqlite:///elsewhere.db")


def test_the_calls_of_a_kernel_load_the_data_once_until_it_stands_elsewhere(
    workspace, tmp_path, monkeypatch
):
    from pipelines import research

    workspace.save()
    monkeypatch.setenv("SLUICE_WORKSPACE", str(workspace.path))
    monkeypatch.setenv("SLUICE_LAKE_URL", workspace.lake_url)
    monkeypatch.setenv("SLUICE_RUN", "one")
    monkeypatch.setattr(research, "_OPENED", [])
    chosen = definition(tmp_path)
    preview(chosen.study, chosen.strategy, on=date(2001, 3, 30))
    (place,) = research._OPENED
    read = place.research_reader(chosen.study)
    submit_notebook(str(tmp_path / "tiny.ipynb"))
    assert [place] == research._OPENED
    assert place.research_reader(chosen.study) is read
    monkeypatch.setenv("SLUICE_RUN", "two")
    submit_notebook(str(tmp_path / "tiny.ipynb"))
    assert [place] != research._OPENED
    assert workspace.ledger().trials("tiny")[0].runs == ("one", "two")
    moved = replace(
        chosen.study,
        research=Period(start=date(2001, 1, 2), end=date(2002, 6, 28)),
        holdout=Period(start=date(2002, 12, 2), end=date(2003, 12, 31)),
    )
    assert place.research_reader(moved) is not read, "another seal is another reader"


def test_a_password_is_never_written_into_a_workspace(tmp_path, market_lake):
    secret = Workspace(
        tmp_path,
        ledger_url="postgresql://me:hush@host/db",
        lake_url=market_lake.fresh_url(),
        snapshot=market_lake.snapshot,
    )
    text = secret.save().read_text()
    assert "hush" not in text
    assert json.loads(text)["ledger_url"] is None


def test_a_missing_workspace_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WorkspaceMissing, match="run `just demo` once"):
        open_workspace(environ={})
    with pytest.raises(WorkspaceMissing, match="holds no workspace"):
        open_workspace(tmp_path, environ={})
    (tmp_path / "workspace.json").write_text("{")
    with pytest.raises(WorkspaceMissing, match="does not read"):
        open_workspace(tmp_path, environ={})


def test_the_default_workspace_is_found_from_a_folder_below(tmp_path, market_lake, monkeypatch):
    home = Workspace(
        tmp_path / ".sluice" / "demo",
        lake_url=market_lake.fresh_url(),
        snapshot=market_lake.snapshot,
    )
    home.save()
    below = tmp_path / "notebooks" / "strategies"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert open_workspace(environ={}).path == home.path


def test_a_study_with_no_decision_date_is_refused(workspace, tmp_path):
    short = STUDY.replace("date(2002, 12, 31)", "date(2001, 1, 19)")
    with pytest.raises(StudyInvalid, match="no month_end decision falls into"):
        evaluate(definition(tmp_path, study=short), workspace)
