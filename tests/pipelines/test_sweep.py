"""Sweeps over the real history: complete, recorded before shown, the same for any worker count."""

import textwrap
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import EvidenceMissing, ParameterInvalid, SweepFailed
from pipelines.ledger import TrialOpened
from pipelines.sweeps.sweep import SweepProgress, SweepReport, sweep
from pipelines.workspace import Workspace
from runtime.clock import WallClock
from tests.conftest_market import MarketLake
from tests.fakes.notebook_files import Cell, write_notebook

PARAMETERS = "lookback = 21  # bars\ntop = 3\n"
STUDY = """
from datetime import date
from pipelines.study import Period, Study
study = Study(
    name="small", question="?", hypothesis="no", source="none", universe="us_large_caps",
    research=Period(start=date(2001, 1, 2), end=date(2002, 12, 31)),
    holdout=Period(start=date(2003, 1, 2), end=date(2003, 12, 31)),
    schedule="month_end", search_space={space}, owner="tests", warm_up=64,
)
"""
STRATEGY = """
{before}
from pipelines.strategy import History, Strategy

def decide(xp, inputs):
    score = inputs.prices[:, -1] / inputs.prices[:, 0] - 1.0
    rank = xp.argsort(xp.argsort(-score, stable=True), stable=True)
    held = xp.astype(rank < top, xp.float64)
    return score, held / xp.sum(held)

strategy = Strategy(
    inputs={"prices": History(feature="us_equities.close", length=lookback + 1)},
    decide=decide, parameters={"lookback": lookback, "top": top},
)
"""
SPACE = '{"lookback": (21, 42, 63), "top": (3, 5)}'


def notebook(folder: Path, *, before: str = "", space: str = SPACE) -> Path:
    strategy = STRATEGY.replace("{before}", textwrap.dedent(before))
    cells: list[Cell] = [
        ("parameters", PARAMETERS),
        ("study", STUDY.replace("{space}", space)),
        ("strategy", strategy),
        "raise SystemExit('plots are for people; a sweep never runs this cell')",
    ]
    return write_notebook(folder / "small.ipynb", cells)


def workspace(folder: Path, market_lake: MarketLake) -> Workspace:
    folder.mkdir(exist_ok=True)
    return Workspace(folder, lake_url=market_lake.fresh_url(), snapshot=market_lake.snapshot)


@pytest.fixture(scope="module")
def told() -> list[SweepProgress]:
    return []


@pytest.fixture(scope="module")
def swept(
    tmp_path_factory: pytest.TempPathFactory, market_lake: MarketLake, told: list[SweepProgress]
) -> tuple[SweepReport, Workspace, Path]:
    folder = tmp_path_factory.mktemp("sweep")
    ws = workspace(folder / "ws", market_lake)
    path = notebook(folder)

    def on_trial(progress: SweepProgress) -> None:
        # Before it is shown, a trial stands in the ledger with how it ended.
        assert ws.ledger().trial(progress.trial.key).status == progress.trial.status
        told.append(progress)

    return sweep(path, ws, clock=WallClock(), workers=2, on_trial=on_trial), ws, path


def test_every_declared_point_is_tried_and_recorded(
    swept: tuple[SweepReport, Workspace, Path],
) -> None:
    report, ws, _ = swept
    points = {(t.parameters["lookback"], t.parameters["top"]) for t in report.trials}
    assert points == {(a, b) for a in (21, 42, 63) for b in (3, 5)}
    assert (report.count("complete"), ws.ledger().study("small").trials) == (6, 6)
    assert ws.ledger().study("small").declaration["search_space"]["lookback"] == [21, 42, 63]
    assert ws.ledger().run(report.run).status == "complete"
    assert ws.ledger().verify().seq == 1 + 2 * 6 + 2
    assert ws.ledger().trials("small")[0].run == report.run


def test_progress_counts_up_and_names_the_best_so_far(
    swept: tuple[SweepReport, Workspace, Path], told: list[SweepProgress]
) -> None:
    report, _, _ = swept
    assert [(p.done, p.total) for p in told] == [(n, 6) for n in range(1, 7)]
    best = told[-1].best
    assert best is not None
    assert best == report.best
    assert best.value == max(t.value for t in report.trials if t.value is not None)


def test_recorded_returns_are_those_of_the_notebook_path(
    swept: tuple[SweepReport, Workspace, Path],
) -> None:
    from pipelines.definition import load_definition
    from pipelines.evaluate import evaluate

    report, ws, path = swept
    trial = report.trials[0]
    here = evaluate(load_definition(path, trial.parameters), ws).backtest
    stored = ws.ledger().returns(trial.key)
    assert np.array_equal(stored.net, here.net)
    assert np.array_equal(stored.benchmark, here.benchmark)


def test_one_worker_gives_the_same_report_and_evidence(
    swept: tuple[SweepReport, Workspace, Path], market_lake: MarketLake, tmp_path: Path
) -> None:
    report, ws, path = swept
    other = workspace(tmp_path / "ws", market_lake)
    alone = sweep(path, other, clock=WallClock(), workers=1)
    assert alone.trials == report.trials
    one, two = ws.ledger().evidence("small"), other.ledger().evidence("small")
    assert one.names == two.names
    assert np.array_equal(one.net, two.net)


