"""The book of one account: cash, lots, average cost and profit, exact, from fills in order.

Steps of one fill, numbered where they happen:
 1. split it into a part that closes and a part that opens, fees shared by quantity;
 2. close: take the oldest lots (FIFO), and the same share of the pool (average cost);
 3. open: a new lot, and the pool grows;
 4. cash moves by the exact amount rounded once, to the cent, halves away from zero;
 5. post: debits equal credits, what rounding left goes to the account `rounding`.

FIFO posts; average cost is kept beside it. Source: market-rules, sections 8 and 9.
"""

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple

import numpy as np

from runtime.domain import Fill
from runtime.errors import OrderInvalid
from runtime.inputs import Array
from runtime.journal.exact import UNIT, money, posted, quantity, units

Method = Literal["fifo", "average"]
ZERO = Decimal("0.00")


class Posting(NamedTuple):
    """One side of an entry; debits are positive."""

    account: str  # cash, securities, fees in basis, realised, fees, rounding, equity
    symbol: str  # "" where it does not apply
    amount: Decimal  # USD


class Lot(NamedTuple):
    """Units opened by one fill and still held; sorts by (time, execution id)."""

    opened_at: datetime
    execution_id: str
    units: int  # signed, 1e-6 units; negative = short
    cost: int  # signed parts: units times price
    fee: int  # parts, the share of the opening fee that these units carry


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """What booking one fill did."""

    postings: tuple[Posting, ...]  # sum is zero
    realised: Decimal  # USD, FIFO, fees of both sides included
    realised_average: Decimal  # USD, average cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What is held of one symbol."""

    symbol: str
    quantity: Decimal  # units, negative = short
    basis: Decimal  # USD, FIFO, opening fees included; negative for a short
    basis_average: Decimal  # USD, average cost


@dataclass(slots=True)
class _Holding:
    """One symbol in integers; the pool's cost and fees belong to average cost."""

    units: int = 0
    lots: list[Lot] = field(default_factory=list)
    pool_cost: int = 0
    pool_fee: int = 0

    def take_lots(self, count: int) -> tuple[int, int]:
        """Remove `count` > 0 units from the oldest lots; return their signed cost and fee."""
        cost = fee = whole = 0
        for lot in self.lots:
            size = abs(lot.units)
            if size > count:
                part_cost, part_fee = lot.cost * count // size, lot.fee * count // size
                left = lot.units - (count if lot.units > 0 else -count)
                self.lots[whole] = lot._replace(
                    units=left, cost=lot.cost - part_cost, fee=lot.fee - part_fee
                )
                cost, fee, count = cost + part_cost, fee + part_fee, 0
            else:
                cost, fee, count = cost + lot.cost, fee + lot.fee, count - size
                whole += 1
            if count == 0:
                break
        del self.lots[:whole]
        return cost, fee

    def take_pool(self, count: int) -> tuple[int, int]:
        """Remove the share of `count` > 0 units from the pool; return its signed cost and fee."""
        size = abs(self.units)
        cost, fee = self.pool_cost * count // size, self.pool_fee * count // size
        self.pool_cost -= cost
        self.pool_fee -= fee
        return cost, fee

    def copy(self) -> "_Holding":
        return _Holding(self.units, self.lots.copy(), self.pool_cost, self.pool_fee)


