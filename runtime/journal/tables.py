"""The journal's tables beside its chain: what queries and the double entry read.

Each row is derived from one chained entry in the same transaction, so `Journal.verify` can derive
it again. Amounts are NUMERIC on PostgreSQL; SQLite has no exact number, so there they are TEXT.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from runtime.statements import Insert, answer, tuples, write_all

_TABLES = """
CREATE TABLE IF NOT EXISTS journal_blobs (name TEXT PRIMARY KEY, data {blob} NOT NULL);
CREATE TABLE IF NOT EXISTS journal_decisions (
  seq BIGINT PRIMARY KEY, decision_id TEXT NOT NULL UNIQUE, account TEXT NOT NULL,
  bundle TEXT NOT NULL, tick TEXT NOT NULL, decided_at BIGINT NOT NULL,
  inputs TEXT NOT NULL, UNIQUE (account, bundle, tick));
CREATE TABLE IF NOT EXISTS journal_orders (
  order_id TEXT PRIMARY KEY, seq BIGINT NOT NULL, account TEXT NOT NULL,
  decision_id TEXT NOT NULL, bundle TEXT NOT NULL, tick TEXT NOT NULL, symbol TEXT NOT NULL,
  leg INTEGER NOT NULL, venue TEXT NOT NULL, side TEXT NOT NULL, quantity {number} NOT NULL,
  order_type TEXT NOT NULL, limit_price {number} NOT NULL, time_in_force TEXT NOT NULL,
  created_at BIGINT NOT NULL, state TEXT NOT NULL, filled {number} NOT NULL, note TEXT NOT NULL,
  updated_at BIGINT NOT NULL, line INTEGER NOT NULL, stop_price {number});
CREATE INDEX IF NOT EXISTS journal_orders_decision ON journal_orders (decision_id);
CREATE INDEX IF NOT EXISTS journal_orders_open ON journal_orders (account, seq)
  WHERE state IN ('pending', 'working', 'unknown');
CREATE INDEX IF NOT EXISTS journal_orders_seq ON journal_orders (seq, symbol);
CREATE INDEX IF NOT EXISTS journal_decisions_day ON journal_decisions (account, tick);
CREATE TABLE IF NOT EXISTS journal_denials (
  seq BIGINT NOT NULL, line INTEGER NOT NULL, symbol TEXT NOT NULL, failed TEXT NOT NULL,
  PRIMARY KEY (seq, line, failed));
CREATE TABLE IF NOT EXISTS journal_fills (
  seq BIGINT PRIMARY KEY, account TEXT NOT NULL, venue TEXT NOT NULL, execution_id TEXT NOT NULL,
  order_id TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL, quantity {number} NOT NULL,
  price {number} NOT NULL, fee {number} NOT NULL, executed_at BIGINT NOT NULL, day TEXT NOT NULL,
  UNIQUE (venue, execution_id));
CREATE INDEX IF NOT EXISTS journal_fills_account ON journal_fills (account, seq);
CREATE INDEX IF NOT EXISTS journal_fills_order ON journal_fills (order_id);
CREATE INDEX IF NOT EXISTS journal_fills_day ON journal_fills (account, venue, day);
CREATE TABLE IF NOT EXISTS journal_flows (
  seq BIGINT PRIMARY KEY, account TEXT NOT NULL, flow_id TEXT NOT NULL, amount {number} NOT NULL);
CREATE TABLE IF NOT EXISTS journal_postings (
  seq BIGINT NOT NULL, line INTEGER NOT NULL, account TEXT NOT NULL, ledger TEXT NOT NULL,
  symbol TEXT NOT NULL, amount {number} NOT NULL, PRIMARY KEY (seq, line));
CREATE TABLE IF NOT EXISTS journal_adjustments (
  seq BIGINT PRIMARY KEY, account TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
  symbol TEXT NOT NULL, effective BIGINT NOT NULL, UNIQUE (account, kind, name));
CREATE INDEX IF NOT EXISTS journal_adjustments_account ON journal_adjustments (account, seq);
CREATE TABLE IF NOT EXISTS journal_sessions (
  account TEXT NOT NULL, day TEXT NOT NULL, seq BIGINT NOT NULL, cash {number} NOT NULL,
  equity {number} NOT NULL, benchmark_return DOUBLE PRECISION, breaks INTEGER NOT NULL,
  PRIMARY KEY (account, day));
CREATE TABLE IF NOT EXISTS journal_modes (account TEXT PRIMARY KEY, simulated INTEGER NOT NULL);
"""

DECISION = "seq, decision_id, account, bundle, tick, decided_at, inputs"
DENIAL = "seq, line, symbol, failed"
ORDER = (
    "order_id, seq, account, decision_id, bundle, tick, symbol, leg, venue, side, quantity, "
    "order_type, limit_price, time_in_force, created_at, state, filled, note, updated_at, line, "
    "stop_price"
)
FILL = (
    "seq, account, venue, execution_id, order_id, symbol, side, quantity, price, fee, "
    "executed_at, day"
)
FLOW = "seq, account, flow_id, amount"
POSTING = "seq, line, account, ledger, symbol, amount"
ADJUSTMENT = "seq, account, kind, name, symbol, effective"
SESSION = "account, day, seq, cash, equity, benchmark_return, breaks"


class Sql:
    """Runs the journal's statements, written with `?`, on either database."""

    def __init__(self, dialect: str) -> None:
        """Take the dialect's name: "sqlite" or "postgresql"."""
        self.postgres = dialect == "postgresql"

    def create(self, connection: Connection, prefix: str = "journal_") -> None:
        """Make the tables that are not there; another prefix makes others like them."""
        number, blob = ("NUMERIC", "BYTEA") if self.postgres else ("TEXT", "BLOB")
        tables = _TABLES.format(number=number, blob=blob).replace("journal_", prefix)
        for statement in tables.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)

    def rows(
        self, connection: Connection, statement: str, arguments: Sequence[Any] = ()
    ) -> Sequence[Any]:
        """Return all rows of a query."""
        return connection.exec_driver_sql(self.marked(statement), tuple(arguments)).fetchall()

    def answer(
        self, connection: Connection, statement: str, arguments: Sequence[Any] = ()
    ) -> Sequence[Any]:
        """Return all rows of a small query that stands by itself, as a tick asks several of."""
        return answer(connection, self.marked(statement), arguments)

    def tuples(
        self, connection: Connection, statement: str, arguments: Sequence[Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Return all rows of a large query as plain tuples."""
        return tuples(connection, self.marked(statement), arguments)

    def run(self, connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run a statement once per row of arguments."""
        if rows:
            connection.exec_driver_sql(self.marked(statement), list(rows))

    def insert(
        self, connection: Connection, table: str, columns: str, rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Insert rows whose values stand in the order of `columns`."""
        write_all(connection, [Insert(table, columns, rows)])

    def texts(self, columns: str, exact: Sequence[str]) -> str:
        """Return columns for a query whose exact amounts are to come as they are written."""
        if not self.postgres:
            return columns
        names = columns.split(", ")
        return ", ".join(f"{name}::text" if name in exact else name for name in names)

    def marked(self, statement: str) -> str:
        """Return a statement with the driver's own marks for its arguments."""
        return statement.replace("?", "%s") if self.postgres else statement


def holders(count: int) -> str:
    """Return "?, ?, ..." for an IN list of `count` values."""
    return ", ".join("?" * count)
