"""Judging a study: honest trials are judged, a peek is caught, and nothing is believed unproved."""

import html
import json
import re
import shutil

import pytest

from featurestore.lake import Lake
from featurestore.store import FeatureStore
from pipelines.cleanroom import LIBRARIES
from pipelines.definition import load_definition
from pipelines.errors import (
    CrossCheckFailed,
    EvidenceMissing,
    NotebookInvalid,
    StrategyInvalid,
    StudyUnknown,
)
from pipelines.evaluate import evaluate_trial
from pipelines.gates.policy import default_policy
from pipelines.judge import judge_study
from pipelines.ledger import TrialClosed, TrialOpened
from pipelines.workspace import Workspace
from service.console import REFUSED, Output
from service.faults import NotFound
from service.research import gate
from service.settings import read_settings
from tests.fakes.notebooks import STRATEGY, STUDY, tiny_notebook

READS_HISTORY = """
import numpy as np
from featurestore.universes import universe
from pipelines.research import open_workspace

reader = open_workspace().research_reader(study)
symbols = universe(study.universe).symbols
known = reader.history("us_equities.close", symbols, study.research.start, study.research.end)
table = known.pivot(on="symbol", index="event_time", values="close").sort("event_time")
closes = table.select(symbols).to_numpy()
"""
ENDING = """
strategy = Strategy(
    inputs={"prices": History(feature="us_equities.close", length=lookback + 1)},
    decide=decide,
    parameters={"lookback": lookback, "top": top},
)
"""
# Knows which name will have done best by the end of the research window.
HINDSIGHT = (
    READS_HISTORY
    + """
WINNER = int((closes[-1] / closes[0]).argmax())


def decide(xp, inputs):
    score = inputs.prices[:, -1] / inputs.prices[:, 0] - 1.0
    rank = xp.argsort(xp.argsort(-score, stable=True), stable=True)
    held = xp.astype(rank < top, xp.float64)
    best = xp.astype(xp.arange(20, dtype=xp.int64) == WINNER, xp.float64)
    return score, (best * 9.0 + held) / (9.0 + xp.sum(held))
"""
    + ENDING
)
# Keeps, for each date, which name will do best over the next bar; finds the date by its prices.
DIARY = (
    READS_HISTORY
    + """
KEYS = tuple(float(value) for value in closes[:, 0])
AHEAD = np.vstack([closes[1:] / closes[:-1], np.ones((1, len(symbols)))])
WINNERS = tuple(int(value) for value in AHEAD.argmax(axis=1))


def decide(xp, inputs):
    score = inputs.prices[:, -1] / inputs.prices[:, 0] - 1.0
    today = xp.argmin(xp.abs(xp.asarray(KEYS, dtype=xp.float64) - inputs.prices[0, -1]))
    winner = xp.take(xp.asarray(WINNERS, dtype=xp.int64), xp.reshape(today, (1,)), axis=0)
    held = xp.astype(xp.arange(20, dtype=xp.int64) == winner, xp.float64)
    return score, held
"""
    + ENDING
)


@pytest.fixture
def workspace(market_lake, tmp_path, monkeypatch) -> Workspace:
    folder = tmp_path / "workspace"
    shutil.copytree(market_lake.path, folder / "lake")
    made = Workspace(folder, snapshot=market_lake.snapshot)
    made.save()
    monkeypatch.setenv("SLUICE_WORKSPACE", str(folder))
    return made


def _submit_all(notebook, workspace, *points):
    for lookback, top in points:
        definition = load_definition(notebook, {"lookback": lookback, "top": top})
        evaluate_trial(definition, workspace, source="sweep")


GRID = ((21, 3), (21, 5), (63, 3), (63, 5))


def test_an_honest_study_passes_integrity_and_its_judgement_is_recorded(workspace, tmp_path):
    notebook = tiny_notebook(tmp_path / "tiny.ipynb")
    _submit_all(notebook, workspace, *GRID)
    judged = judge_study("tiny", workspace, policy=default_policy())
    passed = {verdict.gate: verdict.passed for verdict in judged.verdict.verdicts}
    assert passed["lookahead"]
    assert passed["parity"]
    assert judged.evidence.counted == 4
    assert judged.evidence.charge.at_least == judged.evidence.charge.at_most == 4
    recorded = workspace.ledger().judgements("tiny")[-1]
    assert (recorded.stage, recorded.trial) == (judged.verdict.stage, judged.trial.key)


