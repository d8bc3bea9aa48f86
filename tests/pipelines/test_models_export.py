"""Exported graphs against their Python models: on real rows, on thresholds, and inside decide."""

import numpy as np
import onnx
import pytest

from pipelines.errors import ExportDiffers, ModelInvalid
from pipelines.gates.evidence import Evidence
from pipelines.gates.ladder import judge
from pipelines.gates.policy import default_policy
from pipelines.models.export import (
    LARGEST,
    ExportFinding,
    compare,
    convert,
    export,
    export_verdict,
    threshold_rows,
)
from pipelines.models.fitted import FittedModel
from pipelines.models.learners import Learner
from runtime.bundles.contract import GateVerdict

SMALL = {
    "lightgbm": {"n_estimators": 60, "num_leaves": 15, "min_child_samples": 5},
    "lightgbm_ranker": {"n_estimators": 40, "num_leaves": 7, "min_child_samples": 5},
    "lightgbm_classifier": {"n_estimators": 40, "num_leaves": 7},
    "xgboost": {"n_estimators": 40, "max_depth": 4},
    "random_forest": {"n_estimators": 20, "max_depth": 8},
    "ridge": {"alpha": 1.0},
    "logistic": {"C": 1.0},
}


def price_like(rows, seed=0, dear=False):
    """Returns beside prices in cents; above 65,536 neighbouring ones collide in float32."""
    generator = np.random.default_rng(seed)
    returns = generator.normal(0, 0.02, (rows, 3))
    prices = np.round(generator.uniform(10, 500, (rows, 1)), 2)
    large = np.round(generator.uniform(1e5, 1.0002e5, (rows, 1)), 2)
    large = large if dear else large - 1e5
    return np.column_stack((returns, prices, large))


