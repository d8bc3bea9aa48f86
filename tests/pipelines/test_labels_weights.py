"""Uniqueness, sequential bootstrap and scaled targets: the book's example and plain loops."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import LabelInputInvalid
from pipelines.labels import (
    average_uniqueness,
    concurrency,
    ewm_volatility,
    scaled_targets,
    sequential_bootstrap,
)

# Lopez de Prado (2018), section 4.5.3: three labels over six bars.
STARTS, ENDS = [0, 2, 4], [2, 3, 5]


def test_uniqueness_is_that_of_the_books_worked_example():
    assert concurrency(STARTS, ENDS).tolist() == [1, 1, 2, 1, 1, 1]
    assert average_uniqueness(STARTS, ENDS) == pytest.approx([5 / 6, 3 / 4, 1.0])


def test_second_draw_has_the_probabilities_of_the_books_worked_example():
    # Given that the second label was drawn first: 5/14, 3/14, 6/14.
    drawn = np.array(
        [sequential_bootstrap(STARTS, ENDS, draws=2, seed=seed) for seed in range(30_000)]
    )
    second = drawn[drawn[:, 0] == 1, 1]
    shares = np.bincount(second, minlength=3) / second.size
    error = 4 * 0.5 / np.sqrt(second.size)  # four standard errors at most
    assert shares == pytest.approx([5 / 14, 3 / 14, 6 / 14], abs=error)


@settings(max_examples=80, deadline=None)
@given(
    spans=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 15)), min_size=1, max_size=30),
    kinds=st.integers(1, 3),
)
def test_uniqueness_is_what_counting_bar_by_bar_gives(spans, kinds):
    starts = np.array([start for start, _ in spans])
    ends = starts + [width for _, width in spans]
    groups = np.arange(len(spans)) % kinds
    expected = []
    for i in range(len(spans)):
        shares = [
            1
            / sum(
                g == groups[i] and a <= bar <= b
                for a, b, g in zip(starts, ends, groups, strict=True)
            )
            for bar in range(starts[i], ends[i] + 1)
        ]
        expected.append(sum(shares) / len(shares))
    assert average_uniqueness(starts, ends, groups=groups) == pytest.approx(expected, rel=1e-9)


def test_labels_that_never_meet_are_wholly_unique():
    assert average_uniqueness([0, 10, 20], [9, 19, 29]).tolist() == [1.0, 1.0, 1.0]


def test_copies_of_one_label_share_it():
    assert average_uniqueness([3] * 4, [8] * 4) == pytest.approx([0.25] * 4)


def test_volatility_is_pandas_exponential_moment():
    closes = 50 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.02, (200, 2)), axis=0))
    squares = pd.DataFrame(closes).pct_change().iloc[1:] ** 2
    expected = np.sqrt(squares.ewm(span=20, adjust=True).mean()).to_numpy()
    np.testing.assert_allclose(ewm_volatility(closes, span=20)[20:], expected[19:], rtol=1e-12)
    assert np.isnan(ewm_volatility(closes, span=20)[:20]).all()


def test_a_target_is_the_return_after_the_fill_in_units_of_known_risk():
    closes = 50 * np.exp(np.cumsum(np.random.default_rng(2).normal(0, 0.02, (120, 3)), axis=0))
    targets = scaled_targets(closes, horizon=5, span=20, delay=1)
    sigma = ewm_volatility(closes, span=20)
    t = 60
    expected = (closes[t + 6] / closes[t + 1] - 1) / (sigma[t] * np.sqrt(5))
    np.testing.assert_allclose(targets.values[t], expected, rtol=1e-14)
    assert targets.ends[t] == t + 6
    assert np.isnan(targets.values[-6:]).all()
    assert not np.isnan(targets.values[20:-6]).any()


def test_a_target_changes_with_no_price_beyond_its_end():
    closes = 50 * np.exp(np.cumsum(np.random.default_rng(2).normal(0, 0.02, (120, 1)), axis=0))
    changed = closes.copy()
    changed[67:] *= 2
    before, after = (scaled_targets(c, horizon=5, span=20, delay=1) for c in (closes, changed))
    np.testing.assert_array_equal(before.values[:61], after.values[:61])
    assert before.values[61, 0] != after.values[61, 0]


def test_a_label_that_ends_before_it_starts_is_refused():
    with pytest.raises(LabelInputInvalid, match="label 1 runs from bar 5 to bar 4"):
        average_uniqueness([0, 5], [3, 4])
