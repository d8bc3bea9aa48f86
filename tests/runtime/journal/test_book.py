"""The book against the published vectors, a tiny reference model and the invariants (a) to (g)."""

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.domain import Fill
from runtime.errors import OrderInvalid
from runtime.journal.actions import Charge, ChargeKind, Dividend, Split
from runtime.journal.book import Book, book_of
from runtime.journal.seen import Seen
from tests.runtime.journal.trading import START, make_fill

# market-rules, section 9
VECTOR = [
    make_fill(100, "10.00", "1.00", number=1),
    make_fill(100, "11.00", "1.00", number=2),
    make_fill(-150, "12.00", "1.50", number=3),
]
SHORTING = make_fill(-80, "9.00", "0.80", number=4)
COVERING = make_fill(30, "8.00", "0.30", number=5)
AT_TWELVE = {"AAA": Decimal("12.00")}


def test_fifo_and_average_meet_the_published_vector():
    book = book_of(VECTOR)
    position = book.positions()["AAA"]
    assert (book.realised, position.basis) == (Decimal("247.00"), Decimal("550.50"))
    assert book.realised_by("average") == Decimal("222.00")
    assert (position.quantity, position.basis_average) == (50, Decimal("525.50"))
    assert book.unrealised(AT_TWELVE) == Decimal("49.50")
    assert book.unrealised(AT_TWELVE, "average") == Decimal("74.50")
    for method in ("fifo", "average"):
        total = book.realised_by(method) + book.unrealised(AT_TWELVE, method)
        assert total == Decimal("296.50")


def test_the_average_cost_per_unit_is_ten_fifty_one_before_the_sale():
    assert book_of(VECTOR[:2]).positions()["AAA"].basis_average / 200 == Decimal("10.51")


def test_crossing_zero_closes_and_opens_with_the_fee_shared_by_quantity():
    book = book_of([*VECTOR, SHORTING])
    assert book.realised - Decimal("247.00") == Decimal("-101.00")
    position = book.positions()["AAA"]
    assert (position.quantity, position.basis) == (-30, Decimal("-269.70"))
    booking = book.apply(COVERING)
    assert booking.realised == Decimal("29.40")
    assert book.positions() == {}
    assert book.position("AAA") == 0


def test_postings_show_price_profit_and_fees_apart():
    book = book_of(VECTOR[:2])
    booking = book.apply(VECTOR[2])
    amounts = {posting.account: posting.amount for posting in booking.postings}
    assert amounts == {
        "cash": Decimal("1798.50"),
        "securities": Decimal("-1550.00"),
        "fees in basis": Decimal("-1.50"),
        "realised": Decimal("-250.00"),  # a credit: 150 * 12 - 1550
        "fees": Decimal("3.00"),  # 1.50 of the sale, 1.50 of the units sold
    }
    assert book.fees_paid == Decimal("3.50")


def test_a_fill_that_arrives_late_takes_its_place_among_the_lots():
    early, late = make_fill(10, "5", number=1), make_fill(10, "7", number=2)
    book = book_of([late, early, make_fill(-10, "9", number=3)])
    assert [lot.execution_id for lot in book.lots("AAA")] == ["x000002"]
    assert book.realised == Decimal("40.00")


def test_weights_are_value_over_equity_in_the_order_asked_for():
    book = book_of([make_fill(30, "10", number=1)], cash=Decimal("1000.00"))
    book.apply(make_fill(-10, "5", symbol="BBB", number=2))
    marks = {"AAA": Decimal(20), "BBB": Decimal("2.5")}
    equity = 750 + 600 - 25
    expected = np.array([-25 / equity, 0.0, 600 / equity])
    assert np.array_equal(book.weights(marks, ["BBB", "CCC", "AAA"]), expected)
    assert book.equity(marks) == equity


def test_a_missing_mark_is_an_error_and_never_a_zero():
    book = book_of(VECTOR)
    with pytest.raises(OrderInvalid, match="AAA: 50 held but no mark"):
        book.equity({})
    with pytest.raises(OrderInvalid, match="positive equity"):
        Book().weights({}, ["AAA"])


def test_a_copy_goes_its_own_way():
    book = book_of(VECTOR)
    other = book.copy()
    other.apply(SHORTING)
    assert (book.position("AAA"), other.position("AAA")) == (50, -30)
    assert book.realised == Decimal("247.00")
    assert other.apply(VECTOR[0]) is None


# --- a tiny reference model in exact fractions, written apart from the book ---


