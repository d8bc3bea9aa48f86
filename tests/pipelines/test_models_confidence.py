"""Intervals that cover what they say, and ensembles whose probabilities happen."""

import ndonnx as ndx
import numpy as np
import pytest

from pipelines.errors import ModelInvalid
from pipelines.models.calibration import Calibration, calibrate
from pipelines.models.ensembles import stack
from pipelines.models.intervals import adaptive_conformal, split_conformal
from pipelines.models.learners import Learner
from pipelines.models.reliability import reliability
from pipelines.models.scoring import Problem
from pipelines.splits import LabelSpans, PurgedKFold


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_split_conformal_covers_exactly_what_theory_says(level):
    """Mean coverage over calibrations is ceil((E + 1) level) / (E + 1), for any distribution."""
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(3000):
        errors = generator.standard_t(2, size=50)
        found = split_conformal(errors[:49], np.zeros(49), level=level)
        low, high = found.interval(np.zeros(1))
        covered.append(bool(low[0] <= errors[49] <= high[0]))
    expected = np.ceil(50 * level) / 50
    assert np.mean(covered) == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 3000))


def test_too_few_rows_give_an_honest_infinite_interval():
    assert np.isinf(split_conformal([0.1, 0.2], [0.0, 0.0], level=0.9).radius)


def test_a_known_scale_widens_intervals_where_errors_are_large():
    generator = np.random.default_rng(1)
    scale = np.tile([1.0, 10.0], 1000)
    errors = generator.normal(size=2000) * scale
    found = split_conformal(errors, np.zeros(2000), level=0.9, scale=scale)
    assert found.radius == pytest.approx(1.645, abs=0.1)
    low, high = found.interval(np.zeros(2), scale=[1.0, 10.0])
    assert (high - low)[1] == pytest.approx(10 * (high - low)[0])


@pytest.mark.parametrize("kind", ["calm", "jump", "trend"])
def test_adaptive_coverage_holds_whatever_the_series_does(kind):
    generator = np.random.default_rng(2)
    errors = generator.normal(size=3000)
    errors *= {
        "calm": 1.0,
        "jump": np.where(np.arange(3000) > 1500, 5.0, 1.0),
        "trend": np.linspace(1.0, 8.0, 3000),
    }[kind]
    rate, level = 0.02, 0.9
    found = adaptive_conformal(errors, np.zeros(3000), level=level, rate=rate)
    bound = (max(level, 1 - level) + rate) / (rate * 3000)
    assert abs(found.covered.mean() - level) <= bound
    inside = (found.lower <= errors) & (errors <= found.upper)
    np.testing.assert_array_equal(inside, found.covered)


def test_an_interval_never_depends_on_its_own_outcome_or_later_ones():
    errors = np.random.default_rng(3).normal(size=400)
    changed = errors.copy()
    changed[300:] *= 50
    one, two = (adaptive_conformal(e, np.zeros(400), level=0.8) for e in (errors, changed))
    np.testing.assert_array_equal(one.upper[:301], two.upper[:301])
    assert (one.upper[301:] != two.upper[301:]).any()


@pytest.fixture(scope="module")
def problem():
    generator = np.random.default_rng(5)
    dates = np.repeat(np.arange(80), 10)
    X = generator.normal(size=(800, 3))
    y = X[:, 0] + np.where(X[:, 1] > 0, 1.0, -1.0) + 0.5 * generator.normal(size=800)
    spans = LabelSpans(dates, dates + 1)
    return Problem(X=X, y=y, dates=dates, splitter=PurgedKFold(spans=spans, folds=4))


MEMBERS = (
    Learner(kind="ridge"),
    Learner(kind="lightgbm", settings={"n_estimators": 40, "num_leaves": 4}),
    Learner(kind="lightgbm", settings={"n_estimators": 1, "num_leaves": 2}),
)


def test_a_stack_is_no_worse_than_its_best_member_and_weighs_the_useless_least(problem):
    found = stack(MEMBERS, problem)
    assert found.weights.sum() == pytest.approx(1.0)
    assert found.weights.argmin() == 2
    alone = ((found.members - problem.y) ** 2).mean(axis=1)
    error = ((found.weights @ found.members - problem.y) ** 2).mean()
    assert error <= alone.min() * 1.02
    unseen = ((found.predicted - problem.y) ** 2).mean()  # by weights that other folds gave
    assert error < unseen <= alone.min() * 1.05


def test_calibrated_probabilities_happen_as_often_as_they_say():
    generator = np.random.default_rng(6)
    score = generator.normal(size=20_000)
    happened = generator.random(20_000) < 1 / (1 + np.exp(-3 * score))
    half = 10_000
    found = calibrate(score[:half], happened[:half].astype(float), bins=15)
    probability = found(np, score[half:])
    overconfident = 1 / (1 + np.exp(-9 * score[half:]))
    told, wrong = (
        reliability(one, happened[half:], bins=10) for one in (probability, overconfident)
    )
    assert np.abs(told.said - told.happened).mean() < 0.02
    assert np.abs(wrong.said - wrong.happened).mean() > 0.06


def test_calibration_is_monotone_bounded_and_interpolates():
    found = calibrate(np.arange(100.0), (np.arange(100) > 40).astype(float), bins=5)
    values = found(np, np.linspace(-50, 150, 401))
    assert (np.diff(values) >= 0).all()
    assert values[0] == found.levels[0]
    assert values[-1] == pytest.approx(found.levels[-1])
    expected = np.interp(np.linspace(-50, 150, 401), found.knots, found.levels)
    np.testing.assert_allclose(values, expected, atol=1e-12)


def test_the_calibration_map_can_be_traced_into_a_graph():
    found = Calibration(knots=np.array([0.0, 1.0, 3.0]), levels=np.array([0.1, 0.4, 0.9]))
    score = ndx.asarray(np.array([-1.0, 0.5, 2.0, 9.0]))
    np.testing.assert_allclose(found(ndx, score).unwrap_numpy(), [0.1, 0.25, 0.65, 0.9])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: split_conformal([1.0], [1.0, 2.0], level=0.9), "do not fit"),
        (lambda: split_conformal([1.0], [1.0], level=1.0), r"level must be in \(0, 1\)"),
        (lambda: adaptive_conformal([1.0], [1.0], level=0.9, rate=0.0), "rate > 0"),
        (lambda: calibrate([1.0, 2.0], [0.0, 2.0]), "0 or 1"),
        (lambda: calibrate([1.0, 1.0], [0.0, 1.0]), "distinct scores"),
        (lambda: stack([], None), "needs a member"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(call, words):
    with pytest.raises(ModelInvalid, match=words):
        call()
