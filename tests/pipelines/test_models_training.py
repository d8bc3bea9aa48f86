"""A declared model in a strategy: trained in time, traced into one graph, judged like any other."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from pipelines.compile import compile_strategy, decide_with_numpy
from pipelines.definition import code_hash, definition_of
from pipelines.errors import ModelInvalid, StrategyInvalid
from pipelines.evaluate import evaluate, evaluate_trial
from pipelines.gates.integrity import integrity_verdicts
from pipelines.gates.policy import default_policy
from pipelines.models.declared import Barriers, ForwardReturn
from pipelines.models.fitted import FittedModel
from pipelines.models.learners import Learner
from pipelines.models.training import fitted_only, train, training_set
from pipelines.strategy import History, Strategy
from pipelines.study import Period
from pipelines.workspace import Workspace
from runtime.bundles.inference import DecisionSession
from runtime.bundles.inputs import CurrentWeights, gather
from runtime.clock import ReplayClock
from tests.fakes.models import learned, mixed
from tests.fakes.studies import FEATURE, small_study

STUDY = small_study(search_space={"lookback": (21,), "top": (3, 5)})
KINDS = ("lightgbm", "lightgbm_ranker", "xgboost", "random_forest", "ridge")


def sampling(dates):
    policy = default_policy()
    fewer = msgspec.structs.replace(policy.lookahead, samples=dates)
    return msgspec.structs.replace(policy, lookahead=fewer)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, market_lake):
    return Workspace(
        tmp_path_factory.mktemp("models"),
        lake_url=market_lake.fresh_url(),
        snapshot=market_lake.snapshot,
        clock=ReplayClock(datetime(2024, 5, 1, tzinfo=UTC)),
    )


@pytest.fixture(scope="module")
def reader(workspace):
    return workspace.research_reader(STUDY)


def test_one_graph_goes_from_prices_to_weights_and_carries_the_trees(workspace, reader):
    strategy = fitted_only(learned(), reader, STUDY)
    graph = compile_strategy(strategy, 20)
    model = onnx.load_model_from_string(graph)
    assert [value.name for value in model.graph.input] == ["prices"]
    assert "TreeEnsembleRegressor" in {node.op_type for node in model.graph.node}
    result = evaluate(definition_of(STUDY, learned()), workspace)
    assert result.graph == graph
    assert (np.count_nonzero(result.backtest.weights, axis=1) == 3).all()


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_and_graph_decide_alike_with_every_kind_of_model(kind, reader):
    strategy, findings = train(learned(kind), reader, STUDY)
    assert findings["ranker"].passed
    session = DecisionSession(compile_strategy(strategy, 20))
    symbols = training_set("ranker", learned(kind), reader, STUDY).symbols
    for month in (1, 6, 11):
        at = datetime(2001, month, 15, 23, tzinfo=UTC)
        seen = gather(reader, strategy.inputs, symbols, at=at, current=np.zeros(20))
        decided, (score, weight) = session.run(seen), decide_with_numpy(strategy, seen)
        np.testing.assert_allclose(decided.score, score, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(decided.weight > 0, weight > 0)
        assert np.ptp(score) > 0


def test_an_ensemble_with_calibrated_confidence_is_one_graph(reader):
    strategy, findings = train(mixed(), reader, STUDY)
    assert set(findings) == {"trees", "line"}
    map_ = strategy.models["trees"].calibration
    assert (np.diff(map_.levels) >= 0).all()
    assert 0.3 < map_.levels[0] <= map_.levels[-1] < 0.7  # five years of months: nearly nothing
    session = DecisionSession(compile_strategy(strategy, 20))
    symbols = training_set("line", mixed(), reader, STUDY).symbols
    held = 0
    for month in range(1, 13):
        at = datetime(2002, month, 15, 23, tzinfo=UTC)
        seen = gather(reader, strategy.inputs, symbols, at=at, current=np.zeros(20))
        decided, (score, weight) = session.run(seen), decide_with_numpy(strategy, seen)
        np.testing.assert_allclose(decided.score, score, rtol=0, atol=1e-9)
        np.testing.assert_allclose(decided.weight, weight, rtol=0, atol=1e-9)
        held += np.count_nonzero(weight)
    assert held > 0


def test_a_model_without_calibration_has_no_confidence_to_give(reader):
    with pytest.raises(ModelInvalid, match="no calibrated confidence"):
        fitted_only(learned(), reader, STUDY).models["ranker"].confidence(np, np.zeros(3))


def test_another_process_trains_the_same_bytes(reader, market_lake):
    script = (
        "import sys, hashlib\n"
        "from featurestore.lake import Lake\nfrom featurestore.store import FeatureStore\n"
        "from tests.fakes.models import learned\nfrom tests.fakes.studies import small_study\n"
        "from pipelines.models.training import fitted_only\n"
        "from pipelines.compile import compile_strategy\n"
        "store = FeatureStore(Lake(sys.argv[1]))\n"
        "strategy = fitted_only(learned(), store.reader(store.snapshot()), small_study())\n"
        "print(hashlib.sha256(compile_strategy(strategy, 20)).hexdigest())"
    )
    there = subprocess.run(
        [sys.executable, "-c", script, market_lake.fresh_url()],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "1", "PATH": ""},  # here it is another
    ).stdout
    here = compile_strategy(fitted_only(learned(), market_lake.reader(), small_study()), 20)
    assert there.strip() == hashlib.sha256(here).hexdigest()


def test_a_learned_strategy_passes_the_gates_of_look_ahead_and_parity(workspace, reader):
    evaluation = evaluate(definition_of(STUDY, learned()), workspace)

    def rebuild(past):
        strategy = fitted_only(learned(), past, STUDY)
        return strategy.inputs, DecisionSession(compile_strategy(strategy, 20))

    verdicts = integrity_verdicts(
        evaluation.backtest,
        evaluation.strategy.inputs,
        DecisionSession(evaluation.graph),
        reader,
        rebuild=rebuild,
        twin=lambda seen: decide_with_numpy(evaluation.strategy, seen),
        policy=sampling(4),
    )
    assert [v.passed for v in verdicts] == [True, True]


def test_a_model_that_read_the_future_changes_when_it_is_cut_off(workspace, reader):
    """Fitted by hand on the decision years, as a careless cell would: the gate sees it."""
    peeking = replace(STUDY, research=Period(start=date(2002, 6, 3), end=date(2002, 12, 31)))
    window = Period(start=date(2000, 1, 3), end=date(2002, 5, 31))

    def careless(past):
        model = train(learned(window=window), past, peeking)[0].models["ranker"]
        return learned().with_models({"ranker": model})

    evaluation = evaluate(definition_of(STUDY, careless(reader)), workspace)

    def rebuild(past):
        strategy = careless(past)
        return strategy.inputs, DecisionSession(compile_strategy(strategy, 20))

    lookahead, _ = integrity_verdicts(
        evaluation.backtest,
        evaluation.strategy.inputs,
        DecisionSession(evaluation.graph),
        reader,
        rebuild=rebuild,
        twin=lambda seen: decide_with_numpy(evaluation.strategy, seen),
        policy=sampling(3),
    )
    assert not lookahead.passed


def test_a_window_that_reaches_into_the_decisions_is_refused(reader):
    late = learned(window=Period(start=date(1999, 1, 4), end=date(2001, 3, 30)))
    with pytest.raises(StrategyInvalid, match="the model has seen the answers"):
        fitted_only(late, reader, STUDY)


def test_labels_end_inside_the_window_and_start_after_the_fill(reader):
    rows = training_set("ranker", learned(), reader, STUDY)
    assert rows.days[0] == date(1996, 1, 31)
    assert rows.days[-1] == date(2000, 10, 31)  # November's label would end in January
    assert (rows.spans.ends - rows.spans.starts == 22).all()
    closes = reader.history(FEATURE, ["AAPL"], date(1996, 1, 31), date(1996, 4, 1))
    values = closes.sort("event_time")["close"].to_list()
    aapl = rows.symbols.index("AAPL")
    assert rows.returns[aapl] == pytest.approx(values[22] / values[1] - 1, rel=1e-12)
    first = rows.returns[:20]
    assert rows.y[:20] == pytest.approx(first - first.mean())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("rank", np.arange(20) / 19 - 0.5),
        ("grade", np.repeat(np.arange(5), 4)),
        ("up", np.repeat([0, 1], 10)),
    ],
)
def test_targets_compare_with_the_cross_section(kind, expected, reader):
    strategy = learned(target=ForwardReturn(horizon=21, kind=kind))
    rows = training_set("ranker", strategy, reader, STUDY)
    order = np.argsort(rows.returns[:20], kind="stable")
    assert rows.y[:20][order] == pytest.approx(expected)


def test_barrier_targets_end_when_a_barrier_is_touched_and_not_before_the_fill(reader):
    target = Barriers(horizon=21, profit=1.0, stop=1.0, span=20)
    rows = training_set("ranker", learned(target=target), reader, STUDY)
    assert set(rows.y) == {-1.0, 0.0, 1.0}
    length = rows.spans.ends - rows.spans.starts
    assert length.min() >= 2
    assert length.max() == 22
    assert (length[rows.y == 0] == 22).all()
    assert (np.sign(rows.returns[rows.y != 0]) == rows.y[rows.y != 0]).all()
    closes = reader.history(FEATURE, ["AAPL"], date(1996, 1, 2), date(2000, 12, 29))
    values = closes.sort("event_time")["close"].to_numpy()
    for row in np.flatnonzero(np.arange(rows.y.size) % 20 == rows.symbols.index("AAPL"))[:30]:
        fill, end = rows.spans.starts[row] + 1, rows.spans.ends[row]
        assert rows.returns[row] == pytest.approx(values[end] / values[fill] - 1, rel=1e-12)


def test_a_classifier_learns_whether_profit_comes_first(reader):
    target = Barriers(horizon=21, profit=1.0, stop=1.0, span=20, kind="won")
    strategy, findings = train(learned("lightgbm_classifier", target=target), reader, STUDY)
    assert findings["ranker"].passed
    score = strategy.models["ranker"](np.zeros((3, 3)))
    assert ((score > 0) & (score < 1)).all()


@pytest.mark.parametrize(
    "changes", [{"horizon": 0}, {"profit": 0.0}, {"stop": -1.0}, {"span": 1}, {"delay": -1}]
)
def test_barriers_that_are_none_are_refused(changes):
    with pytest.raises(ModelInvalid, match="barriers need"):
        Barriers(**{"horizon": 5, "profit": 1.0, "stop": 1.0} | changes)


def test_overlapping_labels_weigh_less(reader):
    weekly = training_set("ranker", learned(schedule="week_end"), reader, STUDY)
    assert weekly.weights.mean() < 0.3
    assert training_set("ranker", learned(), reader, STUDY).weights.mean() > 0.8


def test_the_code_hash_covers_the_fitted_bytes(reader):
    strategy = learned()
    model = fitted_only(strategy, reader, STUDY).models["ranker"]
    other = fitted_only(learned("ridge"), reader, STUDY).models["ranker"]
    hashes = {
        code_hash("cell"),
        code_hash("cell", strategy.models),
        code_hash("cell", {"ranker": model}),
        code_hash("cell", {"ranker": other}),
        code_hash("cell", {"scorer": model}),
    }
    assert len(hashes) == 5
    assert code_hash("cell", {}) == code_hash("cell")


def test_a_learned_trial_is_recorded_like_any_other(workspace):
    trial = evaluate_trial(definition_of(STUDY, learned()), workspace)
    assert workspace.ledger().trial(trial.key).status == "complete"


def test_a_model_whose_graph_lies_becomes_a_failed_trial(workspace, monkeypatch):
    monkeypatch.setattr("pipelines.models.export.LARGEST", 0.0)
    monkeypatch.setattr("pipelines.models.training._FITTED", {})
    changed = small_study(name="lying", search_space={"lookback": (21,), "top": (3, 5)})
    from pipelines.errors import ExportDiffers

    with pytest.raises(ExportDiffers):
        evaluate_trial(definition_of(changed, learned()), workspace)
    (record,) = workspace.ledger().trials("lying")
    assert record.status == "failed"
    assert "exported graph differs" in record.reason


def test_calling_an_untrained_model_says_how_to_train_it():
    with pytest.raises(StrategyInvalid, match="declared but not trained"):
        compile_strategy(learned(), 20)


def test_features_from_elsewhere_are_refused():
    def elsewhere(xp, inputs):
        return inputs.prices[:, -2:]

    with pytest.raises(StrategyInvalid, match="function of the strategy's own cell"):
        compile_strategy(learned(features=elsewhere), 20)


def test_features_may_not_ask_for_weights_that_were_never_held(reader):
    strategy = learned()
    asking = Strategy(
        inputs={"prices": History(feature=FEATURE, length=22), "held": CurrentWeights()},
        models={
            "ranker": replace(
                strategy.models["ranker"], features=lambda xp, inputs: inputs.held[:, None]
            )
        },
        decide=strategy.decide,
        parameters=strategy.parameters,
    )
    with pytest.raises(StrategyInvalid, match="'held', which is not declared"):
        training_set("ranker", asking, reader, STUDY)


def test_features_must_be_finite_and_one_row_per_symbol(reader):
    with pytest.raises(ModelInvalid, match="one row per symbol"):
        training_set("ranker", learned(features=lambda xp, i: i.prices[:, -1]), reader, STUDY)
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(ModelInvalid, match="feature 0 of model 'ranker' is nan for"),
    ):
        training_set(
            "ranker", learned(features=lambda xp, i: xp.log(-i.prices[:, -2:])), reader, STUDY
        )


def test_models_are_named_apart_from_inputs():
    model = FittedModel(onnx=b"", features=1, door="float32")
    with pytest.raises(StrategyInvalid, match="a plain name that no input has"):
        Strategy(
            inputs={"prices": History(feature=FEATURE, length=2)},
            models={"prices": model},
            decide=lambda xp, inputs: None,
            parameters={},
        )
    with pytest.raises(StrategyInvalid, match="is a Learner; declare Trained"):
        Strategy(
            inputs={"prices": History(feature=FEATURE, length=2)},
            models={"ranker": Learner(kind="ridge")},
            decide=lambda xp, inputs: None,
            parameters={},
        )
