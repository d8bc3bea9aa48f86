"""From a declared blend to a traded decision: one graph that says how sure it is, and obeys it."""

from dataclasses import replace

import msgspec
import numpy as np
import onnx
import pytest

from pipelines.audit import audit_notebook
from pipelines.compile import compile_strategy, decide_with_numpy
from pipelines.definition import load_definition
from pipelines.errors import StrategyInvalid
from pipelines.evaluate import evaluate_trial
from pipelines.gates.observe import Observation, first_difference
from pipelines.gates.parity import compare_twin
from pipelines.gates.policy import default_policy
from pipelines.judge import judge_study
from pipelines.models.declared import Confidence
from pipelines.models.fitted import FittedEnsemble
from pipelines.promote import Origin, _golden_rows, _manifest, report_data
from pipelines.report.card import render_card
from pipelines.research import preview
from pipelines.strategy import History, Strategy
from runtime.bundles.bundle import load_bundle, write_bundle
from runtime.bundles.golden import golden_bytes
from runtime.bundles.graphs import check_graph
from runtime.bundles.inference import DecisionSession
from runtime.bundles.inputs import SharedReads, gather
from runtime.bundles.proving import prove_within
from runtime.errors import BundleRefused
from runtime.joint.proposal import propose
from tests.fakes.graphs import SIGNED_AT, tilt_files, tilt_signer
from tests.fakes.notebooks import CROWD, tiny_notebook

FLOOR = 0.5


@pytest.fixture(scope="module")
def notebook(workspace):
    return tiny_notebook(workspace.path / "crowd.ipynb", strategy=CROWD)