@dataclass
class Reference:
    """One symbol: a list of [signed units, price per unit, fee per unit]; FIFO and average."""

    lots: list[list[Fraction]] = field(default_factory=list)
    realised: Fraction = Fraction(0)
    average_realised: Fraction = Fraction(0)
    average: Fraction = Fraction(0)  # basis per unit, signed quantity times it is the basis
    held: Fraction = Fraction(0)

    def apply(self, signed: Fraction, price: Fraction, fee: Fraction) -> None:
        each = fee / abs(signed)
        while signed and self.lots and self.lots[0][0] * signed < 0:
            lot = self.lots[0]
            part = min(abs(signed), abs(lot[0]))
            sign = 1 if lot[0] > 0 else -1
            self.realised += part * (sign * (price - lot[1]) - lot[2] - each)
            self.average_realised += part * (sign * (price - self.average) - each)
            lot[0] -= sign * part
            signed += sign * part
            self.held -= sign * part
            if not lot[0]:
                self.lots.pop(0)
        if signed:
            sign = 1 if signed > 0 else -1
            basis = self.held * self.average + signed * (price + sign * each)
            self.held += signed
            self.average = basis / self.held
            self.lots.append([signed, price, each])


amounts = st.decimals(min_value="0.000001", max_value="5000", places=6, allow_nan=False)


@st.composite
def trades(draw: st.DrawFn, most: int = 25) -> list[Fill]:
    count = draw(st.integers(1, most))
    fills = []
    for number in range(count):
        signed = draw(st.integers(-300, 300).filter(bool))
        fee = draw(st.integers(0, 500))
        symbol = draw(st.sampled_from(["AAA", "BBB"]))
        price = str(draw(amounts))
        fills.append(make_fill(signed, price, f"{fee / 100:.2f}", symbol=symbol, number=number))
    return fills


marks_of = st.fixed_dictionaries({"AAA": amounts, "BBB": amounts})
# Unequal sharing of a fee or a pool is cut at 1e-12 dollars; a few hundred cuts stay below this.
SHARING = Decimal("0.000000001")


@given(trades(), marks_of)
def test_a_cash_and_value_explain_profit_to_the_last_place(fills, marks):
    book = book_of(fills, cash=Decimal("1000.00"))
    gained = book.cash + book.market_value(marks) - book.flows
    for method in ("fifo", "average"):
        profit = book.realised_by(method) + book.unrealised(marks, method)
        assert gained == profit + book.rounding


@given(trades())
def test_b_open_lots_sum_to_the_position(fills):
    book = book_of(fills)
    for symbol in ("AAA", "BBB"):
        lots = book.lots(symbol)
        assert sum(lot.units for lot in lots) == book.position(symbol) * 10**6
        assert len({lot.units > 0 for lot in lots}) <= 1
        assert list(lots) == sorted(lots)


@given(trades(), marks_of)
def test_c_fifo_and_average_agree_in_total_at_the_same_mark(fills, marks):
    book = book_of(fills)
    fifo = book.realised + book.unrealised(marks)
    assert fifo == book.realised_by("average") + book.unrealised(marks, "average")


@given(trades(), marks_of)
def test_d_a_flat_position_has_no_basis_and_nothing_unrealised(fills, marks):
    book = book_of(fills)
    for number, (symbol, position) in enumerate(book.positions().items()):
        book.apply(
            make_fill(-int(position.quantity), "7.77", symbol=symbol, number=10_000 + number)
        )
    assert book.positions() == {}
    assert book.lots("AAA") == book.lots("BBB") == ()
    assert book.unrealised(marks) == book.unrealised(marks, "average") == 0
    assert book.realised == book.realised_by("average")


@given(trades(), st.randoms(use_true_random=False))
def test_e_applying_a_fill_again_changes_nothing(fills, random):
    book = book_of(fills)
    before = (book.cash, book.positions(), book.realised, book.rounding, book.fees_paid)
    assert all(book.apply(fill) is None for fill in random.sample(fills, len(fills)))
    assert (book.cash, book.positions(), book.realised, book.rounding, book.fees_paid) == before


def test_e_applying_an_action_again_changes_nothing():
    book = book_of([make_fill(100, "10.00", number=1)])
    later = START + timedelta(days=9)
    split = Split(action_id="s", symbol="AAA", effective=later, new=2, old=1)
    paid = Dividend(action_id="d", symbol="AAA", effective=later, per_unit=Decimal("0.5"))
    lent = Charge(
        action_id="c", kind=ChargeKind.BORROW, symbol="", effective=later, amount=Decimal("7.00")
    )
    assert book.split(split) is not None
    assert book.dividend(paid) is not None
    assert book.charge(lent)
    before = (book.cash, book.quantities(), book.dividends, book.charges)
    assert before == (Decimal("-907.00"), {"AAA": 200}, Decimal(100), Decimal(7))
    assert (book.split(split), book.dividend(paid), book.charge(lent)) == (None, None, ())
    assert (book.cash, book.quantities(), book.dividends, book.charges) == before


