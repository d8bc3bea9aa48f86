"""A declared blend: mixed, calibrated and bounded on unseen rows, exported whole, judged whole."""

from datetime import date, timedelta

import lightgbm
import numpy as np
import onnx
import pytest
import xgboost
from scipy.stats import beta, binomtest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipelines.errors import ExportDiffers, ModelInvalid
from pipelines.models.calibration import Calibration
from pipelines.models.declared import Barriers, Confidence, ForwardReturn, Trained
from pipelines.models.fitted import FittedEnsemble, FittedModel
from pipelines.models.fitting import BINS, fit_rows
from pipelines.models.intervals import split_conformal
from pipelines.models.learners import Blend, Learner
from pipelines.models.reliability import reliability
from pipelines.models.rows import TrainingSet
from pipelines.models.whole import Part, prove_whole, said_by_graph
from pipelines.models.worlds import made_rows
from pipelines.splits import LabelSpans, PurgedKFold
from pipelines.study import Period

NAMES = 20
SETTINGS = {
    "lightgbm": {"n_estimators": 25, "num_leaves": 6, "min_child_samples": 10},
    "xgboost": {"n_estimators": 15, "max_depth": 2},
    "ridge": {"alpha": 5.0},
}
CROWD = Blend(members=tuple(Learner(kind=kind, settings=of) for kind, of in SETTINGS.items()))
WINDOW = Period(start=date(1996, 1, 2), end=date(2000, 12, 29))


