"""Splits and dividends adjust prices by knowledge time; what was read once reads the same later."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.actions import actions_view
from featurestore.calendars import load_calendar
from featurestore.errors import ContractBroken
from featurestore.features import library as f
from featurestore.lake import Lake
from featurestore.store import FeatureStore
from featurestore.views import FeatureView, Field

SESSIONS = load_calendar("XNYS").sessions(date(2020, 1, 2), date(2020, 3, 31))
RAW = FeatureView(
    name="raw",
    entity="symbol",
    fields=(Field(name="close", unit="USD per share, as traded", low=0.0),),
    calendar="XNYS",
    freshness=timedelta(days=5),
    owner="tests",
    description="Closes as they were traded.",
    source="tests",
)
ACTIONS = actions_view("actions", owner="tests", description="Splits, dividends.", source="tests")
ADJUSTED = "raw.close@actions"


def bars(symbol, closes):
    times = [session.close for session in SESSIONS[: len(closes)]]
    return pl.DataFrame(
        {"entity": [symbol] * len(closes), "event_time": times, "known_at": times, "close": closes}
    )


def action(symbol, ex, *, split=1.0, dividend=0.0, known=None, revision=0):
    """An action with ex-date SESSIONS[ex], known at its opening unless said otherwise."""
    opens = SESSIONS[ex].open
    return {
        "entity": symbol,
        "event_time": opens,
        "known_at": known or opens,
        "revision": revision,
        "split": split,
        "dividend": dividend,
    }


def store_of(folder, prices, *actions):
    store = FeatureStore(Lake(str(folder)))
    store.apply(RAW, ACTIONS)
    store.ingest("raw", pl.concat([bars(name, closes) for name, closes in prices.items()]))
    if actions:
        report = store.ingest("actions", pl.DataFrame(list(actions)))
        assert report.quarantined == 0, report.examples
    return store


def adjusted(store, symbols, length, at):
    return store.reader(store.snapshot()).window(ADJUSTED, symbols, length=length, at=at)


def test_a_split_halves_the_prices_before_its_ex_date_and_nothing_after(tmp_path):
    store = store_of(
        tmp_path / "lake",
        {"AAA": [100.0, 102.0, 51.5, 52.0], "BBB": [10.0, 11.0, 12.0, 13.0]},
        action("AAA", 2, split=2.0),
    )
    found = adjusted(store, ["BBB", "AAA"], 4, SESSIONS[3].close)
    np.testing.assert_array_equal(found, [[10, 11, 12, 13], [50, 51, 51.5, 52]])
    before = adjusted(store, ["AAA"], 2, SESSIONS[1].close)
    np.testing.assert_array_equal(before, [[100.0, 102.0]])


def test_a_dividend_makes_the_return_of_its_ex_date_the_total_return(tmp_path):
    store = store_of(
        tmp_path / "lake", {"AAA": [100.0, 104.0, 103.0]}, action("AAA", 2, dividend=2.0)
    )
    found = adjusted(store, ["AAA"], 3, SESSIONS[2].close)[0]
    assert found[2] / found[1] == pytest.approx(103.0 / (104.0 - 2.0))
    assert found[1] / found[0] == pytest.approx(104.0 / 100.0)
    assert found[2] == 103.0


def test_split_and_dividend_on_one_day_and_several_actions_multiply(tmp_path):
    store = store_of(
        tmp_path / "lake",
        {"AAA": [100.0, 100.0, 50.0, 50.0, 25.0]},
        action("AAA", 2, split=2.0, dividend=1.0),
        action("AAA", 4, split=2.0),
    )
    found = adjusted(store, ["AAA"], 5, SESSIONS[4].close)[0]
    np.testing.assert_allclose(found, [100 * 0.99 / 4] * 2 + [25.0, 25.0, 25.0], rtol=1e-15)


def test_an_action_learned_late_changes_no_window_read_before(tmp_path):
    store = store_of(tmp_path / "lake", {"AAA": [100.0, 102.0, 51.5, 52.0, 53.0]})
    early, late = SESSIONS[3].close, SESSIONS[4].close
    decided = adjusted(store, ["AAA"], 4, early)
    store.ingest(
        "actions",
        pl.DataFrame([action("AAA", 2, split=2.0, known=early + timedelta(hours=1))]),
    )
    assert adjusted(store, ["AAA"], 4, early).tobytes() == decided.tobytes()
    np.testing.assert_array_equal(
        adjusted(store, ["AAA"], 5, late), [[50.0, 51.0, 51.5, 52.0, 53.0]]
    )


def test_an_action_called_off_later_is_undone_from_then_on_only(tmp_path):
    store = store_of(
        tmp_path / "lake",
        {"AAA": [100.0, 102.0, 101.0, 103.0]},
        action("AAA", 2, split=2.0),
        action("AAA", 2, split=1.0, known=SESSIONS[3].open, revision=1),
    )
    np.testing.assert_array_equal(
        adjusted(store, ["AAA"], 3, SESSIONS[2].close), [[50.0, 51.0, 101.0]]
    )
    np.testing.assert_array_equal(
        adjusted(store, ["AAA"], 4, SESSIONS[3].close), [[100.0, 102.0, 101.0, 103.0]]
    )


def test_a_dividend_as_large_as_the_price_is_refused_by_name(tmp_path):
    store = store_of(tmp_path / "lake", {"AAA": [2.0, 2.0]}, action("AAA", 1, dividend=2.0))
    with pytest.raises(ContractBroken, match=r"dividend 2\.0 of AAA, ex 2020-01-03, is not less"):
        adjusted(store, ["AAA"], 2, SESSIONS[1].close)


def test_prices_cannot_be_adjusted_by_a_view_of_sessions(tmp_path):
    store = store_of(tmp_path / "lake", {"AAA": [2.0, 2.0]})
    reader = store.reader(store.snapshot())
    with pytest.raises(ContractBroken, match="view raw lies on sessions"):
        reader.window("raw.close@raw", ["AAA"], length=2, at=SESSIONS[1].close)


def test_features_are_computed_on_adjusted_prices_and_know_when_the_action_came(tmp_path):
    said = SESSIONS[4].open
    store = store_of(
        tmp_path / "lake",
        {"AAA": [100.0, 102.0, 51.5, 52.0, 53.0]},
        action("AAA", 2, split=2.0, known=said),
    )
    feature = f.simple_return(ADJUSTED, bars=3)
    assert feature.name == "simple_return(raw.close@actions, bars=3)"
    reader = store.reader(store.snapshot())
    frame = reader.get_historical_features(
        [feature], symbols=["AAA"], start=SESSIONS[3].day, end=SESSIONS[4].day
    ).frame
    assert frame[feature.name].to_list() == [52.0 / 100.0 - 1, 53.0 / 51.0 - 1]
    assert reader.latest(ADJUSTED, ["AAA"], at=SESSIONS[4].close).values[0] == 53.0


def naive(closes, actions, last, at):
    """Adjust one series in plain Python, action by action."""
    out = list(closes[: last + 1])
    for each in actions:
        ex = next(i for i, s in enumerate(SESSIONS) if s.open == each["event_time"])
        if each["known_at"] <= at and ex <= last:
            factor = (1 - each["dividend"] / closes[ex - 1]) / each["split"]
            out = [value * factor if i < ex else value for i, value in enumerate(out)]
    return out


ONE = st.tuples(
    st.integers(1, 11), st.sampled_from([1.0, 2.0, 0.1, 1.5]), st.floats(0, 5), st.integers(0, 6)
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    closes=st.lists(st.floats(20, 200), min_size=12, max_size=12),
    drawn=st.lists(ONE, max_size=4, unique_by=lambda each: each[0]),
)
def test_adjustment_equals_a_naive_loop_at_every_instant(tmp_path_factory, closes, drawn):
    actions = [
        action("AAA", ex, split=split, dividend=paid, known=SESSIONS[min(ex + late, 13)].open)
        for ex, split, paid, late in drawn
    ]
    store = store_of(tmp_path_factory.mktemp("actions") / "lake", {"AAA": closes}, *actions)
    reader = store.reader(store.snapshot())
    for last in range(12):
        at = SESSIONS[last].close
        found = reader.window(ADJUSTED, ["AAA"], length=last + 1, at=at)[0]
        np.testing.assert_allclose(found, naive(closes, actions, last, at), rtol=1e-13)


def test_a_view_without_any_action_yet_leaves_prices_as_they_are(tmp_path):
    store = store_of(tmp_path / "lake", {"AAA": [2.0, 3.0]})
    np.testing.assert_array_equal(adjusted(store, ["AAA"], 2, SESSIONS[1].close), [[2.0, 3.0]])


def test_an_announced_action_is_not_known_before_its_event(tmp_path):
    store = store_of(tmp_path / "lake", {"AAA": [2.0, 3.0]})
    report = store.ingest(
        "actions",
        pl.DataFrame([action("AAA", 5, split=2.0, known=datetime(2020, 1, 2, tzinfo=UTC))]),
    )
    assert report.reasons == {"known too early": 1}
