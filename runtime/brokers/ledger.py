"""The chain of a paper venue's own record: every order, end, execution and action, in order.

An entry is written in the transaction of what it tells, by the formula of `runtime.chain`. To prove
a record is to recompute the chain and to find its tables as the chain alone would make them.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from runtime.brokers.terms import EXACT
from runtime.chain import Head, genesis, link
from runtime.domain import OrderState, Side
from runtime.errors import JournalBroken
from runtime.heads import remembered

SCHEMA = """
CREATE TABLE IF NOT EXISTS ledger (
  seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, at INTEGER NOT NULL,
  payload BLOB NOT NULL, hash BLOB NOT NULL, UNIQUE (kind, key));
"""
ORDER, END, EXECUTION, ACTION = "order", "end", "execution", "action"
_LAST = "SELECT seq, at, hash FROM ledger ORDER BY seq DESC LIMIT 1"


def append(
    database: sqlite3.Connection,
    venue: str,
    kind: str,
    key: str,
    said: Sequence[Any],
    at: int | None = None,
) -> None:
    """Append one entry, in the caller's transaction.

    Args:
        database: the record.
        venue: its name; no two venues share a chain.
        kind: what happened.
        key: to what; (kind, key) is there once.
        said: what it tells, plain values.
        at: microseconds since 1970, UTC; None = as the entry before, of what carries no time.
    """
    last = database.execute(_LAST).fetchone()
    seq, before, previous = last or (0, 0, genesis(f"venue {venue}"))
    when = before if at is None else at
    payload = json.dumps(said, separators=(",", ":")).encode()
    value = link(previous, seq + 1, when, kind, key, payload)
    database.execute(
        "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?)", (seq + 1, kind, key, when, payload, value)
    )


def head(database: sqlite3.Connection, venue: str) -> Head:
    """Return where the chain stands."""
    last = database.execute(_LAST).fetchone()
    value = genesis(f"venue {venue}") if last is None else last[2]
    return Head(seq=0 if last is None else last[0], hash=value.hex())


@dataclass(slots=True)
class _Told:
    """What the chain alone says."""

    asked: dict[str, str] = field(default_factory=dict)  # order id -> what was asked
    ended: dict[str, str] = field(default_factory=dict)  # order id -> state
    filled: dict[str, Decimal] = field(default_factory=dict)  # order id -> units
    executions: list[tuple[Any, ...]] = field(default_factory=list)
    actions: list[tuple[Any, ...]] = field(default_factory=list)
    positions: dict[str, Decimal] = field(default_factory=dict)  # symbol -> units

    def take(self, kind: str, key: str, said: list[Any]) -> None:
        """Take in the next entry."""
        if kind == ORDER:
            self.asked[key] = json.dumps(said)
        elif kind == END:
            self.ended[key] = said[0]
        elif kind == EXECUTION:
            self.executions.append((key, *said))
            order_id, symbol, side, quantity = said[:4]
            units = Decimal(quantity)
            self.filled[order_id] = EXACT.add(self.filled.get(order_id, Decimal(0)), units)
            signed = EXACT.multiply(units, Decimal(Side(side).sign))
            self.positions[symbol] = EXACT.add(self.positions.get(symbol, Decimal(0)), signed)
        elif kind == ACTION:
            self.actions.append((key, *said))
            self.positions[said[0]] = Decimal(said[5])

    def state(self, order_id: str, quantity: Decimal) -> str:
        """Return where an order must stand."""
        if order_id in self.ended:
            return self.ended[order_id]
        full = self.filled.get(order_id) == quantity
        return (OrderState.FILLED if full else OrderState.WORKING).value


def prove(database: sqlite3.Connection, venue: str, anchors: Iterable[Head] = ()) -> Head:
    """Recompute the chain, hold the tables against it, and return its head.

    Args:
        database: the record, in a transaction.
        venue: its name.
        anchors: heads remembered outside the record; each must be met.

    Raises:
        JournalBroken: names the first entry, or the table, that does not hold.
    """
    expected = remembered(anchors)
    told, seq, previous = _Told(), 0, genesis(f"venue {venue}")
    rows = database.execute("SELECT seq, kind, key, at, payload, hash FROM ledger ORDER BY seq")
    for number, kind, key, at, payload, value in rows:
        seq += 1
        if number != seq:
            raise JournalBroken(f"venue {venue}: entry {seq} is missing, {number} follows")
        previous = link(previous, seq, at, kind, key, payload)
        if previous != value:
            raise JournalBroken(f"venue {venue}: entry {seq} ({kind} {key}) was changed")
        if seq in expected and expected.pop(seq) != {value.hex()}:
            raise JournalBroken(f"venue {venue}: entry {seq} is not the one anchored outside")
        told.take(kind, key, json.loads(payload))
    if expected:
        raise JournalBroken(f"venue {venue}: entry {min(expected)} was anchored, {seq} is the last")
    _compare(database, venue, told)
    return Head(seq=seq, hash=previous.hex())


def _compare(database: sqlite3.Connection, venue: str, told: _Told) -> None:
    """Refuse tables that the chain does not explain."""
    orders = database.execute(
        "SELECT order_id, asked, state, symbol, side, quantity, order_type, limit_price, tif, "
        "created_at, stop_price FROM orders"
    ).fetchall()
    if {row[0]: row[1] for row in orders} != told.asked:
        raise JournalBroken(f"venue {venue}: the orders are not those of its chain")
    for order_id, asked, state, *held in orders:
        if json.dumps(held if held[-1] is not None else held[:-1]) != asked:
            raise JournalBroken(f"venue {venue}: order {order_id} is not what its chain asked for")
        should = told.state(order_id, Decimal(held[2]))
        if state != should:
            raise JournalBroken(
                f"venue {venue}: order {order_id} stands as {state}, its chain says {should}"
            )
    executions = database.execute(
        "SELECT execution_id, order_id, symbol, side, quantity, price, fee, cash, executed_at "
        "FROM executions ORDER BY number"
    ).fetchall()
    actions = database.execute(
        "SELECT action_id, symbol, kind, said, effective, before, after, cash FROM actions "
        "ORDER BY number"
    ).fetchall()
    if executions != told.executions or actions != told.actions:
        raise JournalBroken(f"venue {venue}: executions or actions are not those of its chain")
    held = {row[0]: Decimal(row[1]) for row in database.execute("SELECT * FROM positions")}
    if held != told.positions:
        raise JournalBroken(f"venue {venue}: its positions are not those of its chain")
