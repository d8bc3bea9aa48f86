"""Breakers, halts, short sales, ticks, lots and phases, each against the numbers of the rules."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.calendars import Calendar, Session, load_calendar
from runtime.errors import FeedInvalid, MarketRuleUnknown
from runtime.execution.ticks import tick_grid
from runtime.market.breakers import CircuitBreaker, breaker_levels
from runtime.market.fees import sale_fees
from runtime.market.halts import EVERYTHING, HaltBook
from runtime.market.lots import round_lot
from runtime.market.phases import Phase, phase, settles_on
from runtime.market.rules import in_force, market_rules, parse_rules
from runtime.market.shorts import Marking, PriceTest, marking, passes_price_test, sale_parts
from runtime.market.states import MarketState

D = Decimal
NEW_YORK = ZoneInfo("America/New_York")
XNYS = load_calendar("XNYS")
DAY, EARLY = date(2026, 3, 16), date(2026, 11, 27)
SPRING = date(2026, 5, 4)
RULES = market_rules()


def at(text: str, day: date = DAY) -> datetime:
    return datetime.fromisoformat(f"{day}T{text}").replace(tzinfo=NEW_YORK)


def breaker(day=DAY) -> CircuitBreaker:
    rules = in_force(RULES.breaker, day)
    return CircuitBreaker(rules=rules, session=XNYS.session(day), previous_close=D("6000.00"))


def test_the_levels_of_the_rules_vector():
    rules = in_force(RULES.breaker, DAY)
    assert [str(level) for level in breaker_levels(rules, D("6000.00"))] == [
        "5580.00",
        "5220.00",
        "4800.00",
    ]


@pytest.mark.parametrize(
    ("value", "time", "code", "minutes"),
    [
        ("5580.01", "10:00", None, None),
        ("5580.00", "10:00", "MWC1", 15),
        ("5220.00", "10:00", "MWC2", 15),
        ("5220.00", "15:24:59", "MWC2", 15),
        ("5580.00", "15:25", None, None),
        ("5220.00", "15:25", None, None),
        ("4800.00", "15:25", "MWC3", None),
        ("4800.00", "10:00", "MWC3", None),
        ("4000.00", "09:29:59", None, None),
        ("4000.00", "16:00", None, None),
    ],
)
def test_each_level_halts_at_its_drop_and_before_its_cut_off(value, time, code, minutes):
    found = breaker().index(D(value), at(time))
    assert (found and found.code) == code
    if found:
        assert found.until == (minutes and at(time) + timedelta(minutes=minutes))


def test_levels_1_and_2_halt_once_a_day_each_and_3_closes_it():
    found = breaker()
    assert found.index(D("5580"), at("10:00")).level == 1
    assert found.index(D("5500"), at("10:30")) is None
    assert found.index(D("5900"), at("11:00")) is None
    assert found.index(D("5580"), at("11:30")) is None
    assert found.index(D("5220"), at("12:00")).level == 2
    assert found.index(D("4800"), at("12:30")).until is None
    assert found.index(D("4000"), at("12:31")) is None


def test_on_an_early_close_the_cut_off_is_1225():
    assert breaker(EARLY).index(D("5580"), at("12:24:59", EARLY)).code == "MWC1"
    assert breaker(EARLY).index(D("5580"), at("12:25", EARLY)) is None
    assert breaker(EARLY).index(D("4800"), at("12:59", EARLY)).code == "MWC3"


def test_an_index_without_a_close_and_a_day_before_the_rule_are_refused():
    with pytest.raises(FeedInvalid, match="index"):
        CircuitBreaker(rules=RULES.breaker[0], session=XNYS.session(DAY), previous_close=D(0))
    with pytest.raises(MarketRuleUnknown, match="Breaker"):
        in_force(RULES.breaker, date(2010, 5, 6))


@given(st.lists(st.tuples(st.integers(4000, 6200), st.integers(0, 389)), max_size=25))
def test_a_breaker_trips_each_level_once_and_only_upwards(values):
    found, previous = breaker(), 0
    for value, minute in sorted(values, key=lambda one: one[1]):
        tripped = found.index(D(value), at("09:30") + timedelta(minutes=minute))
        if tripped:
            assert tripped.level > previous
            assert D(value) <= found.levels[tripped.level - 1]
            previous = tripped.level
        elif minute < 355 or value <= 4800:
            assert sum(D(value) <= level for level in found.levels) <= previous


def book() -> HaltBook:
    return HaltBook(in_force(RULES.halt, DAY))


@pytest.mark.parametrize(
    "code",
    [
        "T1",
        "T2",
        "T6",
        "T8",
        "T12",
        "H4",
        "H9",
        "H10",
        "H11",
        "O1",
        "MWC1",
        "MWC2",
        "MWC3",
        "LUDP",
        "LUDS",
        "M",
        "T5",
        "X99",
    ],
)
def test_every_halt_code_known_or_not_halts_until_an_explicit_resume(code):
    found = book()
    found.halt("AAA", code, at("10:00"))
    pauses = {"LUDP", "LUDS", "M", "T5"}
    expected = MarketState.PAUSE if code in pauses else MarketState.HALTED
    assert found.state("AAA") is expected
    assert found.on("AAA").code == code
    assert found.state("BBB") is None
    found.halt("AAA", "T3", at("11:00"))  # resumption times set: a notice, not a resume
    found.resume("BBB", at("12:00"))
    assert found.state("AAA") is expected
    assert found.resume("AAA", at("12:00"))
    assert found.state("AAA") is None


@pytest.mark.parametrize("code", ["T3", "MWCQ"])
def test_a_notice_halts_nothing(code):
    found = book()
    assert found.halt("AAA", code, at("10:00")) is None
    assert found.state("AAA") is None


def test_a_market_wide_halt_ends_symbol_by_symbol_and_not_before_its_timer():
    found = book()
    found.halt(EVERYTHING, "MWC1", at("10:00"), until=at("10:15"))
    assert found.state("AAA") is found.state("BBB") is MarketState.HALTED
    assert not found.resume("AAA", at("10:14:59"))
    assert not found.resume(EVERYTHING, at("10:16"))
    assert found.resume("AAA", at("10:16"))
    assert found.state("AAA") is None
    assert found.state("BBB") is MarketState.HALTED  # its primary market has not reopened it
    found.halt(EVERYTHING, "MWC2", at("11:00"), until=at("11:15"))
    assert found.state("AAA") is MarketState.HALTED


def test_the_end_of_one_halt_is_not_the_end_of_another():
    found = book()
    found.halt("AAA", "T1", at("10:00"))
    found.halt("AAA", "LUDP", at("10:01"))
    assert found.state("AAA") is MarketState.HALTED
    assert not found.resume("AAA", at("10:10"), code="LUDP")
    assert found.on("AAA").code == "T1"
    assert found.resume("AAA", at("11:10"), code="T1")


@pytest.mark.parametrize("code", [None, "LUDP"])
def test_a_resume_from_before_a_halts_own_timer_is_not_believed(code):
    found = book()
    found.halt("AAA", "LUDP", at("10:00"), until=at("10:05"))
    assert not found.resume("AAA", at("10:04"), code=code)
    assert found.state("AAA") is MarketState.PAUSE
    assert found.resume("AAA", at("10:05"), code=code)
    assert found.state("AAA") is None


def price_test() -> PriceTest:
    return PriceTest(rules=in_force(RULES.short_sale, DAY), calendar=XNYS)


@pytest.mark.parametrize(
    ("price", "time", "triggers"),
    [
        ("90.00", "10:00", True),
        ("90.01", "10:00", False),
        ("90.00", "09:29:59", False),
        ("90.00", "16:00", False),
        ("50.00", "15:59:59", True),
    ],
)
def test_a_regular_trade_ten_percent_down_triggers_the_price_test(price, time, triggers):
    found = price_test()
    session = XNYS.session(DAY)
    assert found.trade("AAA", D(price), D("100"), at(time), session) is triggers
    assert found.in_force("AAA", DAY) is triggers
    assert not found.in_force("BBB", DAY)


def test_the_price_test_holds_that_day_and_the_whole_next_session_and_can_begin_again():
    found, friday = price_test(), date(2026, 5, 22)  # before Memorial Day
    found.trade("AAA", D("90"), D("100"), at("15:59", friday), XNYS.session(friday))
    held = [friday + timedelta(days=n) for n in range(6)]
    assert [found.in_force("AAA", day) for day in held] == [True, True, True, True, True, False]
    tuesday = date(2026, 5, 26)
    found.trade("AAA", D("81"), D("90"), at("10:00", tuesday), XNYS.session(tuesday))
    assert found.in_force("AAA", date(2026, 5, 27))
    assert not found.in_force("AAA", date(2026, 5, 28))


@pytest.mark.parametrize(
    ("limit", "bid", "offer", "exempt", "allowed"),
    [
        ("10.01", "10.00", "10.02", False, True),
        ("10.00", "10.00", "10.02", False, False),  # equal is not enough
        ("9.99", "10.00", "10.02", False, False),
        ("9.99", "10.00", "10.02", True, True),
        ("9.99", "10.03", "10.02", False, True),  # crossed
        ("10.00", "10.00", "10.00", False, False),  # locked is not crossed
        ("99.00", None, "10.02", False, False),
    ],
)
def test_a_short_sale_must_be_priced_above_the_best_bid(limit, bid, offer, exempt, allowed):
    best = None if bid is None else D(bid)
    assert passes_price_test(D(limit), bid=best, offer=D(offer), exempt=exempt) is allowed


@pytest.mark.parametrize(
    ("quantity", "net_long", "exempt", "mark"),
    [
        (100, 100, False, Marking.LONG),
        (101, 100, False, None),
        (100, 0, False, Marking.SHORT),
        (100, -50, False, Marking.SHORT),
        (100, 0, True, Marking.SHORT_EXEMPT),
        (100, 100, True, Marking.LONG),
    ],
)
def test_every_sale_is_marked_and_a_mixed_one_has_no_mark(quantity, net_long, exempt, mark):
    parts = sale_parts(D(quantity), D(net_long))
    assert parts.long + parts.short == quantity
    assert marking(parts, exempt=exempt) is mark


@pytest.mark.parametrize(
    ("average", "day", "lot"),
    [
        ("250.00", date(2025, 11, 3), 100),
        ("250.01", date(2025, 11, 3), 40),
        ("1000.00", date(2025, 11, 3), 40),
        ("1000.01", date(2025, 11, 3), 10),
        ("10000.00", date(2025, 11, 3), 10),
        ("10000.01", date(2025, 11, 3), 1),
        ("700000", date(2025, 10, 31), 100),
    ],
)
def test_round_lots_depend_on_the_average_close_since_november_2025(average, day, lot):
    assert round_lot(D(average), day) == lot


@pytest.mark.parametrize(
    ("units", "price", "day", "due"),
    [
        ("1000", "100", SPRING, "2.26"),  # 100,000 / 1,000,000 x 20.60 and 1000 x 0.000195, up
        ("1", "150", SPRING, "0.02"),  # a part of a cent each
        ("100000", "1", SPRING, "11.85"),  # FINRA's is 9.79 at most
        ("1000", "100", date(2026, 4, 3), "0.20"),  # the SEC took nothing until the day after
    ],
)
def test_a_sale_pays_the_sec_and_finra_each_rounded_up_to_the_cent(units, price, day, due):
    assert sale_fees(D(units), D(price), day) == D(due)


def test_what_a_sale_paid_on_a_day_that_is_not_listed_is_not_guessed():
    with pytest.raises(MarketRuleUnknown, match=r"2025-12-31 is not listed.*sale_fees = \"none\""):
        sale_fees(D("1"), D("100"), date(2025, 12, 31))


@pytest.mark.parametrize(
    ("price", "day", "tick"),
    [("1.00", DAY, "0.01"), ("0.9999", DAY, "0.0001"), ("100", DAY, "0.01")],
)
def test_the_quote_increment_is_a_cent_from_one_dollar_up(price, day, tick):
    assert tick_grid(day).tick(D(price)) == D(tick)


@pytest.mark.parametrize(
    ("time", "day", "expected"),
    [
        ("03:59:59", DAY, Phase.CLOSED),
        ("04:00", DAY, Phase.BEFORE),
        ("09:30", DAY, Phase.REGULAR),
        ("15:59:59", DAY, Phase.REGULAR),
        ("16:00", DAY, Phase.AFTER),
        ("20:00", DAY, Phase.CLOSED),
        ("12:59", EARLY, Phase.REGULAR),
        ("13:00", EARLY, Phase.AFTER),
        ("12:00", date(2026, 11, 26), Phase.CLOSED),  # Thanksgiving
        ("12:00", date(2026, 3, 14), Phase.CLOSED),  # a Saturday
        ("12:00", date(2025, 1, 9), Phase.CLOSED),  # closed for a day of mourning
        ("09:30", date(2026, 3, 9), Phase.REGULAR),  # the first day of summer time
        ("09:30", date(2026, 11, 2), Phase.REGULAR),  # and of winter time
    ],
)
def test_phases_follow_the_calendar_table_and_the_exchange_s_clock(time, day, expected):
    assert phase(XNYS, at(time, day)) is expected
    assert expected.extended is (expected in (Phase.BEFORE, Phase.AFTER))


def test_a_calendar_without_listed_extended_hours_is_open_or_closed():
    tokyo = Calendar(
        "XTKS",
        DAY,
        DAY + timedelta(days=1),
        (Session(day=DAY + timedelta(days=1), open=at("20:00"), close=at("23:00")),),
    )
    found = [phase(tokyo, at(time)) for time in ("19:59", "20:00", "22:59", "23:00")]
    assert found == [Phase.CLOSED, Phase.REGULAR, Phase.REGULAR, Phase.CLOSED]


@pytest.mark.parametrize(
    ("trade", "settles"),
    [
        (date(2024, 5, 24), date(2024, 5, 29)),  # T+2 over Memorial Day
        (date(2024, 5, 28), date(2024, 5, 29)),  # T+1
        (date(2026, 11, 25), date(2026, 11, 27)),  # over Thanksgiving
        (date(2017, 9, 1), date(2017, 9, 7)),  # T+3 over Labor Day
    ],
)
def test_a_trade_settles_after_the_sessions_of_its_day(trade, settles):
    assert settles_on(XNYS, trade) == settles


def test_rules_that_make_no_sense_are_refused():
    with pytest.raises(MarketRuleUnknown, match="cannot be read"):
        parse_rules("[[luld]]\neffective_from = 2020-01-01\nwidow = 3")