def test_a_refused_study_s_page_says_what_would_change_the_verdict(workspace, tmp_path, capsys):
    """Years of data that are missing, and the number of trials at which it would flip."""
    _submit_all(tiny_notebook(tmp_path / "tiny.ipynb"), workspace, *GRID)
    settings = read_settings({}, workspace=workspace.path)
    page = tmp_path / "tiny.html"
    assert gate.judge_study(settings, Output(as_json=True), "tiny", report=page) == REFUSED
    shown = page.read_text()
    assert "Refused. It does not trade" in shown
    remedies = re.findall("What would change it: ([^<]*)<", shown)
    assert any("years" in one or "data" in one for one in remedies), remedies
    assert any("trials" in one for one in remedies), remedies
    told = json.loads(capsys.readouterr().out)
    assert {one["would_change"] for one in told["verdicts"]} >= {html.unescape(r) for r in remedies}
    with pytest.raises(NotFound, match="cannot be written"):
        gate.judge_study(settings, Output(as_json=True), "tiny", report=tmp_path)


def test_a_notebook_that_knows_the_winner_is_refused_and_told_where(workspace, tmp_path):
    notebook = tiny_notebook(tmp_path / "tiny.ipynb", strategy=HINDSIGHT)
    _submit_all(notebook, workspace, *GRID)
    judged = judge_study("tiny", workspace, policy=default_policy())
    lookahead = judged.verdict.verdicts[0]
    assert judged.verdict.stage == "refused"
    assert not lookahead.passed
    assert "change when the future is cut off" in lookahead.reason
    assert lookahead.figures["first_peek"] is not None
    workspace.ledger().verify()


def test_a_notebook_that_peeks_one_bar_ahead_by_a_table_is_refused(workspace, tmp_path):
    notebook = tiny_notebook(tmp_path / "tiny.ipynb", strategy=DIARY)
    with pytest.raises(StrategyInvalid, match=r"a table of \d+ values; at most 64"):
        _submit_all(notebook, workspace, (21, 3))
    assert [trial.status for trial in workspace.ledger().trials("tiny")] == ["failed"]
    workspace.ledger().verify()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("import skfolio.datasets", "imports skfolio.datasets"),
        ("from arch.data import sp500", "imports arch.data"),
        ("import polars as pl", "imports polars"),
        ("import os", "imports os"),
        (
            "from featurestore.sources.embedded import embedded_frame",
            "imports featurestore.sources",
        ),
        ("from featurestore import lake", "imports featurestore.lake"),
        ("from featurestore.online import open_online", "imports featurestore.online"),
        ("from featurestore.store import Opening as O", "imports featurestore.store.Opening"),
        ("from pipelines.workspace import Lake as L", "imports pipelines.workspace.Lake"),
        (
            "import featurestore.store as s; rows = s.Lake('lake').read('vix', version=0)",
            "Lake reaches behind the store's face",
        ),
        (
            "from pipelines.research import open_workspace\n"
            "rows = open_workspace().store().lake.read('us_equities', version=0)",
            "lake reaches behind the store's face",
        ),
        ("from sklearn import datasets", "imports sklearn.datasets"),
        ("prices = open('prices.csv').read()", "open could bring data past the store"),
        (
            "import numpy as np; x = np.genfromtxt('p')",
            "genfromtxt could bring data past the store",
        ),
        ("x = __import__('arch')", "__import__ could bring data past the store"),
    ],
)
def test_market_data_comes_into_a_definition_through_the_store_only(tmp_path, line, words):
    notebook = tiny_notebook(tmp_path / "tiny.ipynb", strategy=f"{line}\n{STRATEGY}")
    with pytest.raises(StrategyInvalid, match=words):
        load_definition(notebook, {})


