"""Auditing notebooks: a peek is named with feature, symbol, first date and cell; others pass."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.audit import audit_notebook
from pipelines.errors import NotebookInvalid, StrategyInvalid
from pipelines.workspace import Workspace
from tests.fakes.notebooks import PARAMETERS, STRATEGY, STUDY, code_cell, write_notebook

NOTEBOOKS = Path(__file__).parents[2] / "notebooks" / "strategies"

READ = """from pipelines.research import open_workspace
from featurestore.universes import universe

reader = open_workspace().research_reader(study)
symbols = universe(study.universe).symbols
prices = reader.history("us_equities.close", symbols, study.research.start, study.research.end)
"""
SCALED = (
    READ
    + """
TOP = tuple(prices.group_by("symbol", maintain_order=True).max()["close"])


def decide(xp, inputs):
    score = inputs.prices[:, -1] / xp.asarray(TOP, dtype=xp.float64)
    rank = xp.argsort(xp.argsort(-score, stable=True), stable=True)
    held = xp.astype(rank < top, xp.float64)
    return score, held / xp.sum(held)

"""
    + STRATEGY[STRATEGY.index("\nstrategy =") :]
)
WHEN_IT_HELPS = (
    READ
    + """
last = prices["event_time"].max()
SIGN = 1.0 if last.year > 2001 else -1.0


def decide(xp, inputs):
    score = SIGN * (inputs.prices[:, -1] / inputs.prices[:, 0] - 1.0)
    rank = xp.argsort(xp.argsort(-score, stable=True), stable=True)
    held = xp.astype(rank < top, xp.float64)
    return score, held / xp.sum(held)

"""
    + STRATEGY[STRATEGY.index("\nstrategy =") :]
)
VALUE = '.select("symbol", "known_at", pl.col("close").{}.over("symbol").alias("value"))'

LEAKING = {
    "next bar": "ahead = prices" + VALUE.format("shift(-1)"),
    "whole sample": "ahead = prices" + VALUE.format("rank()"),
    "back-fill": "ahead = prices" + VALUE.format("replace(20.0, None).shift(-1).backward_fill()"),
    "survivors": "kept = prices.filter(pl.col('known_at') == pl.col('known_at').max())"
    "['symbol'].head(3)\n"
    "ahead = prices.with_columns(pl.col('close').rank(descending=True).over('known_at'))"
    ".filter(pl.col('close').last().over('symbol') < 4)",
    "marked function": "from pipelines.audit import feature\n\n"
    "@feature('us_equities')\ndef ahead(frame):\n"
    "    return frame.select(pl.col('close').shift(-1).over('entity'))['close']",
}
HONEST = {
    "momentum": "momentum = prices" + VALUE.format("pct_change(21)"),
    "rank of the day": "ranks = prices.select('symbol', 'known_at',"
    " pl.col('close').rank().over('known_at').alias('value'))",
    "marked function": "from pipelines.audit import feature\n\n"
    "@feature('us_equities')\ndef average(frame):\n"
    "    return frame.select(pl.col('close').rolling_mean(5).over('entity'))['close']",
}


@pytest.fixture
def workspace(market_lake, tmp_path, monkeypatch) -> Workspace:
    folder = tmp_path / "workspace"
    shutil.copytree(market_lake.path, folder / "lake")
    made = Workspace(folder, snapshot=market_lake.snapshot)
    made.save()
    monkeypatch.setenv("SLUICE_WORKSPACE", str(folder))
    return made


def strategy_notebook(folder, strategy):
    return write_notebook(
        folder / "n.ipynb",
        code_cell(PARAMETERS, "parameters"),
        code_cell(STUDY, "study"),
        code_cell("1 / 0"),
        code_cell(strategy, "strategy"),
    )


def feature_notebook(folder, *features):
    return write_notebook(
        folder / "n.ipynb",
        code_cell(PARAMETERS, "parameters"),
        code_cell(STUDY, "study"),
        code_cell("1 / 0"),
        code_cell("import polars as pl\n" + READ, "feature"),
        *(code_cell(each, "feature") for each in features),
    )


def test_a_strategy_scaled_by_the_whole_sample_is_named_with_cell_symbol_and_first_date(
    workspace, tmp_path
):
    notebook = strategy_notebook(tmp_path, SCALED)
    (report,) = audit_notebook(notebook, workspace, samples=4)
    (leak,) = report.leaks
    assert (leak.cell, leak.feature, leak.entity) == (3, "tiny: score", "AAPL")
    assert leak.at == datetime(2001, 1, 31, 21, tzinfo=UTC)
    assert "n.ipynb cell 4" in str(leak)


def test_a_strategy_that_picks_its_sign_by_hindsight_is_caught_where_it_starts(workspace, tmp_path):
    notebook = strategy_notebook(tmp_path, WHEN_IT_HELPS)
    (report,) = audit_notebook(notebook, workspace, samples=4)
    (leak,) = report.leaks
    assert (leak.cell, leak.feature) == (3, "tiny: score")
    assert leak.at.year == 2001


def test_a_window_that_asks_for_the_next_bar_is_refused_outright(workspace, tmp_path):
    ahead = STRATEGY.replace("length=lookback + 1", "length=lookback + 1, lag=-1")
    with pytest.raises(StrategyInvalid, match="lag -1 looks 1 bar"):
        audit_notebook(strategy_notebook(tmp_path, ahead), workspace)


def test_an_honest_strategy_passes_and_leaves_no_trial(workspace, tmp_path):
    (report,) = audit_notebook(strategy_notebook(tmp_path, STRATEGY), workspace, samples=4)
    assert report.clean
    assert report.checked == 4
    assert workspace.ledger().head().seq == 0


@pytest.mark.parametrize("in_a_kernel", [False, True])
def test_what_an_audit_reads_is_charged_where_a_person_looks_on_and_else_to_nobody(
    workspace, tmp_path, monkeypatch, in_a_kernel
):
    monkeypatch.setattr("pipelines.workspace.in_kernel", lambda: in_a_kernel)
    taken = len(workspace.ledger().reads.leases())
    audit_notebook(strategy_notebook(tmp_path, STRATEGY), workspace, samples=2)
    leases = [lease for _, lease in workspace.ledger().reads.leases()[taken:]]
    assert {(lease.study, lease.platform) for lease in leases} == {("tiny", not in_a_kernel)}


@pytest.mark.parametrize("name", LEAKING)
def test_a_leaking_feature_cell_is_named(workspace, tmp_path, name):
    notebook = feature_notebook(tmp_path, LEAKING[name])
    reports = audit_notebook(notebook, workspace, samples=4)
    leaks = [leak for report in reports for leak in report.leaks]
    assert leaks, reports
    for leak in leaks:
        assert leak.cell == 4
        assert leak.feature.split(".")[0] == "ahead"
        assert leak.at is not None


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_feature_cell_passes(workspace, tmp_path, name):
    notebook = feature_notebook(tmp_path, HONEST[name])
    for report in audit_notebook(notebook, workspace, samples=4):
        assert report.clean, report


def test_a_notebook_without_tags_says_what_to_tag(workspace, tmp_path):
    notebook = write_notebook(tmp_path / "n.ipynb", code_cell("x = 1"))
    with pytest.raises(NotebookInvalid, match="nothing to audit; tag the cells parameters"):
        audit_notebook(notebook, workspace)


@pytest.mark.parametrize("name", ["momentum", "reversal"])
def test_the_notebooks_we_ship_are_clean(workspace, name):
    (report,) = audit_notebook(NOTEBOOKS / f"{name}.ipynb", workspace, samples=3)
    assert report.clean, report
