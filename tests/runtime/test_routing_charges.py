"""With a fixed charge per venue the split is still the cheapest there is, exactly.

Two oracles: a mixed integer program at gap 0, and every subset of the venues filled greedily in
exact decimals. A third, for protected quotes, tries every way to take what is shown.
"""

from datetime import timedelta
from decimal import Decimal
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from scipy.optimize import Bounds, LinearConstraint, milp

from runtime.brokers.matching import Asked, match_bar
from runtime.brokers.paper import PaperVenue
from runtime.brokers.terms import PRIMARY, load_venues, parse_venues
from runtime.domain import OrderType, Side, TimeInForce, order_id, order_ids
from runtime.errors import OrderInvalid, VenuesInvalid
from runtime.execution.fills import MarketState
from runtime.routing import charges
from runtime.routing.depth import Depth, Ladder, ladders
from runtime.routing.protected import executions, protected_split, traded_through
from runtime.routing.router import split
from runtime.routing.whole import route_order
from tests.runtime.journal.trading import START, make_order, make_planned
from tests.runtime.test_paper_venue import NEXT, bar
from tests.runtime.test_routing import legs, quote

ZERO = Decimal(0)


def ladder(venue: str, *levels: tuple[str, int], fee: str = "0", charge: str = "0", burden="0"):
    return Ladder(
        venue=venue,
        symbol="AAA",
        fee_rate=Decimal(fee),
        levels=[(Decimal(price), Decimal(size), ord(venue[-1])) for price, size in levels],
        burden=Decimal(burden),
        ticket_charge=Decimal(charge),
    )


@st.composite
def charged_books(draw, venues=6, deep=4) -> tuple[bool, list[Ladder]]:
    """Return a side and what venues of unlike charges show to it, best price first."""
    buying = draw(st.booleans())
    shown = []
    for number in range(draw(st.integers(1, venues))):
        prices = draw(
            st.lists(st.integers(985, 1015), min_size=1, max_size=deep, unique=True).map(sorted)
        )
        prices = prices if buying else prices[::-1]
        shown.append(
            Ladder(
                venue=f"v{number}",
                symbol="AAA",
                fee_rate=Decimal(draw(st.integers(-20, 30))).scaleb(-4),
                levels=[
                    (Decimal(price).scaleb(-2), Decimal(draw(st.integers(0, 400))), number)
                    for price in prices
                ],
                burden=Decimal(draw(st.integers(-3, 3))).scaleb(-3),
                ticket_charge=Decimal(draw(st.sampled_from([0, 1, 25, 100, 799, 5000]))) / 100,
            )
        )
    return buying, shown


def greedy(shown: list[Ladder], wanted: Decimal, lot: int, limit: Decimal, sign: int):
    """Return the least total over these venues, every charge paid; None if they show too little."""
    levels = [
        (sign * price * (1 + sign * one.fee_rate) + one.burden, size - size % lot)
        for one in shown
        for price, size, _ in one.levels
        if sign * (price - limit) <= 0
    ]
    total, left = sum((one.ticket_charge for one in shown), ZERO), wanted
    for cost, size in sorted(levels):
        part = min(size, left)
        total, left = total + part * cost, left - part
    return None if left else total


def every_subset(shown: list[Ladder], wanted: Decimal, lot: int, limit: Decimal, sign: int):
    """Return the least total over all subsets; None if not even all venues show enough."""
    totals = [
        greedy(list(chosen), wanted, lot, limit, sign)
        for count in range(1, len(shown) + 1)
        for chosen in combinations(shown, count)
    ]
    return min((total for total in totals if total is not None), default=None)


def total_of(chosen, shown: list[Ladder], sign: int) -> Decimal:
    """Return what a route costs with burdens, the figure that is least."""
    burden = {one.venue: one.burden for one in shown}
    return sign * chosen.cost + sum(leg.quantity * burden[leg.venue] for leg in chosen.legs)


@settings(max_examples=120)
@given(
    charged_books(venues=5),
    st.integers(1, 1500),
    st.sampled_from([1, 1, 10]),
    st.sampled_from(["99", "10.05", "10.00"]),
)
def test_no_subset_of_the_venues_is_cheaper(book, lots, lot, limit):
    buying, shown = book
    sign = 1 if buying else -1
    worst = Decimal(limit) if buying else Decimal(20) - Decimal(limit)
    worst = max(worst, Decimal("0.01"))
    planned = make_planned(sign * lots * lot, limit=str(worst))
    best = every_subset(shown, planned.quantity, lot, worst, sign)
    chosen = split(planned, shown, lot=lot)
    assert sum(leg.quantity for leg in chosen.legs) == planned.quantity
    assert all(leg.quantity % lot == 0 for leg in chosen.legs)
    if best is not None:
        assert total_of(chosen, shown, sign) == best
        assert all(leg.quantity == leg.shown for leg in chosen.legs)


