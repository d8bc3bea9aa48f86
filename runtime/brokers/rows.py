"""Rows of a paper venue's record: orders as it holds them, executions as it writes them."""

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from runtime.brokers import ledger
from runtime.brokers.holdings import move
from runtime.brokers.matching import Matched, cents
from runtime.brokers.terms import EXACT
from runtime.chain import instant, micros
from runtime.domain import Bar, Fill, Order, OrderState, OrderType, Side, TimeInForce

_NONE = Decimal(0)
SCHEMA = """
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
"""
EXECUTIONS = (
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


def working(database: sqlite3.Connection, closing: datetime) -> list[Working]:
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
            filled=filled(database, row[0]) if row[6] == "gtc" else _NONE,
            met=row[9],
        )
        for row in rows
    ]


def filled(database: sqlite3.Connection, order_id: str) -> Decimal:
    """Return the units of an order that have executed."""
    rows = database.execute("SELECT quantity FROM executions WHERE order_id = ?", (order_id,))
    return sum((Decimal(text) for (text,) in rows.fetchall()), _NONE)


def execute(
    database: sqlite3.Connection, venue: str, order: Working, done: Matched, bar: Bar
) -> None:
    """Write one execution and what it does to the position, in the caller's transaction."""
    notional = EXACT.multiply(done.quantity, done.price)
    signed = EXACT.multiply(notional, Decimal(-order.side.sign))
    executed_at = micros(bar.event_time)
    name = hashlib.sha256(f"{order.order_id}\x1f{executed_at}".encode()).hexdigest()[:24]
    told = (
        order.order_id,
        order.symbol,
        order.side.value,
        str(done.quantity),
        str(done.price),
        str(done.fee),
        str(cents(EXACT.subtract(signed, done.fee))),
        executed_at,
    )
    database.execute(
        "INSERT INTO executions (execution_id, order_id, symbol, side, quantity, price, fee, "
        "cash, executed_at, day) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (name, *told, bar.event_time.astimezone(UTC).date().isoformat()),
    )
    ledger.append(database, venue, ledger.EXECUTION, name, told, executed_at)
    move(database, order.symbol, EXACT.multiply(done.quantity, Decimal(order.side.sign)))


def end(
    database: sqlite3.Connection, venue: str, ended: Iterable[tuple[str, str]], at: int | None
) -> None:
    """Write down that orders have ended, as (id, state), in the caller's transaction."""
    for order_id, state in ended:
        ledger.append(database, venue, ledger.END, order_id, (state,), at)


def fill_of(venue: str, row: Sequence[Any]) -> Fill:
    """Return an execution from its row."""
    return Fill(
        venue=venue,
        execution_id=row[1],
        order_id=row[2],
        symbol=row[3],
        side=Side(row[4]),
        quantity=Decimal(row[5]),
        price=Decimal(row[6]),
        fee=Decimal(row[7]),
        executed_at=instant(row[9]),
    )


def take(database: sqlite3.Connection, order: Order, asked: str) -> None:
    """Write an order that works from now on, in the caller's transaction."""
    created_at = micros(order.created_at)
    database.execute(
        "INSERT INTO orders (order_id, symbol, side, quantity, order_type, limit_price, tif, "
        "created_at, state, asked, stop_price, met) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'working', ?, ?, ?)",
        (
            order.order_id,
            order.symbol,
            order.side.value,
            str(order.quantity),
            order.order_type.value,
            str(order.limit_price),
            order.time_in_force.value,
            created_at,
            asked,
            None if order.stop_price is None else str(order.stop_price),
            created_at,
        ),
    )


def asked_of(order: Order) -> list[Any]:
    """Return what identifies an order's content beside its id."""
    return [
        order.symbol,
        order.side.value,
        str(order.quantity),
        order.order_type.value,
        str(order.limit_price),
        order.time_in_force.value,
        micros(order.created_at),
        *(() if order.stop_price is None else (str(order.stop_price),)),
    ]