def fitted(kind, rows=1200, seed=0, dear=False):
    X = price_like(rows, seed, dear)
    y = X[:, 0] * 20 + 0.3 * np.sin(X[:, 3]) + (X[:, 4] % 10 > 5) * 0.5
    groups = None
    if kind == "lightgbm_ranker":
        groups = np.full(rows // 20, 20)
        y = np.argsort(np.argsort(y.reshape(-1, 20), axis=1), axis=1).ravel() // 4.0
    elif kind in ("lightgbm_classifier", "logistic"):
        y = (y > np.median(y)).astype(float)
    learner = Learner(kind=kind, settings=SMALL[kind])
    return learner, learner.fit(X, y, groups=groups), X


@pytest.mark.parametrize("kind", SMALL)
def test_no_row_is_off_neither_real_ones_nor_those_on_a_threshold(kind):
    learner, estimator, X = fitted(kind)
    model, finding = export(learner, estimator, X)
    assert finding.worst <= LARGEST
    assert finding.threshold_worst <= LARGEST
    assert (finding.visible, finding.threshold_visible) == (0, 0)
    assert finding.rows == len(X)
    assert (finding.threshold_rows > 200) == (learner.door == "float32")
    assert export_verdict(finding).passed
    assert np.ptp(model(X)) > 0.1


def test_rows_on_thresholds_find_a_graph_whose_thresholds_are_one_step_off():
    learner, estimator, X = fitted("lightgbm")
    graph = onnx.load_model_from_string(convert(learner, estimator, 5).onnx)
    for attribute in graph.graph.node[0].attribute:
        if attribute.name == "nodes_values":
            lower = np.nextafter(np.array(attribute.floats, np.float32), np.float32(-np.inf))
            attribute.floats[:] = lower.tolist()
    model = FittedModel(onnx=graph.SerializeToString(), features=5, door="float32")
    finding = compare(learner, estimator, model, X)
    assert finding.threshold_visible > 0
    verdict = export_verdict(finding)
    assert not verdict.passed
    assert "differs from its model" in verdict.reason


def test_prices_in_cents_land_on_thresholds_and_still_agree():
    """Between 4.98 and 5.00 the threshold is 4.99, which is a price of the next row."""
    generator = np.random.default_rng(4)
    prices = np.round(np.exp(generator.normal(4, 1, (30_000, 4))), 2)
    y = np.sin(prices[:, 0] / 20) + 0.1 * generator.normal(size=30_000)
    learner = Learner(kind="lightgbm", settings={"n_estimators": 100, "num_leaves": 31})
    _, finding = export(learner, learner.fit(prices[:6000], y[:6000]), prices)
    assert finding.visible == 0
    assert finding.worst <= LARGEST


def test_prices_that_collide_in_float32_are_seen_and_refused():
    learner, estimator, X = fitted("lightgbm", dear=True)
    finding = compare(learner, estimator, convert(learner, estimator, 5), X)
    assert finding.visible > 0
    with pytest.raises(ExportDiffers, match="by more than 1e-04 on"):
        export(learner, estimator, X)


def test_an_export_that_differs_refuses_the_whole_study():
    learner, estimator, X = fitted("lightgbm", dear=True)
    broken = export_verdict(compare(learner, estimator, convert(learner, estimator, 5), X))
    passed = GateVerdict(
        gate="parity",
        passed=True,
        statistic=0.0,
        threshold=0.0,
        comparison="<=",
        reason="",
        would_change="",
        figures={},
    )
    excess = 0.01 * np.random.default_rng(0).normal(0.3, 1.0, (500, 3)) * [1.0, 1.0, 2.0]
    evidence = Evidence(
        study="s",
        dates=np.datetime64("2001-01-01") + np.arange(500),
        excess=excess,
        raw=excess,
        benchmark=np.zeros(500),
        trials=("a", "b", "c"),
        counted=3,
    )
    others = {"lookahead": passed, "parity": passed, "policy": default_policy()}
    assert judge(evidence, **others).stage != "refused"
    verdict = judge(evidence, **others, exports=(broken,))
    assert verdict.stage == "refused"
    assert "exported graph differs" in verdict.summary


def test_a_tampered_leaf_is_refused():
    learner, estimator, X = fitted("lightgbm")
    model = convert(learner, estimator, 5)
    graph = onnx.load_model_from_string(model.onnx)
    for attribute in graph.graph.node[0].attribute:
        if attribute.name == "target_weights":
            attribute.floats[0] += 0.01
    changed = FittedModel(onnx=graph.SerializeToString(), features=5, door="float32")
    assert not compare(learner, estimator, changed, X).passed


@pytest.mark.parametrize("kind", SMALL)
def test_equal_data_give_equal_bytes(kind):
    one, two = (convert(*fitted(kind)[:2], 5) for _ in range(2))
    assert one.onnx == two.onnx
    assert one.hash == two.hash


def test_another_seed_setting_or_row_gives_another_hash():
    learner, estimator, _ = fitted("random_forest")
    other = Learner(kind="random_forest", settings=SMALL["random_forest"], seed=1)
    X, y = price_like(300), np.arange(300.0)
    assert convert(learner, learner.fit(X, y), 5).hash != convert(other, other.fit(X, y), 5).hash
    again = fitted("random_forest", seed=5)
    assert convert(learner, estimator, 5).hash != convert(again[0], again[1], 5).hash


def test_threshold_rows_sit_on_the_splits_and_beside_them():
    rows = price_like(50)
    moved = threshold_rows([(0, 0.1), (3, 120.005)], rows, seed=0)
    near = np.float32([0.1, 120.005])
    assert moved[0::3][[0, 1], [0, 3]].tolist() == [0.1, 120.005]
    below, above = np.nextafter(near, np.float32(-1)), np.nextafter(near, np.float32(1e9))
    assert moved[1::3][[0, 1], [0, 3]].tolist() == below.tolist()
    assert moved[2::3][[0, 1], [0, 3]].tolist() == above.tolist()
    assert threshold_rows([], rows, seed=0).shape == (0, 5)


def test_features_of_another_width_are_refused():
    learner, estimator, _ = fitted("ridge")
    with pytest.raises(ModelInvalid, match=r"shape \(n, 5\), was given \(2, 4\)"):
        convert(learner, estimator, 5)(np.zeros((2, 4)))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Learner(kind="oracle"), "no learner 'oracle'"),
        (
            lambda: Learner(kind="ridge", settings={"alhpa": 1}).fit(np.ones((3, 1)), np.ones(3)),
            "alhpa",
        ),
        (lambda: Learner(kind="ridge").fit(np.full((3, 1), np.nan), np.ones(3)), "finite"),
        (lambda: Learner(kind="lightgbm_ranker").fit(np.ones((3, 1)), np.ones(3)), "cross-section"),
    ],
)
def test_what_cannot_be_learned_is_refused(build, words):
    with pytest.raises(ModelInvalid, match=words):
        build()


@pytest.mark.parametrize("where", ["worst", "threshold_worst"])
def test_a_difference_that_is_no_number_is_no_parity(where):
    fine = {"worst": 0.0, "threshold_worst": 0.0}
    counts = {"rows": 9, "visible": 0, "threshold_rows": 9, "threshold_visible": 0}
    assert ExportFinding(**counts, **fine).passed
    assert not ExportFinding(**counts, **(fine | {where: float("nan")})).passed
