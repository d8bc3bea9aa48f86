"""The LULD state machine: every transition at its exact second, and only the right ways out."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.calendars import load_calendar
from runtime.errors import FeedInvalid
from runtime.market.bands import Tier
from runtime.market.luld import LuldMachine
from runtime.market.rules import in_force, market_rules
from runtime.market.states import Bands, MarketState

D = Decimal
NEW_YORK = ZoneInfo("America/New_York")
DAY = date(2026, 3, 16)
SESSION = load_calendar("XNYS").session(DAY)
LULD = in_force(market_rules().luld, DAY)
S = MarketState


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{DAY}T{text}").replace(tzinfo=NEW_YORK)


def machine(tier=Tier.ONE, close="100") -> LuldMachine:
    """Opened at 100: bands 95.00 to 105.00."""
    found = LuldMachine(rules=LULD, session=SESSION, tier=tier, previous_close=D(close))
    found.trade(D(close), at("09:30"), opening=True)
    return found


def quote(found, bid, offer, time):
    return found.quote(None if bid is None else D(bid), None if offer is None else D(offer), time)


@pytest.mark.parametrize(
    ("bid", "offer", "expected"),
    [
        ("99.99", "100.01", S.NORMAL),
        ("95.00", "105.00", S.NORMAL),
        ("104.99", "105.00", S.NORMAL),
        ("105.00", "105.01", S.LIMIT),
        ("105.00", None, S.LIMIT),
        ("94.99", "95.00", S.LIMIT),
        (None, "95.00", S.LIMIT),
        ("94.99", "100.00", S.STRADDLE),
        ("100.00", "105.01", S.STRADDLE),
        ("94.99", None, S.STRADDLE),
        ("105.00", "104.99", S.NORMAL),  # crossed: no limit state
        ("105.01", "105.02", S.UNKNOWN),  # not displayed, so the quote is wrong
        ("94.98", "94.99", S.UNKNOWN),
        (None, None, S.UNKNOWN),
    ],
)
def test_best_quotes_against_the_bands_give_the_state(bid, offer, expected):
    found = machine()
    assert found.bands == Bands(D("95.00"), D("105.00"))
    assert quote(found, bid, offer, at("12:00")) is expected


def test_a_symbol_nobody_has_quoted_is_unknown():
    assert machine().state is S.UNKNOWN


@pytest.mark.parametrize(
    ("cleared", "expected"), [("12:00:14.999", S.NORMAL), ("12:00:15.000", S.PAUSE)]
)
def test_a_limit_state_ends_in_15_seconds_or_becomes_a_pause(cleared, expected):
    found = machine()
    quote(found, "105.00", "105.10", at("12:00"))
    quote(found, "105.00", "105.20", at("12:00:10"))  # another quote, the same limit state
    assert quote(found, "104.00", "104.10", at(cleared)) is expected


def test_a_pause_begins_when_the_15_seconds_are_over_not_when_somebody_looks():
    found = machine()
    quote(found, "105.00", "105.10", at("12:00"))
    found.advance(at("12:03"))
    assert (found.state, found.since) == (S.PAUSE, at("12:00:15"))
    assert found.reopens == at("12:05:15")


def test_a_straddle_ends_with_its_quotes_or_by_declaration():
    found = machine()
    quote(found, "94.99", "100.00", at("12:00"))
    found.advance(at("12:30"))
    assert found.state is S.STRADDLE  # no timer
    assert quote(found, "99.00", "100.00", at("12:31")) is S.NORMAL
    quote(found, "94.99", "100.00", at("12:32"))
    assert found.pause(at("12:33")) is S.PAUSE


def test_a_pause_ends_in_a_reopening_and_never_because_its_timer_ran_out():
    found = machine()
    found.pause(at("12:00"))
    found.advance(at("14:00"))
    quote(found, "100.00", "100.01", at("14:00"))
    found.trade(D("100"), at("14:00"))
    assert found.state is S.PAUSE
    assert found.reopen(D("98"), at("14:01")) is S.UNKNOWN  # nobody quotes yet
    assert found.bands == Bands(D("93.10"), D("102.90"))
    assert quote(found, "98.00", "98.01", at("14:01")) is S.NORMAL


def test_a_reopening_before_the_five_minutes_or_their_extension_is_not_believed():
    found = machine()
    found.pause(at("12:00"))
    with pytest.raises(FeedInvalid, match="before the pause ends"):
        found.reopen(D("98"), at("12:04:59"))
    found.extend(at("12:04:59"))
    with pytest.raises(FeedInvalid, match="before the pause ends"):
        found.reopen(D("98"), at("12:09:59"))
    assert found.state is S.PAUSE
    found.reopen(D("98"), at("12:10"))
    with pytest.raises(FeedInvalid, match="nothing reopens"):
        found.reopen(D("98"), at("12:11"))


@pytest.mark.parametrize(
    ("declared", "looked", "expected"),
    [
        ("15:40", "15:49:59", S.PAUSE),
        ("15:40", "15:50", S.CLOSE_ONLY),
        ("15:50", "15:50", S.CLOSE_ONLY),
        ("15:59", "15:59", S.CLOSE_ONLY),
    ],
)
def test_a_pause_in_the_last_ten_minutes_is_close_only(declared, looked, expected):
    found = machine()
    found.pause(at(declared))
    assert found.advance(at(looked)) is expected
    if expected is S.CLOSE_ONLY:
        with pytest.raises(FeedInvalid, match="nothing reopens"):
            found.reopen(D("100"), at("16:00"))
        assert quote(found, "100.00", "100.01", at("16:00")) is S.CLOSE_ONLY


def test_bands_stand_still_in_a_limit_state_and_move_with_the_clock_elsewhere():
    found = machine()
    quote(found, "105.00", "105.10", at("15:34:50"))
    found.advance(at("15:35"))
    assert found.bands == Bands(D("95.00"), D("105.00"))
    quote(found, "104.00", "104.10", at("15:35:01"))
    assert found.advance(at("15:35:02")) is S.NORMAL
    assert found.bands == Bands(D("90.00"), D("110.00"))


def test_time_that_runs_backwards_or_out_of_the_session_is_refused():
    found = machine()
    found.advance(at("12:00"))
    for moment in (at("11:59"), at("16:01")):
        with pytest.raises(FeedInvalid):
            found.advance(moment)


events = st.lists(
    st.tuples(
        st.sampled_from(["quote", "trade", "pause", "extend", "reopen", "wait"]),
        st.integers(0, 400),
        st.integers(88, 112),
        st.integers(0, 3),
    ),
    max_size=40,
)


@given(st.sampled_from(list(Tier)), events)
def test_whatever_happens_a_pause_lasts_five_minutes_and_close_only_is_for_good(tier, steps):
    found, now, paused = machine(tier), SESSION.open, None
    for what, seconds, price, spread in steps:
        now = min(now + timedelta(seconds=seconds), SESSION.close)
        before = found.state
        try:
            if what == "quote":
                found.quote(D(price), D(price) + spread, now)
            elif what == "trade":
                found.trade(D(price), now)
            elif what == "reopen":
                found.reopen(D(price), now)
            elif what == "wait":
                found.advance(now)
            else:
                getattr(found, what)(now)
        except FeedInvalid:
            assert what == "reopen"
        if before is S.CLOSE_ONLY:
            assert found.state is S.CLOSE_ONLY
        if found.state is S.PAUSE and before is not S.PAUSE:
            paused = found.since
        if before is S.PAUSE and found.state not in (S.PAUSE, S.CLOSE_ONLY):
            assert what == "reopen"
            assert now - paused >= timedelta(minutes=5)
        if found.state in (S.PAUSE, S.CLOSE_ONLY) and now >= at("15:50"):
            assert found.state is S.CLOSE_ONLY
        if found.state is S.LIMIT:
            assert now - found.since < timedelta(seconds=15)
        if found.state is S.NORMAL:
            assert found._bid is None or found.bands.lower <= found._bid <= found.bands.upper