def test_e_an_action_before_what_is_booked_is_not_simply_added():
    book = book_of([make_fill(100, "10.00", number=1)])
    later = START + timedelta(days=9)
    split = Split(action_id="s", symbol="AAA", effective=later, new=2, old=1)
    paid = Dividend(
        action_id="d", symbol="AAA", effective=later - timedelta(days=1), per_unit=Decimal("0.5")
    )
    assert book.in_order(paid)
    assert book.split(split) is not None
    assert not book.in_order(paid)  # half as many units had it: 50 USD and not 100
    with pytest.raises(OrderInvalid, match="restate the symbol"):
        book.dividend(paid)
    assert book.dividends == 0


@given(trades(), st.integers(0, 25))
def test_f_batching_does_not_matter(fills, cut):
    parts = book_of(fills[:cut]).copy()
    for fill in fills[cut:]:
        parts.apply(fill)
    whole = book_of(fills)
    assert parts.positions() == whole.positions()
    assert (parts.cash, parts.realised) == (whole.cash, whole.realised)


def test_f_order_does_matter():
    forth = book_of([make_fill(10, "5", number=1), make_fill(-10, "9", number=2)])
    assert forth.realised == Decimal("40.00")
    dear = make_fill(10, "8", number=3)
    first = book_of([make_fill(10, "5", number=1), make_fill(-10, "9", number=2), dear])
    second = book_of([make_fill(10, "5", number=1), dear, make_fill(-10, "9", number=2)])
    assert first.lots("AAA")[0].cost == second.lots("AAA")[0].cost
    assert first.realised_by("average") != second.realised_by("average")


@given(trades())
def test_g_debits_equal_credits_in_every_entry_and_cash_is_whole_cents(fills):
    book = Book()
    for fill in fills:
        booking = book.apply(fill)
        assert sum(posting.amount for posting in booking.postings) == 0
        zero = Decimal(0)
        cash = sum((one.amount for one in booking.postings if one.account == "cash"), zero)
        exact = -fill.side.sign * fill.quantity * fill.price - fill.fee
        assert cash == cash.quantize(Decimal("0.01"))
        assert abs(cash - exact) <= Decimal("0.005")


@given(trades())
def test_the_ledger_accounts_are_the_book(fills):
    book, totals = Book(), {}
    for fill in fills:
        for posting in book.apply(fill).postings:
            totals[posting.account] = totals.get(posting.account, 0) + posting.amount
    basis = sum(position.basis for position in book.positions().values())
    assert totals.get("cash", 0) == book.cash
    assert totals.get("securities", 0) + totals.get("fees in basis", 0) == basis
    assert -totals.get("realised", 0) - totals.get("fees", 0) == book.realised
    assert -totals.get("rounding", 0) == book.rounding


@given(trades(most=40))
def test_the_book_equals_the_reference_model(fills):
    book, models = Book(), {"AAA": Reference(), "BBB": Reference()}
    for fill in fills:
        book.apply(fill)
        signed = Fraction(fill.side.sign * fill.quantity)
        models[fill.symbol].apply(signed, Fraction(fill.price), Fraction(fill.fee))
    positions = book.positions()
    for symbol, model in models.items():
        basis = sum(lot[0] * lot[1] + abs(lot[0]) * lot[2] for lot in model.lots)
        if model.held:
            kept = positions[symbol]
            assert kept.quantity == model.held
            assert abs(Fraction(kept.basis) - basis) < SHARING
            assert abs(Fraction(kept.basis_average) - model.held * model.average) < SHARING
        else:
            assert symbol not in positions
    realised = sum(model.realised for model in models.values())
    average = sum(model.average_realised for model in models.values())
    assert abs(Fraction(book.realised) - realised) < SHARING
    assert abs(Fraction(book.realised_by("average")) - average) < SHARING


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=60))
def test_what_a_book_has_seen_is_a_set_whose_copies_go_their_own_ways(steps):
    pairs = [(Seen(), set())]
    for copies, number in steps:
        seen, plain = pairs[number % len(pairs)]
        if copies:
            pairs.append((seen.copy(), plain.copy()))
        else:
            seen.add(("v", str(number)))
            plain.add(("v", str(number)))
    for seen, plain in pairs:
        assert {n for n in range(31) if ("v", str(n)) in seen} == {int(n) for _, n in plain}