def world(dates: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features and excess returns of NAMES names: a line, a step, and noise."""
    made = made_rows(dates=dates, seed=seed, names=NAMES)
    return made.X, made.y


def rows_of(X: np.ndarray, excess: np.ndarray, *, up: bool = False) -> TrainingSet:
    """Return training rows of labels that reach two dates ahead."""
    dates = len(X) // NAMES
    starts = np.repeat(np.arange(dates), NAMES)
    median = np.median(excess.reshape(dates, NAMES), axis=1)
    return TrainingSet(
        X=X,
        y=(excess > np.repeat(median, NAMES)).astype(float) if up else excess,
        returns=excess,
        weights=np.ones(len(X)),
        spans=LabelSpans(starts, starts + 2),
        days=tuple(date(1996, 1, 2) + timedelta(days=day) for day in range(dates)),
        symbols=tuple(f"S{name}" for name in range(NAMES)),
    )


def declared(learner: Blend | Learner = CROWD, **changes: object) -> Trained:
    target = changes.pop("target", ForwardReturn(horizon=1))
    return Trained(
        features=lambda xp, inputs: inputs.prices,
        learner=learner,
        target=target,
        window=WINDOW,
        **{"calibrated": 4, "covered": 0.8} | changes,
    )


@pytest.fixture(scope="module")
def learnt():
    return rows_of(*world(200, seed=1))


@pytest.fixture(scope="module")
def crowd(learnt):
    return fit_rows(declared(), learnt)[0]


@pytest.fixture(scope="module")
def fresh():
    return rows_of(*world(120, seed=2))


def unlikely(probability: np.ndarray, happened: np.ndarray) -> list[str]:
    """Return the fifths of rows, by probability, whose share lies outside its binomial interval."""
    found = []
    for part in np.array_split(np.argsort(probability, kind="stable"), 5):
        said, times = probability[part].mean(), int(happened[part].sum())
        if binomtest(times, part.size, said).pvalue < 0.002:
            found.append(f"said {said:.3f}, happened {times / part.size:.3f} of {part.size}")
    return found


def test_a_reliability_curve_is_counting_with_exact_binomial_intervals():
    said = np.repeat([0.2, 0.5, 0.9], 40)
    came = np.concatenate([np.arange(40) < times for times in (8, 33, 36)]).astype(float)
    found = reliability(said, came, bins=3)
    np.testing.assert_allclose(found.said, [0.2, 0.5, 0.9])
    np.testing.assert_allclose(found.happened, [8 / 40, 33 / 40, 36 / 40])
    for times, lower, upper in zip((8, 33, 36), found.lower, found.upper, strict=True):
        assert lower == pytest.approx(beta.ppf(0.025, times, 41 - times))
        assert upper == pytest.approx(beta.ppf(0.975, times + 1, 40 - times))
    assert found.inside.tolist() == [True, False, True]
    for bad in ([0.5, 2.0], [1.0]):
        with pytest.raises(ModelInvalid, match="do not fit 2 bins"):
            reliability([0.5, 0.5], bad, bins=2)


def test_confidence_happens_as_often_as_it_says_on_rows_nobody_saw(crowd, fresh):
    value = crowd(fresh.X)
    sure = crowd.confidence(np, value)
    assert sure.min() < 0.3
    assert sure.max() > 0.7
    assert unlikely(sure, fresh.better) == []
    boasting = np.clip(0.5 + 2.0 * (sure - 0.5), 0.01, 0.99)
    assert unlikely(boasting, fresh.better)  # the same check finds twice the conviction


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_intervals_hold_as_often_as_they_say_on_rows_nobody_saw(level, learnt, fresh, crowd):
    """Residuals of the rows a model was fitted on would give a radius that holds less often."""
    trees = Learner(kind="lightgbm", settings={"n_estimators": 40, "num_leaves": 31})
    model, _ = fit_rows(declared(trees, covered=level, calibrated=0), learnt)
    for said in (model,) if level != 0.8 else (model, crowd):
        lower, upper = said.interval(said(fresh.X))
        inside = int(((lower <= fresh.y) & (fresh.y <= upper)).sum())
        assert binomtest(inside, fresh.y.size, level).pvalue > 0.002
    naive = split_conformal(learnt.y, model(learnt.X), level=level)
    held = int((np.abs(fresh.y - model(fresh.X)) <= naive.radius).sum())
    assert binomtest(held, fresh.y.size, level).pvalue < 1e-4


def test_the_graph_says_what_scikit_learn_lightgbm_xgboost_and_numpy_say(learnt, fresh, crowd):
    """Oracle: the same recipe from the libraries alone, none of our fitting, mixing or export."""
    folds = PurgedKFold(spans=learnt.spans, folds=4)
    fixed = {"n_jobs": 1, "random_state": 0}
    members = (
        lightgbm.LGBMRegressor(
            deterministic=True, force_row_wise=True, verbose=-1, **fixed, **SETTINGS["lightgbm"]
        ),
        xgboost.XGBRegressor(tree_method="exact", **fixed, **SETTINGS["xgboost"]),
        make_pipeline(StandardScaler(), Ridge(**SETTINGS["ridge"])),
    )
    unseen = np.column_stack([cross_val_predict(m, learnt.X, learnt.y, cv=folds) for m in members])

    def mix(rows):
        line = LinearRegression(positive=True, fit_intercept=False).fit(
            unseen[rows], learnt.y[rows]
        )
        return line.coef_ / line.coef_.sum()

    mixed = np.empty(len(learnt.y))
    for training, test in folds.split():
        mixed[test] = unseen[test] @ mix(training)
    parts = np.array_split(np.argsort(mixed, kind="stable"), BINS)
    knots = np.array([mixed[part].mean() for part in parts])
    shares = np.array([learnt.better[part].mean() for part in parts])
    levels = IsotonicRegression().fit(knots, shares, sample_weight=[p.size for p in parts])
    residuals = np.sort(np.abs(learnt.y - mixed))
    radius = residuals[int(np.ceil((residuals.size + 1) * 0.8)) - 1]

    fitted = [member.fit(learnt.X, learnt.y) for member in members]
    value = np.column_stack([one.predict(fresh.X) for one in fitted]) @ mix(slice(None))
    said = said_by_graph(crowd, fresh.X)
    np.testing.assert_allclose(said["value"], value, rtol=0, atol=1e-7)
    sure = levels.predict(np.clip(value, knots[0], knots[-1]))
    np.testing.assert_allclose(said["confidence"], sure, rtol=0, atol=1e-5)
    np.testing.assert_allclose(said["lower"], value - radius, rtol=0, atol=1e-7)
    np.testing.assert_allclose(said["upper"], value + radius, rtol=0, atol=1e-7)
    clear = (np.abs(value) > radius).astype(float)
    apart = np.abs(np.abs(value) - radius) > 1e-6
    np.testing.assert_array_equal(said["clear"][apart], clear[apart])
    assert 0 < clear.sum() < clear.size


def test_graph_and_numpy_say_the_same_of_everything(crowd, fresh):
    said, value = said_by_graph(crowd, fresh.X), crowd(fresh.X)
    np.testing.assert_allclose(said["value"], value, rtol=0, atol=1e-15)
    np.testing.assert_allclose(said["confidence"], crowd.confidence(np, value), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(said["clear"], crowd.clear_of_zero(np, value))


def test_a_blend_of_classifiers_and_regressors_speaks_in_probabilities():
    rows = rows_of(*world(100, seed=3), up=True)
    voters = Blend(
        members=(
            Learner(kind="logistic"),
            Learner(kind="lightgbm_classifier", settings={"n_estimators": 20, "num_leaves": 4}),
            Learner(kind="xgboost", settings={"n_estimators": 10, "max_depth": 2}),
        ),
        weighing="alike",
    )
    target = ForwardReturn(horizon=1, kind="up")
    model, finding = fit_rows(declared(voters, target=target, covered=None), rows)
    assert model.weights == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert finding.passed
    assert finding.threshold_rows > 100
    assert unlikely(model.confidence(np, model(rows.X)), rows.better) == []


def test_a_member_that_helps_nothing_is_not_in_the_graph(learnt):
    idle = Learner(kind="lightgbm", settings={"n_estimators": 1, "num_leaves": 2}, seed=3)
    line = Learner(kind="ridge", settings={"alpha": 5.0})
    many = Blend(members=(*CROWD.members, Learner(kind="ridge", settings={"alpha": 1e12}), idle))
    model, _ = fit_rows(declared(many), learnt)
    assert len(model.members) < 5
    assert sum(model.weights) == pytest.approx(1.0)
    assert all(weight > 0 for weight in model.weights)
    assert fit_rows(declared(line), learnt)[0].confidence(np, np.zeros(1)).shape == (1,)


def test_equal_rows_give_equal_bytes_and_every_setting_another_hash():
    few = rows_of(*world(20, seed=6))
    two = Blend(members=(CROWD.members[0], CROWD.members[2]))
    one, again, *others = (
        fit_rows(declared(two, **changes), few)[0].hash
        for changes in ({}, {}, {"calibrated": 3}, {"covered": None})
    )
    assert one == again
    assert len({one, *others}) == 3


def dear(rows: int) -> TrainingSet:
    """Return rows whose last feature is a price above 65,536: cents collide in float32."""
    X, excess = world(rows // NAMES, seed=4)
    X[:, 3] = np.round(np.random.default_rng(4).uniform(1e5, 1.0002e5, rows), 2)
    return rows_of(X, excess + 0.05 * (X[:, 3] % 10 > 5))


@pytest.mark.parametrize("kind", ["lightgbm", "xgboost"])
def test_a_blend_whose_trees_flip_in_float32_is_refused(kind):
    """XGBoost learns in float32 and cannot see the cents; LightGBM splits between them."""
    trees = Learner(kind=kind, settings={"n_estimators": 30})
    line = Learner(kind="ridge")
    asked = declared(Blend(members=(trees, line), weighing="alike"), calibrated=0, covered=None)
    if kind == "lightgbm":
        with pytest.raises(ExportDiffers, match="by more than 1e-04 on"):
            fit_rows(asked, dear(1200))
    else:
        assert fit_rows(asked, dear(1200))[1].passed


def test_the_whole_is_judged_and_not_its_python_models(learnt):
    """A member whose thresholds lie one float32 step low: only rows on thresholds show it."""
    learner = CROWD.members[0]
    estimator = learner.fit(learnt.X, learnt.y)
    model, _ = fit_rows(declared(learner, calibrated=0, covered=None), learnt)
    graph = onnx.load_model_from_string(model.onnx)
    for attribute in graph.graph.node[0].attribute:
        if attribute.name == "nodes_values":
            lower = np.nextafter(np.array(attribute.floats, np.float32), np.float32(-np.inf))
            attribute.floats[:] = lower.tolist()
    changed = FittedModel(onnx=graph.SerializeToString(), features=4, door="float32")
    part = Part(learner=learner, estimator=estimator, model=changed)
    steep = Calibration(knots=np.array([-0.02, 0.02]), levels=np.array([0.1, 0.9]))
    for whole in (changed, FittedEnsemble(members=(changed,), weights=(1.0,), calibration=steep)):
        with pytest.raises(ExportDiffers, match="exported graph differs"):
            prove_whole(whole, (part,), learnt.X)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Blend(members=(CROWD.members[0],)), "two learners or more"),
        (lambda: Blend(members=(CROWD.members[0],) * 2), "different seeds"),
        (
            lambda: Blend(members=(CROWD.members[0], Learner(kind="lightgbm_ranker"))),
            "scores have no unit",
        ),
        (lambda: declared(covered=1.0), "between 0 and 1"),
        (lambda: declared(calibrated=1), "2 folds and more"),
        (lambda: declared(target=ForwardReturn(horizon=1, kind="up")), "that zero divides"),
        (lambda: declared(target=Barriers(horizon=5, profit=1.0, stop=1.0)), "that zero divides"),
        (lambda: Confidence(of="crowd", abstains_below=1.01), r"in 0\.\.1"),
        (lambda: FittedEnsemble(members=(), weights=()), "0 members"),
        (
            lambda: fit_rows(declared(calibrated=0, covered=0.9999), rows_of(*world(20, 0))),
            "too few for an interval",
        ),
    ],
)
def test_what_makes_no_blend_is_refused(build, words):
    with pytest.raises(ModelInvalid, match=words):
        build()


def test_a_model_says_nothing_it_was_not_asked_to_learn():
    model, _ = fit_rows(declared(calibrated=0, covered=None), rows_of(*world(20, seed=6)))
    with pytest.raises(ModelInvalid, match="no calibrated confidence"):
        model.confidence(np, np.zeros(2))
    with pytest.raises(ModelInvalid, match=r"declare covered=0\.8"):
        model.interval(np.zeros(2))
