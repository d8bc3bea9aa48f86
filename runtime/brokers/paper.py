"""A paper venue: an honest second book with its own file, its own tables and its own arithmetic.

Every call is one SQLite transaction with synchronous=FULL, so a killed process loses nothing it
was told. An order executes on the first bar after its creation, whole, at the close moved by half
the spread; the size that the venue shows steers the router and does not bind the close. A bar
that misses the limit leaves a DAY order to expire with that session.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from pathlib import Path
from threading import Lock
from typing import Any

from runtime.domain import Bar, Fill, Order, OrderState, Quote, Side, TimeInForce
from runtime.errors import DatabaseUnavailable, OrderInvalid
from runtime.fills import FillTerms, MarketState, Style, fill_bar
from runtime.killing import Resting
from runtime.ports import Statement

_CENT, _PRICE = Decimal("0.01"), Decimal("0.000001")
_EXACT = Context(prec=60)  # products of prices and quantities never round
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
  number INTEGER PRIMARY KEY, order_id TEXT NOT NULL UNIQUE, symbol TEXT NOT NULL,
  side TEXT NOT NULL, quantity TEXT NOT NULL, limit_price TEXT NOT NULL, tif TEXT NOT NULL,
  created_at INTEGER NOT NULL, state TEXT NOT NULL, asked TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS orders_working ON orders (number) WHERE state = 'working';
CREATE TABLE IF NOT EXISTS executions (
  number INTEGER PRIMARY KEY, execution_id TEXT NOT NULL UNIQUE, order_id TEXT NOT NULL,
  symbol TEXT NOT NULL, side TEXT NOT NULL, quantity TEXT NOT NULL, price TEXT NOT NULL,
  fee TEXT NOT NULL, cash TEXT NOT NULL, executed_at INTEGER NOT NULL, day TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS executions_day ON executions (day);
CREATE TABLE IF NOT EXISTS positions (symbol TEXT PRIMARY KEY, quantity TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueTerms:
    """What a venue charges and shows."""

    name: str
    half_spread: Decimal  # fraction of the close, paid on each side
    fee_rate: Decimal  # fraction of notional, rounded half-up to the cent per execution
    depth: Decimal  # USD shown at each side
    model: FillTerms | None = None  # latency, queue and impact; None = the close and half a spread

    def __post_init__(self) -> None:
        if not (0 <= self.half_spread < 1 and 0 <= self.fee_rate < 1 and self.depth > 0):
            raise OrderInvalid(f"{self.name}: spread and fee must lie in [0, 1), depth above zero")


# Both cost about 5 basis points all in, the cost that studies assume.
PRIMARY = VenueTerms(
    name="primary",
    half_spread=Decimal("0.00025"),
    fee_rate=Decimal("0.00025"),
    depth=Decimal(100_000),
)
ALTERNATE = VenueTerms(
    name="alternate",
    half_spread=Decimal("0.00035"),
    fee_rate=Decimal("0.00017"),
    depth=Decimal(500_000),
)


class PaperVenue:
    """A venue that executes on the next bar; implements `runtime.ports.Broker`."""

    def __init__(
        self, path: Path, terms: VenueTerms, *, states: Callable[[Bar], MarketState] | None = None
    ) -> None:
        """Open the venue's record, making it if it is not there.

        Args:
            path: of its file.
            terms: what it charges; with a `model`, how it fills.
            states: the market of a bar's name as known then; the mid alone if not given.

        Raises:
            DatabaseUnavailable: the file cannot be opened.
        """
        self.terms = terms
        self._states = states or (lambda bar: MarketState(mid=float(bar.close)))
        self._bars: dict[str, Bar] = {}  # what is shown now; published again after a restart
        self._lock = Lock()
        try:
            self._database = sqlite3.connect(
                path, isolation_level=None, timeout=30, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise DatabaseUnavailable(
                f"the record of venue {terms.name} at {path} does not open: {error}; "
                "does the folder exist?"
            ) from error

    @property
    def name(self) -> str:
        """The venue's name."""
        return self.terms.name

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    @contextmanager
    def _transaction(self, how: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Yield the record inside one transaction; what fails has no effect."""
        with self._lock:
            try:
                self._database.execute(f"BEGIN {how}")
                yield self._database
                self._database.execute("COMMIT")
            except sqlite3.OperationalError as error:
                raise DatabaseUnavailable(
                    f"the record of venue {self.name}: {error}; the call had no effect"
                ) from error
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")

    def _rows(self, query: str, arguments: Sequence[Any] = ()) -> list[Any]:
        with self._transaction("DEFERRED") as database:
            return database.execute(query, arguments).fetchall()

    def quote(self, symbol: str, at: datetime) -> Quote:
        """Return the close of the bar published last, moved by half the spread each way.

        Raises:
            OrderInvalid: no bar of that symbol was published at or before `at`.
        """
        bar = self._bars.get(symbol)
        if bar is None or bar.known_at > at:
            raise OrderInvalid(f"venue {self.name} has published no bar of {symbol} yet")
        bid, ask = self._price(bar, Side.SELL), self._price(bar, Side.BUY)
        size = (self.terms.depth / bar.close).quantize(Decimal(1), rounding=ROUND_DOWN)
        return Quote(
            venue=self.name,
            symbol=symbol,
            bid=bid,
            ask=ask,
            size=size,
            fee_rate=self.terms.fee_rate,
            at=at,
        )

    def _price(self, bar: Bar, side: Side) -> Decimal:
        """Return the close moved against the taker by half the spread, 6 places."""
        moved = _EXACT.multiply(bar.close, 1 + side.sign * self.terms.half_spread)
        return moved.quantize(_PRICE, rounding=ROUND_HALF_EVEN, context=_EXACT)

    def submit(self, order: Order) -> OrderState:
        """Take an order once; the same order again answers where it stands.

        Raises:
            OrderInvalid: it names another venue, or its id was used for another order.
        """
        if order.venue != self.name:
            raise OrderInvalid(f"order {order.order_id} is for {order.venue}, not for {self.name}")
        asked = _asked(order)
        with self._transaction() as database:
            known = database.execute(
                "SELECT state, asked FROM orders WHERE order_id = ?", (order.order_id,)
            ).fetchone()
            if known is None:
                database.execute(
                    "INSERT INTO orders (order_id, symbol, side, quantity, limit_price, tif, "
                    "created_at, state, asked) VALUES (?, ?, ?, ?, ?, ?, ?, 'working', ?)",
                    (
                        order.order_id,
                        order.symbol,
                        order.side.value,
                        str(order.quantity),
                        str(order.limit_price),
                        order.time_in_force.value,
                        _micros(order.created_at),
                        asked,
                    ),
                )
                return OrderState.WORKING
        if known[1] != asked:
            raise OrderInvalid(
                f"order id {order.order_id} was used for another order at {self.name}"
            )
        return OrderState(known[0])

    def find(self, order_id: str) -> OrderState | None:
        """Return where an order stands, None if it never arrived."""
        rows = self._rows("SELECT state FROM orders WHERE order_id = ?", (order_id,))
        return OrderState(rows[0][0]) if rows else None

    def cancel(self, order_id: str) -> OrderState:
        """Cancel an order that is working; OrderInvalid if it never arrived."""
        with self._transaction() as database:
            database.execute(
                "UPDATE orders SET state = 'cancelled' WHERE order_id = ? AND state = 'working'",
                (order_id,),
            )
        state = self.find(order_id)
        if state is None:
            raise OrderInvalid(f"venue {self.name} never received order {order_id}")
        return state

    def working(self) -> Sequence[Resting]:
        """Return every order that is working, oldest first."""
        rows = self._rows(
            "SELECT order_id, symbol FROM orders WHERE state = ? ORDER BY number", ("working",)
        )
        return tuple(Resting(order_id, symbol) for order_id, symbol in rows)

    def expire_before(self, opened: datetime) -> None:
        """End what works and was created before `opened`: the session it was for went by unseen."""
        with self._transaction() as database:
            database.execute(
                "UPDATE orders SET state = CASE tif WHEN 'ioc' THEN 'cancelled' ELSE 'expired' END "
                "WHERE state = 'working' AND created_at < ?",
                (_micros(opened),),
            )

    def on_bars(self, bars: Sequence[Bar], at: datetime) -> int:
        """Publish the bars of a session's close and execute what was working before it.

        Args:
            bars: one per symbol.
            at: UTC, the venue's time; a bar not known by then is refused.

        Returns:
            Executions made.

        Raises:
            OrderInvalid: a bar lies in the future or has no positive close.
        """
        for bar in bars:
            if max(bar.event_time, bar.known_at) > at or not bar.close > 0:
                raise OrderInvalid(
                    f"{bar.symbol}: bar of {bar.event_time} is not known or not valid"
                )
        self._bars.update((bar.symbol, bar) for bar in bars)
        if not bars or not self._rows("SELECT 1 FROM orders WHERE state = 'working' LIMIT 1"):
            return 0
        closing = max(bar.event_time for bar in bars)
        by_symbol = {bar.symbol: bar for bar in bars}
        made = 0
        with self._transaction() as database:
            working = database.execute(
                "SELECT order_id, symbol, side, quantity, limit_price, tif, created_at "
                "FROM orders WHERE state = 'working' AND created_at < ? ORDER BY number",
                (_micros(closing),),
            ).fetchall()
            for order_id, symbol, side, quantity, limit, tif, created_at in working:
                met = by_symbol.get(symbol)
                state = _ended(tif)
                if met is not None and _micros(met.event_time) > created_at:
                    asked = Decimal(quantity)
                    units, price = asked, self._price(met, Side(side))
                    if self.terms.model is not None:
                        style = Style.IOC if tif == TimeInForce.IOC else Style.MARKET
                        bounds = (asked, Decimal(limit))
                        state_now, model = self._states(met), self.terms.model
                        units, price = fill_bar(met, Side(side), style, bounds, state_now, model)
                    if units > 0 and _within(price, Decimal(limit), Side(side)):
                        self._execute(database, order_id, Side(side), units, price, met)
                        state = OrderState.FILLED if units == asked else _ended(tif)
                        made += 1
                database.execute(
                    "UPDATE orders SET state = ? WHERE order_id = ?", (state.value, order_id)
                )
        return made

    def _execute(
        self,
        database: sqlite3.Connection,
        order_id: str,
        side: Side,
        quantity: Decimal,
        price: Decimal,
        bar: Bar,
    ) -> None:
        """Write one execution and what it does to the position, in the caller's transaction."""
        notional = _EXACT.multiply(quantity, price)
        fee = _cents(_EXACT.multiply(notional, self.terms.fee_rate))
        cash = _cents(_EXACT.subtract(_EXACT.multiply(notional, Decimal(-side.sign)), fee))
        executed_at = _micros(bar.event_time)
        name = hashlib.sha256(f"{order_id}\x1f{executed_at}".encode()).hexdigest()[:24]
        database.execute(
            "INSERT INTO executions (execution_id, order_id, symbol, side, quantity, price, fee, "
            "cash, executed_at, day) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                name,
                order_id,
                bar.symbol,
                side.value,
                str(quantity),
                str(price),
                str(fee),
                str(cash),
                executed_at,
                bar.event_time.astimezone(UTC).date().isoformat(),
            ),
        )
        held = database.execute(
            "SELECT quantity FROM positions WHERE symbol = ?", (bar.symbol,)
        ).fetchone()
        now = _EXACT.add(Decimal(held[0]) if held else Decimal(0), side.sign * quantity)
        database.execute(
            "INSERT INTO positions VALUES (?, ?) "
            "ON CONFLICT (symbol) DO UPDATE SET quantity = excluded.quantity",
            (bar.symbol, str(now)),
        )

    def executions(self, after: int) -> Sequence[tuple[int, Fill]]:
        """Return (number, fill) of every execution numbered above `after`, in order."""
        rows = self._rows(f"{_EXECUTIONS} WHERE number > ? ORDER BY number", (after,))
        return [(row[0], self._fill(row)) for row in rows]

    def statement(self, day: date) -> Statement:
        """Return positions at the end of `day`, and its cash and executions.

        The day of an execution is the UTC date of its bar; XNYS and XNSE sessions close on their
        own UTC date.
        """
        name = day.isoformat()
        with self._transaction("DEFERRED") as database:  # nothing executes between the reads
            read = database.execute
            rows = read(f"{_EXECUTIONS} WHERE day = ? ORDER BY number", (name,)).fetchall()
            held = read("SELECT symbol, quantity FROM positions").fetchall()
            later = read(
                "SELECT symbol, side, quantity FROM executions WHERE day > ?", (name,)
            ).fetchall()
        positions = {symbol: Decimal(quantity) for symbol, quantity in held}
        for symbol, side, quantity in later:
            undone = -Side(side).sign * Decimal(quantity)
            positions[symbol] = _EXACT.add(positions[symbol], undone)
        cash = Decimal("0.00")
        for row in rows:
            cash = _EXACT.add(cash, Decimal(row[8]))
        return Statement(
            venue=self.name,
            day=day,
            positions={symbol: units for symbol, units in sorted(positions.items()) if units},
            cash_flow=cash,
            fills=tuple(self._fill(row) for row in rows),
        )

    def _fill(self, row: Sequence[Any]) -> Fill:
        return Fill(
            venue=self.name,
            execution_id=row[1],
            order_id=row[2],
            symbol=row[3],
            side=Side(row[4]),
            quantity=Decimal(row[5]),
            price=Decimal(row[6]),
            fee=Decimal(row[7]),
            executed_at=_EPOCH + row[9] * _MICROSECOND,
        )


_EXECUTIONS = (
    "SELECT number, execution_id, order_id, symbol, side, quantity, price, fee, cash, executed_at "
    "FROM executions"
)


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _cents(amount: Decimal) -> Decimal:
    """Round to the cent, halves away from zero."""
    return amount.quantize(_CENT, rounding=ROUND_HALF_UP, context=_EXACT)


def _within(price: Decimal, limit: Decimal, side: Side) -> bool:
    """Say whether a price is at the limit or better."""
    return price <= limit if side is Side.BUY else price >= limit


def _ended(time_in_force: str) -> OrderState:
    """Return how an order ends that its bar did not fill."""
    return OrderState.CANCELLED if time_in_force == TimeInForce.IOC else OrderState.EXPIRED


def _asked(order: Order) -> str:
    """Return what identifies an order's content beside its id."""
    return json.dumps(
        [
            order.symbol,
            order.side.value,
            str(order.quantity),
            order.order_type.value,
            str(order.limit_price),
            order.time_in_force.value,
            _micros(order.created_at),
        ]
    )
