"""How a sale is marked, when a short one may be, and what a venue has to publish before."""

from __future__ import annotations

from datetime import timedelta

import pytest

from featurestore.calendars import Session
from runtime.domain import Side
from runtime.guardrails import MarketState, Published, judge
from tests.runtime.guardrails.scene import (
    AT,
    POLICY,
    SESSION,
    WIDE,
    D,
    context,
    failing,
    limits,
    normal,
    planned,
)


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


@pytest.mark.parametrize("name", ["allow_short", "locates"])
def test_a_short_sale_without_its_limit_is_blocked(name):
    assert "2 market" in failing(planned(Side.SELL), limits("market", **{name: None}))
