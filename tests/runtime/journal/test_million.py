"""A million fills, with splits, partial fills, crossings and corrections, beside a tiny model."""

import gc
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from runtime.domain import Fill, Side
from runtime.journal.actions import Dividend, Event, Split
from runtime.journal.book import Book

STREAMS, FILLS = 200, 5_000  # a million
SYMBOL = "AAA"
START = datetime(2017, 1, 3, 14, 30, tzinfo=UTC)
FINE = 10**18  # the model counts in 1e-18 of 1e-12 USD, so that sharing costs it nothing
NEAR = Decimal("0.000001")  # USD; the book cuts shares at 1e-12, some thousand times a stream
CENT = 10**10  # 1e-12 USD
SIZES = [Decimal(count) for count in range(1000)]
FEES = [Decimal(cents).scaleb(-2) for cents in range(301)]
MICRO, SIDES, TICK = Decimal("0.000001"), {1: Side.BUY, -1: Side.SELL}, timedelta(seconds=7)


@dataclass
class Model:
    """One symbol: FIFO lots [signed units, cost, fee] and a pool, in integers."""

    lots: list[list[int]] = field(default_factory=list)
    held: int = 0
    pool: int = 0
    cash: int = 0  # 1e-12 USD
    fifo: int = 0
    average: int = 0
    income: int = 0

    def trade(self, signed: int, notional: int, fee: int) -> None:
        exact = -notional - fee if signed > 0 else notional - fee
        cents = (2 * abs(exact) + CENT) // (2 * CENT)
        self.cash += cents * CENT if exact >= 0 else -cents * CENT
        size = left = abs(signed)
        sign = 1 if signed > 0 else -1
        while left and self.lots and self.lots[0][0] * sign < 0:
            units, cost, paid = self.lots[0]
            part = min(left, abs(units))
            shared = FINE * part
            out_cost, out_fee = cost * part // abs(units), paid * part // abs(units)
            money, charge = notional * shared // size, fee * shared // size
            self.fifo += -sign * money - charge - out_cost - out_fee
            out_pool = self.pool * part // abs(self.held)
            self.average += -sign * money - charge - out_pool
            self.pool -= out_pool
            self.held += sign * part
            left -= part
            if part == abs(units):
                self.lots.pop(0)
            else:
                self.lots[0] = [units + sign * part, cost - out_cost, paid - out_fee]
        if left:
            cost, paid = sign * notional * FINE * left // size, fee * FINE * left // size
            self.lots.append([sign * left, cost, paid])
            self.pool += cost + paid
            self.held += sign * left

    def take(self, event: Event) -> None:
        match event:
            case Fill():
                size, price = int(event.quantity * 10**6), int(event.price * 10**6)
                self.trade(event.side.sign * size, size * price, int(event.fee * 10**12))
            case Split():
                sign, whole, done, lots = (1 if self.held > 0 else -1), 0, 0, []
                for units, cost, paid in self.lots:
                    whole += abs(units) * event.new
                    lots.append([sign * (whole // event.old - done), cost, paid])
                    done = whole // event.old
                self.lots, self.held = lots, sign * done
                if event.in_lieu is not None and done % 10**6:
                    price = int(event.in_lieu * 10**6)
                    self.trade(-sign * (done % 10**6), (done % 10**6) * price, 0)
            case Dividend():
                exact = self.held * int(event.per_unit * 10**6)
                cents = (2 * abs(exact) + CENT) // (2 * CENT) * CENT
                self.cash += cents if exact >= 0 else -cents
                self.income += exact


def stream(chance: random.Random, count: int) -> list[Event]:
    """Orders of random size, filled in parts, around zero; a split or a dividend now and then."""
    events: list[Event] = []
    at, held, number, level = START, 0, 0, chance.uniform(1, 300)
    pull = chance.choice((0.5, 0.9))
    while number < count:
        towards = -1 if held > 0 else 1
        side = towards if chance.random() < pull else -towards
        left = chance.randint(1, 900)
        for _ in range(min(chance.randint(1, 4), left)):
            part = 1 + int(chance.random() * left)
            at += TICK
            level *= 0.99 + 0.02 * chance.random()
            events.append(
                Fill(
                    venue="primary",
                    execution_id=f"x{number:07d}",
                    order_id="o",
                    symbol=SYMBOL,
                    side=SIDES[side],
                    quantity=SIZES[part],
                    price=int(level * 10**6) * MICRO,
                    fee=FEES[int(chance.random() * 301)],
                    executed_at=at,
                )
            )
            held, left, number = held + side * part, left - part, number + 1
            if not left:
                break
        if chance.random() < 0.004:
            at += timedelta(days=1)
            new, old = chance.choice(((2, 1), (3, 2), (1, 8), (7, 3)))
            lieu = chance.choice((None, Decimal("12.340000")))
            events.append(
                Split(
                    action_id=f"s{number}",
                    symbol=SYMBOL,
                    effective=at,
                    new=new,
                    old=old,
                    in_lieu=lieu,
                )
            )
        if chance.random() < 0.004:
            at += timedelta(days=1)
            events.append(
                Dividend(
                    action_id=f"d{number}",
                    symbol=SYMBOL,
                    effective=at,
                    per_unit=Decimal(chance.randint(1, 2_000_000)).scaleb(-6),
                )
            )
    return events


def agree(book: Book, model: Model, mark: Decimal) -> None:
    """The book stands where the model stands, and its balances add up to 0.00."""
    assert book.position(SYMBOL) * 10**6 == model.held
    assert sum(lot.units for lot in book.lots(SYMBOL)) == model.held
    assert book.cash * 10**12 == model.cash
    assert book.dividends * 10**12 == model.income
    place = Decimal(10) ** 30
    basis = sum(cost + fee for _, cost, fee in model.lots)
    held = book.positions().get(SYMBOL)
    assert abs((held.basis if held else 0) - Decimal(basis) / place) < NEAR
    assert abs((held.basis_average if held else 0) - Decimal(model.pool) / place) < NEAR
    assert abs(book.realised - Decimal(model.fifo) / place) < NEAR
    assert abs(book.realised_by("average") - Decimal(model.average) / place) < NEAR
    marks = {SYMBOL: mark}
    gained = book.cash + book.market_value(marks) - book.dividends - book.rounding
    for method in ("fifo", "average"):
        assert gained == book.realised_by(method) + book.unrealised(marks, method)


def corrected(chance: random.Random, events: list[Event]) -> list[Event]:
    """Take one fill back, or replace it by one of another price, quantity and fee."""
    place = chance.choice([n for n, one in enumerate(events) if isinstance(one, Fill)])
    wrong = events[place]
    assert isinstance(wrong, Fill)
    if chance.random() < 0.5:
        return events[:place] + events[place + 1 :]
    right = Fill(
        venue=wrong.venue,
        execution_id=f"{wrong.execution_id}c",
        order_id=wrong.order_id,
        symbol=wrong.symbol,
        side=wrong.side,
        quantity=wrong.quantity + 1,
        price=wrong.price + Decimal("0.01"),
        fee=Decimal("0.07"),
        executed_at=wrong.executed_at,
    )
    return [*events[:place], right, *events[place + 1 :]]


@pytest.fixture(scope="module", autouse=True)
def _uncollected():
    """Nothing here is a cycle, and collecting looks at every object of every library."""
    gc.disable()
    yield
    gc.enable()


@settings(max_examples=STREAMS, phases=[Phase.generate])  # a failure is named, not shrunk
@given(st.integers(0, 2**32))
def test_a_million_fills_balance_to_the_cent_and_equal_the_model(seed):
    chance = random.Random(seed)
    events = stream(chance, FILLS)
    book, model = Book(), Model()
    take, mirror = book.take, model.take
    for number, event in enumerate(events):
        booking = take(event)
        assert booking is not None
        assert not sum(booking.parts)
        mirror(event)
        if not number % 1000:
            agree(book, model, Decimal("17.25"))
    agree(book, model, Decimal("17.25"))
    right = corrected(chance, events[:400])
    early, fresh = Book(), Model()
    for event in events[:400]:
        early.take(event)
    for event in right:
        fresh.take(event)
    assert sum(early.restate(SYMBOL, right).parts) == 0
    agree(early, fresh, Decimal("17.25"))
    for event in events[400:500]:
        early.take(event)
        fresh.take(event)
    agree(early, fresh, Decimal("17.25"))
