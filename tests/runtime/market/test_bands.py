"""LULD bands and reference price against the vectors of the rules, and their properties."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.calendars import load_calendar
from runtime.domain import Side
from runtime.errors import FeedInvalid, MarketRuleUnknown
from runtime.market.bands import Shown, Tier, bands_of, may_trade, shown
from runtime.market.reference import ReferencePrice
from runtime.market.rules import in_force, market_rules
from runtime.market.states import Bands

D = Decimal
NEW_YORK = ZoneInfo("America/New_York")
DAY = date(2026, 3, 16)
SESSION = load_calendar("XNYS").session(DAY)
LULD = in_force(market_rules().luld, DAY)


def at(text: str, day: date = DAY) -> datetime:
    return datetime.fromisoformat(f"{day}T{text}").replace(tzinfo=NEW_YORK)


def bands(close, reference, time, *, tier=Tier.TWO, leverage="1", day=DAY):
    found = bands_of(
        in_force(market_rules().luld, day),
        tier=tier,
        previous_close=D(close),
        reference=D(reference),
        session=load_calendar("XNYS").session(day),
        at=at(time, day),
        leverage=D(leverage),
    )
    return str(found.lower), str(found.upper)


@pytest.mark.parametrize(
    ("tier", "close", "reference", "time", "expected"),
    [
        (Tier.ONE, "100", "101.37", "12:00", ("96.30", "106.44")),
        (Tier.ONE, "100", "101.37", "15:40", ("91.23", "111.51")),
        (Tier.TWO, "2.50", "2.40", "12:00", ("1.92", "2.88")),
        (Tier.TWO, "2.50", "2.40", "15:40", ("1.44", "3.36")),
        (Tier.TWO, "5.00", "4.00", "15:40", ("3.60", "4.40")),
        (Tier.TWO, "0.50", "0.40", "12:00", ("0.25", "0.55")),
        (Tier.TWO, "0.50", "0.40", "15:40", ("0.10", "0.70")),
        (Tier.TWO, "0.50", "0.16", "12:00", ("0.04", "0.28")),
    ],
)
def test_bands_are_those_of_the_rules_vectors(tier, close, reference, time, expected):
    assert bands(close, reference, time, tier=tier) == expected


@pytest.mark.parametrize(
    ("close", "tier_1", "tier_2"),
    [
        ("3.01", ("9.50", "10.50"), ("9.00", "11.00")),
        ("3.00", ("8.00", "12.00"), ("8.00", "12.00")),
        ("0.75", ("8.00", "12.00"), ("8.00", "12.00")),
        ("0.74", ("9.85", "10.15"), ("9.85", "10.15")),
    ],
)
def test_the_previous_close_picks_the_row_at_its_edges(close, tier_1, tier_2):
    assert bands(close, "10", "12:00", tier=Tier.ONE) == tier_1
    assert bands(close, "10", "12:00", tier=Tier.TWO) == tier_2


@pytest.mark.parametrize(
    ("time", "doubled"),
    [("09:30", False), ("15:34:59.999999", False), ("15:35", True), ("16:00", True)],
)
def test_bands_double_in_the_last_25_minutes_only(time, doubled):
    wide = ("90.00", "110.00") if doubled else ("95.00", "105.00")
    assert bands("100", "100", time, tier=Tier.ONE) == wide


def test_doubling_follows_an_early_close():
    early = date(2026, 11, 27)
    assert bands("100", "100", "12:34", tier=Tier.ONE, day=early) == ("95.00", "105.00")
    assert bands("100", "100", "12:35", tier=Tier.ONE, day=early) == ("90.00", "110.00")


def test_until_february_2020_both_ends_of_the_day_doubled_for_everything():
    before, since = date(2020, 2, 21), date(2020, 2, 24)
    assert bands("100", "100", "09:44:59", day=before) == ("80.00", "120.00")
    assert bands("100", "100", "09:45", day=before) == ("90.00", "110.00")
    assert bands("100", "100", "15:35", day=before) == ("80.00", "120.00")
    assert bands("100", "100", "09:30", day=since) == ("90.00", "110.00")
    assert bands("100", "100", "15:35", day=since) == ("90.00", "110.00")


@pytest.mark.parametrize(("close", "reference"), [("3.01", "2.00"), ("2.00", "3.01")])
def test_where_texts_differ_on_doubling_the_narrower_bands_hold(close, reference):
    assert bands(close, reference, "15:40") == bands(close, reference, "12:00")


def test_a_leveraged_etp_of_tier_2_has_its_percentage_multiplied():
    assert bands("10", "10", "12:00", leverage="2") == ("8.00", "12.00")
    assert bands("10", "10", "12:00", leverage="3") == ("7.00", "13.00")
    assert bands("10", "10", "12:00", tier=Tier.ONE, leverage="3") == ("9.50", "10.50")
    assert bands("0.50", "0.16", "12:00", leverage="3") == ("0.01", "0.31")  # the cap stays


def test_there_are_no_bands_outside_the_session_before_the_plan_or_without_prices():
    for time in ("09:29:59", "16:00:01"):
        with pytest.raises(FeedInvalid, match="outside the regular session"):
            bands("10", "10", time)
    with pytest.raises(FeedInvalid, match="positive prices"):
        bands("0", "10", "12:00")
    with pytest.raises(MarketRuleUnknown, match="2013-04-08"):
        bands("10", "10", "12:00", day=date(2013, 4, 5))


prices = st.decimals("0.0001", "20000", places=4)


@given(st.sampled_from(list(Tier)), prices, prices, st.integers(0, 390 * 60), st.integers(1, 3))
def test_bands_enclose_the_reference_lie_on_cents_and_never_below_zero(
    tier, close, reference, second, leverage
):
    moment = SESSION.open + timedelta(seconds=second)
    found = bands_of(
        LULD, tier=tier, previous_close=close, reference=reference, session=SESSION, at=moment,
        leverage=D(leverage),
    )  # fmt: skip
    assert 0 <= found.lower <= reference + D("0.005")
    assert reference - D("0.005") <= found.upper
    assert all(price == price.quantize(D("0.01")) for price in found)
    widest = D("1.5") if close < D("0.75") else D("0.4") * leverage
    assert found.upper <= reference * (1 + widest) * leverage + D("0.005")
    if close < D("0.75"):
        assert found.upper - reference <= D("0.305")


@given(prices, prices, st.integers(0, 390 * 60))
def test_doubling_only_ever_widens_and_tier_1_is_never_wider_before_it(close, reference, second):
    moment = SESSION.open + timedelta(seconds=second)
    one, two = (
        bands_of(
            LULD, tier=t, previous_close=close, reference=reference, session=SESSION, at=moment
        )
        for t in Tier
    )
    noon = bands_of(
        LULD, tier=Tier.ONE, previous_close=close, reference=reference, session=SESSION,
        at=at("12:00"),
    )  # fmt: skip
    assert one.lower <= noon.lower <= noon.upper <= one.upper
    if moment < at("15:35"):
        assert two.lower <= one.lower <= one.upper <= two.upper


def test_what_becomes_of_quotes_and_trades_at_the_bands():
    limits = Bands(D("95.00"), D("105.00"))
    table = {
        (Side.BUY, "105.01"): Shown.HIDDEN,
        (Side.BUY, "105.00"): Shown.EXECUTABLE,
        (Side.BUY, "94.99"): Shown.NON_EXECUTABLE,
        (Side.SELL, "94.99"): Shown.HIDDEN,
        (Side.SELL, "95.00"): Shown.EXECUTABLE,
        (Side.SELL, "105.01"): Shown.NON_EXECUTABLE,
    }
    assert {key: shown(key[0], D(key[1]), limits) for key in table} == table
    assert [may_trade(D(p), limits) for p in ("94.99", "95", "105", "105.01")] == [
        False, True, True, False,
    ]  # fmt: skip


def reference(start="100"):
    return ReferencePrice(LULD, SESSION.open, D(start))


@pytest.mark.parametrize(
    ("price", "expected"),
    [("100.99", "100"), ("101.00", "101.00"), ("99.01", "100"), ("99.00", "99.00")],
)
def test_a_candidate_one_percent_away_replaces_the_reference_and_a_nearer_one_does_not(
    price, expected
):
    found = reference()
    found.trade(D("100"), at("09:30"), opening=True)
    assert found.move(at("12:00")) == D("100")
    assert found.trade(D(price), at("12:00:01")) == D(expected)


def test_a_new_reference_stands_for_thirty_seconds():
    found = reference()
    found.trade(D("100"), at("09:30"), opening=True)
    assert found.trade(D("110"), at("09:30:29.999")) == D("100")
    assert found.move(at("09:30:30")) == D("105")  # the mean of both


def test_the_reference_is_the_unweighted_mean_of_the_last_five_minutes():
    found = reference()
    found.trade(D("100"), at("09:30"), opening=True)
    found.trade(D("102"), at("09:34"))
    found.trade(D("106"), at("09:34:30"))
    assert found.move(at("09:34:30")) == D("308") / 3
    assert found.move(at("09:35:01")) == D("104")  # the opening trade has left the window
    assert found.move(at("11:00")) == D("104")  # no trades: the old one stays


def test_the_opening_trade_is_the_first_reference_if_it_comes_within_five_minutes():
    soon = reference()
    soon.trade(D("110"), at("09:30:40"))  # another market's trade, before the primary opened
    assert soon.price == D("100")
    assert soon.trade(D("104"), at("09:34:59"), opening=True) == D("104")
    assert soon.move(at("09:36")) == D("104")  # and that trade has left the window
    late = reference()
    late.trade(D("110"), at("09:34:50"))
    assert late.price == D("100")
    assert late.trade(D("104"), at("09:35"), opening=True) == D("107")  # a trade like others
    never = reference()
    assert never.move(at("15:00")) == D("100")


def test_after_a_reopening_earlier_trades_have_left_the_window():
    found = reference()
    found.trade(D("100"), at("09:30"), opening=True)
    found.trade(D("120"), at("09:58"))
    assert found.reopened(D("90"), at("10:00")) == D("90")
    assert found.move(at("10:00:40")) == D("90")


@given(st.lists(st.tuples(st.integers(1, 200), st.decimals("50", "150", places=2)), max_size=30))
def test_the_reference_equals_a_naive_reading_of_the_rule(steps):
    found, naive, since = reference(), D("100"), SESSION.open
    trades = [(SESSION.open, D("100"))]
    found.trade(D("100"), SESSION.open, opening=True)
    now = SESSION.open
    for seconds, price in steps:
        now += timedelta(seconds=seconds)
        trades.append((now, price))
        recent = [p for t, p in trades if (now - t).total_seconds() <= 300]
        mean = sum(recent) / len(recent)
        far = abs(sum(recent) - naive * len(recent)) * 100 >= naive * len(recent)
        if far and (now - since).total_seconds() >= 30:
            naive, since = mean, now
        assert found.trade(price, now) == naive
