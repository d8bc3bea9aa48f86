"""One symbol of a book in integers: its lots, its pool, and what each event posts.

Steps of a trade, numbered where they happen:
 1. split it into a part that closes and a part that opens, fees shared by quantity;
 2. close: take the oldest lots (FIFO), and the same share of the pool (average cost);
 3. open: a new lot, and the pool grows;
 4. cash moves by the exact amount rounded once, to the cent, halves away from zero;
 5. post: debits equal credits, what rounding left goes to the account `rounding`.

Source: market-rules, sections 8 and 9.
"""

from bisect import insort
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from runtime.journal.exact import UNIT, money, posted, shown

# Ledger accounts in the order they are posted; cash and rounding are of no one symbol.
LEDGERS = ("cash", "securities", "fees in basis", "realised", "fees", "rounding", "dividends")
_WHOLE = ("cash", "rounding")
_SIDES = tuple((name, name in _WHOLE) for name in LEDGERS)
CASH, SECURITIES, BASIS_FEES, REALISED, FEES, ROUNDING, DIVIDENDS = range(len(LEDGERS))
NOTHING = (0,) * len(LEDGERS)


class Posting(NamedTuple):
    """One side of an entry; debits are positive."""

    account: str  # one of LEDGERS, equity, a kind of charge, suspense or claims
    symbol: str  # "" where it does not apply
    amount: Decimal  # USD


class Booking(NamedTuple):
    """What booking one event did; decimals are made when they are asked for."""

    symbol: str
    parts: tuple[int, ...]  # one per ledger account, debits positive; they sum to zero
    average_parts: int  # realised by average cost

    @property
    def postings(self) -> tuple[Posting, ...]:
        """Return the sides that are not zero."""
        return tuple(
            Posting(name, "" if name in _WHOLE else self.symbol, money(amount))
            for name, amount in zip(LEDGERS, self.parts, strict=True)
            if amount
        )

    @property
    def lines(self) -> tuple[tuple[str, str, str], ...]:
        """Return the postings as they are written."""
        symbol = self.symbol
        return tuple(
            [
                (name, "" if whole else symbol, shown(amount))
                for (name, whole), amount in zip(_SIDES, self.parts, strict=True)
                if amount
            ]
        )

    @property
    def realised(self) -> Decimal:
        """Return what was realised, USD, FIFO, fees of both sides included."""
        return money(-self.parts[REALISED] - self.parts[FEES])

    @property
    def texts(self) -> tuple[str, str]:
        """Return what was realised by both methods, as it is written."""
        fifo, average = -self.parts[REALISED] - self.parts[FEES], self.average_parts
        written = shown(fifo)
        return written, written if average == fifo else shown(average)

    @property
    def realised_average(self) -> Decimal:
        """Return what was realised, USD, average cost."""
        return money(self.average_parts)


class Lot(NamedTuple):
    """Units opened by one fill and still held; sorts by (time, execution id)."""

    opened_at: datetime
    execution_id: str
    units: int  # signed, 1e-6 units; negative = short
    cost: int  # signed parts: units times price
    fee: int  # parts, the share of the opening fee that these units carry


