"""Rebuilding a definition without the future: cheap where nothing can differ, thorough else."""

from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

import pipelines.rebuild
from featurestore.horizon import times_asked, world_ends
from pipelines import research
from pipelines.audit import audit_notebook
from pipelines.compile import compile_strategy, decide_with_numpy
from pipelines.definition import load_definition
from pipelines.evaluate import evaluate
from pipelines.gates.integrity import integrity_verdicts
from pipelines.gates.policy import default_policy
from pipelines.models.training import fitted_only
from pipelines.rebuild import Rebuilder, declaration, fingerprint
from pipelines.workspace import Workspace
from runtime.bundles.inference import DecisionSession
from tests.fakes.notebooks import LEARNED, PEEKING, STRATEGY, tiny_notebook

DATES = [datetime(2001, month, 28, 21, tzinfo=UTC) for month in (3, 6, 9, 11)]
READS = """
from featurestore.universes import universe
from pipelines.research import open_workspace

reader = open_workspace().research_reader(study)
symbols = universe(study.universe).symbols
held = reader.history("us_equities.close", symbols, study.research.start, study.research.end)
"""

# Scores are set off by a mean label of years among the decisions; the kernel shares its readers.
SHARED = (
    LEARNED.replace("features(xp, inputs))", "features(xp, inputs)) + level")
    + """
from dataclasses import replace
from pipelines.research import training_rows

years = Period(start=date(2000, 1, 3), end=date(2002, 3, 28))
late = replace(strategy.models["line"], window=years)
asked = replace(study, research=Period(start=date(2002, 6, 3), end=date(2002, 12, 31)))
level = float(training_rows(asked, strategy.with_models({"line": late}), "line").y.mean())
"""
)


@pytest.fixture
def workspace(market_lake, tmp_path, monkeypatch) -> Workspace:
    made = Workspace(
        tmp_path / "workspace", lake_url=market_lake.fresh_url(), snapshot=market_lake.snapshot
    )
    made.save()
    monkeypatch.setenv("SLUICE_WORKSPACE", str(made.path))
    return made


@pytest.fixture
def counted(monkeypatch) -> dict[str, int]:
    """How often a definition was loaded and a graph compiled."""
    counts = {"loaded": 0, "compiled": 0}

    def counting(name, what):
        def call(*args):
            counts[name] += 1
            return what(*args)

        return call

    monkeypatch.setattr(pipelines.rebuild, "load_definition", counting("loaded", load_definition))
    monkeypatch.setattr(
        pipelines.rebuild, "compile_strategy", counting("compiled", compile_strategy)
    )
    return counts


def rebuilt(notebook, workspace):
    """The session at hand and what the rebuilder gives at each date."""
    definition = load_definition(notebook, {})
    session = DecisionSession(compile_strategy(definition.strategy, 20))
    reader = workspace.research_reader(definition.study)
    rebuild = Rebuilder(definition, definition.strategy, session)
    return session, [rebuild(reader.truncated(at), 20) for at in DATES]


def test_cells_that_open_no_reader_are_run_once_and_compiled_never(workspace, tmp_path, counted):
    session, answers = rebuilt(tiny_notebook(tmp_path / "tiny.ipynb"), workspace)
    assert counted == {"loaded": 1, "compiled": 0}
    assert all(graph is session for _, graph in answers)


def test_cells_that_read_are_run_at_every_date_and_compiled_if_they_come_out_different(
    workspace, tmp_path, counted
):
    same = tiny_notebook(tmp_path / "same.ipynb", strategy=READS + STRATEGY)
    session, answers = rebuilt(same, workspace)
    assert counted == {"loaded": 4, "compiled": 0}
    assert all(graph is session for _, graph in answers)
    source = READS + "ROWS = held.height\n" + STRATEGY.replace("- 1.0", "- ROWS * 1e-9")
    session, answers = rebuilt(tiny_notebook(tmp_path / "other.ipynb", strategy=source), workspace)
    assert counted == {"loaded": 8, "compiled": 4}
    prices = {"prices": np.linspace(1, 2, 20 * 22).reshape(20, 22)}
    scores = [graph.run(prices).score for _, graph in (*answers, ({}, session))]
    assert len({score.tobytes() for score in scores}) == 5


def test_a_value_that_cannot_be_told_is_compiled_every_time(workspace, tmp_path, counted):
    source = "class Odd:\n    pass\n\n\nodd = Odd()\n" + STRATEGY.replace(
        "return score", "odd\n    return score"
    )
    _, answers = rebuilt(tiny_notebook(tmp_path / "odd.ipynb", strategy=source), workspace)
    assert counted == {"loaded": 4, "compiled": 4}
    assert len({id(graph) for _, graph in answers}) == 4


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("- 1.0", "- 1.5"),
        ("-score", "score"),
        ("lookback + 1", "lookback + 2"),
        ("us_equities.close", "us_equities.open"),
        ("xp.sum(held)", "xp.max(held)"),
        ("(xp, inputs):", "(xp, inputs, by=2.0):\n    KEYS[by > 1]"),
        ("KEYS = (1.0, 2.0)", "KEYS = (1.0, 2.0000000000000004)"),
        ("TABLE = np.zeros(3)", "TABLE = np.zeros(4)"),
        ("TABLE = np.zeros(3)", "TABLE = np.array([0.0, -0.0, 0.0])"),
        ("return x * 2", "return x * 3"),
    ],
)
def test_whatever_a_graph_depends_on_changes_the_fingerprint(tmp_path, old, new):
    source = (
        "import numpy as np\n\nKEYS = (1.0, 2.0)\nTABLE = np.zeros(3)\n\n\n"
        "def twice(x):\n    return x * 2\n\n\n"
        + STRATEGY.replace(
            "return score", "score = twice(score) + KEYS[0] + TABLE[0]\n    return score"
        )
    )
    assert old in source
    plain, again, other = (
        load_definition(tiny_notebook(tmp_path / f"{i}.ipynb", strategy=text), {}).strategy
        for i, text in enumerate((source, "# a comment\n" + source, source.replace(old, new)))
    )
    assert fingerprint(plain) == fingerprint(again) is not None
    assert fingerprint(plain) != fingerprint(other)


