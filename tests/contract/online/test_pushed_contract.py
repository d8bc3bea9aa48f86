"""Bars that are pushed move the online store on as a materialization would, or are refused."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import ContractBroken, HistoryMissing
from featurestore.online import open_online
from featurestore.online.cells import ABSENT, Update, pack
from featurestore.online.layout import Column
from featurestore.times import micros
from tests.contract.online.asked import AT, BARS, CLOSE, EARLIER


def bars(market, start: datetime, end: datetime, symbols=("SP500",)) -> pl.DataFrame:
    """Rows as a feed would push them: those of the lake."""
    frames = [
        market.history(f"us_index_bars.{field.name}", symbols, start.date(), end.date())
        for field in market.view("us_index_bars").fields
    ]
    whole = frames[0]
    for frame in frames[1:]:
        whole = whole.join(frame.drop("known_at"), on=["symbol", "event_time"])
    return whole.rename({"symbol": "entity"})


def test_pushed_bars_move_points_and_windows_on_as_a_materialization_would(online, market):
    view, later = market.view("us_index_bars"), AT + timedelta(days=6)
    online.materialize(market, BARS, ["SP500"], at=AT, windows={BARS[0]: 60})
    frame = bars(market, AT + timedelta(days=1), later).reverse()
    assert frame.height == 3  # Independence Day is no session
    applied = online.push(view, frame, at=later)
    assert (applied.kept, applied.late) == (0, 0)
    truth = market.window(BARS[0], ["SP500"], length=60, at=later)
    assert online.window(BARS[0], ["SP500"], length=60, at=later).tobytes() == truth.tobytes()
    got = online.get_online_features(BARS, ["SP500"], now=later)
    latest = [market.latest(feature, ["SP500"], at=later).values[0] for feature in BARS]
    assert got.values.tolist() == [latest]
    assert online.push(view, frame, at=later).written <= len(view.fields)  # equal values again
    assert online.window(BARS[0], ["SP500"], length=60, at=later).tobytes() == truth.tobytes()


def test_a_bar_that_leaves_a_hole_in_a_window_is_refused_and_nothing_is_written(online, market):
    view, later = market.view("us_index_bars"), AT + timedelta(days=6)
    online.materialize(market, BARS, ["SP500"], at=AT, windows={BARS[0]: 60})
    frame = bars(market, AT + timedelta(days=1), later)[1:]
    with pytest.raises(HistoryMissing, match="does not follow it; push session 2018-07-02 first"):
        online.push(view, frame, at=later)
    got = online.get_online_features(BARS, ["SP500"], now=AT)
    assert got.event_times.tolist() == [[micros(CLOSE)] * 2]


def test_a_late_bar_leaves_the_newer_ones_and_is_counted(online, market):
    view = market.view("us_index_bars")
    online.materialize(market, BARS, ["SP500"], at=AT, windows={BARS[0]: 60})
    applied = online.push(view, bars(market, EARLIER, EARLIER), at=AT)
    assert (applied.kept, applied.late) == (2, 1)  # two points and one window stand
    truth = market.window(BARS[0], ["SP500"], length=60, at=AT)
    assert online.window(BARS[0], ["SP500"], length=60, at=AT).tobytes() == truth.tobytes()


def test_a_pushed_correction_replaces_the_newest_bar_and_nothing_else(online, market):
    view = market.view("us_index_bars")
    online.materialize(market, BARS, ["SP500"], at=AT, windows={BARS[0]: 3})
    frame = bars(market, CLOSE, CLOSE).with_columns(
        close=pl.col("close") + 1.0, known_at=pl.col("known_at") + timedelta(hours=2)
    )
    frame = frame.with_columns(revision=pl.lit(1), high=pl.max_horizontal("high", "close"))
    online.push(view, frame, at=AT + timedelta(hours=3))
    now = AT + timedelta(hours=4)
    truth = market.window(BARS[0], ["SP500"], length=3, at=AT)[0].tolist()
    got = online.window(BARS[0], ["SP500"], length=3, at=now)[0].tolist()
    assert got == [*truth[:2], truth[2] + 1.0]
    assert online.get_online_features(BARS[:1], ["SP500"], now=now).values[0, 0] == truth[2] + 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"close": -1.0}, "value out of range"),
        ({"known_at": AT + timedelta(days=400)}, "known in the future"),
        ({"event_time": CLOSE + timedelta(minutes=1)}, "known too early"),
    ],
)
def test_a_pushed_row_that_breaks_the_contract_is_refused(online, market, change, message):
    frame = bars(market, CLOSE, CLOSE).with_columns(
        **{name: pl.lit(value) for name, value in change.items()}
    )
    with pytest.raises(ContractBroken, match=message):
        online.push(market.view("us_index_bars"), frame, at=AT)
    assert online.symbols() == ()


cell = st.tuples(
    st.sampled_from(["A", "B", "C"]),
    st.sampled_from(["v.x", "v.y"]),
    st.integers(0, 4),  # event time
    st.integers(0, 3),  # knowledge time after it
)


@given(st.lists(cell, min_size=1, max_size=25), st.randoms(use_true_random=False))
def test_updates_in_any_order_end_with_the_newest_known_value_of_the_newest_event(cells, random):
    def column(feature: str) -> Column:
        return Column(feature=feature, version_hash="0" * 64, freshness=1, availability=0)

    expected: dict[tuple[str, str], tuple[int, int]] = {}
    for symbol, feature, event, lag in cells:
        rank = (event, event + lag)
        expected[symbol, feature] = max(expected.get((symbol, feature), rank), rank)
    online = open_online("memory://")
    shuffled = [*cells, *cells]
    random.shuffle(shuffled)
    for symbol, feature, event, lag in shuffled:
        value = np.array([[100.0 * event + lag]])
        packed = pack(value, np.array([[event]]), np.array([[event + lag]]))
        online.backend.apply(
            Update(columns=(column(feature),), symbols=(symbol,), packed=packed, at=event + lag)
        )
    for (symbol, feature), (event, known) in expected.items():
        got = online.backend.read([feature], [symbol]).packed[0, :, 0]
        assert got[1:].tolist() == [event, known]
        assert got[:1].view(np.float64)[0] == 100.0 * event + (known - event)
    held = online.backend.read(online.features(), online.symbols()).packed[:, 1]
    assert int((held != ABSENT).sum()) == len(expected)
