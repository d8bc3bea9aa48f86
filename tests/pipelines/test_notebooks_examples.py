"""The example notebooks: clean files, every cell runs and shows something, twice the same."""

import ast
import linecache
from pathlib import Path

import nbformat
import pytest

from pipelines.lint import LintReport
from pipelines.pictures import Picture, Table
from pipelines.runs.parameters import declared_parameters, read_notebook

FOLDER = Path(__file__).resolve().parents[2] / "notebooks" / "examples"
SHOWN = {  # notebook -> cells that show a table, cells that show a picture
    "02_strategy_backtest": (
        {"preview", "summary"},
        {"equity", "excess", "weights", "surface", "luck"},
    ),
    "04_risk_analysis": (
        {"tail-table", "coverage", "drawdowns"},
        {"tail", "forecasts", "underwater", "exposures", "stress"},
    ),
    "05_performance_attribution": (
        {"parts"},
        {"waterfall", "yearly", "through-time", "names", "tilts"},
    ),
}


def run_cells(path):
    """Run all code cells in this process; what the last expression of each gave, and the names."""
    shown, space = {}, {"__name__": "__notebook__"}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        where = f"{path.stem} cell {cell['id']}"
        source = cell.source + "\n"
        linecache.cache[where] = (len(source), None, source.splitlines(keepends=True), where)
        body = ast.parse(source, where).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), where, "exec"), space)
        if last is not None:
            shown[cell["id"]] = eval(compile(ast.Expression(last.value), where, "eval"), space)
    return shown, space


@pytest.fixture(scope="module")
def ran(workspace):
    """Every notebook, run once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_WORKSPACE", str(workspace.path))
        patch.chdir(FOLDER)
        return {name: run_cells(FOLDER / f"{name}.ipynb") for name in SHOWN}


@pytest.mark.parametrize("name", SHOWN)
def test_the_file_is_valid_clean_and_tells_its_cells_by_name(name):
    path = FOLDER / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    ids = [cell["id"] for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert all(cell_id.replace("-", "").isalpha() for cell_id in ids)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    assert declared_parameters(read_notebook(path), path.name)
    prose = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "## Sources" in prose


@pytest.mark.parametrize("name", SHOWN)
def test_every_cell_runs_and_shows_its_pictures_and_tables(name, ran):
    shown, _ = ran[name]
    tables, pictures = SHOWN[name]
    assert {key for key, value in shown.items() if isinstance(value, Table)} == tables
    assert {key for key, value in shown.items() if isinstance(value, Picture)} == pictures
    for key in pictures:
        assert shown[key].png.startswith(b"\x89PNG")
        assert shown[key].words.endswith(".")


def test_the_backtest_notebook_ends_without_an_alarm_it_does_not_mention(ran):
    report = ran["02_strategy_backtest"][0]["lint"]
    assert isinstance(report, LintReport)
    assert "survivors" in report.notes
    assert not {"same-bar fills", "stale fills", "flat equity"} & set(report.alarms)


def test_every_trial_of_the_notebooks_is_in_the_ledger(ran, workspace):
    ledger = workspace.ledger()
    counted = {record.name: record.trials for record in ledger.studies()}
    assert counted == {"trend_filter": 2, "crossover_surface": 190, "momentum": 1}
    assert (
        ran["04_risk_analysis"][1]["trial"].key == ran["05_performance_attribution"][1]["trial"].key
    ), "the same configuration is the same trial, whoever asks"


def test_what_risk_says_of_its_models_is_what_its_prose_expects(ran):
    rows = {row[0]: row for row in ran["04_risk_analysis"][0]["coverage"].rows}
    assert rows["normal, decay 0.94, 99%"][-1] == "broken"
    assert rows["historical, 500 days, 99%"][-1] == "broken"


def test_attribution_adds_up_on_its_page(ran):
    rows = ran["05_performance_attribution"][0]["parts"].rows
    shares = [float(row[1].rstrip("x")) for row in rows]
    assert sum(shares[:-1]) == pytest.approx(shares[-1], abs=0.03)


def test_running_again_gives_the_same_pictures_to_the_byte(ran, workspace, monkeypatch):
    monkeypatch.setenv("SLUICE_WORKSPACE", str(workspace.path))
    monkeypatch.chdir(FOLDER)
    name = "05_performance_attribution"
    again, _ = run_cells(FOLDER / f"{name}.ipynb")
    for key in SHOWN[name][1]:
        assert again[key].png == ran[name][0][key].png
