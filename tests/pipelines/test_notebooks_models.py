"""The notebook that trains a model: every cell runs, and its numbers say what its prose says."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import nbformat
import numpy as np
import onnx
import pytest

from pipelines.definition import load_definition
from pipelines.gates.policy import default_policy
from pipelines.models.reliability import reliability
from pipelines.pictures import Picture, Table
from pipelines.promote import Origin, promote
from pipelines.runs.parameters import declared_parameters, read_notebook
from runtime.bundles.bundle import load_bundle
from runtime.clock import ReplayClock
from runtime.database import open_database
from runtime.registry import Registry
from tests.fakes.graphs import tilt_signer
from tests.pipelines.test_notebooks_examples import run_cells

PATH = Path(__file__).resolve().parents[2] / "notebooks" / "examples" / "03_model_training.ipynb"
TABLES = {"export", "preview", "summary", "gates"}
PICTURES = {
    *("splits", "leak", "tune", "importance"),
    *("equity", "excess", "weights", "buckets", "intervals", "reliability", "abstaining"),
}


@pytest.fixture(scope="module")
def ran(workspace):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_WORKSPACE", str(workspace.path))
        patch.chdir(PATH.parent)
        return run_cells(PATH)


def test_the_file_is_valid_clean_and_tells_its_cells_by_name():
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    ids = [cell["id"] for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert all(cell_id.replace("-", "").isalpha() for cell_id in ids)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    assert declared_parameters(read_notebook(PATH), PATH.name)
    assert "## Sources" in notebook.cells[-1].source


def test_the_model_learns_before_the_study_decides():
    definition = load_definition(PATH, {})
    assert definition.strategy.models["ranker"].window.end < definition.study.research.start
    assert len(definition.study.configurations()) == 9
    other = load_definition(PATH, {"learner": "line", "top": 3})
    assert other.code_hash == definition.code_hash, "settings are parameters, not other code"


def test_every_cell_runs_and_shows_its_pictures_and_tables(ran):
    shown, _ = ran
    assert {key for key, value in shown.items() if isinstance(value, Table)} == TABLES
    assert {key for key, value in shown.items() if isinstance(value, Picture)} == PICTURES


def test_the_careless_split_shows_skill_that_the_purged_one_does_not(ran):
    words = ran[0]["leak"].words.rstrip(".").replace(",", "").split()
    shuffled, purged = float(words[words.index("purged") - 1]), float(words[-1])
    assert shuffled > 0.1
    assert abs(purged) < 0.04


def test_the_exported_graph_is_the_model(ran):
    (row,) = ran[0]["export"].rows
    assert row[0] == "ranker"
    assert float(row[2]) <= 1e-5
    assert float(row[4]) <= 1e-5
    assert row[-1] == "passed"


def test_the_gates_count_the_search_and_keep_it_from_production(ran, workspace):
    rows = {row[0]: row for row in ran[0]["gates"].rows}
    assert rows["lookahead"][1] == "passed"
    assert rows["parity"][1] == "passed"
    assert rows["export"][1] == "passed"
    assert rows["dsr"][1] == "refused"
    assert rows["all of them"][1] == "staging"
    assert "20 tries" in rows["all of them"][2]
    trials = workspace.ledger().trials("tree_ranker")
    assert sorted(one.status for one in trials) == ["complete"] * 9 + ["pruned"] * 11
    assert sum("scored" in one.parameters for one in trials) == 3
    assert sum("search" in one.parameters for one in trials) == 8


def test_the_crowd_knows_what_it_knows_in_a_made_world_and_that_it_knows_nothing_here(ran):
    shown, names = ran
    toy, market = (
        reliability(*pair)
        for pair in (
            (names["sure"]["a made world"], names["unseen"].better),
            (names["sure"]["the market"], names["better"]),
        )
    )
    assert toy.said[0] < 0.2
    assert toy.said[-1] > 0.8
    assert np.abs(toy.said - toy.happened).max() < 0.06
    assert np.abs(market.said - 0.5).max() < 0.02
    assert market.inside.all()
    assert "market: 5 of 5 bins" in shown["reliability"].words
    assert "a made world: 45% are at least 55% sure" in shown["abstaining"].words


def test_the_crowd_stakes_what_its_confidence_is_worth_and_the_unsure_hold_nothing(ran):
    result = ran[1]["crowd"].backtest
    assert (result.weights[result.confidences < 0.5] == 0.0).all()
    assert 0 < np.count_nonzero(result.weights, axis=1).max() <= 5
    assert result.weights.sum(axis=1).max() < 0.1
    held = result.weights > 0
    stake = np.clip((result.confidences - 0.5) / 0.1, 0.0, 1.0) / 5
    np.testing.assert_allclose(result.weights[held], stake[held], atol=1e-12)


def test_the_names_held_most_are_wild_ones_as_the_prose_says(ran):
    result = ran[1]["trial"].backtest
    daily = result.prices[1:] / result.prices[:-1] - 1.0
    wildest = {result.symbols[i] for i in (-daily.std(axis=0)).argsort()[:8]}
    most = {result.symbols[i] for i in (-result.weights.mean(axis=0)).argsort()[:4]}
    assert most <= wildest


def test_the_candidate_becomes_a_bundle_whose_graph_carries_the_trees(ran, workspace, tmp_path):
    """Promotion, signature and golden rows: what trades is features to weights in one graph."""
    signer = tilt_signer(tmp_path / "keys")
    policy = default_policy()
    fewer = msgspec.structs.replace(policy.lookahead, samples=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_WORKSPACE", str(workspace.path))
        patch.chdir(PATH.parent)
        promoted = promote(
            "tree_ranker",
            workspace,
            policy=msgspec.structs.replace(policy, lookahead=fewer),
            registry=Registry(open_database(f"sqlite:///{tmp_path / 'runtime.db'}")),
            signer=signer,
            origin=Origin(git_commit="0" * 40, lock_hash="0" * 64),
            execute=lambda _notebook, _parameters: PATH,
            clock=ReplayClock(datetime(2024, 5, 2, tzinfo=UTC)),
            by="tests",
        )
    bundle = promoted.bundle
    assert bundle.stage == "staging"
    assert [value.name for value in bundle.manifest.inputs] == ["prices"]
    assert {verdict.gate for verdict in bundle.manifest.verdicts} >= {"export", "parity"}
    graph = next((workspace.path / "bundles").glob("*/graph.onnx")).read_bytes()
    model = onnx.load_model_from_string(graph)
    assert any(node.op_type.startswith("TreeEnsemble") for node in model.graph.node)
    # Loaded again as the runtime does it: hashes, limits, and golden rows to the bit.
    assert load_bundle(workspace.path / "bundles" / bundle.hash, {signer.name: signer.public_key})
