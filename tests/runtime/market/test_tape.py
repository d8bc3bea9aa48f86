"""Two sessions with every LULD tier and state, breaker, auction and halt, labelled by hand.

Each line says what happens and which states change; between lines nothing may change. Orders are
put to the eight checks around every line and every three minutes: what passes must be NORMAL and
inside the bands, and what is NORMAL and inside must pass, so a missed label fails either way.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from featurestore.calendars import load_calendar
from runtime.domain import OrderType, PlannedOrder, Side
from runtime.guardrails import Context, judge
from runtime.market.bands import Tier
from runtime.market.board import MarketBoard, cross_check
from runtime.market.halts import EVERYTHING, HaltBook
from runtime.market.model import Listing, MarketModel
from runtime.market.rules import in_force, market_rules
from runtime.market.states import Bands, MarketState
from runtime.policies.policy import default_policy

D, INSTANT = Decimal, timedelta(milliseconds=1)
NEW_YORK = ZoneInfo("America/New_York")
XNYS = load_calendar("XNYS")
MONDAY, TUESDAY = date(2026, 3, 16), date(2026, 3, 17)
N, LIMIT, STRADDLE, PAUSE, CLOSE_ONLY, HALTED, UNKNOWN = (
    MarketState.NORMAL,
    MarketState.LIMIT,
    MarketState.STRADDLE,
    MarketState.PAUSE,
    MarketState.CLOSE_ONLY,
    MarketState.HALTED,
    MarketState.UNKNOWN,
)
LISTINGS = (
    Listing(symbol="BIG", tier=Tier.ONE, previous_close=D("100")),
    Listing(symbol="SMALL", tier=Tier.TWO, previous_close=D("5.00")),
    Listing(symbol="CHEAP", tier=Tier.TWO, previous_close=D("2.50")),
    Listing(symbol="PENNY", tier=Tier.TWO, previous_close=D("0.50")),
    Listing(symbol="TWICE", tier=Tier.TWO, previous_close=D("10"), leverage=D(2)),
    Listing(symbol="RIGHT", tier=Tier.TWO, previous_close=D("1.00"), banded=False),
)
SYMBOLS = tuple(one.symbol for one in LISTINGS)


def everything(state: MarketState) -> dict[str, MarketState]:
    return dict.fromkeys(SYMBOLS, state)


# time, event, symbol, argument, states that change
FIRST = [
    ("09:30:00", "begin", "", "6000.00", everything(UNKNOWN)),
    ("09:30:00", "open", "BIG", "100", {}),
    ("09:30:01", "quote", "BIG", "99.99 100.01", {"BIG": N}),
    ("09:30:02", "open", "SMALL", "5.00", {}),
    ("09:30:03", "quote", "SMALL", "4.99 5.01", {"SMALL": N}),
    ("09:30:04", "quote", "CHEAP", "2.49 2.51", {"CHEAP": N}),  # never trades: previous close
    ("09:30:05", "quote", "PENNY", "0.49 0.51", {"PENNY": N}),
    ("09:30:06", "quote", "TWICE", "9.99 10.01", {"TWICE": N}),
    ("09:30:07", "quote", "RIGHT", "1.00 1.05", {"RIGHT": N}),
    # tier 1, limit up, cleared in time
    ("09:40:00", "quote", "BIG", "105.00 105.10", {"BIG": LIMIT}),
    ("09:40:14.999", "quote", "BIG", "104.00 104.10", {"BIG": N}),
    # tier 2 above 3.00, limit down, not cleared; extended, reopened too soon, reopened
    ("09:45:00", "quote", "SMALL", "4.49 4.50", {"SMALL": LIMIT}),
    ("09:45:15", "wait", "", "", {"SMALL": PAUSE}),
    ("09:50:15", "wait", "", "", {}),
    ("09:50:20", "extend", "SMALL", "", {}),
    ("09:54:00", "quote", "SMALL", "4.39 4.41", {}),
    ("09:55:00", "resume", "SMALL", "4.40", {}),
    ("09:55:15", "resume", "SMALL", "4.40", {"SMALL": UNKNOWN}),
    ("09:55:16", "quote", "SMALL", "4.39 4.41", {"SMALL": N}),
    # tier 2 at most 3.00: straddle that goes, straddle that is declared a pause
    ("10:00:00", "quote", "CHEAP", "1.99 2.40", {"CHEAP": STRADDLE}),
    ("10:01:00", "quote", "CHEAP", "2.40 2.41", {"CHEAP": N}),
    ("10:02:00", "quote", "CHEAP", "2.40 3.01", {"CHEAP": STRADDLE}),
    ("10:03:00", "halt", "CHEAP", "LUDS", {"CHEAP": PAUSE}),
    ("10:08:00", "resume", "CHEAP", "2.30", {"CHEAP": UNKNOWN}),
    ("10:08:01", "quote", "CHEAP", "2.29 2.31", {"CHEAP": N}),
    # below 0.75: bands 0.35 to 0.65
    ("10:10:00", "quote", "PENNY", "0.65 0.66", {"PENNY": LIMIT}),
    ("10:10:15", "wait", "", "", {"PENNY": PAUSE}),
    ("10:15:15", "resume", "PENNY", "0.60", {"PENNY": UNKNOWN}),
    ("10:15:16", "quote", "PENNY", "0.59 0.61", {"PENNY": N}),
    # leveraged: bands 8.00 to 12.00
    ("10:20:00", "quote", "TWICE", "7.99 8.01", {"TWICE": STRADDLE}),
    ("10:20:05", "quote", "TWICE", "7.99 8.00", {"TWICE": LIMIT}),
    ("10:20:15", "quote", "TWICE", "9.50 9.60", {"TWICE": N}),
    # a quote nobody can have made
    ("10:25:00", "quote", "TWICE", "12.01 12.05", {"TWICE": UNKNOWN}),
    ("10:25:01", "quote", "TWICE", "9.50 9.60", {"TWICE": N}),
    ("10:25:02", "quote", "TWICE", "- -", {"TWICE": UNKNOWN}),
    ("10:25:03", "quote", "TWICE", "9.50 9.60", {"TWICE": N}),
    # news: pending, released, times set; only the resume ends it
    ("10:30:00", "halt", "BIG", "T1", {"BIG": HALTED}),
    ("10:40:00", "halt", "BIG", "T2", {}),
    ("10:45:00", "halt", "BIG", "T3", {}),
    ("10:50:00", "quote", "BIG", "109.99 110.01", {}),
    ("11:00:00", "resume", "BIG", "110", {"BIG": UNKNOWN}),
    ("11:00:01", "quote", "BIG", "109.99 110.01", {"BIG": N}),
    # a code nobody has heard of, on a symbol without bands
    ("11:05:00", "halt", "RIGHT", "Z9", {"RIGHT": HALTED}),
    ("11:06:00", "resume", "RIGHT", "1.00", {"RIGHT": UNKNOWN}),
    ("11:06:01", "quote", "RIGHT", "1.00 1.05", {"RIGHT": N}),
    ("11:10:00", "halt", "RIGHT", "M", {"RIGHT": PAUSE}),
    ("11:16:00", "resume", "RIGHT", "1.00", {"RIGHT": UNKNOWN}),
    ("11:16:01", "quote", "RIGHT", "1.00 1.05", {"RIGHT": N}),
    # level 1: every symbol, and each reopens by itself
    ("11:59:59", "index", "", "5580.01", {}),
    ("12:00:00", "index", "", "5580.00", everything(HALTED)),
    ("12:14:59", "resume", "BIG", "105", {}),
    ("12:15:00", "wait", "", "", {}),
    ("12:15:01", "resume", "BIG", "105", {"BIG": UNKNOWN}),
    ("12:15:02", "quote", "BIG", "104.99 105.01", {"BIG": N}),
    ("12:20:00", "resume", "SMALL", "4.40", {"SMALL": UNKNOWN}),
    ("12:20:01", "quote", "SMALL", "4.39 4.41", {"SMALL": N}),
    ("12:30:00", "index", "", "5500.00", {}),  # level 1 again: once a day
    # level 2, while four symbols never resumed from level 1
    ("13:00:00", "index", "", "5220.00", {"BIG": HALTED, "SMALL": HALTED}),
    ("13:15:00", "resume", "BIG", "105", {"BIG": UNKNOWN}),
    ("13:15:00", "resume", "SMALL", "4.40", {"SMALL": UNKNOWN}),
    ("13:15:00", "resume", "CHEAP", "2.30", {"CHEAP": UNKNOWN}),
    ("13:15:00", "resume", "PENNY", "0.40", {"PENNY": UNKNOWN}),
    ("13:15:01", "quote", "BIG", "104.99 105.01", {"BIG": N}),
    ("13:15:01", "quote", "SMALL", "4.39 4.41", {"SMALL": N}),
    ("13:15:01", "quote", "CHEAP", "2.29 2.31", {"CHEAP": N}),
    ("13:15:01", "quote", "PENNY", "0.39 0.41", {"PENNY": N}),
    # doubled bands: 0.10 to 0.70, 94.50 to 115.50, 1.38 to 3.22; above 3.00 tier 2 does not double
    ("15:34:59", "quote", "BIG", "99.00 100.00", {"BIG": STRADDLE}),
    ("15:35:00", "wait", "", "", {"BIG": N}),
    ("15:36:00", "quote", "PENNY", "0.11 0.12", {"PENNY": N}),
    ("15:36:00", "quote", "CHEAP", "1.40 1.41", {"CHEAP": N}),
    ("15:36:00", "quote", "SMALL", "3.95 4.00", {"SMALL": STRADDLE}),
    ("15:36:30", "quote", "SMALL", "3.96 4.00", {"SMALL": N}),
    # too late to reopen
    ("15:46:00", "halt", "SMALL", "LUDP", {"SMALL": PAUSE}),
    ("15:50:00", "wait", "", "", {"SMALL": CLOSE_ONLY}),
    ("15:51:00", "resume", "SMALL", "4.00", {}),
    ("15:52:00", "halt", "CHEAP", "LUDP", {"CHEAP": CLOSE_ONLY}),
    # level 3 at any time of the day
    ("15:55:00", "index", "", "4800.00", everything(HALTED)),
    ("15:58:00", "resume", "BIG", "100", {}),
    ("16:00:00", "wait", "", "", {}),
]
SECOND = [
    ("09:30:00", "begin", "", "6000.00", everything(HALTED)),  # nobody has resumed anything
    *(("09:30:00", "resume", one.symbol, str(one.previous_close), {one.symbol: UNKNOWN})
      for one in LISTINGS),
    ("09:30:10", "quote", "BIG", "99.99 100.01", {"BIG": N}),
    ("09:30:10", "quote", "SMALL", "4.99 5.01", {"SMALL": N}),
    # levels 1 and 2 halt nothing from 15:25 on
    ("15:25:00", "index", "", "5580.00", {}),
    ("15:30:00", "index", "", "5220.00", {}),
    ("15:45:00", "index", "", "4800.00", everything(HALTED)),
    ("16:00:00", "wait", "", "", {}),
]  # fmt: skip


def at(day: date, text: str) -> datetime:
    return datetime.fromisoformat(f"{day}T{text}").replace(tzinfo=NEW_YORK)


def play(model: MarketModel, day: date, now: datetime, event: str, symbol: str, argument: str):
    if event == "begin":
        model.begin(XNYS.session(day), LISTINGS, D(argument))
    elif event == "quote":
        bid, offer = (None if side == "-" else D(side) for side in argument.split())
        model.quote(symbol, bid, offer, now)
    elif event == "open":
        model.trade(symbol, D(argument), now, opening=True)
    elif event == "index":
        model.index(D(argument), now)
    elif event == "resume":
        model.resume(symbol, D(argument), now)
    elif event == "wait":
        model.advance(now)
    else:
        getattr(model, event)(symbol, *([argument] if argument else []), now)


def passes(published, session, symbol: str, limit: Decimal, now: datetime) -> bool:
    """Put one small order to the eight checks on a real venue; all but the market is in order."""
    context = Context(
        at=now, session=session, account="a", caller="engine", study="s", bundle="b",
        approved_bundle="b", stage="production", simulated=False, verified=True,
        drift_stopped=False, killed={}, market=published, prices={symbol: limit},
        priced_at={symbol: now}, previous_prices={}, volumes={}, positions={}, cash=D(10**6),
        equity=D(10**6), valued_at=now, equity_before=None, equity_peak=None, losing_streak=0,
        closes=(), breaks=(), working=(), orders_this_session=0, repeats={}, features={},
        weights={symbol: 0.1},
    )  # fmt: skip
    order = PlannedOrder(
        symbol=symbol, side=Side.BUY, quantity=D(10), order_type=OrderType.LIMIT,
        limit_price=limit, reference_price=limit, reason="probe",
    )  # fmt: skip
    (judged,) = judge([order], context, default_policy())
    return judged.passed


@pytest.fixture(scope="module")
def played():
    """Play both sessions; return what every probe expected and found, and the states met."""
    model = MarketModel(rules=market_rules(), calendar=XNYS)
    labels: dict[str, MarketState] = {}
    probes, missed, met = Counter(), [], set()

    def probe(day: date, now: datetime) -> None:
        published = model.published(now)
        for symbol in SYMBOLS:
            found = published[symbol]
            met.add((symbol, labels[symbol]))
            if found.state is not labels[symbol]:
                missed.append((now, symbol, labels[symbol], found.state))
            limits = found.bands or Bands(D("0.01"), D("1.10"))
            for limit in (limits.lower - D("0.01"), limits.lower, limits.upper, limits.upper + 1):
                if limit <= 0:
                    continue
                inside = found.bands is None or limits.lower <= limit <= limits.upper
                expected = labels[symbol] is N and inside
                got = passes(published, XNYS.session(day), symbol, limit, now)
                probes[expected] += 1
                if got is not expected:
                    missed.append((now, symbol, labels[symbol], limit, got))

    for day, tape in ((MONDAY, FIRST), (TUESDAY, SECOND)):
        now = at(day, "09:30")
        for time, event, symbol, argument, changes in tape:
            next_at = at(day, time)
            for seconds in range(180, int((next_at - now).total_seconds()), 180):
                probe(day, now + timedelta(seconds=seconds))
            if now + INSTANT < next_at:
                probe(day, next_at - INSTANT)
            now = next_at
            play(model, day, now, event, symbol, argument)
            labels |= changes
            if now < XNYS.session(day).close:
                probe(day, now)
    return probes, missed, met


def test_every_state_of_the_tape_is_caught_and_no_order_passes_outside_normal(played):
    probes, missed, _ = played
    assert missed == []
    assert probes[False] > 5_000  # tried and stopped
    assert probes[True] > 500


def test_the_tape_leaves_out_no_tier_and_no_state(played):
    met = played[2]
    assert {state for _, state in met} == set(MarketState)
    for symbol in ("BIG", "SMALL", "PENNY", "TWICE"):
        assert {(symbol, LIMIT), (symbol, N), (symbol, HALTED)} <= met
    assert {("SMALL", PAUSE), ("PENNY", PAUSE), ("CHEAP", PAUSE), ("RIGHT", PAUSE)} <= met
    assert {("CHEAP", STRADDLE), ("SMALL", CLOSE_ONLY), ("CHEAP", CLOSE_ONLY)} <= met
    events = {event for _, event, *_ in FIRST}
    assert events == {"begin", "open", "quote", "wait", "extend", "resume", "halt", "index"}


def test_the_published_market_is_preferred_and_the_computed_one_checks_it():
    model = MarketModel(rules=market_rules(), calendar=XNYS)
    board = MarketBoard(HaltBook(in_force(market_rules().halt, MONDAY)))
    session, now = XNYS.session(MONDAY), at(MONDAY, "10:00")
    model.begin(session, LISTINGS)
    model.trade("BIG", D("100"), session.open, opening=True)
    model.quote("BIG", D("99.99"), D("100.01"), now)
    assert board.published(now) == {}  # nothing was published: nothing is known
    board.quote("BIG", D("99.99"), D("100.01"), now)
    assert board.published(now)["BIG"].state is UNKNOWN
    board.status("BIG", N, now)
    board.bands("BIG", D("95.00"), D("105.00"), now)
    mine = {"BIG": model.published(now)["BIG"]}
    assert cross_check(board.published(now), mine) == ()
    board.bands("BIG", D("95.00"), D("105.01"), now)
    board.status("BIG", LIMIT, now)
    assert [(one.what, one.published, one.computed) for one in cross_check(
        board.published(now), mine)] == [("state", "limit", "normal"),
                                         ("upper band", "105.01", "105.00")]  # fmt: skip
    assert not passes(board.published(now), session, "BIG", D("100"), now)


def test_a_published_halt_outlives_every_message_but_its_resume():
    board = MarketBoard(HaltBook(in_force(market_rules().halt, MONDAY)))
    session, now = XNYS.session(MONDAY), at(MONDAY, "10:00")

    def trades(symbol: str) -> bool:
        return passes(board.published(now), session, symbol, D("100"), now)

    for symbol in ("BIG", "SMALL"):
        board.status(symbol, N, now)
        board.bands(symbol, D("95"), D("105"), now)
    assert trades("BIG")
    board.halt("BIG", "T1", now)
    board.status("BIG", N, now)
    assert not trades("BIG")
    assert trades("SMALL")
    board.resume("BIG", now)
    assert trades("BIG")
    board.halt(EVERYTHING, "MWC1", now)
    assert not trades("BIG")
    board.resume("BIG", now + timedelta(seconds=1))
    assert (trades("BIG"), trades("SMALL")) == (True, False)


def test_messages_that_arrive_late_change_nothing():
    board = MarketBoard(HaltBook(in_force(market_rules().halt, MONDAY)))
    now, before = at(MONDAY, "10:00"), at(MONDAY, "09:59")
    board.status("BIG", LIMIT, now)
    board.bands("BIG", D("95"), D("105"), now)
    board.quote("BIG", D("99"), D("100"), now)
    board.restriction("BIG", True, now)
    known = board.published(now)["BIG"]
    board.status("BIG", N, before)
    board.bands("BIG", D("1"), D("999"), before)
    board.quote("BIG", D("1"), D("2"), before)
    board.restriction("BIG", False, before)
    assert board.published(now)["BIG"] == known
    board.unbanded("BIG", now)
    assert not board.published(now)["BIG"].banded


def test_a_trade_ten_percent_down_restricts_short_sales_in_the_model():
    model = MarketModel(rules=market_rules(), calendar=XNYS)
    model.begin(XNYS.session(MONDAY), LISTINGS)
    now = at(MONDAY, "10:00")
    assert model.published(now)["BIG"].restricted is False
    model.trade("BIG", D("90.00"), now)
    assert model.published(now)["BIG"].restricted is True
    model.begin(XNYS.session(TUESDAY), LISTINGS)
    assert model.published(at(TUESDAY, "10:00"))["BIG"].restricted is True
