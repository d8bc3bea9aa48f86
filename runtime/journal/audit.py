"""Derives the journal's tables again from its chain and names the first row that does not hold."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Engine

from runtime.chain import ChainedLog, Entry, micros
from runtime.database import reading
from runtime.domain import OrderState
from runtime.errors import JournalBroken
from runtime.journal import blobs, wire
from runtime.journal.book import Book
from runtime.journal.exact import plain, text
from runtime.journal.holding import Posting
from runtime.journal.rows import (
    decision_row,
    fill_row,
    next_state,
    order_row,
    posting_rows,
    session_row,
    state_after_fill,
)
from runtime.journal.tables import DECISION, FILL, FLOW, ORDER, POSTING, SESSION, Sql
from runtime.journal.wire import Line, postings_of

Row = tuple[object, ...]


class _Expected:
    """The rows that the entries read so far imply."""

    def __init__(self) -> None:
        self.books: dict[str, Book] = {}
        self.rows: dict[str, dict[Any, Row]] = {
            name: {} for name in ("decisions", "orders", "fills", "flows", "postings", "sessions")
        }

    def book(self, account: str) -> Book:
        return self.books.setdefault(account, Book())

    def take(self, entry: Entry) -> None:
        """Derive the rows of one entry; JournalBroken if its double entry does not hold."""
        match entry.kind:
            case "decision":
                self._decision(entry)
            case "order":
                self._order(entry)
            case "fill":
                self._fill(entry)
            case "flow":
                flow = wire.decode_flow(entry.payload)
                postings = self.book(flow.account).flow(Decimal(flow.amount))
                self._postings(entry, flow.account, flow.postings, postings)
                row = (entry.seq, flow.account, flow.flow_id, flow.amount)
                self.rows["flows"][entry.seq] = row
            case "session":
                session = wire.decode_session(entry.payload)
                key = (session.account, session.day.isoformat())
                self.rows["sessions"][key] = session_row(entry.seq, session)
            case other:
                raise JournalBroken(f"journal: entry {entry.seq} is of unknown kind {other}")

    def _decision(self, entry: Entry) -> None:
        record, account, orders = wire.decode_decision(entry.payload, {})
        self.rows["decisions"][entry.seq] = decision_row(entry.seq, record, account)
        for line, order in enumerate(orders):
            row = order_row(entry.seq, line, order, record.decision_id, account)
            self.rows["orders"][order.order_id] = row

    def _order(self, entry: Entry) -> None:
        event = wire.decode_event(entry.payload, entry.at)
        row = list(self.rows["orders"][event.order_id])
        state = next_state(OrderState(str(row[15])), event.state)
        row[15], row[17], row[18] = state.value, event.note, micros(event.at)
        self.rows["orders"][event.order_id] = tuple(row)

    def _fill(self, entry: Entry) -> None:
        kept = wire.decode_fill(entry.payload)
        booking = self.book(kept.account).apply(kept.fill)
        realised = (Decimal(kept.realised), Decimal(kept.realised_average))
        if booking is None or (booking.realised, booking.realised_average) != realised:
            raise JournalBroken(f"journal: entry {entry.seq} realises what the fills do not give")
        self._postings(entry, kept.account, kept.postings, booking.postings)
        self.rows["fills"][entry.seq] = fill_row(entry.seq, kept.fill, kept.account)
        row = list(self.rows["orders"][kept.fill.order_id])
        filled = Decimal(str(row[16])) + kept.fill.quantity
        state = state_after_fill(OrderState(str(row[15])), filled, Decimal(str(row[10])))
        if state is not kept.state:
            raise JournalBroken(f"journal: entry {entry.seq} leaves its order {kept.state.value}")
        row[15], row[16], row[18] = state.value, text(filled), micros(kept.fill.executed_at)
        self.rows["orders"][kept.fill.order_id] = tuple(row)

    def _postings(
        self, entry: Entry, account: str, kept: Sequence[Line], derived: Sequence[Posting]
    ) -> None:
        postings = postings_of(kept)
        if postings != tuple(derived) or sum((one.amount for one in postings), Decimal(0)):
            raise JournalBroken(f"journal: entry {entry.seq} is not the balanced double entry")
        for row in posting_rows(entry.seq, account, postings):
            self.rows["postings"][row[0], row[1]] = row


# table -> columns, positions of the key, positions of exact amounts
_STORED: dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]] = {
    "decisions": (DECISION, (0,), ()),
    "orders": (ORDER, (0,), (10, 12, 16)),
    "fills": (FILL, (0,), (7, 8, 9)),
    "flows": (FLOW, (0,), (3,)),
    "postings": (POSTING, (0, 1), (5,)),
    "sessions": (SESSION, (0, 1), (3, 4)),
}


def verify_rows(engine: Engine, log: ChainedLog, sql: Sql) -> None:
    """Compare every table with what the chain implies.

    Raises:
        JournalBroken: names the row that is missing, changed or explained by no entry.
    """
    expected = _Expected()
    with reading(engine) as connection:
        for entry in log.entries(connection=connection):
            expected.take(entry)
        for name, (columns, key, exact) in _STORED.items():
            _compare(sql, connection, name, columns, key, exact, expected.rows[name])
        for (name,) in sql.rows(connection, "SELECT DISTINCT inputs FROM journal_decisions"):
            found = sql.rows(connection, "SELECT data FROM journal_blobs WHERE name = ?", (name,))
            if not found:
                raise JournalBroken(f"stored inputs {name} of a decision are missing")
            blobs.restore(name, bytes(found[0][0]))


def _compare(
    sql: Sql,
    connection: Connection,
    name: str,
    columns: str,
    key: tuple[int, ...],
    exact: tuple[int, ...],
    expected: dict[Any, Row],
) -> None:
    left = dict(expected)
    for stored in sql.rows(connection, f"SELECT {columns} FROM journal_{name}"):
        values = list(stored)
        for position in exact:
            values[position] = plain(Decimal(values[position]))
        found = tuple(values[position] for position in key)
        wanted = left.pop(found[0] if len(key) == 1 else found, None)
        if wanted is None:
            raise JournalBroken(f"journal_{name} holds {found}, which no entry explains")
        if wanted != tuple(values):
            raise JournalBroken(f"journal_{name} row {found} is not what its entry says")
    if left:
        raise JournalBroken(f"journal_{name} lacks the row of {next(iter(left))}")