def test_a_repeated_sweep_takes_what_the_ledger_holds(
    swept: tuple[SweepReport, Workspace, Path],
) -> None:
    report, ws, path = swept
    before = ws.ledger().study("small")
    again = sweep(path, ws, clock=WallClock(), workers=1, seed=3)
    assert all(trial.reused for trial in again.trials)
    assert {t.key: t.value for t in again.trials} == {t.key: t.value for t in report.trials}
    assert [t.key for t in again.trials] != [t.key for t in report.trials]  # the seed's order
    assert ws.ledger().study("small").trials == before.trials


def test_tpe_draws_so_many_points_and_is_repeatable(
    swept: tuple[SweepReport, Workspace, Path],
) -> None:
    _, ws, path = swept
    runs = [
        sweep(path, ws, clock=WallClock(), workers=w, sampler="tpe", n_trials=10, seed=1)
        for w in (1, 2)
    ]
    assert len(runs[0].trials) == 10
    assert runs[0].trials == runs[1].trials


def test_failing_pruned_crashed_and_endless_trials_are_counted_and_the_sweep_goes_on(
    swept: tuple[SweepReport, Workspace, Path], market_lake: MarketLake, tmp_path: Path
) -> None:
    before = """
    from dataclasses import sys  # as a misbehaving library would, not by an import of its own
    from pipelines.errors import TrialPruned
    os, time = sys.modules["os"], sys.modules["time"]
    if (lookback, top) == (42, 3):
        raise KeyError("no such column")
    if (lookback, top) == (63, 3):
        raise TrialPruned("not worth it")
    if (lookback, top) == (42, 5):
        os.kill(os.getpid(), 9)
    if (lookback, top) == (63, 5):
        time.sleep(600)
    """
    ws = workspace(tmp_path / "ws", market_lake)
    path = notebook(tmp_path, before=before)
    usual = [
        (trial.closed_at - trial.opened_at).total_seconds()
        for trial in swept[1].ledger().trials("small")
        if trial.closed_at is not None
    ]
    limit = float(max(4, round(8 * max(usual))))  # no trial but the endless one comes near it
    report = sweep(path, ws, clock=WallClock(), workers=2, trial_timeout_s=limit)
    by_point = {
        (t.parameters["lookback"], t.parameters["top"]): (t.status, t.reason) for t in report.trials
    }
    assert by_point[21, 3][0] == by_point[21, 5][0] == "complete"
    assert by_point[42, 3][0] == "failed"
    assert "no such column" in by_point[42, 3][1]
    assert by_point[63, 3] == ("pruned", "not worth it")
    assert by_point[42, 5] == ("crashed", "the worker ended by signal 9 (SIGKILL)")
    assert by_point[63, 5] == ("failed", f"not finished after {limit:g} s, stopped")
    study = ws.ledger().study("small")
    assert study.trials == 6
    assert study.by_status == {"complete": 2, "failed": 2, "pruned": 1, "crashed": 1}
    ws.ledger().verify()
    evidence = ws.ledger().evidence("small")
    assert (evidence.trials, evidence.net.shape[1]) == (6, 2)


EXIT = "from dataclasses import sys; sys.modules['os']._exit(7)"


@pytest.mark.parametrize(
    ("before", "space", "error", "told"),
    [
        ("import sklearn.nowhere", SPACE, SweepFailed, "nowhere"),
        ("import os", SPACE, SweepFailed, "imports os"),
        ("", "{}", SweepFailed, "declares no search space"),
        ("", '{"lookbak": (21, 42)}', ParameterInvalid, "did you mean lookback"),
        ("", '{"lookback": (2.5, 3.5)}', ParameterInvalid, "lookback must be int"),
        (EXIT, SPACE, SweepFailed, r"before they are ready \(exit code 7\)"),
    ],
)
def test_a_definition_that_cannot_be_swept_gives_one_clear_error(
    market_lake: MarketLake,
    tmp_path: Path,
    before: str,
    space: str,
    error: type[Exception],
    told: str,
) -> None:
    ws = workspace(tmp_path / "ws", market_lake)
    with pytest.raises(error, match=told):
        sweep(notebook(tmp_path, before=before, space=space), ws, clock=WallClock(), workers=1)
    (run,) = ws.ledger().runs()
    assert run.status == "failed"
    assert ws.ledger().studies() == ()
    assert ws.ledger().verify().seq == 2


def test_a_declared_study_without_trials_has_no_evidence(
    market_lake: MarketLake, tmp_path: Path
) -> None:
    ledger = workspace(tmp_path / "ws", market_lake).ledger()
    ledger.declare_study({"name": "empty"})
    with pytest.raises(EvidenceMissing, match="study empty has no trial yet"):
        ledger.evidence("empty")
    opened = TrialOpened(study="empty", parameters={}, code_hash="c", snapshot_hash="s")
    ledger.open_trial(opened)
    assert ledger.trials("empty")[0].status == "crashed"
