"""The eight checks: each lets through what it should, blocks at its limit, and fails closed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.calendars import Session
from runtime.domain import Order, OrderType, PlannedOrder, Side, TimeInForce
from runtime.errors import PolicyInvalid
from runtime.guardrails import CHECKS, Close, Context, FeatureAge, MarketState, Published, judge
from runtime.market.states import Bands
from runtime.policies.policy import Policy, default_policy, load_policy, parse_policy

AT = datetime(2020, 3, 16, 20, 0, tzinfo=UTC)
SESSION = Session(day=date(2020, 3, 16), open=AT - timedelta(hours=6, minutes=30), close=AT)
D = Decimal
POLICY = default_policy()


def context(**changes) -> Context:
    """1,000,000 USD: 600,000 in AAA, the rest in cash; everything fresh and in order."""
    base = Context(
        at=AT,
        session=SESSION,
        account="paper",
        caller="engine",
        study="tilt",
        bundle="b" * 64,
        approved_bundle="b" * 64,
        stage="staging",
        simulated=True,
        verified=True,
        drift_stopped=False,
        killed={},
        market={s: Published(state=MarketState.NORMAL, at=AT) for s in ("AAA", "BBB")},
        prices={"AAA": D("60"), "BBB": D("40")},
        priced_at={"AAA": AT, "BBB": AT},
        previous_prices={"AAA": D("66"), "BBB": D("41")},
        volumes={},
        positions={"AAA": D(10_000)},
        cash=D(400_000),
        equity=D(1_000_000),
        valued_at=AT,
        equity_before=D(1_060_000),
        equity_peak=D(1_200_000),
        losing_streak=2,
        closes=(),
        breaks=(),
        working=(),
        orders_this_session=0,
        repeats={},
        features={"prices.close": FeatureAge(known_at=AT, allowed=None)},
        weights={"AAA": 0.6, "BBB": 0.3},
    )
    return replace(base, **changes)


def planned(side=Side.BUY, symbol="BBB", quantity="1000", limit=None, reference=None):
    price = {"AAA": D("60"), "BBB": D("40")}[symbol]
    collar = {Side.BUY: D("1.04"), Side.SELL: D("0.96")}[side]
    return PlannedOrder(
        symbol=symbol,
        side=side,
        quantity=D(quantity),
        order_type=OrderType.MARKET,
        limit_price=D(limit) if limit else price * collar,
        reference_price=D(reference) if reference else price,
        reason="test",
    )


def working(side=Side.BUY, symbol="BBB", quantity="1000", limit="40"):
    return Order(
        order_id="w" * 24,
        bundle="b" * 64,
        tick="2020-03-13",
        symbol=symbol,
        leg=0,
        venue="primary",
        side=side,
        quantity=D(quantity),
        order_type=OrderType.LIMIT,
        limit_price=D(limit),
        time_in_force=TimeInForce.DAY,
        created_at=AT - timedelta(days=3),
    )


def limits(section: str, **changes) -> Policy:
    changed = msgspec.structs.replace(getattr(POLICY, section), **changes)
    return msgspec.structs.replace(POLICY, **{section: changed})


def failing(order=None, policy=POLICY, **changes) -> list[str]:
    """Names of the checks that block one order, each for a reason and none because it broke."""
    (result,) = judge([order or planned()], context(**changes), policy)
    assert "the check failed" not in result.objections
    return [verdict.check for verdict in result.verdicts if not verdict.passed]


def test_an_ordinary_order_passes_eight_checks_in_their_order():
    (result,) = judge([planned()], context(), POLICY)
    assert result.passed
    assert [verdict.check for verdict in result.verdicts] == [
        "1 authority",
        "2 market",
        "3 size",
        "4 price",
        "5 exposure",
        "6 loss",
        "7 rate",
        "8 health",
    ]


def published(state, at=AT):
    return {"BBB": Published(state=state, at=at)}


def normal(**known):
    """BBB as published NORMAL just now, with more known of it."""
    return {"BBB": Published(state=MarketState.NORMAL, at=AT, **known)}


WIDE = Bands(D("38"), D("42"))


def feature(known_at, allowed=None):
    return {"macro.cpi": FeatureAge(known_at=known_at, allowed=allowed)}


BLOCKED = [
    ("1 authority", {"killed": {"all": "test"}}),
    ("1 authority", {"killed": {"account.paper": "test"}}),
    ("1 authority", {"killed": {"study.tilt": "test"}}),
    ("1 authority", {"killed": {"symbol.BBB": "test"}}),
    ("1 authority", {"approved_bundle": "c" * 64}),
    ("1 authority", {"approved_bundle": None}),
    ("1 authority", {"stage": "retired"}),
    ("1 authority", {"simulated": False}),  # staging with real money
    ("1 authority", {"caller": "somebody"}),
    ("1 authority", {"session": None}),
    ("2 market", {"market": {}}),
    *[("2 market", {"market": published(s)}) for s in MarketState if s != "normal"],
    ("2 market", {"market": published(MarketState.NORMAL, AT - timedelta(hours=2))}),
    ("2 market", {"market": published(MarketState.NORMAL, AT + timedelta(seconds=1))}),
    ("4 price", {"priced_at": {"BBB": AT - timedelta(hours=2)}}),
    ("4 price", {"priced_at": {"BBB": AT + timedelta(seconds=1)}}),
    ("4 price", {"previous_prices": {"BBB": D("26")}}),
    ("4 price", {"market": normal(bands=Bands(D("38"), D("41.59")), bands_at=AT)}),
    ("4 price", {"market": normal(bands=Bands(D("41.61"), D("50")), bands_at=AT)}),
    ("4 price", {"market": normal(bands=WIDE, bands_at=AT - timedelta(hours=2))}),
    ("4 price", {"market": normal(bands=WIDE, bands_at=AT + timedelta(seconds=1))}),
    ("5 exposure", {"equity": D(0)}),
    ("5 exposure", {"equity": D(-1)}),
    ("6 loss", {"equity_before": D(1_200_000)}),  # 16.7 % in a day
    ("6 loss", {"equity_peak": D(2_100_000)}),
    ("6 loss", {"losing_streak": 16}),
    ("6 loss", {"valued_at": None}),
    ("6 loss", {"valued_at": AT - timedelta(hours=2)}),
    ("6 loss", {"breaks": ("position of AAA differs",)}),
    ("7 rate", {"orders_this_session": 400}),
    ("7 rate", {"repeats": {("BBB", Side.BUY, D(1000)): 5}}),
    ("7 rate", {"working": (working(),)}),
    ("7 rate", {"working": (working(Side.SELL, quantity="7", limit="41.60"),)}),
    ("8 health", {"verified": False}),
    ("8 health", {"drift_stopped": True}),
    ("8 health", {"priced_at": {"BBB": AT + timedelta(seconds=1)}}),
    ("8 health", {"features": feature(None)}),
    ("8 health", {"features": feature(AT - timedelta(hours=2))}),
    ("8 health", {"features": feature(AT + timedelta(seconds=1))}),
    ("8 health", {"features": feature(AT - timedelta(days=6), allowed=5 * 86400.0)}),
    ("8 health", {"weights": {"BBB": float("nan")}}),
    ("8 health", {"weights": {"BBB": 1.01}}),
    ("8 health", {"weights": {}}),
]


@pytest.mark.parametrize(("check", "change"), BLOCKED)
def test_each_reason_to_block_blocks_at_its_check(check, change):
    assert check in failing(**change)


@pytest.mark.parametrize(
    ("check", "order"),
    [
        ("2 market", planned(Side.SELL)),  # nothing held: short
        ("2 market", planned(Side.SELL, "AAA", "10001")),
        ("3 size", planned(quantity="0.5")),
        ("3 size", planned(quantity="20001")),  # 800,040 USD of 1,000,000
        ("4 price", planned(limit="41.605")),
        ("4 price", planned(limit="44.01")),  # 10.025 % away
        ("5 exposure", planned(symbol="AAA", quantity="1667")),  # 70.002 % in AAA
        ("5 exposure", planned(quantity="11251")),  # gross 105.004 %
    ],
)
def test_orders_beyond_a_limit_are_blocked_at_its_check(check, order):
    assert check in failing(order)


@pytest.mark.parametrize(
    "order",
    [
        planned(Side.SELL, "AAA", "10000"),
        planned(limit="42.00"),
        planned(symbol="AAA", quantity="1666"),
        planned(quantity="11250"),
    ],
)
def test_orders_exactly_at_a_limit_pass(order):
    assert failing(order) == []


def test_a_restricted_symbol_is_traded_by_nobody_and_the_others_are():
    policy = limits("authority", restricted=("BBB",))
    assert failing(policy=policy) == ["1 authority"]
    assert failing(planned(symbol="AAA"), policy) == []


def test_an_order_is_as_large_as_the_dearer_of_its_two_prices_makes_it():
    assert failing(planned(quantity="20001", reference="30")) == ["3 size", "5 exposure"]
    assert failing(planned(quantity="10001", reference="80")) == ["3 size"]
    assert failing(planned(quantity="10000", reference="80")) == []


def test_the_age_of_prices_has_a_limit_at_the_order_and_another_at_the_decision():
    old = {"priced_at": {"BBB": AT - timedelta(hours=2)}}
    assert failing(policy=limits("price", max_reference_age=10**6), **old) == ["8 health"]
    assert failing(policy=limits("health", max_data_age=10**6), **old) == ["4 price"]


def test_longs_and_shorts_together_have_a_net_limit_of_their_own():
    policy = limits("exposure", max_net_of_equity=D("0.62"))
    assert failing(planned(quantity="500"), policy) == []  # 620,000 of 1,000,000
    assert failing(planned(quantity="501"), policy) == ["5 exposure"]
    short = {"positions": {"AAA": D(10_000), "BBB": D(-1_000)}, "cash": D(440_000)}
    assert failing(planned(symbol="AAA", quantity="1000"), policy, **short) == []  # net 620,000


def test_seven_checks_are_not_eight():
    for number in range(8):
        (result,) = judge([planned()], context(), POLICY, [*CHECKS[:number], *CHECKS[number + 1 :]])
        assert not result.passed
        assert not result.objections


def test_a_session_ends_for_orders_an_hour_after_its_close():
    shifted = Session(day=SESSION.day, open=SESSION.open, close=AT - timedelta(hours=1))
    assert failing(session=shifted) == []
    later = Session(day=SESSION.day, open=SESSION.open, close=AT - timedelta(hours=1, seconds=1))
    assert failing(session=later) == ["1 authority"]
    early = Session(day=SESSION.day, open=AT + timedelta(seconds=1), close=AT + timedelta(hours=6))
    assert failing(session=early) == ["1 authority"]


def test_working_orders_count_as_filled():
    waiting = working(quantity="11000", limit="30")
    assert failing(planned(quantity="500"), working=(waiting,)) == ["5 exposure"]
    assert failing(planned(quantity="250"), working=(waiting,)) == []


def test_a_pending_sale_is_not_sold_twice():
    pending = working(Side.SELL, "AAA", "6000", "70")
    sale = planned(Side.SELL, "AAA", "5000")
    assert failing(sale, working=(pending,)) == ["2 market"]


def test_orders_of_one_tick_count_for_each_other():
    first, second = planned(quantity="10000"), planned(symbol="AAA", quantity="1000")
    results = judge([first, second], context(), POLICY)
    assert [result.passed for result in results] == [True, False]
    assert "gross" in results[1].objections
    blocked_first = judge([planned(quantity="0.5"), second], context(), POLICY)
    assert [result.passed for result in blocked_first] == [False, True]  # a blocked one does not


def test_one_symbol_gets_one_order_a_tick():
    results = judge([planned(quantity="10"), planned(quantity="20")], context(), POLICY)
    assert [result.passed for result in results] == [True, False]
    assert "7 rate" in results[1].objections


def test_the_throttle_stops_a_tick_that_never_ends():
    assert failing(policy=limits("rate", max_orders_per_tick=0)) == ["7 rate"]


def test_a_slow_feature_may_be_as_old_as_its_view_allows():
    assert failing(features=feature(AT - timedelta(days=5), allowed=5 * 86400.0)) == []


def test_taking_risk_off_skips_exposure_and_loss_and_nothing_else():
    sale = planned(Side.SELL, "AAA", "4000")
    disaster = {
        "equity_before": D(3_000_000),
        "equity_peak": D(9_000_000),
        "breaks": ("cash differs",),
        "valued_at": None,
        "cash": D(-900_000),
    }
    assert failing(sale, **disaster) == []
    assert failing(planned(), **disaster) == ["5 exposure", "6 loss"]
    assert failing(sale, **disaster, killed={"all": "x"}) == ["1 authority"]


def test_a_sale_through_zero_is_not_taking_risk_off():
    through = planned(Side.SELL, "AAA", "10001")
    assert failing(through, SHORTS, equity_peak=D(9_000_000)) == ["2 market", "6 loss"]


SHORTS = limits("market", allow_short=True, locates=("BBB",))
FREE = normal(restricted=False, restricted_at=AT)
TESTED = {"restricted": True, "restricted_at": AT, "quoted_at": AT}


def marked(order, policy=POLICY, **changes) -> str:
    (result,) = judge([order], context(**changes), policy)
    return result.verdicts[1].reason


def test_every_sale_is_marked_long_or_short_and_a_mixed_one_is_refused():
    assert marked(planned(Side.SELL, "AAA", "10000")) == "marked long"
    assert marked(planned(Side.SELL), SHORTS, market=FREE) == "marked short"
    assert failing(planned(Side.SELL), SHORTS, market=FREE) == []
    both = {"positions": {"BBB": D(400)}, "market": FREE}
    assert marked(planned(Side.SELL), SHORTS, **both) == (
        "long and short in one (200(g)): sell 400 first, then 600 short"
    )


def test_a_short_sale_needs_a_permission_a_locate_and_a_known_price_test():
    short = planned(Side.SELL)
    assert failing(short, market=FREE) == ["2 market"]
    assert "locate" in marked(short, limits("market", allow_short=True), market=FREE)
    assert "Rule 201" in marked(short, SHORTS)  # nobody said whether it is in force
    stale = normal(restricted=False, restricted_at=AT - timedelta(days=1, seconds=1))
    assert "stale" in marked(short, SHORTS, market=stale)


@pytest.mark.parametrize(
    ("bid", "offer", "allowed"),
    [
        ("38.39", "38.41", True),
        ("38.40", "38.41", False),  # priced at the bid
        ("38.41", "38.42", False),
        ("38.42", "38.41", True),  # crossed
        (None, "38.41", False),
    ],
)
def test_under_the_price_test_a_short_sale_is_priced_above_a_fresh_best_bid(bid, offer, allowed):
    best = None if bid is None else D(bid)
    market = normal(bid=best, offer=D(offer), **TESTED)
    assert (failing(planned(Side.SELL), SHORTS, market=market) == []) is allowed
    old = normal(bid=best, offer=D(offer), **TESTED | {"quoted_at": AT - timedelta(seconds=6)})
    assert failing(planned(Side.SELL), SHORTS, market=old) == ["2 market"]
    assert failing(planned(), market=old) == []  # covers and buys are not short sales


def test_a_real_venue_without_bands_takes_no_order_in_the_regular_session():
    open_now = Session(day=SESSION.day, open=SESSION.open, close=AT + timedelta(hours=1))
    live = {"simulated": False, "stage": "production", "session": open_now}
    assert failing(**live) == ["4 price"]
    assert failing(**live, market=normal(bands=WIDE, bands_at=AT)) == []
    assert failing(**live, market=normal(banded=False)) == []  # a right or a warrant
    assert failing(**live | {"session": SESSION}) == []  # after the close there are none


def test_a_halt_is_named_by_its_code():
    halted = {"BBB": Published(state=MarketState.HALTED, at=AT, code="T1")}
    assert marked(planned(), market=halted) == "the market takes no new risk, code T1"


def closes(*equities, streak=0) -> tuple[Close, ...]:
    """Sessions up to yesterday; `streak` is the losing streak at the last one."""
    peaks = [max(equities[: n + 1]) for n in range(len(equities))]
    return tuple(
        Close(
            day=SESSION.day - timedelta(days=len(equities) - n),
            equity=D(equity),
            before=D(equities[n - 1]) if n else None,
            peak=D(peaks[n]),
            losing_streak=streak if n == len(equities) - 1 else 0,
        )
        for n, equity in enumerate(equities)
    )


CRASH = (1_000_000, 840_000)  # 16 % in a day, of 15 % allowed


@pytest.mark.parametrize(
    ("history", "blocks"),
    [
        (closes(*CRASH), True),
        (closes(*CRASH, 990_000, 1_000_000, 1_060_000), True),  # recovered, and still resting
        (closes(*CRASH, 990_000, 990_000, 990_000, 1_060_000), True),  # the fifth session
        (closes(*CRASH, 990_000, 990_000, 990_000, 990_000, 1_060_000), False),
        (closes(1_000_000, 850_000), False),  # exactly the limit
        (closes(1_000_000, 990_000, streak=16), True),
        (closes(1_000_000, 990_000, streak=15), False),
        (closes(2_200_000, 1_900_000, 1_700_000, 1_500_000, 1_300_000, 1_110_000, 1_099_000), True),
    ],
)
def test_after_a_loss_limit_new_risk_rests_for_five_sessions(history, blocks):
    assert ("6 loss" in failing(closes=history)) is blocks
    assert failing(planned(Side.SELL, "AAA", "4000"), closes=history) == []


def test_a_rest_says_why_since_when_and_how_long():
    (result,) = judge([planned()], context(closes=closes(*CRASH, 900_000)), POLICY)
    verdict = result.verdicts[5]
    assert (verdict.limit, verdict.observed) == ("a rest of 5 sessions", "4 left")
    assert verdict.reason == f"daily loss of 16.00% at the close of {date(2020, 3, 14)}"


def test_volume_is_respected_where_known_and_asked_for_where_required():
    assert failing(volumes={"BBB": D(19_999)}) == ["3 size"]
    assert failing(volumes={"BBB": D(20_000)}) == []
    assert failing(policy=limits("size", volume_required=True)) == ["3 size"]


def test_odd_lots_leave_only_in_a_full_exit():
    hundred = limits("size", lot=100)
    held = {"positions": {"AAA": D("150.5")}, "cash": D(990_970)}
    assert failing(planned(Side.SELL, "AAA", "150.5"), hundred, **held) == []
    assert failing(planned(Side.SELL, "AAA", "50"), hundred, **held) == ["3 size"]


@pytest.mark.parametrize(
    ("check", "section", "name"),
    [
        (check, section, name)
        for (check, _), section in zip(
            CHECKS,
            ["authority", "market", "size", "price", "exposure", "loss", "rate", "health"],
            strict=True,
        )
        for name in getattr(POLICY, section).__struct_fields__
        if name not in ("live_stages", "allow_short", "locates")
    ],
)
def test_every_limit_that_is_left_out_blocks(check, section, name):
    order = planned(Side.SELL, "AAA", "10001") if section == "market" else planned()
    assert check in failing(order, limits(section, **{name: None}))


@pytest.mark.parametrize("name", ["allow_short", "locates"])
def test_a_short_sale_without_its_limit_is_blocked(name):
    assert "2 market" in failing(planned(Side.SELL), limits("market", **{name: None}))


def test_live_venues_need_their_own_list_of_stages():
    assert failing(simulated=False, stage="production") == []
    policy = limits("authority", live_stages=None)
    assert failing(policy=policy, simulated=False, stage="production") == ["1 authority"]


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("prepared", [False, True])
def test_a_check_that_fails_or_cannot_be_prepared_has_not_passed(number, prepared):
    def broken(*_args):
        raise RuntimeError("no answer")

    checks = list(CHECKS)
    checks[number] = (checks[number][0], (lambda *_args: broken) if prepared else broken)
    (result,) = judge([planned()], context(), POLICY, checks)
    assert not result.passed
    assert result.objections == f"{checks[number][0]}: the check failed: no answer"


def test_something_held_without_a_price_blocks_everything():
    results = judge([planned()], context(prices={"BBB": D("40")}), POLICY)
    assert not results[0].passed
    assert "no price for AAA" in results[0].objections


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["AAA", "BBB"]), st.sampled_from(list(Side)), st.integers(1, 30_000)
        ),
        max_size=4,
    )
)
def test_whatever_passes_leaves_the_book_inside_its_limits(asked):
    picture = context()
    orders = [planned(side, symbol, str(quantity)) for symbol, side, quantity in asked]
    cash, positions = picture.cash, {"AAA": D(10_000), "BBB": D(0)}
    for result in judge(orders, picture, POLICY):
        if result.passed:
            order = result.order
            positions[order.symbol] += order.quantity * order.side.sign
            cash -= order.quantity * picture.prices[order.symbol] * order.side.sign
    values = [units * picture.prices[symbol] for symbol, units in positions.items()]
    assert all(D(0) <= value <= D(700_000) for value in values)
    assert sum(values) <= D(1_050_000)
    assert cash >= D(-50_000)


def test_the_default_policy_is_complete_and_names_itself_by_content():
    for section in ("authority", "market", "size", "price", "exposure", "loss", "rate", "health"):
        values = getattr(POLICY, section)
        assert all(getattr(values, name) is not None for name in values.__struct_fields__)
    assert POLICY.hash == default_policy().hash
    assert POLICY.hash != limits("rate", max_repeats=6).hash
    assert parse_policy('name = "a" # comment').hash == parse_policy("name = 'a'").hash


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "Invalid"),
        ("[rate]\nmax_repeats = 3", "name"),
        ('name = "x"\n[rates]', "rates"),
        ('name = "x"\n[rate]\nmax_repeat = 3', "max_repeat"),
        ('name = "x"\n[rate]\nmax_repeats = "three"', "max_repeats"),
        ('name = "x"\n[loss]\nmax_drawdown = -0.1', "loss.max_drawdown cannot be -0.1"),
        ('name = "x"\n[loss]\nmax_drawdown = nan', "max_drawdown"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(text, words, tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(PolicyInvalid, match=words):
        load_policy(path)


def test_a_missing_policy_file_is_refused(tmp_path):
    with pytest.raises(PolicyInvalid, match="cannot be read"):
        load_policy(tmp_path / "nothing.toml")
