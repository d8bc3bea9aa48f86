"""The book of one account: cash, positions and profit, exact, from events in order.

FIFO posts; average cost is kept beside it. How one event changes one symbol stands in
`runtime.journal.holding`. Source: market-rules, sections 8 and 9.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from runtime.bundles.inputs import Array
from runtime.domain import Fill
from runtime.errors import OrderInvalid
from runtime.journal.actions import Charge, Dividend, Event, Split
from runtime.journal.exact import UNIT, mark_units, money, posted, quantity, units
from runtime.journal.holding import (
    BASIS_FEES,
    CASH,
    DIVIDENDS,
    FEES,
    REALISED,
    ROUNDING,
    Booking,
    Holding,
    Lot,
    Posting,
)
from runtime.journal.marks import Marks
from runtime.journal.seen import Seen

Method = Literal["fifo", "average"]
ZERO = Decimal("0.00")


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What is held of one symbol."""

    symbol: str
    quantity: Decimal  # units, negative = short
    basis: Decimal  # USD, FIFO, opening fees included; negative for a short
    basis_average: Decimal  # USD, average cost


class Book:
    """Cash, positions and profit of one account; events in, exact decimals out."""

    def __init__(self) -> None:
        """Start empty: no cash, no position."""
        self._holdings: dict[str, Holding] = {}
        self._own: set[str] = set()  # symbols whose holding no other book shares
        self._quantities: dict[str, Decimal] = {}  # units of open positions, in alphabetical order
        self._moved: set[str] = set()  # symbols of which these may be old
        self._valued: tuple[Marks, dict[str, int]] | None = None  # parts by symbol, at these marks
        self._seen = Seen()  # (venue, execution id), ("", action id)
        self._cash = self._flows = self._charges = 0  # parts

    def copy(self) -> "Book":
        """Return an independent copy; a holding is shared until one of the two changes it."""
        other = Book()
        self._own = set()
        other._holdings, other._quantities = self._holdings.copy(), self._known_quantities()
        other._seen = self._seen.copy()
        other._cash, other._flows, other._charges = self._cash, self._flows, self._charges
        return other

    def flow(self, amount: Decimal) -> tuple[Posting, ...]:
        """Book cash paid in (positive) or out (negative); return its postings."""
        parts = _cents(amount, "cash flow")
        self._cash += parts
        self._flows += parts
        return (Posting("cash", "", money(parts)), Posting("equity", "", money(-parts)))

    def charge(self, charge: Charge) -> tuple[Posting, ...]:
        """Book money taken for holding something; nothing if it is booked already."""
        if ("", charge.action_id) in self._seen:
            return ()
        parts = _cents(charge.amount, "charge")
        self._seen.add(("", charge.action_id))
        self._cash -= parts
        self._charges += parts
        return (
            Posting("cash", "", money(-parts)),
            Posting(charge.kind.value, charge.symbol, money(parts)),
        )

    def has_seen(self, fill: Fill) -> bool:
        """Say whether an execution of that venue and id was ever booked."""
        return (fill.venue, fill.execution_id) in self._seen

    def apply(self, fill: Fill) -> Booking | None:
        """Book one fill; None, and no change, if its (venue, execution id) is booked already.

        A fill that took place before a split that is booked already is taken in new units.

        Raises:
            OrderInvalid: an amount is not exact; the book is unchanged.
        """
        key = (fill.venue, fill.execution_id)
        if key in self._seen:
            return None
        try:
            size = units(fill.quantity, "fill quantity")
            price = units(fill.price, "fill price")
            fee = units(fill.fee, "fee") * UNIT
        except OrderInvalid as error:
            raise OrderInvalid(f"{fill.symbol} {error}") from None
        held = self._changed(fill.symbol)
        notional, at = size * price, fill.executed_at
        if held.splits:
            size = held.scaled(size, at)
        parts, average = held.trade(fill.side.sign, size, notional, fee, at, fill.execution_id)
        if held.traded is None or at > held.traded:
            held.traded = at
        self._seen.add(key)
        self._cash += parts[CASH]
        return Booking(fill.symbol, parts, average)

    def split(self, split: Split) -> Booking | None:
        """Scale a holding; a fraction is sold for cash where the split says so.

        Returns:
            What it posts; None, and no change, if it is booked already.

        Raises:
            OrderInvalid: a later event is booked already; `restate` puts them in order.
        """
        if ("", split.action_id) in self._seen:
            return None
        held = self._in_order(split)
        lieu = None if split.in_lieu is None else units(split.in_lieu, "cash in lieu")
        parts, average = held.split(split.effective, split.new, split.old)
        fraction = 0 if lieu is None else held.fraction()
        if lieu is not None and fraction:
            sign = -1 if held.units > 0 else 1
            sold, more = held.trade(
                sign, fraction, fraction * lieu, 0, split.effective, split.action_id
            )
            parts, average = tuple(map(int.__add__, parts, sold)), average + more
        self._seen.add(("", split.action_id))
        self._cash += parts[CASH]
        return Booking(split.symbol, parts, average)

    def dividend(self, dividend: Dividend) -> Booking | None:
        """Book a dividend on what is held; see `split` for None and OrderInvalid."""
        if ("", dividend.action_id) in self._seen:
            return None
        per_unit = units(dividend.per_unit, "dividend per unit")
        held = self._in_order(dividend)
        parts, average = held.pay(dividend.effective, per_unit)
        self._seen.add(("", dividend.action_id))
        self._cash += parts[CASH]
        return Booking(dividend.symbol, parts, average)

    def take(self, event: Event) -> Booking | None:
        """Book any event of one symbol."""
        match event:
            case Fill():
                return self.apply(event)
            case Split():
                return self.split(event)
            case Dividend():
                return self.dividend(event)

    def restate(self, symbol: str, events: Sequence[Event]) -> Booking:
        """Put one symbol where it would stand had `events` been all of its events, in that order.

        Returns:
            The differences, as one balanced entry.
        """
        fresh = Book()
        for event in events:
            fresh.take(event)
        now, before = fresh._changed(symbol), self._changed(symbol)
        parts = tuple(map(int.__sub__, now.balances, before.balances))
        self._holdings[symbol] = now
        self._seen.update(fresh._seen)
        self._cash += parts[CASH]
        return Booking(symbol, parts, now.realised_average - before.realised_average)

    def in_order(self, action: Split | Dividend) -> bool:
        """Say whether an action took effect after everything that is booked of its symbol."""
        held = self._holdings.get(action.symbol)
        return held is None or held.in_order(action.effective)

    def _changed(self, symbol: str) -> Holding:
        """Return a holding that is about to change, and is this book's alone from here on."""
        held = self._holdings.get(symbol)
        if held is None:
            held = self._holdings[symbol] = Holding()
        elif symbol not in self._own:
            held = self._holdings[symbol] = held.copy()
        self._own.add(symbol)
        self._moved.add(symbol)
        self._valued = None
        return held

    def _in_order(self, action: Split | Dividend) -> Holding:
        if not self.in_order(action):
            raise OrderInvalid(
                f"{action.action_id} of {action.symbol} took effect at {action.effective}, before "
                "what is booked already; restate the symbol"
            )
        return self._changed(action.symbol)

    def _total(self, ledger: int) -> int:
        return sum(held.balances[ledger] for held in self._holdings.values())

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
        return money(self._total(FEES) + self._total(BASIS_FEES))

    @property
    def rounding(self) -> Decimal:
        """What rounding cash to the cent has gained (positive) or lost, USD."""
        return money(-self._total(ROUNDING))

    @property
    def realised(self) -> Decimal:
        """Realised profit by FIFO, USD, fees of the closed units included."""
        return money(-self._total(REALISED) - self._total(FEES))

    def realised_by(self, method: Method) -> Decimal:
        """Return the realised profit by one method, USD."""
        if method == "fifo":
            return self.realised
        return money(sum(held.realised_average for held in self._holdings.values()))

    @property
    def dividends(self) -> Decimal:
        """Dividends received less those paid on shorts, USD, exact."""
        return money(-self._total(DIVIDENDS))

    @property
    def charges(self) -> Decimal:
        """Borrow, interest and tax, USD; negative = received."""
        return money(self._charges)

    def position(self, symbol: str) -> Decimal:
        """Return units held, negative for a short, zero if none."""
        held = self._holdings.get(symbol)
        return quantity(held.units) if held else Decimal(0)

    def positions(self) -> dict[str, Position]:
        """Return every open position, by symbol in alphabetical order."""
        return {symbol: self._position(symbol) for symbol in self._known_quantities()}

    def _position(self, symbol: str) -> Position:
        held = self._holdings[symbol]
        return Position(
            symbol=symbol,
            quantity=quantity(held.units),
            basis=money(held.basis()),
            basis_average=money(held.pool_cost + held.pool_fee),
        )

    def quantities(self) -> dict[str, Decimal]:
        """Return units held of every open position, by symbol in alphabetical order."""
        return self._known_quantities().copy()

    def _known_quantities(self) -> dict[str, Decimal]:
        """Return the same, not to be changed: of what did not move they are known already."""
        if self._moved:
            known, come = self._quantities.copy(), False
            for symbol in self._moved:
                held = self._holdings[symbol].units
                come |= bool(held) and symbol not in known
                if held:
                    known[symbol] = quantity(held)
                else:
                    known.pop(symbol, None)
            self._quantities = dict(sorted(known.items())) if come else known
            self._moved = set()
        return self._quantities

    def counts(self, symbols: Sequence[str]) -> Array:
        """Return units held as the floats nearest to whole numbers of 1e-6, shape (n,)."""
        import numpy as np

        known = self._holdings.get
        found = [0 if (held := known(symbol)) is None else held.units for symbol in symbols]
        return np.array(found, dtype=np.float64)

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
            basis = sum(one.basis() for one in held)
        else:
            basis = sum(one.pool_cost + one.pool_fee for one in held)
        return money(self._market_value(marks) - basis)

    def weights(self, marks: Mapping[str, Decimal], symbols: Sequence[str]) -> Array:
        """Return value over equity per symbol, shape (n,); what is held elsewhere counts in equity.

        Raises:
            OrderInvalid: a mark is missing, or equity is not positive.
        """
        import numpy as np

        values = self._values(marks)
        equity = self._cash + sum(values.values())
        if equity <= 0:
            raise OrderInvalid(f"weights need a positive equity, was {money(equity)}")
        weights = {symbol: value / equity for symbol, value in values.items()}
        return np.array([weights.get(symbol, 0.0) for symbol in symbols], dtype=np.float64)

    def _market_value(self, marks: Mapping[str, Decimal]) -> int:
        return sum(self._values(marks).values())

    def _values(self, marks: Mapping[str, Decimal]) -> dict[str, int]:
        """Return parts by symbol of what is held; a tick asks for them again and again."""
        if not isinstance(marks, Marks):
            return {name: _value(name, held, marks) for name, held in self._open()}
        if self._valued is None or self._valued[0] is not marks:
            known = marks.units
            try:
                values = {
                    name: count * known[name]
                    for name, held in self._holdings.items()
                    if (count := held.units)
                }
            except KeyError:  # said in words where it is looked at one by one
                values = {name: _value(name, held, marks) for name, held in self._open()}
            self._valued = marks, values
        return self._valued[1]

    def _open(self) -> Iterator[tuple[str, Holding]]:
        return ((name, held) for name, held in self._holdings.items() if held.units)


def _value(symbol: str, held: Holding, marks: Mapping[str, Decimal]) -> int:
    mark = marks.get(symbol)
    if mark is None:
        raise OrderInvalid(f"{symbol}: {quantity(held.units)} held but no mark was given")
    return held.units * mark_units(mark, symbol)


def book_of(events: Iterable[Event], cash: Decimal = ZERO) -> Book:
    """Return the book that starts with `cash` and takes `events` in order."""
    book = Book()
    if cash:
        book.flow(cash)
    for event in events:
        book.take(event)
    return book


def _cents(amount: Decimal, name: str) -> int:
    """Return parts of an amount that must be a whole number of cents."""
    parts = units(amount, name) * UNIT
    if parts != posted(parts):
        raise OrderInvalid(f"a {name} is a whole number of cents, was {amount}")
    return parts
