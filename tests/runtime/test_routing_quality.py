"""Venues are chosen by what they really cost, and nobody's protected quote is traded through."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import product
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.domain import Quote, Side
from runtime.errors import OrderInvalid
from runtime.guardrails import Judged
from runtime.routing.protected import executions, protected_split, traded_through
from runtime.routing.quality import Costs, Outcome, Prior, VenueQuality, burdened, learn
from runtime.routing.router import ladders, split
from runtime.tick import routed
from tests.runtime.journal.trading import START, make_planned

COSTS = Costs(miss=0.001, drift=0.0005)


def quote(venue: str, price: str, size: int, fee: str = "0") -> Quote:
    return Quote(
        venue=venue,
        symbol="AAA",
        bid=Decimal(price),
        ask=Decimal(price),
        size=Decimal(size),
        fee_rate=Decimal(fee),
        at=START,
    )


def outcome(venue: str, *, filled: float = 100.0, latency: float = 0.3, after: float = 0.0):
    return Outcome(venue=venue, asked=100.0, filled=filled, latency=latency, after=after)


def test_without_evidence_a_venue_is_taken_at_the_prior_and_evidence_wins_slowly():
    prior = Prior(fill=0.9, weight=20)
    assert learn([], prior) == {}
    few = learn([outcome("a", filled=0)] * 2, prior)["a"]
    many = learn([outcome("a", filled=0)] * 2000, prior)["a"]
    assert few.fill == pytest.approx(18 / 22)
    assert many.fill < 0.01
    assert many.seen == 2000


def test_what_moves_after_a_fill_counts_by_what_was_filled():
    found = learn(
        [outcome("a", after=0.01)] * 500 + [outcome("a", filled=0)] * 500, Prior(weight=0.001)
    )
    assert found["a"].adverse == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    "worse",
    [
        {"fill": 0.5, "latency": 0.3, "adverse": 0.0},
        {"fill": 1.0, "latency": 5.0, "adverse": 0.0},
        {"fill": 1.0, "latency": 0.3, "adverse": 0.002},
    ],
    ids=["does not fill", "is slow", "is picked off"],
)
@pytest.mark.parametrize("buying", [True, False])
def test_a_venue_that_shows_the_better_price_and_costs_more_in_the_end_is_passed_over(
    worse, buying
):
    better, other = ("9.999", "10.000") if buying else ("10.000", "9.999")
    planned = make_planned(100 if buying else -100, limit="11" if buying else "9")
    shown = ladders(planned.side, [quote("tempting", better, 500), quote("sound", other, 500)])
    assert [leg.venue for leg in split(planned, shown).legs] == ["tempting"]
    known = {
        "tempting": VenueQuality(venue="tempting", seen=100, **worse),
        "sound": VenueQuality(venue="sound", seen=100, fill=1.0, latency=0.3, adverse=0.0),
    }
    chosen = split(planned, burdened(shown, known, COSTS))
    assert [leg.venue for leg in chosen.legs] == ["sound"]
    assert chosen.cost == Decimal(other) * 100, "the cost told is what the quotes say"


def test_a_quality_that_cannot_be_is_refused():
    with pytest.raises(OrderInvalid, match=r"fill probability of 1\.2"):
        VenueQuality(venue="a", fill=1.2, latency=0, adverse=0, seen=1)


def test_a_cheaper_fee_does_not_excuse_trading_through_a_better_price():
    shown = ladders(Side.BUY, [quote("lit", "10.00", 300, "0.003"), quote("cheap", "10.01", 900)])
    free = split(make_planned(500), shown)
    assert {leg.venue: int(leg.quantity) for leg in free.legs} == {"cheap": 500}
    assert traded_through(executions(free, shown), shown, Side.BUY) == ("lit",)
    kept = protected_split(make_planned(500), shown)
    assert {leg.venue: int(leg.quantity) for leg in kept.legs} == {"lit": 300, "cheap": 200}
    assert traded_through(executions(kept, shown), shown, Side.BUY) == ()
    assert "lit are protected" in kept.explanation


def test_less_than_a_round_lot_is_not_protected():
    shown = ladders(Side.BUY, [quote("lit", "10.00", 99, "0.003"), quote("cheap", "10.01", 900)])
    chosen = protected_split(make_planned(500), shown)
    assert {leg.venue: int(leg.quantity) for leg in chosen.legs} == {"cheap": 500}


class Shows:
    """A venue that shows one level."""

    def __init__(self, *level: object) -> None:
        self.level = level

    def quote(self, symbol, at):
        return quote(*self.level)


@pytest.mark.parametrize(
    ("day", "taken"),
    [
        (date(2025, 10, 31), {"cheap": 500}),  # 60 are no round lot
        (date(2025, 11, 3), {"lit": 60, "cheap": 440}),  # of a name at 300 USD 40 are
    ],
)
def test_a_tick_protects_the_round_lots_of_its_day(day, taken):
    sizing = SimpleNamespace(lot=1)
    desk = SimpleNamespace(
        brokers=(Shows("lit", "300.00", 60, "0.003"), Shows("cheap", "300.10", 900)),
        bundle=SimpleNamespace(hash="b" * 64, manifest=SimpleNamespace(sizing=sizing)),
        journal=SimpleNamespace(account="paper"),
    )
    moment = SimpleNamespace(at=datetime.combine(day, time(21), UTC), tick=day.isoformat())
    planned = make_planned(500, reference="300")
    (line,), orders = routed(desk, moment, [Judged(order=planned, verdicts=(), passed=True)])
    assert {one.venue: int(one.quantity) for one in orders} == taken, line.route


books = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.integers(995, 1005), st.integers(1, 4), st.integers(0, 40)
    ),
    min_size=1,
    max_size=6,
)


@given(books, st.integers(1, 10), st.booleans())
def test_the_split_is_the_cheapest_of_all_that_trade_through_nothing(rows, lots, buying):
    """The oracle tries every way to take whole round lots from the levels shown."""
    side = Side.BUY if buying else Side.SELL
    fees = {venue: max(fee for v, _, _, fee in rows if v == venue) for venue, *_ in rows}
    quotes = [quote(v, f"{p / 100}", 100 * n, f"{fees[v] / 10_000}") for v, p, n, _ in rows]
    shown = ladders(side, quotes)
    total = sum(n for _, _, n, _ in rows)
    lots = min(lots, total)
    planned = make_planned(100 * lots if buying else -100 * lots, limit="99" if buying else "0.01")
    levels = [
        (ladder.venue, price, int(size) // 100, ladder.fee_rate)
        for ladder in shown
        for price, size, _ in ladder.levels
    ]
    best = None
    for taken in product(*(range(n + 1) for _, _, n, _ in levels)):
        if sum(taken) != lots:
            continue
        done = [
            (venue, price, Decimal(100 * part))
            for (venue, price, _, _), part in zip(levels, taken, strict=True)
            if part
        ]
        if traded_through(done, shown, side):
            continue
        cost = sum(
            side.sign * price * (1 + side.sign * fee) * 100 * part
            for (_, price, _, fee), part in zip(levels, taken, strict=True)
        )
        best = cost if best is None else min(best, cost)
    chosen = protected_split(planned, shown, lot=100)
    assert sum(leg.quantity for leg in chosen.legs) == 100 * lots
    assert not traded_through(executions(chosen, shown), shown, side)
    assert side.sign * chosen.cost == best