@dataclass(slots=True)
class Holding:
    """One symbol; the pool's cost and fees belong to average cost."""

    units: int = 0
    lots: list[Lot] = field(default_factory=list)
    pool_cost: int = 0
    pool_fee: int = 0
    balances: tuple[int, ...] = NOTHING  # of each ledger account, parts
    realised_average: int = 0
    traded: datetime | None = None  # latest fill booked
    acted: datetime | None = None  # latest split or dividend booked
    splits: list[tuple[datetime, int, int]] = field(default_factory=list)  # effective, new, old

    def copy(self) -> "Holding":
        """Return an independent copy."""
        return Holding(
            self.units,
            self.lots.copy(),
            self.pool_cost,
            self.pool_fee,
            self.balances,
            self.realised_average,
            self.traded,
            self.acted,
            self.splits.copy(),
        )

    def scaled(self, size: int, at: datetime) -> int:
        """Return units of an instant in today's units."""
        for effective, new, old in self.splits:
            if at < effective:
                size = size * new // old
        return size

    def trade(
        self, sign: int, size: int, notional: int, fee: int, at: datetime, name: str
    ) -> tuple[tuple[int, ...], int]:
        """Book a trade.

        Args:
            sign: +1 for a buy, -1 for a sale.
            size: 1e-6 units, positive.
            notional: parts.
            fee: parts.
            at: when it was executed.
            name: its execution id.

        Returns:
            One amount per ledger account, and what average cost realised; parts.
        """
        # 1. split into closing and opening
        held = self.units
        closing = 0 if held * sign >= 0 else min(size, abs(held))
        value, fee_closing = notional, fee
        if closing != size:
            value, fee_closing = notional * closing // size, fee * closing // size

        # 2. close
        cost = lot_fee = average = 0
        if closing:
            cost, lot_fee = self._take_lots(closing)
            pool_cost, pool_fee = self._take_pool(closing)
            average = -sign * value - pool_cost - pool_fee - fee_closing
        gain = -sign * value - cost  # price profit alone; fees are shown apart

        # 3. open
        self.units = held + sign * size
        opened, fee_opening = sign * (notional - value), fee - fee_closing
        if closing != size:
            lot = Lot(at, name, sign * (size - closing), opened, fee_opening)
            if self.lots and lot < self.lots[-1]:
                insort(self.lots, lot)
            else:
                self.lots.append(lot)
            self.pool_cost += opened
            self.pool_fee += fee_opening

        # 4. cash, rounded once
        exact = -sign * notional - fee
        cash = posted(exact)

        # 5. post
        basis_fee, fees = fee_opening - lot_fee, fee_closing + lot_fee
        parts = (cash, opened - cost, basis_fee, -gain, fees, exact - cash, 0)
        self._add(parts, average)
        return parts, average

    def split(self, at: datetime, new: int, old: int) -> tuple[tuple[int, ...], int]:
        """Scale all units; costs stay, except of what is less than 1e-6 units: that is lost."""
        before = after = 0
        cost = fee = 0  # of lots too small to stand, carried by the next one
        lots: list[Lot] = []
        for lot in self.lots:
            before += abs(lot.units)
            size = before * new // old - after
            after += size
            if size:
                kept = size if lot.units > 0 else -size
                lots.append(lot._replace(units=kept, cost=lot.cost + cost, fee=lot.fee + fee))
                cost = fee = 0
            else:
                cost, fee = cost + lot.cost, fee + lot.fee
        if lots and (cost or fee):
            lots[-1] = lots[-1]._replace(cost=lots[-1].cost + cost, fee=lots[-1].fee + fee)
            cost = fee = 0
        self.units = after if self.units > 0 else -after
        self.lots = lots
        self.splits.append((at, new, old))
        self.acted = at
        average = 0
        if not lots:
            average = -self.pool_cost - self.pool_fee
            self.pool_cost = self.pool_fee = 0
        parts = (0, -cost, -fee, cost, fee, 0, 0)
        self._add(parts, average)
        return parts, average

    def in_order(self, at: datetime) -> bool:
        """Say whether an action of that instant comes after everything that is booked."""
        earlier = self.traded is None or self.traded < at
        return earlier and (self.acted is None or self.acted <= at)

    def fraction(self) -> int:
        """Return 1e-6 units beyond whole ones, not negative."""
        return abs(self.units) % UNIT

    def pay(self, at: datetime, per_unit: int) -> tuple[tuple[int, ...], int]:
        """Book a dividend on all units; `per_unit` is in 1e-6 USD."""
        exact = self.units * per_unit
        cash = posted(exact)
        self.acted = at
        parts = (cash, 0, 0, 0, 0, exact - cash, -exact)
        self._add(parts, 0)
        return parts, 0

    def basis(self) -> int:
        """Return FIFO cost and opening fees of what is held, parts."""
        return self.balances[SECURITIES] + self.balances[BASIS_FEES]

    def _add(self, parts: tuple[int, ...], average: int) -> None:
        a, b, c, d, e, f, g = self.balances
        h, i, j, k, m, n, o = parts
        self.balances = (a + h, b + i, c + j, d + k, e + m, f + n, g + o)
        self.realised_average += average

    def _take_lots(self, count: int) -> tuple[int, int]:
        """Remove `count` > 0 units from the oldest lots; return their signed cost and fee."""
        cost = fee = whole = 0
        for lot in self.lots:
            size = abs(lot.units)
            if size > count:
                part_cost, part_fee = lot.cost * count // size, lot.fee * count // size
                left = lot.units - (count if lot.units > 0 else -count)
                self.lots[whole] = Lot(
                    lot.opened_at, lot.execution_id, left, lot.cost - part_cost, lot.fee - part_fee
                )
                cost, fee, count = cost + part_cost, fee + part_fee, 0
            else:
                cost, fee, count = cost + lot.cost, fee + lot.fee, count - size
                whole += 1
            if count == 0:
                break
        del self.lots[:whole]
        return cost, fee

    def _take_pool(self, count: int) -> tuple[int, int]:
        """Remove the share of `count` > 0 units from the pool; return its signed cost and fee."""
        size = abs(self.units)
        if count == size:
            cost, fee = self.pool_cost, self.pool_fee
            self.pool_cost = self.pool_fee = 0
            return cost, fee
        cost, fee = self.pool_cost * count // size, self.pool_fee * count // size
        self.pool_cost -= cost
        self.pool_fee -= fee
        return cost, fee
