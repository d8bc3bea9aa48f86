"""Triple-barrier labels against a naive oracle, and the cases where implementations go wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import LabelInputInvalid
from pipelines.labels import Bars, meta_labels, triple_barrier


def oracle(bars, row, column, up, down, horizon, side):
    """The rules of the module's opening lines, one event at a time, in plain Python."""
    price = bars.close[row, column]
    above = price * (1 + (up if side > 0 else down))
    below = price * (1 - (down if side > 0 else up))
    at = price
    for t in range(row + 1, row + horizon + 1):
        if t >= len(bars.close):
            return t - 1, 0, at / price - 1, False
        opened, high, low, c = (
            part[t, column] for part in (bars.open, bars.high, bars.low, bars.close)
        )
        if np.isnan(c):
            continue
        at = c
        if opened <= below:
            return t, -1, opened / price - 1, True
        if opened >= above:
            return t, 1, opened / price - 1, True
        hits = [kind for kind, hit in ((-1, low <= below), (1, high >= above)) if hit]
        if hits:
            touched = -side if len(hits) == 2 else hits[0]
            return t, touched, (above if touched > 0 else below) / price - 1, True
    return row + horizon, 0, at / price - 1, True


@st.composite
def markets(draw):
    """A few bars on a coarse price grid, so that ties and gaps are common; some bars missing."""
    periods, symbols = draw(st.integers(2, 25)), draw(st.integers(1, 3))
    cells = periods * symbols
    grid = st.integers(80, 120)
    ohlc = draw(st.lists(st.tuples(grid, grid, grid, grid), min_size=cells, max_size=cells))
    values = np.array(ohlc, dtype=float)
    low, high = values.min(axis=1), values.max(axis=1)
    parts = [
        column.reshape(periods, symbols).copy()
        for column in (values[:, 0], high, low, values[:, 3])
    ]
    missing = np.array(draw(st.lists(st.integers(0, 9), min_size=cells, max_size=cells))) == 0
    for part in parts:
        part[missing.reshape(periods, symbols)] = np.nan
    return Bars(open=parts[0], high=parts[1], low=parts[2], close=parts[3])


@settings(max_examples=150, deadline=None)
@given(
    bars=markets(),
    up=st.sampled_from([0.01, 0.05, 0.1, 0.25, np.inf]),
    down=st.sampled_from([0.01, 0.05, 0.1, 0.2, np.inf]),
    horizon=st.integers(1, 30),
    side=st.sampled_from([1, -1]),
)
def test_every_label_is_the_one_a_plain_loop_finds(bars, up, down, horizon, side):
    rows, columns = np.nonzero(~np.isnan(bars.close))
    labels = triple_barrier(
        bars, rows, columns=columns, profit=up, stop=down, horizon=horizon, side=side
    )
    for event, (row, column) in enumerate(zip(rows, columns, strict=True)):
        found = (
            labels.ends[event],
            labels.touched[event],
            labels.returns[event],
            labels.complete[event],
        )
        assert found == oracle(bars, row, column, up, down, horizon, side)


def test_a_close_exactly_on_the_barrier_touches_it():
    closes = np.array([100.0, 100.0 * (1 + 0.1), 50.0])
    labels = triple_barrier(closes, [0], profit=0.1, stop=0.1, horizon=2)
    assert (labels.ends[0], labels.touched[0]) == (1, 1)


def test_a_close_one_bit_short_of_the_barrier_does_not():
    closes = np.array([100.0, np.nextafter(100.0 * (1 + 0.1), 0), 100.0])
    labels = triple_barrier(closes, [0], profit=0.1, stop=0.1, horizon=2)
    assert (labels.ends[0], labels.touched[0]) == (2, 0)


def test_a_gap_through_the_stop_loses_the_gap_and_not_the_stop():
    bars = Bars(
        open=np.array([[100.0], [80.0]]),
        high=np.array([[100.0], [95.0]]),
        low=np.array([[100.0], [75.0]]),
        close=np.array([[100.0], [94.0]]),
    )
    labels = triple_barrier(bars, [0], profit=0.1, stop=0.05, horizon=1)
    assert labels.returns[0] == pytest.approx(-0.20)


@pytest.mark.parametrize(("side", "outcome"), [(1, -1), (-1, -1)])
def test_a_bar_that_spans_both_barriers_is_the_loss_of_either_side(side, outcome):
    bars = Bars(
        open=np.array([[100.0], [100.0]]),
        high=np.array([[100.0], [120.0]]),
        low=np.array([[100.0], [80.0]]),
        close=np.array([[100.0], [119.0]]),
    )
    labels = triple_barrier(bars, [0], profit=0.1, stop=0.1, horizon=1, side=side)
    assert labels.outcome[0] == outcome
    assert labels.profit[0] == pytest.approx(-0.10)


def test_a_label_whose_future_is_not_there_yet_says_so():
    labels = triple_barrier(np.array([100.0, 101.0]), [0], profit=0.5, stop=0.5, horizon=5)
    assert not labels.complete[0]
    assert labels.ends[0] == 1


def test_a_halted_name_is_labelled_when_its_horizon_is_over_and_not_at_its_last_trade():
    closes = np.array([100.0, 101.0, np.nan, np.nan, 150.0])
    halted = triple_barrier(closes, [0], profit=0.2, stop=0.2, horizon=3)
    assert (halted.ends[0], halted.touched[0], halted.complete[0]) == (3, 0, True)
    assert halted.returns[0] == pytest.approx(0.01)
    resumed = triple_barrier(closes, [0], profit=0.2, stop=0.2, horizon=4)
    assert (resumed.ends[0], resumed.touched[0]) == (4, 1), "as nobody could know at bar 1"


def test_cutting_the_future_off_never_changes_a_complete_label():
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.01, 400)))
    rows = np.arange(0, 390)
    whole = triple_barrier(closes, rows, profit=0.03, stop=0.02, horizon=10)
    for cut in (50, 200, 399):
        part = triple_barrier(closes[:cut], rows[rows < cut], profit=0.03, stop=0.02, horizon=10)
        known = part.complete
        np.testing.assert_array_equal(part.touched[known], whole.touched[: known.size][known])
        np.testing.assert_array_equal(part.ends[known], whole.ends[: known.size][known])


def test_meta_labels_trade_only_what_paid_more_than_it_cost():
    closes = np.array([100.0, 101.0, 90.0])
    labels = triple_barrier(closes, [0, 1, 1], profit=0.5, stop=0.5, horizon=1, side=[1, 1, -1])
    assert meta_labels(labels).tolist() == [1, 0, 1]
    assert meta_labels(labels, costs=0.02).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": [7]}, "event 0 is at row 7"),
        ({"rows": [1]}, "row 1, which has no close"),
        ({"rows": [0.5]}, "rows must be integers"),
        ({"profit": 0.0}, "must be positive"),
        ({"stop": [0.1, 0.2]}, "one per event"),
        ({"horizon": 0}, "at least 1 bar"),
        ({"side": 0}, "side must be"),
    ],
)
def test_events_that_cannot_be_labelled_are_refused_by_name(changes, words):
    asked = {"rows": [0], "profit": 0.1, "stop": 0.1, "horizon": 1} | changes
    with pytest.raises(LabelInputInvalid, match=words):
        triple_barrier(np.array([100.0, np.nan, 101.0]), **asked)


def test_a_high_below_its_close_is_no_bar():
    one = np.ones((2, 1))
    with pytest.raises(LabelInputInvalid, match="low <= open, close <= high"):
        Bars(open=one, high=one * 0.5, low=one * 0.4, close=one)