class Book:
    """Cash, positions and profit of one account; fills in, exact decimals out."""

    def __init__(self) -> None:
        """Start empty: no cash, no position."""
        self._holdings: dict[str, _Holding] = {}
        self._seen: set[tuple[str, str]] = set()
        self._cash = self._flows = self._rounding = 0  # parts
        self._fees_paid = 0
        self._realised: dict[Method, int] = {"fifo": 0, "average": 0}

    def copy(self) -> "Book":
        """Return an independent copy."""
        other = Book()
        other._holdings = {symbol: held.copy() for symbol, held in self._holdings.items()}
        other._seen = self._seen.copy()
        other._cash, other._flows, other._rounding = self._cash, self._flows, self._rounding
        other._fees_paid, other._realised = self._fees_paid, self._realised.copy()
        return other

    def flow(self, amount: Decimal) -> tuple[Posting, ...]:
        """Book cash paid in (positive) or out (negative); return its postings."""
        parts = units(amount, "cash flow") * UNIT
        if parts != posted(parts):
            raise OrderInvalid(f"a cash flow is a whole number of cents, was {amount}")
        self._cash += parts
        self._flows += parts
        return (Posting("cash", "", money(parts)), Posting("equity", "", money(-parts)))

    def apply(self, fill: Fill) -> Booking | None:
        """Book one fill; None, and no change, if its (venue, execution id) is booked already.

        Raises:
            OrderInvalid: an amount is not exact; the book is unchanged.
        """
        if (fill.venue, fill.execution_id) in self._seen:
            return None
        size = units(fill.quantity, f"{fill.symbol} fill quantity")
        price = units(fill.price, f"{fill.symbol} fill price")
        fee = units(fill.fee, f"{fill.symbol} fee") * UNIT
        sign = fill.side.sign
        held = self._holdings.setdefault(fill.symbol, _Holding())

        # 1. split into closing and opening
        closing = min(size, abs(held.units)) if held.units * sign < 0 else 0
        opening = size - closing
        fee_closing = fee * closing // size
        fee_opening = fee - fee_closing

        # 2. close
        cost = lot_fee = pool_cost = pool_fee = 0
        if closing:
            cost, lot_fee = held.take_lots(closing)
            pool_cost, pool_fee = held.take_pool(closing)
        proceeds = -sign * closing * price
        gain = proceeds - cost  # price profit alone; fees are shown apart
        realised = gain - lot_fee - fee_closing
        realised_average = proceeds - pool_cost - pool_fee - fee_closing

        # 3. open
        held.units += sign * size
        opened = sign * opening * price
        if opening:
            lot = Lot(fill.executed_at, fill.execution_id, sign * opening, opened, fee_opening)
            insort(held.lots, lot)
            held.pool_cost += opened
            held.pool_fee += fee_opening

        # 4. cash, rounded once
        exact = -sign * size * price - fee
        cash = posted(exact)
        self._seen.add((fill.venue, fill.execution_id))
        self._cash += cash
        self._rounding += cash - exact
        self._fees_paid += fee
        self._realised["fifo"] += realised
        self._realised["average"] += realised_average

        # 5. post
        amounts = (
            ("cash", "", cash),
            ("securities", fill.symbol, opened - cost),
            ("fees in basis", fill.symbol, fee_opening - lot_fee),
            ("realised", fill.symbol, -gain),
            ("fees", fill.symbol, fee_closing + lot_fee),
            ("rounding", "", exact - cash),
        )
        return Booking(
            postings=tuple(Posting(name, symbol, money(n)) for name, symbol, n in amounts if n),
            realised=money(realised),
            realised_average=money(realised_average),
        )

    @property
    def cash(self) -> Decimal:
        """Cash, USD, whole cents."""
        return money(self._cash)

    @property
    def flows(self) -> Decimal:
        """Cash paid in less cash paid out, USD."""
        return money(self._flows)

    @property
    def fees_paid(self) -> Decimal:
        """Fees of all fills, USD, whether they sit in a basis or were realised."""
        return money(self._fees_paid)

    @property
    def rounding(self) -> Decimal:
        """What rounding cash to the cent has gained (positive) or lost, USD."""
        return money(self._rounding)

    @property
    def realised(self) -> Decimal:
        """Realised profit by FIFO, USD, fees of the closed units included."""
        return money(self._realised["fifo"])

    def realised_by(self, method: Method) -> Decimal:
        """Return the realised profit by one method, USD."""
        return money(self._realised[method])

    def position(self, symbol: str) -> Decimal:
        """Return units held, negative for a short, zero if none."""
        held = self._holdings.get(symbol)
        return quantity(held.units) if held else Decimal(0)

    def positions(self) -> dict[str, Position]:
        """Return every open position, by symbol in alphabetical order."""
        return {
            symbol: Position(
                symbol=symbol,
                quantity=quantity(held.units),
                basis=money(sum(lot.cost + lot.fee for lot in held.lots)),
                basis_average=money(held.pool_cost + held.pool_fee),
            )
            for symbol, held in sorted(self._holdings.items())
            if held.units
        }

    def quantities(self) -> dict[str, Decimal]:
        """Return units held of every open position, by symbol in alphabetical order."""
        return {
            symbol: quantity(held.units)
            for symbol, held in sorted(self._holdings.items())
            if held.units
        }

    def lots(self, symbol: str) -> tuple[Lot, ...]:
        """Return the open lots of a symbol, oldest first."""
        held = self._holdings.get(symbol)
        return tuple(held.lots) if held else ()

    def market_value(self, marks: Mapping[str, Decimal]) -> Decimal:
        """Return the value of all positions at `marks`, USD; OrderInvalid if a mark is missing."""
        return money(self._market_value(marks))

    def equity(self, marks: Mapping[str, Decimal]) -> Decimal:
        """Return cash and positions at `marks`, USD; OrderInvalid if a mark is missing."""
        return money(self._cash + self._market_value(marks))

    def unrealised(self, marks: Mapping[str, Decimal], method: Method = "fifo") -> Decimal:
        """Return open profit at `marks`, USD, opening fees included."""
        held = self._holdings.values()
        if method == "fifo":
            basis = sum(lot.cost + lot.fee for one in held for lot in one.lots)
        else:
            basis = sum(one.pool_cost + one.pool_fee for one in held)
        return money(self._market_value(marks) - basis)

    def weights(self, marks: Mapping[str, Decimal], symbols: Sequence[str]) -> Array:
        """Return value over equity per symbol, shape (n,); what is held elsewhere counts in equity.

        Raises:
            OrderInvalid: a mark is missing, or equity is not positive.
        """
        equity = self._cash + self._market_value(marks)
        if equity <= 0:
            raise OrderInvalid(f"weights need a positive equity, was {money(equity)}")
        values = (self._value(symbol, marks) for symbol in symbols)
        return np.array([value / equity for value in values], dtype=np.float64)

    def _market_value(self, marks: Mapping[str, Decimal]) -> int:
        return sum(self._value(symbol, marks) for symbol in self._holdings)

    def _value(self, symbol: str, marks: Mapping[str, Decimal]) -> int:
        held = self._holdings.get(symbol)
        if held is None or not held.units:
            return 0
        if symbol not in marks:
            raise OrderInvalid(f"{symbol}: {quantity(held.units)} held but no mark was given")
        return held.units * units(marks[symbol], f"{symbol} mark")


def book_of(fills: Iterable[Fill], cash: Decimal = ZERO) -> Book:
    """Return the book that starts with `cash` and applies `fills` in order."""
    book = Book()
    if cash:
        book.flow(cash)
    for fill in fills:
        book.apply(fill)
    return book
