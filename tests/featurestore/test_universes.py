"""Membership is data: who belonged when, as known then; today's over history are flagged."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.calendars import load_calendar
from featurestore.errors import ContractBroken, HistoryMissing, HoldoutSealed, ViewUnknown
from featurestore.features import library as f
from featurestore.lake import Lake
from featurestore.sources.embedded import US_EQUITIES
from featurestore.store import FeatureStore
from featurestore.universes import US_LARGE_CAPS, members_at, membership_view

CLOSE = "us_equities.close"
VIEW = membership_view("big_three", owner="tests", description="Three names.", source="tests")
SESSIONS = load_calendar("XNYS").sessions(date(2020, 1, 2), date(2020, 3, 31))


def change(symbol, day, member, *, known=None, revision=0):
    event = SESSIONS[day].open
    return {
        "entity": symbol,
        "event_time": event,
        "known_at": event if known is None else SESSIONS[known].open,
        "revision": revision,
        "member": member,
    }


# OLD is delisted after session 9 and leaves at the opening of session 10; NEW takes its place.
CHANGES = [
    change("AAA", 0, 1),
    change("BBB", 0, 1),
    change("OLD", 0, 1),
    change("OLD", 10, 0),
    change("NEW", 10, 1),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = FeatureStore(Lake(str(tmp_path_factory.mktemp("universe") / "lake")))
    store.apply(US_EQUITIES, VIEW)
    store.ingest("big_three", pl.DataFrame(CHANGES))
    lives = {"AAA": (0, 30), "BBB": (0, 30), "OLD": (0, 10), "NEW": (4, 30)}
    rows = [
        {"entity": name, "event_time": s.close, "known_at": s.close, "close": 10.0 + i}
        for name, (first, last) in lives.items()
        for i, s in enumerate(SESSIONS[first:last])
    ]
    store.ingest("us_equities", pl.DataFrame(rows))
    return store


@pytest.fixture
def reader(store):
    return store.reader(store.snapshot())


def test_members_are_those_of_the_day(reader):
    assert reader.universe_at("big_three", SESSIONS[9].close).symbols == ("AAA", "BBB", "OLD")
    found = reader.universe_at("big_three", SESSIONS[10].close)
    assert found.symbols == ("AAA", "BBB", "NEW")
    assert not found.survivors
    assert found.as_of == SESSIONS[10].close


def test_who_was_delisted_stays_in_the_lake_and_in_its_years(reader):
    assert "OLD" in reader.symbols("us_equities")
    assert "OLD" in reader.symbols("big_three")
    found = reader.get_historical_features(
        [CLOSE], universe="big_three", start=SESSIONS[8].day, end=SESSIONS[11].day
    )
    days = found.frame.group_by("at", maintain_order=True).agg("entity")
    assert days["entity"].to_list() == [["AAA", "BBB", "OLD"]] * 2 + [["AAA", "BBB", "NEW"]] * 2
    assert found.frame[CLOSE].null_count() == 0
    assert found.is_pit_validated
    assert found.reasons == ()


def test_todays_members_over_history_are_flagged_with_the_reason(reader):
    today = reader.universe_at("big_three", SESSIONS[20].close)
    ask = {"universe": today, "end": SESSIONS[25].day}
    found = reader.get_historical_features([CLOSE], start=SESSIONS[8].day, **ask)
    assert not found.is_pit_validated
    assert "members as of 2020-01-31 are looked at from 2020-01-14 on" in found.reasons[0]
    later = reader.get_historical_features([CLOSE], start=SESSIONS[21].day, **ask)
    assert later.is_pit_validated


def test_a_list_of_survivors_is_flagged_with_its_note(market):
    found = market.get_historical_features(
        [CLOSE], universe=US_LARGE_CAPS, start=date(2016, 12, 1), end=date(2016, 12, 5)
    )
    assert not found.is_pit_validated
    assert "chosen in 2022 among those that lived through" in found.reasons[0]
    days = {"start": date(2016, 12, 1), "end": date(2016, 12, 5)}
    spelled_out = US_LARGE_CAPS.symbols[::-1]
    assert (
        market.get_historical_features([CLOSE], symbols=spelled_out, **days).reasons
        == found.reasons
    )
    assert market.get_historical_features([CLOSE], symbols=spelled_out[:5], **days).reasons == ()


def test_a_rank_is_taken_among_the_members_of_its_day(reader):
    rank = f.rank(f.simple_return(CLOSE, bars=3))
    frame = reader.get_historical_features(
        [rank], universe="big_three", start=SESSIONS[9].day, end=SESSIONS[10].day
    ).frame
    by_day = frame.group_by("at", maintain_order=True).agg("entity", rank.name)
    # On the first day all three rose by the same fraction; NEW is cheaper, so it rose by more.
    assert by_day[rank.name].to_list() == [[0.5, 0.5, 0.5], [0.25, 0.25, 1.0]]


def test_a_change_learned_late_does_not_rewrite_what_was_known(tmp_path):
    store = FeatureStore(Lake(str(tmp_path / "lake")))
    store.apply(VIEW)
    store.ingest("big_three", pl.DataFrame([*CHANGES[:3], change("BBB", 5, 0, known=8)]))
    reader = store.reader(store.snapshot())
    assert "BBB" in reader.universe_at("big_three", SESSIONS[7].close).symbols
    assert "BBB" not in reader.universe_at("big_three", SESSIONS[8].close).symbols


def test_before_anybody_joined_there_is_no_universe(reader):
    with pytest.raises(HistoryMissing, match="big_three has no member known at 2019"):
        reader.universe_at("big_three", datetime(2019, 12, 31, tzinfo=UTC))
    with pytest.raises(ContractBroken, match="no member from 2019-12-02 to 2019-12-31"):
        reader.get_historical_features(
            [CLOSE], universe="big_three", start=date(2019, 12, 2), end=date(2019, 12, 31)
        )


def test_what_is_not_membership_is_refused(reader):
    with pytest.raises(ContractBroken, match="us_equities has no field member"):
        reader.universe_at("us_equities", SESSIONS[3].close)
    with pytest.raises(ViewUnknown, match="no feature view 'nope'"):
        reader.universe_at("nope", SESSIONS[3].close)
    with pytest.raises(ContractBroken, match="symbols or a universe, not both"):
        reader.get_historical_features(
            [CLOSE],
            universe="big_three",
            symbols=["AAA"],
            start=SESSIONS[0].day,
            end=SESSIONS[1].day,
        )


def test_membership_ends_at_the_seal(store):
    seal = SESSIONS[10].open - timedelta(seconds=1)
    sealed = store.reader(store.snapshot(), sealed_from=seal)
    with pytest.raises(HoldoutSealed):
        sealed.universe_at("big_three", SESSIONS[10].close)
    assert sealed.symbols("big_three") == ("AAA", "BBB", "OLD")


@settings(max_examples=10)
@given(
    changes=st.lists(
        st.tuples(st.sampled_from("ABC"), st.integers(0, 20), st.integers(0, 6), st.booleans()),
        min_size=1, max_size=12, unique_by=lambda each: (each[0], each[1]),
    )
)  # fmt: skip
def test_members_equal_a_brute_force_search(tmp_path_factory, changes):
    rows = [change(name, day, int(joins), known=day + late) for name, day, late, joins in changes]
    store = FeatureStore(Lake(str(tmp_path_factory.mktemp("members") / "lake")))
    store.apply(VIEW)
    store.ingest("big_three", pl.DataFrame(rows))
    at = [session.close for session in SESSIONS[:28:3]]
    found = members_at(store.reader(store.snapshot()), "big_three", at)
    for instant, members in zip(at, found, strict=True):
        wanted = set()
        for name in "ABC":
            known = [r for r in rows if r["entity"] == name and r["known_at"] <= instant]
            if known and max(known, key=lambda r: r["event_time"])["member"]:
                wanted.add(name)
        assert set(members) == wanted
