"""What no split may do: train on a label that shares a bar with a test label."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score

from pipelines.errors import SplitInvalid
from pipelines.splits import CombinatorialPurged, LabelSpans, PurgedKFold, WalkForward


@st.composite
def spans(draw):
    """Rows with repeated starts, empty stretches and labels of very different length."""
    steps = draw(st.lists(st.integers(0, 4), min_size=12, max_size=60))
    starts = np.cumsum(steps)
    lengths = draw(st.lists(st.integers(0, 9), min_size=len(steps), max_size=len(steps)))
    return LabelSpans(starts, starts + lengths)


def splits_of(kind, labels, embargo):
    try:
        splitter = {
            "kfold": lambda: PurgedKFold(spans=labels, folds=3, embargo=embargo),
            "cpcv": lambda: CombinatorialPurged(spans=labels, folds=5, tested=2, embargo=embargo),
            "walk": lambda: WalkForward(spans=labels, splits=3, embargo=embargo),
        }[kind]()
        return list(splitter.split())
    except SplitInvalid:  # too few bars to train on: refused, not fudged
        return []


@pytest.mark.parametrize("kind", ["kfold", "cpcv", "walk"])
@settings(max_examples=60, deadline=None)
@given(labels=spans(), embargo=st.integers(0, 6))
def test_no_training_label_shares_a_bar_with_a_test_label(kind, labels, embargo):
    for train, test in splits_of(kind, labels, embargo):
        for row in test:
            apart = (labels.ends[train] < labels.starts[row]) | (
                labels.starts[train] > labels.ends[row]
            )
            assert apart.all()
        assert not set(train) & set(test)


@pytest.mark.parametrize("kind", ["kfold", "cpcv"])
@settings(max_examples=60, deadline=None)
@given(labels=spans(), embargo=st.integers(0, 6))
def test_no_training_row_starts_within_the_embargo_after_a_test_label(kind, labels, embargo):
    for train, test in splits_of(kind, labels, embargo):
        for end in labels.ends[test]:
            late = labels.starts[train] - end
            assert not ((late > 0) & (late <= embargo)).any()


@settings(max_examples=60, deadline=None)
@given(labels=spans(), embargo=st.integers(0, 6))
def test_walk_forward_trains_only_on_what_was_known_before(labels, embargo):
    for train, test in splits_of("walk", labels, embargo):
        assert labels.ends[train].max() + embargo < labels.starts[test].min()


@settings(max_examples=40, deadline=None)
@given(labels=spans(), folds=st.integers(3, 6), tested=st.integers(1, 3))
def test_every_path_covers_every_row_once(labels, folds, tested):
    try:
        splitter = CombinatorialPurged(spans=labels, folds=folds, tested=min(tested, folds - 1))
        pieces = list(splitter.split())
    except SplitInvalid:
        return
    rows = splitter.paths([test for _, test in pieces])
    assert rows.shape == (splitter.n_paths, labels.size)
    assert (rows == np.arange(labels.size)).all()
    # Every split's prediction of every fold is used, by exactly one path.
    used = [(int(s), fold) for path in splitter.path_splits() for fold, s in enumerate(path)]
    assert len(set(used)) == len(used) == len(splitter.test_sets) * splitter.tested


def test_the_books_figure_has_fifteen_splits_and_five_paths():
    # Lopez de Prado (2018), section 12.4.1: N = 6, k = 2.
    splitter = CombinatorialPurged(spans=LabelSpans(range(60), range(60)), folds=6, tested=2)
    assert splitter.get_n_splits() == 15
    assert splitter.n_paths == 5
    assert splitter.path_splits()[0].tolist() == [0, 0, 1, 2, 3, 4]


def test_every_row_is_tested_once_by_k_fold():
    labels = LabelSpans(np.repeat(np.arange(40), 5), np.repeat(np.arange(40), 5) + 2)
    tested = np.concatenate([test for _, test in PurgedKFold(spans=labels, folds=4).split()])
    assert tested.tolist() == list(range(200))


def test_a_cross_section_is_never_torn_apart():
    labels = LabelSpans(np.repeat(np.arange(11), 20), np.repeat(np.arange(11), 20) + 1)
    for train, test in PurgedKFold(spans=labels, folds=3).split():
        assert not set(labels.starts[train]) & set(labels.starts[test])


def test_purging_takes_no_more_than_what_overlaps():
    labels = LabelSpans(range(30), np.arange(30) + 3)
    train, test = list(PurgedKFold(spans=labels, folds=3, embargo=2).split())[1]
    assert test.tolist() == list(range(10, 20))
    # Labels of rows 7..9 end inside; the last test label ends at 22, two more bars are embargoed.
    assert train.tolist() == [*range(7), *range(25, 30)]


def test_a_rolling_window_forgets():
    labels = LabelSpans(range(100), range(100))
    for train, test in WalkForward(spans=labels, splits=4, window=15).split():
        assert train.tolist() == list(range(test[0] - 15, test[0]))


def test_scikit_learn_takes_them_as_they_are():
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(120, 3)), generator.normal(size=120)
    labels = LabelSpans(range(120), np.arange(120) + 5)
    for splitter in (
        PurgedKFold(spans=labels, embargo=3),
        WalkForward(spans=labels),
        CombinatorialPurged(spans=labels),
    ):
        scores = cross_val_score(Ridge(), X, y, cv=splitter)
        assert len(scores) == splitter.get_n_splits(X, y)
        GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=splitter).fit(X, y)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: LabelSpans([3, 1], [4, 4]), "row 1 starts before row 0"),
        (lambda: LabelSpans([3], [1]), "row 0 starts at 3 and ends at 1"),
        (lambda: LabelSpans([0.0], [1.0]), "integers"),
        (lambda: PurgedKFold(spans=LabelSpans([1, 1, 1], [1, 1, 1])), "2 to 1 are possible"),
        (lambda: PurgedKFold(spans=LabelSpans(range(9), range(9)), embargo=-1), "embargo"),
        (
            lambda: list(PurgedKFold(spans=LabelSpans(range(9), range(9, 18)), folds=3).split()),
            "leave no row to train on",
        ),
        (
            lambda: list(PurgedKFold(spans=LabelSpans(range(9), range(9)), folds=3).split([1])),
            "the data have 1 rows, the labels 9",
        ),
        (
            lambda: CombinatorialPurged(spans=LabelSpans(range(9), range(9)), folds=3).paths([[1]]),
            "1 splits were predicted, there are 3",
        ),
    ],
)
def test_what_cannot_be_split_is_refused(build, words):
    with pytest.raises(SplitInvalid, match=words):
        build()
