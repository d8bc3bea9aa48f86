"""The two papers: search spaces as declared beforehand, clean files, rules as their prose says."""

import ast
import itertools
import json
import linecache
import statistics
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from pipelines.definition import load_definition
from pipelines.evaluate import evaluate, evaluate_trial
from pipelines.pictures import Picture, Table
from pipelines.vectorbt_check import cross_check
from pipelines.workspace import Workspace
from runtime.clock import ReplayClock
from tests.fakes.notebooks import PARAMETERS, STRATEGY, STUDY

FOLDER = Path(__file__).resolve().parents[2] / "notebooks" / "strategies"
NAMES = ("momentum", "reversal")
SPACES = {
    "momentum": {
        "lookback": (63, 126, 189, 252),
        "skip": (0, 21),
        "top": (3, 5, 7),
        "weighting": ("equal", "inverse_volatility", "score_rank"),
    },
    "reversal": {
        "lookback": (5, 10, 21, 42, 63),
        "hold": (3, 5),
        "weighting": ("equal", "inverse_volatility"),
    },
}


def path_of(name):
    return FOLDER / f"{name}.ipynb"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, market_lake):
    return Workspace(
        tmp_path_factory.mktemp("papers"),
        lake_url=market_lake.fresh_url(),
        snapshot=market_lake.snapshot,
        clock=ReplayClock(datetime(2024, 5, 1, tzinfo=UTC)),
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_search_space_is_the_one_written_down_before_any_trial(name):
    study = load_definition(path_of(name), {}).study
    assert dict(study.search_space) == SPACES[name]
    assert len(study.configurations()) == {"momentum": 72, "reversal": 20}[name]
    assert "Jegadeesh" in study.source
    assert "Journal of Finance" in study.source
    study.check(load_definition(path_of(name), {}).strategy.parameters)


@pytest.mark.parametrize("name", NAMES)
def test_every_configuration_fits_the_warm_up_and_one_fills_it(name):
    study = load_definition(path_of(name), {}).study
    longest = [
        load_definition(path_of(name), configuration).strategy.longest_window
        for configuration in study.configurations()
    ]
    assert max(longest) == study.warm_up


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_valid_and_committed_without_outputs(name):
    notebook = nbformat.read(path_of(name), as_version=4)
    nbformat.validate(notebook)
    ids = [cell["id"] for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert all(cell_id.replace("-", "").isalpha() for cell_id in ids)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    assert json.loads(path_of(name).read_text())["metadata"]["kernelspec"]["name"] == "python3"


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_runs_and_shows_a_picture_or_a_table(name, workspace, monkeypatch):
    workspace.save()
    monkeypatch.setenv("SLUICE_WORKSPACE", str(workspace.path))
    shown, space = {}, {"__name__": "__notebook__"}
    for cell in nbformat.read(path_of(name), as_version=4).cells:
        if cell.cell_type != "code":
            continue
        where = f"{name} cell {cell['id']}"
        source = cell.source + "\n"
        linecache.cache[where] = (len(source), None, source.splitlines(keepends=True), where)
        body = ast.parse(source, where).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), where, "exec"), space)
        if last is not None:
            shown[cell["id"]] = eval(compile(ast.Expression(last.value), where, "eval"), space)
    tables = {key for key, value in shown.items() if isinstance(value, Table)}
    pictures = {key for key, value in shown.items() if isinstance(value, Picture)}
    assert tables == {"preview", "summary", "vectorbt-statistics"}
    assert pictures == {"equity", "excess", "turnover", "weights", "vectorbt-plot"}
    # What the cells of a kernel recorded is what a sweep would record.
    loaded = load_definition(path_of(name), {})
    assert space["trial"].key == evaluate_trial(loaded, workspace, source="sweep").key


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weighting", ["equal", "inverse_volatility"])
def test_vectorbt_agrees_over_all_research_years(name, weighting, workspace):
    loaded = load_definition(path_of(name), {"weighting": weighting})
    result = evaluate(loaded, workspace).backtest
    assert cross_check(result, loaded.study.costs).worst <= 1e-9
    assert str(result.dates[0]) == "1991-02-01"
    assert str(result.dates[-1]) == "2016-12-30"
    assert len(result.decided_at) == 311


def rule(name, closes, p):
    """The papers' rules in plain Python: scores by name, target weights by name."""
    skip = p.get("skip", 0)
    count = p["top"] if name == "momentum" else p["hold"]
    scores, spread = {}, {}
    for symbol, series in closes.items():
        past = series[-1 - skip] / series[-1 - skip - p["lookback"]] - 1
        scores[symbol] = past if name == "momentum" else -past
        recent = series[-64:]
        spread[symbol] = statistics.pstdev(b / a - 1 for a, b in itertools.pairwise(recent))
    best = sorted(scores, key=lambda s: -scores[s])[:count]
    share = {
        symbol: {
            "equal": 1.0,
            "inverse_volatility": 1.0 / spread[symbol],
            "score_rank": float(count - place),
        }[p["weighting"]]
        for place, symbol in enumerate(best)
    }
    total = sum(share.values())
    return scores, {symbol: share.get(symbol, 0.0) / total for symbol in scores}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("momentum", {"lookback": 252, "skip": 21, "top": 5, "weighting": "equal"}),
        ("momentum", {"lookback": 63, "skip": 0, "top": 3, "weighting": "inverse_volatility"}),
        ("momentum", {"lookback": 189, "skip": 21, "top": 7, "weighting": "score_rank"}),
        ("reversal", {"lookback": 5, "hold": 3, "weighting": "inverse_volatility"}),
        ("reversal", {"lookback": 63, "hold": 5, "weighting": "equal"}),
    ],
)
def test_the_graph_decides_what_the_prose_says(name, parameters, workspace, market_lake):
    loaded = load_definition(path_of(name), parameters)
    result = evaluate(loaded, workspace).backtest
    view, field = loaded.study.price_feature.split(".")
    rows = market_lake.store.lake.read(view, version=market_lake.snapshot.versions[view])
    for i in (0, 100, 207, 310):
        known = rows.filter(rows["known_at"] <= result.decided_at[i]).sort("event_time")
        closes = {
            symbol: known.filter(known["entity"] == symbol)[field].to_list()
            for symbol in result.symbols
        }
        scores, weights = rule(name, closes, parameters)
        np.testing.assert_allclose(result.scores[i], list(scores.values()), rtol=1e-9)
        np.testing.assert_allclose(result.weights[i], list(weights.values()), rtol=1e-9)


def test_a_real_kernel_records_the_trial_that_the_file_defines(tmp_path, workspace, monkeypatch):
    workspace.save()
    monkeypatch.setenv("SLUICE_WORKSPACE", str(workspace.path))
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parents[1]))
    cells = [
        nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(STUDY, metadata={"tags": ["study"]}),
        nbformat.v4.new_code_cell(STRATEGY, metadata={"tags": ["strategy"]}),
        nbformat.v4.new_code_cell(
            "from pipelines.research import submit\nprint(submit(study, strategy).key)"
        ),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    path = tmp_path / "live.ipynb"
    nbformat.write(notebook, path)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
    key = notebook.cells[-1].outputs[-1]["text"].strip()
    assert key == evaluate_trial(load_definition(path, {}), workspace).key
