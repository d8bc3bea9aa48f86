"""Tuning, importance and selection on purged folds: resumable, repeatable, every try counted."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.model_selection import KFold

from pipelines.errors import EvaluationUnrecorded, ModelInvalid
from pipelines.ledger import open_ledger
from pipelines.models.counting import LedgerCounter
from pipelines.models.importance import (
    clustered_importance,
    feature_clusters,
    named,
    permutation_importance,
)
from pipelines.models.learners import Learner
from pipelines.models.scoring import (
    Problem,
    cross_score,
    fitted_splits,
    information_coefficient,
    out_of_fold,
)
from pipelines.models.selection import select_features
from pipelines.models.tuning import Between, tune
from pipelines.splits import CombinatorialPurged, LabelSpans, PurgedKFold
from runtime.clock import ReplayClock
from tests.fakes.studies import small_study

RIDGE = Learner(kind="ridge")
SPACE = {"alpha": Between(low=1e-3, high=1e3, log=True)}


@pytest.fixture(scope="module")
def problem():
    """60 dates x 10 names; feature 0 works, 1 and 2 copy it, 3 works alone, 4 and 5 are noise."""
    generator = np.random.default_rng(7)
    dates = np.repeat(np.arange(60), 10)
    X = generator.normal(size=(600, 6))
    X[:, 1] = X[:, 0] + 0.1 * generator.normal(size=600)
    X[:, 2] = X[:, 0] + 0.1 * generator.normal(size=600)
    y = X[:, 0] + 0.6 * X[:, 3] + generator.normal(size=600)
    return Problem(
        X=X, y=y, dates=dates, splitter=PurgedKFold(spans=LabelSpans(dates, dates + 2), folds=4)
    )


@pytest.fixture
def counter(tmp_path):
    ledger = open_ledger(
        f"sqlite:///{tmp_path / 'ledger.db'}",
        clock=ReplayClock(datetime(2024, 1, 2, tzinfo=UTC)),
        anchor=None,
    )
    ledger.declare_study(small_study().declaration())
    return LedgerCounter(
        ledger=ledger, study="small", code_hash="c", shape_hash="s", snapshot_hash="d"
    )


def test_a_search_that_was_cut_off_ends_like_one_that_was_not(database_url, problem):
    options = {"seed": 3, "counter": None, "storage": database_url}
    whole = tune(RIDGE, SPACE, problem, name="whole", tries=10, **options)
    tune(RIDGE, SPACE, problem, name="parts", tries=4, **options)
    again = tune(RIDGE, SPACE, problem, name="parts", tries=10, **options)
    assert again == whole
    assert again.tries == 10


def test_a_try_that_died_stays_counted(tmp_path, problem):
    import optuna

    url = f"sqlite:///{tmp_path / 'search.db'}"
    study = optuna.create_study(storage=url, study_name="cut", direction="maximize")
    study.ask()  # a process that was killed here leaves it running
    found = tune(RIDGE, SPACE, problem, name="cut", tries=4, seed=0, counter=None, storage=url)
    assert found.tries == 4
    assert len(found.scores) == 3


def test_every_try_of_a_search_counts_and_says_its_score(problem, counter):
    tune(RIDGE, SPACE, problem, name="ridge", tries=6, seed=0, counter=counter)
    trials = counter.ledger.trials("small")
    assert len(trials) == 6
    assert {trial.status for trial in trials} == {"pruned"}
    assert all("inner score" in trial.reason for trial in trials)


@pytest.mark.parametrize("looked_at", ["in_kernel", "at_a_prompt"])
def test_a_search_or_selection_that_nobody_counts_is_refused_where_a_person_looks_on(
    problem, monkeypatch, looked_at
):
    monkeypatch.setattr(f"pipelines.door.{looked_at}", lambda: True)
    with pytest.raises(EvaluationUnrecorded, match="count_tries"):
        tune(RIDGE, SPACE, problem, name="ridge", tries=1, seed=0, counter=None)
    with pytest.raises(EvaluationUnrecorded, match="count_tries"):
        select_features(RIDGE, problem, name="drop", seed=0, counter=None)
    with pytest.raises(EvaluationUnrecorded, match="count_tries"):
        cross_score(RIDGE, problem, counter=None)
    with pytest.raises(EvaluationUnrecorded, match="count_tries"):
        permutation_importance(RIDGE, problem, seed=0)
    with pytest.raises(EvaluationUnrecorded, match="that no cross_score"):
        out_of_fold(RIDGE, problem)
    with pytest.raises(EvaluationUnrecorded, match="that no cross_score"):
        next(fitted_splits(RIDGE, problem))


@pytest.mark.parametrize("looked_at", ["in_kernel", "at_a_prompt"])
def test_what_is_counted_may_be_seen_where_a_person_looks_on(
    problem, counter, monkeypatch, looked_at
):
    monkeypatch.setattr(f"pipelines.door.{looked_at}", lambda: True)
    tune(RIDGE, SPACE, problem, name="ridge", tries=1, seed=0, counter=counter)
    assert len(select_features(RIDGE, problem, name="s", seed=0, counter=counter).tried) > 1
    assert cross_score(RIDGE, problem, counter=counter).shape == (4,)
    with pytest.raises(EvaluationUnrecorded):
        out_of_fold(RIDGE, problem)  # being answered for ended with the try


def test_each_scored_configuration_counts_once(problem, counter):
    def tries():
        return counter.ledger.trials("small")

    cross_score(RIDGE, problem, counter=counter)
    (one,) = tries()
    assert one.status == "pruned"
    assert "cross_score: mean score" in one.reason
    careless = replace(problem, splitter=KFold(4, shuffle=True, random_state=0))
    cross_score(RIDGE, careless, counter=counter)  # the same configuration, split otherwise
    permutation_importance(RIDGE, problem, seed=0, repeats=1, counter=counter)
    assert len(tries()) == 1
    cross_score(replace(RIDGE, settings={"alpha": 2.0}), problem, counter=counter)
    cross_score(replace(RIDGE, seed=1), problem, counter=counter)
    cross_score(RIDGE, problem.columns(np.array([0, 1])), counter=counter)
    assert len(tries()) == 4
    with pytest.raises(ModelInvalid):
        cross_score(replace(RIDGE, settings={"alpha": -1.0}), problem, counter=counter)
    assert [trial.status for trial in tries()].count("failed") == 1


def test_tries_answer_for_the_run_they_were_made_in(problem, counter):
    counter = replace(counter, run="a-run")
    tune(RIDGE, SPACE, problem, name="ridge", tries=2, seed=0, counter=counter)
    assert {trial.run for trial in counter.ledger.trials("small")} == {"a-run"}


def test_a_failing_try_counts_too(problem, counter):
    space = {"alpha": (1.0, -1.0)}
    found = tune(RIDGE, space, problem, name="bad", tries=12, seed=1, counter=counter)
    assert {t.status for t in counter.ledger.trials("small")} == {"pruned", "failed"}
    assert found.learner.settings["alpha"] == 1.0
    with pytest.raises(ModelInvalid, match="all of 2 tries failed"):
        tune(RIDGE, {"alpha": (-1.0,)}, problem, name="worse", tries=2, seed=1, counter=counter)


def test_the_search_finds_the_better_setting(problem):
    space = {"num_leaves": (2, 8), "n_estimators": (1, 30), "min_child_samples": (5,)}
    found = tune(
        Learner(kind="lightgbm"), space, problem, name="trees", tries=10, seed=0, counter=None
    )
    assert found.learner.settings["n_estimators"] == 30
    assert found.score == max(found.scores)


def test_out_of_fold_predictions_cover_every_row_once(problem):
    predicted, tested = out_of_fold(RIDGE, problem)
    assert tested.all()
    assert information_coefficient(problem.y, predicted, problem.dates) > 0.5
    spans = LabelSpans(problem.dates, problem.dates + 2)
    many = Problem(
        X=problem.X,
        y=problem.y,
        dates=problem.dates,
        splitter=CombinatorialPurged(spans=spans, folds=5),
    )
    assert out_of_fold(RIDGE, many)[1].all()
    assert cross_score(RIDGE, many, counter=None).shape == (10,)


def test_the_score_is_scipys_spearman_averaged_over_dates():
    generator = np.random.default_rng(0)
    for sizes in ([6] * 5, [6, 4, 9, 5, 3]):
        dates = np.repeat(np.arange(5), sizes)
        y, predicted = generator.normal(size=(2, dates.size)).round(1)
        each = [spearmanr(y[dates == d], predicted[dates == d]).statistic for d in range(5)]
        found = information_coefficient(y, predicted, dates)
        assert found == pytest.approx(np.mean(each))


def test_a_constant_opinion_has_no_skill():
    dates = np.repeat(np.arange(5), 4)
    assert information_coefficient(np.arange(20.0), np.ones(20), dates) == 0.0


def test_shuffling_one_of_three_copies_hides_what_shuffling_all_shows(problem):
    trees = Learner(kind="random_forest", settings={"n_estimators": 15, "max_depth": 5})
    alone = permutation_importance(trees, problem, seed=0, repeats=3)
    together = clustered_importance(trees, problem, seed=0, repeats=3)
    assert (0, 1, 2) in together.groups
    copies = together.groups.index((0, 1, 2))
    assert together.loss[copies] > 2 * alone.loss[:3].max()
    assert together.order[0] == copies
    assert abs(alone.loss[4]) < 0.05
    top = named(together, ["a", "b", "c", "d", "e", "f"])[0]
    assert top[0] == "a, b, c"
    assert 0 < top[2] < top[1]


def test_a_line_loses_what_its_coefficient_says(problem):
    # Of squared error, a shuffle of x costs 2 b cov(r, x), r = what the rest of the line leaves.
    def less_error(y, predicted, dates):
        return -float(np.mean((y - predicted) ** 2))

    found = permutation_importance(
        RIDGE, problem, seed=0, repeats=200, groups=((3,),), score=less_error
    )
    expected = []
    for fitted, test in fitted_splits(RIDGE, problem):
        slope = fitted[-1].coef_[3] / fitted[0].scale_[3]
        X, y = problem.X[test], problem.y[test]
        rest = y - (fitted.predict(X) - slope * X[:, 3])
        expected.append(2 * slope * np.cov(rest, X[:, 3], ddof=0)[0, 1])
    assert found.loss[0] == pytest.approx(np.mean(expected), rel=0.02)


def test_equal_seeds_give_equal_importances(problem):
    one, two, other = (permutation_importance(RIDGE, problem, seed=s, repeats=1) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.loss, two.loss)
    assert (one.loss != other.loss).any()


def test_clusters_find_the_copies(problem):
    assert (0, 1, 2) in feature_clusters(problem.X)
    assert feature_clusters(problem.X[:, [0, 4]]) == ((0,), (1,))


def test_selection_drops_noise_and_counts_every_subset(problem, counter):
    found = select_features(RIDGE, problem, name="drop", seed=0, counter=counter)
    assert 3 in found.columns
    assert {0, 1, 2} & set(found.columns)
    assert len(found.tried) >= 3
    assert len(counter.ledger.trials("small")) == len(found.tried)
    assert found.score == max(score for _, score in found.tried)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: tune(RIDGE, {}, p, name="x", tries=1, seed=0, counter=None), "settings"),
        (lambda p: Between(low=0.0, high=1.0, log=True), "log scale"),
        (lambda p: permutation_importance(RIDGE, p, seed=0, groups=((9,),)), "columns 0 to 5"),
        (lambda p: Problem(X=p.X, y=p.y[:3], dates=p.dates, splitter=p.splitter), "3 targets"),
    ],
)
def test_searches_of_nothing_are_refused(problem, call, words):
    with pytest.raises(ModelInvalid, match=words):
        call(problem)