@pytest.fixture(scope="module")
def judged(workspace, notebook):
    evaluate_trial(load_definition(notebook, {}), workspace)
    policy = default_policy()
    fewer = msgspec.structs.replace(policy.lookahead, samples=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_WORKSPACE", str(workspace.path))
        return judge_study(
            "tiny", workspace, policy=msgspec.structs.replace(policy, lookahead=fewer)
        )


@pytest.fixture(scope="module")
def bundle(judged, workspace, notebook, tmp_path_factory):
    """Return the candidate as promotion would write it, loaded as the runtime loads it."""
    allowed = replace(judged, verdict=replace(judged.verdict, stage="staging"))
    origin = Origin(git_commit="0" * 40, lock_hash="0" * 64)
    draft = _manifest(allowed, workspace, notebook.read_bytes(), origin)
    files = tilt_files() | {
        "graph.onnx": judged.evaluation.graph,
        "golden.parquet": golden_bytes(_golden_rows(judged, workspace)),
    }
    root = tmp_path_factory.mktemp("bundles")
    signer = tilt_signer(root / "keys")
    folder = write_bundle(root, draft, files, signer=signer, signed_at=SIGNED_AT, version=1)
    return load_bundle(folder, {signer.name: signer.public_key}, prove=prove_within)


def test_the_whole_blend_lies_in_the_one_graph_within_the_runtime_s_limits(judged):
    graph = judged.evaluation.graph
    check_graph(graph)
    model = onnx.load_model_from_string(graph)
    assert [value.name for value in model.graph.input] == ["prices"]
    assert [value.name for value in model.graph.output] == ["score", "weight", "confidence"]
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("TreeEnsembleRegressor") == 2
    assert isinstance(judged.evaluation.strategy.models["crowd"], FittedEnsemble)


def test_the_gates_hold_look_ahead_parity_and_export_over_the_confidence_too(judged):
    gates = {verdict.gate: verdict for verdict in judged.verdict.verdicts}
    assert gates["lookahead"].passed
    assert gates["parity"].passed
    assert gates["export"].passed
    assert gates["export"].figures["threshold_rows"] > 50


def test_who_is_unsure_or_without_direction_has_exactly_no_weight(judged):
    result = judged.evaluation.backtest
    model = judged.evaluation.strategy.models["crowd"]
    unsure = result.confidences < FLOOR
    torn = model.clear_of_zero(np, result.scores) == 0.0
    stake = np.clip(result.confidences - 0.4, 0.0, 1.0) / 5.0
    expected = np.where(unsure | torn, 0.0, stake)
    np.testing.assert_allclose(result.weights, expected, rtol=0, atol=1e-15)
    assert (result.weights[unsure | torn] == 0.0).all()
    assert (result.weights[~unsure & ~torn] > 0.0).all()
    for part in (unsure, torn & ~unsure, ~unsure & ~torn):
        assert part.sum() > 10


def test_the_live_proposal_has_the_bytes_of_the_backtest(judged, bundle, workspace):
    result = judged.evaluation.backtest
    reader = workspace.research_reader(judged.definition.study)
    for row, at in enumerate(result.decided_at):
        live = propose(
            bundle, SharedReads(reader, at), at=at, current=result.current[row], freshness={}
        )
        for name, made in (
            ("score", result.scores),
            ("weight", result.weights),
            ("confidence", result.confidences),
        ):
            assert getattr(live.decided, name).tobytes() == made[row].tobytes()


def test_the_manifest_says_what_the_confidence_means_and_when_it_abstains(bundle):
    said = bundle.manifest.confidence
    assert (said.of, said.abstains_below) == ("crowd", FLOOR)
    assert "better than the median of its date over 5 sessions" in said.means


def test_the_card_says_how_sure_and_when_not(judged, workspace):
    origin = Origin(git_commit="0" * 40, lock_hash="0" * 64)
    card = render_card(report_data(judged, None, workspace, origin))
    assert "- Confidence: of crowd: how often a symbol so scored does better" in card
    assert "below 50% a symbol has no weight" in card


def test_a_graph_that_does_not_abstain_is_refused_for_the_same_manifest(
    judged, bundle, workspace, tmp_path
):
    """The rule is in the graph; the runtime holds it to the manifest all the same."""
    brave = judged.evaluation.strategy.with_models({})
    object.__setattr__(brave, "confidence", Confidence(of="crowd"))
    graph = compile_strategy(brave, 20)
    session = DecisionSession(graph)
    rows = []
    for row in _golden_rows(judged, workspace):
        said = session.run(row.inputs)
        rows.append(replace(row, weight=said.weight))
    assert any((row.weight != 0.0)[row.confidence < FLOOR].any() for row in rows)
    files = tilt_files() | {"graph.onnx": graph, "golden.parquet": golden_bytes(rows)}
    signer = tilt_signer(tmp_path / "keys")
    draft = msgspec.structs.replace(bundle.manifest, files={})
    folder = write_bundle(tmp_path, draft, files, signer=signer, signed_at=SIGNED_AT, version=1)
    with pytest.raises(BundleRefused, match=r"below 0\.5 the graph promised to abstain"):
        load_bundle(folder, {signer.name: signer.public_key}, prove=prove_within)


def test_another_confidence_is_a_difference_to_both_gates(judged, workspace):
    result, strategy = judged.evaluation.backtest, judged.evaluation.strategy
    reader, at = workspace.research_reader(judged.definition.study), result.decided_at[0]
    inputs = gather(reader, strategy.inputs, result.symbols, at=at, current=result.current[0])
    seen = Observation(
        at=at,
        inputs=inputs,
        score=result.scores[0],
        weight=result.weights[0],
        confidence=result.confidences[0],
    )
    nudged = replace(seen, confidence=np.nextafter(seen.confidence, 0.0))
    assert first_difference(seen, nudged, result.symbols).what == "confidence"
    silent = replace(seen, confidence=None)
    assert first_difference(seen, silent, result.symbols).seen == "on one side only"
    score, weight, sure = decide_with_numpy(strategy, inputs)
    assert compare_twin([seen], lambda _: (score, weight, sure)).worst < 1e-9
    assert compare_twin([seen], lambda _: (score, weight, sure - 1e-3)).worst > 9e-4
    assert compare_twin([seen], lambda _: (score, weight)).worst == np.inf


def test_the_preview_and_the_audit_show_the_confidence(judged, workspace, notebook, monkeypatch):
    definition = judged.definition
    on = judged.evaluation.backtest.decided_at[0].date()
    table = preview(definition.study, definition.strategy, on, workspace=workspace)
    assert tuple(table.headings[1:4]) == ("Score", "Weight", "Confidence")
    monkeypatch.setenv("SLUICE_WORKSPACE", str(workspace.path))
    (report,) = audit_notebook(notebook, workspace, samples=2)
    assert report.features[-1] == "confidence"
    assert report.leaks == ()


def strategy_of(decide, confidence, models):
    return Strategy(
        inputs={"prices": History(feature="us_equities.close", length=3)},
        decide=decide,
        parameters={},
        models=models,
        confidence=confidence,
    )


def test_decide_and_declaration_must_agree_on_a_confidence(judged):
    models = judged.evaluation.strategy.models

    def silent(xp, inputs):
        return inputs.prices[:, 0], inputs.prices[:, 1]

    def telling(xp, inputs):
        return inputs.prices[:, 0], inputs.prices[:, 1], inputs.prices[:, 2]

    with pytest.raises(
        StrategyInvalid, match=r"\(score, weight, confidence\), returned tuple of 2"
    ):
        compile_strategy(strategy_of(silent, Confidence(of="crowd"), models), 4)
    with pytest.raises(StrategyInvalid, match=r"a third needs Strategy\(confidence=\.\.\.\)"):
        compile_strategy(strategy_of(telling, None, models), 4)
    with pytest.raises(StrategyInvalid, match="'mob', which is not declared"):
        strategy_of(telling, Confidence(of="mob"), models)
    bare = {"crowd": models["crowd"].members[0]}
    with pytest.raises(StrategyInvalid, match="which is not calibrated"):
        strategy_of(telling, Confidence(of="crowd"), bare)