def test_a_library_that_reads_a_data_file_for_a_cell_is_stopped(tmp_path, monkeypatch):
    (tmp_path / "prices.csv").write_text("1,2")
    module = "def read(path):\n    return open(path).read()\n"
    (tmp_path / "lightgbm_reader.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("pipelines.cleanroom.LIBRARIES", LIBRARIES | {"lightgbm_reader"})
    line = f"from lightgbm_reader import read\nread({str(tmp_path / 'prices.csv')!r})\n"
    with pytest.raises(StrategyInvalid, match=r"reads the file .*prices\.csv"):
        load_definition(tiny_notebook(tmp_path / "tiny.ipynb", strategy=line + STRATEGY), {})
    assert (tmp_path / "prices.csv").read_text() == "1,2"


def test_a_study_with_one_trial_is_refused_in_words(workspace, tmp_path):
    notebook = tiny_notebook(tmp_path / "tiny.ipynb")
    _submit_all(notebook, workspace, (21, 3))
    verdict = judge_study("tiny", workspace, policy=default_policy()).verdict
    assert verdict.stage == "refused"
    assert "Only one of 1 counted trials has returns" in verdict.summary
    workspace.ledger().verify()


def test_an_empty_study_cannot_be_judged(workspace, tmp_path):
    study = load_definition(tiny_notebook(tmp_path / "tiny.ipynb"), {}).study
    workspace.ledger().declare_study(study.declaration())
    with pytest.raises(EvidenceMissing, match="tiny"):
        judge_study("tiny", workspace, policy=default_policy())
    workspace.ledger().verify()


def test_an_unknown_study_is_named(workspace):
    with pytest.raises(StudyUnknown, match="nonesuch"):
        judge_study("nonesuch", workspace, policy=default_policy())


def test_a_strategy_cell_changed_since_its_trials_is_not_judged(workspace, tmp_path):
    notebook = tiny_notebook(tmp_path / "tiny.ipynb")
    _submit_all(notebook, workspace, *GRID)
    tiny_notebook(notebook, strategy=STRATEGY.replace("-score", "score"))
    with pytest.raises(NotebookInvalid, match="changed since trial"):
        judge_study("tiny", workspace, policy=default_policy())


def test_a_study_cell_that_moves_its_holdout_after_the_trials_is_not_judged(workspace, tmp_path):
    notebook = tiny_notebook(tmp_path / "tiny.ipynb")
    _submit_all(notebook, workspace, *GRID)
    moved = STUDY.replace(
        "holdout=Period(start=date(2003, 1, 2)", "holdout=Period(start=date(2003, 7, 1)"
    )
    assert moved != STUDY
    tiny_notebook(notebook, study=moved)
    with pytest.raises(NotebookInvalid, match="declares another holdout than when trial"):
        judge_study("tiny", workspace, policy=default_policy())
    tiny_notebook(notebook, study=STUDY.replace('owner="', 'owner="the new '))
    assert judge_study("tiny", workspace, policy=default_policy()).evidence.counted == 4


def test_returns_that_cannot_be_earned_again_are_not_believed(workspace, tmp_path):
    notebook = tiny_notebook(tmp_path / "tiny.ipynb")
    _submit_all(notebook, workspace, (21, 3))
    honest = workspace.ledger().evidence("tiny")
    definition = load_definition(notebook, {"lookback": 63, "top": 5})
    ledger = workspace.ledger()
    key = ledger.open_trial(
        TrialOpened(
            study="tiny",
            parameters=dict(definition.strategy.parameters),
            code_hash=definition.code_hash,
            snapshot_hash=workspace.snapshot.hash,
            notebook=str(notebook),
        )
    )
    flattered = honest.net[:, 0] + 0.01
    ledger.close_trial(
        key,
        TrialClosed(
            status="complete", dates=honest.dates, net=flattered, benchmark=honest.benchmark
        ),
    )
    with pytest.raises(CrossCheckFailed, match="does not earn again"):
        judge_study("tiny", workspace, policy=default_policy())


def test_research_cannot_open_the_years_of_the_holdout(workspace, tmp_path):
    definition = load_definition(tiny_notebook(tmp_path / "tiny.ipynb"), {})
    workspace.research_reader(definition.study)
    from datetime import UTC, datetime

    from featurestore.errors import HoldoutSealed

    plain = FeatureStore(Lake(workspace.lake_url)).reader(workspace.snapshot)
    with pytest.raises(HoldoutSealed):
        plain.window(
            "us_equities.close", ["AAPL"], length=1, at=datetime(2003, 6, 30, 20, tzinfo=UTC)
        )