@settings(max_examples=40)
@given(charged_books(venues=8), st.floats(0.05, 1.0))
def test_a_mixed_integer_program_finds_nothing_cheaper(book, share):
    buying, shown = book
    sign = 1 if buying else -1
    levels = [
        (sign * float(p * (1 + sign * one.fee_rate)) + float(one.burden), float(size), number)
        for number, one in enumerate(shown)
        for p, size, _ in one.levels
    ]
    wanted = max(1, int(share * sum(size for _, size, _ in levels)))
    if sum(size for _, size, _ in levels) < wanted:
        return
    count, venues = len(levels), len(shown)
    use = np.zeros((count, count + venues))
    for row, (_, size, number) in enumerate(levels):
        use[row, row], use[row, count + number] = 1.0, -size
    best = milp(
        [cost for cost, _, _ in levels] + [float(one.ticket_charge) for one in shown],
        constraints=[
            LinearConstraint([1.0] * count + [0.0] * venues, wanted, wanted),
            LinearConstraint(use, -np.inf, 0.0),
        ],
        bounds=Bounds(0.0, [size for _, size, _ in levels] + [1.0] * venues),
        integrality=[0] * count + [1] * venues,
        options={"mip_rel_gap": 0.0},
    )
    chosen = split(make_planned(sign * wanted, limit="99" if buying else "0.01"), shown)
    assert float(total_of(chosen, shown, sign)) == pytest.approx(best.fun, rel=1e-9, abs=1e-6)


@settings(max_examples=60)
@given(charged_books(), st.lists(st.integers(1, 900), min_size=2, max_size=4))
def test_a_book_made_ready_once_serves_every_order_as_a_fresh_one_does(book, sizes):
    buying, shown = book
    orders = [
        make_planned(size if buying else -size, limit=limit)
        for size, limit in zip(sizes, ["10.02", "10.00", "9.95", "10.10"], strict=False)
    ]
    for charged in (shown, [replace(one, ticket_charge=ZERO) for one in shown]):
        ready = Depth(orders[0].side, "AAA", charged)
        served = [repr(split(one, ready)) for one in orders]  # with the exponents of amounts
        assert served == [repr(split(one, charged)) for one in orders]