def test_parameters_are_part_of_the_fingerprint(tmp_path):
    notebook = tiny_notebook(tmp_path / "tiny.ipynb")
    one, other = (
        fingerprint(load_definition(notebook, {"lookback": 21, "top": top}).strategy)
        for top in (3, 5)
    )
    assert one != other


def test_opening_a_reader_asks_for_the_end_of_the_world(workspace, market_lake):
    before = times_asked()
    market_lake.reader()
    assert times_asked() > before


@pytest.fixture
def trained(monkeypatch) -> list[object]:
    """Every reader that a model was trained through while a definition was rebuilt."""
    seen: list[object] = []

    def counting(strategy, past, study):
        seen.append(past.truncated_at)
        return fitted_only(strategy, past, study)

    monkeypatch.setattr(pipelines.rebuild, "fitted_only", counting)
    return seen


def judged(notebook, workspace):
    """What the look-ahead gate says of a notebook, rebuilt as the judge rebuilds it."""
    definition = load_definition(notebook, {})
    trial = evaluate(definition, workspace)
    session = DecisionSession(trial.graph)
    rebuild = Rebuilder(definition, trial.strategy, session)
    reader, policy = workspace.research_reader(definition.study), default_policy()
    few = msgspec.structs.replace(policy.lookahead, samples=6)
    lookahead, _ = integrity_verdicts(
        trial.backtest,
        definition.strategy.inputs,
        session,
        reader,
        rebuild=lambda past: rebuild(past, 20),
        twin=lambda seen: decide_with_numpy(trial.strategy, seen),
        policy=msgspec.structs.replace(policy, lookahead=few),
    )
    return lookahead


def test_a_declared_model_is_trained_once_in_the_earliest_world_and_compared(
    workspace, tmp_path, counted, trained
):
    verdict = judged(tiny_notebook(tmp_path / "n.ipynb", strategy=LEARNED), workspace)
    assert verdict.passed
    assert [at.date().isoformat() for at in trained] == ["2001-01-31"]
    assert counted == {"loaded": 1, "compiled": 0}


def test_cells_that_read_are_rerun_but_the_same_declaration_trains_once(
    workspace, tmp_path, counted, trained
):
    notebook = tiny_notebook(tmp_path / "n.ipynb", strategy=READS + LEARNED)
    assert judged(notebook, workspace).passed
    assert len(trained) == 1
    assert counted["loaded"] == 6
    assert counted["compiled"] == 0


def test_a_declaration_that_depends_on_the_world_is_trained_again_and_found(
    workspace, tmp_path, trained
):
    """The number of rows until now decides how strongly the model is held back."""
    source = READS + LEARNED.replace('"alpha": 1.0', '"alpha": 1.0 * held.height')
    verdict = judged(tiny_notebook(tmp_path / "n.ipynb", strategy=source), workspace)
    assert not verdict.passed
    assert len(trained) == 6


def test_a_model_fitted_on_the_decision_years_is_found_from_notebook_to_verdict(
    workspace, tmp_path
):
    notebook = tiny_notebook(tmp_path / "n.ipynb", strategy=PEEKING)
    verdict = judged(notebook, workspace)
    assert not verdict.passed
    assert verdict.figures["first_peek"].startswith("2001-01-31")
    (report,) = audit_notebook(notebook, workspace, samples=4)
    (leak,) = report.leaks
    assert leak.at.date().isoformat() == "2001-01-31"


def test_what_a_kernel_keeps_between_calls_does_not_reach_into_a_world_that_ended(
    workspace, tmp_path, monkeypatch
):
    monkeypatch.setattr(research, "_OPENED", [])
    notebook = tiny_notebook(tmp_path / "n.ipynb", strategy=SHARED)
    assert not judged(notebook, workspace).passed
    (place,) = research._OPENED
    study = load_definition(notebook, {}).study
    with world_ends(DATES[0]):
        assert place.research_reader(study).truncated_at == DATES[0]
    assert place.research_reader(study).truncated_at is None
    assert place.research_reader(study) is place.research_reader(study)


def test_the_audit_of_a_trained_notebook_is_clean_and_trains_once(workspace, tmp_path, trained):
    notebook = tiny_notebook(tmp_path / "n.ipynb", strategy=LEARNED)
    (report,) = audit_notebook(notebook, workspace, samples=4)
    assert report.leaks == ()
    assert len(trained) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("alpha", "tol"),
        ("horizon=5", "horizon=6"),
        ("2000, 12, 29", "2000, 11, 30"),
        ("prices[:, -6]", "prices[:, -7]"),
        ("Trained(", "Trained(schedule='week_end',"),
    ],
)
def test_whatever_training_depends_on_changes_the_declaration(tmp_path, old, new):
    assert old in LEARNED
    one, other = (
        load_definition(tiny_notebook(tmp_path / f"{i}.ipynb", strategy=text), {})
        for i, text in enumerate((LEARNED, LEARNED.replace(old, new)))
    )
    known = declaration(one.strategy, one.study)
    assert known is not None
    assert known != declaration(other.strategy, other.study)
    assert known != declaration(one.strategy, replace(one.study, universe="other"))
