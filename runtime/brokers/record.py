"""A paper venue's own record: one SQLite file, every call one transaction that survives a kill."""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Lock
from typing import Any

from runtime.brokers.matching import Matched, cents
from runtime.brokers.terms import EXACT
from runtime.domain import Bar, Fill, Order, OrderReport, OrderState, OrderType, Side, TimeInForce
from runtime.errors import DatabaseUnavailable, OrderInvalid, Superseded
from runtime.kill.sequence import Resting
from runtime.ports import Statement

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NONE = Decimal(0)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
  number INTEGER PRIMARY KEY, order_id TEXT NOT NULL UNIQUE, symbol TEXT NOT NULL,
  side TEXT NOT NULL, quantity TEXT NOT NULL, order_type TEXT NOT NULL, limit_price TEXT NOT NULL,
  tif TEXT NOT NULL, created_at INTEGER NOT NULL, state TEXT NOT NULL, asked TEXT NOT NULL,
  stop_price TEXT, awake INTEGER NOT NULL DEFAULT 0, met INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS orders_working ON orders (number) WHERE state = 'working';
CREATE TABLE IF NOT EXISTS executions (
  number INTEGER PRIMARY KEY, execution_id TEXT NOT NULL UNIQUE, order_id TEXT NOT NULL,
  symbol TEXT NOT NULL, side TEXT NOT NULL, quantity TEXT NOT NULL, price TEXT NOT NULL,
  fee TEXT NOT NULL, cash TEXT NOT NULL, executed_at INTEGER NOT NULL, day TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS executions_day ON executions (day);
CREATE INDEX IF NOT EXISTS executions_order ON executions (order_id);
CREATE TABLE IF NOT EXISTS positions (symbol TEXT PRIMARY KEY, quantity TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS logons (epoch INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS terms (after INTEGER NOT NULL, hash TEXT NOT NULL, said TEXT NOT NULL);
"""
_EXECUTIONS = (
    "SELECT number, execution_id, order_id, symbol, side, quantity, price, fee, cash, executed_at "
    "FROM executions"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Working:
    """An order that works, as the record holds it."""

    order_id: str
    symbol: str
    side: Side
    quantity: Decimal  # units
    order_type: OrderType
    limit_price: Decimal
    time_in_force: TimeInForce
    stop_price: Decimal | None  # what wakes it; None = it is no stop, or awake
    filled: Decimal  # units, at earlier bars
    met: int  # microseconds since 1970, UTC; of the newest bar it met, or of its creation


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a bar made of an order."""

    matched: Matched | None  # what executed, if anything
    state: OrderState  # where the order stands then
    awake: bool = False  # a stop that was reached, now or before


class VenueRecord:
    """Orders, executions and positions of one venue."""

    def __init__(self, path: Path, name: str) -> None:
        """Open the record, making it if it is not there; DatabaseUnavailable if that fails."""
        self.name = name
        self._lock = Lock()
        self._epoch: int | None = None  # of this process's session; None = it never logged on
        try:
            self._database = sqlite3.connect(
                path, isolation_level=None, timeout=30, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise DatabaseUnavailable(
                f"the record of venue {name} at {path} does not open: {error}; "
                "does the folder exist?"
            ) from error

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

    def log_on(self, epoch: int) -> None:
        """End every earlier session; Superseded if a later one has begun."""
        self._epoch = epoch
        with self._transaction() as database:
            self._admitted(database)
            database.execute("INSERT OR IGNORE INTO logons VALUES (?)", (epoch,))

    def _admitted(self, database: sqlite3.Connection) -> None:
        """Refuse whoever is not the last that logged on, in the caller's transaction."""
        last = database.execute("SELECT max(epoch) FROM logons").fetchone()[0]
        if last is not None and last > (self._epoch or 0):
            raise Superseded(
                f"venue {self.name} serves epoch {last} now, not {self._epoch or 'an unnamed one'};"
                " nothing was taken"
            )

    def _rows(self, query: str, arguments: Sequence[Any] = ()) -> list[Any]:
        with self._transaction("DEFERRED") as database:
            return database.execute(query, arguments).fetchall()

    def traded_by(self, hash_: str, said: str) -> None:
        """Write down by which terms the executions from here on are made, if they are new."""
        with self._transaction() as database:
            last = database.execute("SELECT hash FROM terms ORDER BY rowid DESC LIMIT 1").fetchone()
            if last is None or last[0] != hash_:
                database.execute(
                    "INSERT INTO terms SELECT coalesce(max(number), 0), ?, ? FROM executions",
                    (hash_, said),
                )

    def terms(self) -> Sequence[tuple[int, str, str]]:
        """Return (number of the execution before, hash, text) of all terms traded by, in order."""
        return [tuple(row) for row in self._rows("SELECT * FROM terms ORDER BY rowid")]

    def submit(self, order: Order) -> OrderState:
        """Take an order once; OrderInvalid if its id was used for another order."""
        asked = _asked(order)
        with self._transaction() as database:
            self._admitted(database)
            known = database.execute(
                "SELECT state, asked FROM orders WHERE order_id = ?", (order.order_id,)
            ).fetchone()
            if known is None:
                database.execute(
                    "INSERT INTO orders (order_id, symbol, side, quantity, order_type, "
                    "limit_price, tif, created_at, state, asked, stop_price, met) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'working', ?, ?, ?)",
                    (
                        order.order_id,
                        order.symbol,
                        order.side.value,
                        str(order.quantity),
                        order.order_type.value,
                        str(order.limit_price),
                        order.time_in_force.value,
                        micros(order.created_at),
                        asked,
                        None if order.stop_price is None else str(order.stop_price),
                        micros(order.created_at),
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

    def report(self, order_id: str) -> OrderReport | None:
        """Return an order's quantities by this record, None if it never arrived."""
        with self._transaction("DEFERRED") as database:
            row = database.execute(
                "SELECT state, quantity FROM orders WHERE order_id = ?", (order_id,)
            ).fetchone()
            filled = _filled(database, order_id)
        if row is None:
            return None
        return OrderReport.of(order_id, OrderState(row[0]), Decimal(row[1]), filled)

    def cancel(self, order_id: str) -> None:
        """Cancel an order if it is working."""
        with self._transaction() as database:
            database.execute(
                "UPDATE orders SET state = 'cancelled' WHERE order_id = ? AND state = 'working'",
                (order_id,),
            )

    def resting(self) -> Sequence[Resting]:
        """Return every order that is working, oldest first."""
        rows = self._rows(
            "SELECT order_id, symbol FROM orders WHERE state = 'working' ORDER BY number"
        )
        return tuple(Resting(order_id, symbol) for order_id, symbol in rows)

    def expire_before(self, opened: datetime) -> None:
        """End what works and was created before `opened`, unless it is good till cancelled."""
        with self._transaction() as database:
            self._admitted(database)
            database.execute(
                "UPDATE orders SET state = "
                "CASE WHEN tif IN ('ioc', 'fok') THEN 'cancelled' ELSE 'expired' END "
                "WHERE state = 'working' AND tif <> 'gtc' AND created_at < ?",
                (micros(opened),),
            )

    def match(
        self,
        bars: Sequence[Bar],
        outcome: Callable[[Working, Bar | None], Outcome],
    ) -> int:
        """Put every order that was working before a close to `outcome`, in one transaction.

        Args:
            bars: of the close, one per symbol, at least one.
            outcome: told an order and its bar (None = there is none it has not met); says what
                executed, if anything, and where the order stands then.

        Returns:
            Executions made.
        """
        by_symbol = {bar.symbol: bar for bar in bars}
        made = 0
        with self._transaction() as database:
            self._admitted(database)
            for order in _working(database, max(bar.event_time for bar in bars)):
                bar = by_symbol.get(order.symbol)
                if bar is not None and micros(bar.event_time) <= order.met:
                    bar = None
                result = outcome(order, bar)
                if result.matched is not None and bar is not None:
                    _execute(database, order, result.matched, bar)
                    made += 1
                met = order.met if bar is None else micros(bar.event_time)
                database.execute(
                    "UPDATE orders SET state = ?, awake = max(awake, ?), met = ? "
                    "WHERE order_id = ?",
                    (result.state.value, int(result.awake), met, order.order_id),
                )
        return made

    def executions(self, after: int) -> Sequence[tuple[int, Fill]]:
        """Return (number, fill) of every execution numbered above `after`, in order."""
        rows = self._rows(f"{_EXECUTIONS} WHERE number > ? ORDER BY number", (after,))
        return [(row[0], self._fill(row)) for row in rows]

    def statement(self, day: date) -> Statement:
        """Return positions at the end of `day`, and its cash and executions."""
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
            positions[symbol] = EXACT.add(positions[symbol], undone)
        cash = Decimal("0.00")
        for row in rows:
            cash = EXACT.add(cash, Decimal(row[8]))
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


def micros(at: datetime) -> int:
    """Return microseconds since 1970, UTC."""
    return (at - _EPOCH) // _MICROSECOND


def _working(database: sqlite3.Connection, closing: datetime) -> list[Working]:
    """Return what was working before a close, oldest first."""
    rows = database.execute(
        "SELECT order_id, symbol, side, quantity, order_type, limit_price, tif, stop_price, awake, "
        "met FROM orders WHERE state = 'working' AND created_at < ? ORDER BY number",
        (micros(closing),),
    ).fetchall()
    return [
        Working(
            order_id=row[0],
            symbol=row[1],
            side=Side(row[2]),
            quantity=Decimal(row[3]),
            order_type=OrderType(row[4]),
            limit_price=Decimal(row[5]),
            time_in_force=TimeInForce(row[6]),
            stop_price=None if row[7] is None or row[8] else Decimal(row[7]),
            filled=_filled(database, row[0]) if row[6] == "gtc" else _NONE,
            met=row[9],
        )
        for row in rows
    ]


def _filled(database: sqlite3.Connection, order_id: str) -> Decimal:
    """Return the units of an order that have executed."""
    rows = database.execute("SELECT quantity FROM executions WHERE order_id = ?", (order_id,))
    return sum((Decimal(text) for (text,) in rows.fetchall()), _NONE)


def _execute(database: sqlite3.Connection, order: Working, done: Matched, bar: Bar) -> None:
    """Write one execution and what it does to the position, in the caller's transaction."""
    notional = EXACT.multiply(done.quantity, done.price)
    signed = EXACT.multiply(notional, Decimal(-order.side.sign))
    executed_at = micros(bar.event_time)
    name = hashlib.sha256(f"{order.order_id}\x1f{executed_at}".encode()).hexdigest()[:24]
    database.execute(
        "INSERT INTO executions (execution_id, order_id, symbol, side, quantity, price, fee, "
        "cash, executed_at, day) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            name,
            order.order_id,
            order.symbol,
            order.side.value,
            str(done.quantity),
            str(done.price),
            str(done.fee),
            str(cents(EXACT.subtract(signed, done.fee))),
            executed_at,
            bar.event_time.astimezone(UTC).date().isoformat(),
        ),
    )
    held = database.execute(
        "SELECT quantity FROM positions WHERE symbol = ?", (order.symbol,)
    ).fetchone()
    before = Decimal(held[0]) if held else Decimal(0)
    now = EXACT.add(before, order.side.sign * done.quantity)
    database.execute(
        "INSERT INTO positions VALUES (?, ?) "
        "ON CONFLICT (symbol) DO UPDATE SET quantity = excluded.quantity",
        (order.symbol, str(now)),
    )


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
            micros(order.created_at),
            *(() if order.stop_price is None else (str(order.stop_price),)),
        ]
    )