lots_shown = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.integers(995, 1005), st.integers(1, 3), st.integers(0, 40)
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60)
@given(
    lots_shown, st.integers(1, 8), st.booleans(), st.tuples(*[st.sampled_from([0, 1, 3, 9])] * 3)
)
def test_what_trades_through_nothing_is_cheapest_with_charges_too(rows, lots, buying, charges):
    """The oracle tries every way to take whole round lots from the levels shown."""
    side = Side.BUY if buying else Side.SELL
    asks = dict(zip("abc", map(Decimal, charges), strict=True))
    fees = {venue: max(fee for v, _, _, fee in rows if v == venue) for venue, *_ in rows}
    quotes = [
        replace(
            quote(v, f"{p / 100}", f"{p / 100}", 100 * n, f"{fees[v] / 10_000}"),
            ticket_charge=asks[v],
        )
        for v, p, n, _ in rows
    ]
    shown = ladders(side, quotes)
    lots = min(lots, sum(n for _, _, n, _ in rows))
    planned = make_planned(100 * lots if buying else -100 * lots, limit="99" if buying else "0.01")
    levels = [
        (one.venue, price, int(size) // 100, one.fee_rate)
        for one in shown
        for price, size, _ in one.levels
    ]
    best = None
    for taken in product(*(range(n + 1) for _, _, n, _ in levels)):
        if sum(taken) != lots:
            continue
        done = [
            (venue, price, Decimal(100 * part), fee)
            for (venue, price, _, fee), part in zip(levels, taken, strict=True)
            if part
        ]
        if traded_through([one[:3] for one in done], shown, side):
            continue
        cost = sum(side.sign * p * (1 + side.sign * fee) * units for _, p, units, fee in done)
        cost += sum(asks[venue] for venue in {one[0] for one in done})
        best = cost if best is None else min(best, cost)
    chosen = protected_split(planned, shown, lot=100)
    assert not traded_through(executions(chosen, shown), shown, side)
    assert side.sign * chosen.cost == best


def test_cheaper_units_that_would_not_repay_a_charge_are_left_and_the_route_says_so():
    shown = [
        ladder("a", ("10.00", 100), charge="1"),
        ladder("b", ("10.01", 50), ("10.02", 900), charge="1"),
        ladder("c", ("10.005", 10), charge="1"),
    ]
    chosen = split(make_planned(150), shown)
    assert legs(chosen) == {"a": 100, "b": 50}
    assert chosen.cost == 1000 + Decimal("500.5") + 2
    assert "charges of 2 included, cheaper units at c would not repay another" in chosen.explanation
    free = split(make_planned(150), [replace(one, ticket_charge=ZERO) for one in shown])
    assert legs(free) == {"a": 100, "c": 10, "b": 40}


def test_a_sale_receives_the_price_less_the_charge():
    chosen = split(make_planned(-100, limit="1"), [ladder("a", ("10.00", 100), charge="2.50")])
    assert chosen.cost == Decimal("997.50")


def test_what_no_venue_takes_at_the_limit_waits_where_it_will_cost_least_in_all():
    shown = [ladder("a", ("10.00", 100), charge="5"), ladder("b", ("10.01", 100), charge="1")]
    assert legs(split(make_planned(100, limit="9"), shown)) == {"b": 100}
    assert legs(split(make_planned(1000, limit="9"), shown)) == {"a": 1000}


def test_venues_alike_do_not_make_the_search_long(monkeypatch):
    looked_at = []
    bound = charges._bound
    monkeypatch.setattr(charges, "_bound", lambda *given: looked_at.append(given) or bound(*given))
    shown = [replace(ladder("v", ("10.00", 300), charge="1"), venue=f"v{n}") for n in range(30)]
    shown = [replace(one, levels=[(*one.levels[0][:2], n)]) for n, one in enumerate(shown)]
    chosen = split(make_planned(4000), shown)
    assert len(chosen.legs) == 14
    assert chosen.cost == 40_014
    assert len(looked_at) < 100, "of two to the power of thirty subsets"


@pytest.mark.parametrize("second", ["2", "-1"])
def test_a_venue_asks_one_charge_and_never_a_negative_one(second):
    first = "1" if second == "2" else "-1"
    shown = [
        ladder("a", ("10", 100), charge=first),
        ladder("a", ("10", 100), fee="0.1", charge=second),
    ]
    with pytest.raises(OrderInvalid, match="a asks ticket charges of"):
        split(make_planned(100), shown)


def test_all_or_none_and_what_rests_count_the_charge_as_well():
    cheap = replace(quote("cheap", "9.99", "10.00", 500), ticket_charge=Decimal(20))
    plain = quote("plain", "9.99", "10.01", 500)
    small, large = make_planned(100), make_planned(5000)
    fok = {"order_type": OrderType.LIMIT, "time_in_force": TimeInForce.FOK}
    assert legs(route_order(replace(small, **fok), [cheap, plain], round_lot=1000)) == {
        "plain": 100
    }
    deep = [replace(one, size=Decimal(5000)) for one in (cheap, plain)]
    assert legs(route_order(replace(large, **fok), deep, round_lot=9999)) == {"cheap": 5000}
    peg = {"order_type": OrderType.MID_PEG}
    dear = replace(plain, fee_rate=Decimal("0.001"))
    assert legs(route_order(replace(small, **peg), [cheap, dear])) == {"plain": 100}
    resting = route_order(replace(large, **peg), [cheap, dear])
    assert legs(resting) == {"cheap": 5000}
    assert resting.cost == 5000 * Decimal("9.995") + 20


def test_a_paper_venue_charges_an_order_once_however_often_it_executes(tmp_path):
    venue = PaperVenue(
        tmp_path / "v.db",
        parse_venues(VENUE).venues[0],
        # 1,800 of a session's 23,400 seconds, a tenth of their volume: 60 units pass by
        states=lambda one: MarketState(mid=float(one.close), shown=0.0, daily_volume=7800.0),
    )
    resting = {"order_type": OrderType.MID_PEG, "time_in_force": TimeInForce.GTC}
    venue.submit(replace(make_order(100, limit="11"), **resting))
    venue.on_bars([bar("10")], NEXT)
    venue.on_bars([bar("10", at=NEXT + timedelta(days=1))], NEXT + timedelta(days=1))
    done = [(fill.quantity, fill.fee) for _, fill in venue.executions(0)]
    assert done == [(60, Decimal("1.25")), (40, 0)]
    venue.close()


VENUE = """
[[venue]]
name = "primary"
half_spread = "0"
fee_rate = "0"
ticket_charge = "1.25"
depth = "100000"
"""


def test_a_file_of_venues_names_the_charge_and_the_quote_carries_it():
    terms = parse_venues(VENUE).venues[0]
    assert terms.ticket_charge == Decimal("1.25")
    assert terms.quote(bar("10", at=START), START).ticket_charge == Decimal("1.25")
    assert parse_venues(VENUE).hash != parse_venues(VENUE.replace("1.25", "1.26")).hash
    assert {one.ticket_charge for one in load_venues(None).venues} == {0}
    for wrong in ("1.255", "-1", "NaN"):
        with pytest.raises(VenuesInvalid, match="ticket_charge"):
            parse_venues(VENUE.replace("1.25", wrong))


def test_only_the_first_execution_pays():
    terms = parse_venues(VENUE).venues[0]
    state = MarketState(mid=10.0)
    asked = {"side": Side.BUY, "quantity": Decimal(10), "limit_price": Decimal(11)}
    assert match_bar(Asked(**asked), bar("10"), terms, state).fee == Decimal("1.25")
    assert match_bar(Asked(**asked, begun=True), bar("10"), terms, state).fee == 0
    low = {**asked, "limit_price": Decimal(9)}
    assert match_bar(Asked(**low), bar("10"), terms, state).fee == 0, "nothing executed"
    assert match_bar(Asked(**asked), bar("10"), PRIMARY, state).fee == Decimal("0.03")


def test_ids_of_legs_are_those_of_the_orders_one_by_one():
    given = ("live", "b" * 64, "2026-03-16", "ÄÖ")
    assert order_ids(*given, 12) == [order_id(*given, leg) for leg in range(12)]
