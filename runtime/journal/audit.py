"""Derives the journal's tables again from its chain and names the first row that does not hold.

The chain is read once: each page is proved, its rows are derived and compared with what the tables
hold of the same sequence numbers, and forgotten. Orders, which later entries change, are kept.
What decisions name by its hash, all that they were told, is unpacked and hashed again.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine

from runtime.chain import ChainedLog, Head, instant
from runtime.database import reading
from runtime.decoding import from_json
from runtime.domain import Fill, OrderState
from runtime.errors import JournalBroken
from runtime.journal import blobs, wire
from runtime.journal.actions import Charge, Correction
from runtime.journal.adjust import SymbolHistory, adjust
from runtime.journal.book import Book
from runtime.journal.exact import text
from runtime.journal.rows import (
    adjustment_row,
    decision_row,
    denial_rows,
    fill_row,
    next_state,
    order_row,
    posting_rows,
    session_row,
    state_after_correction,
    state_after_fill,
)
from runtime.journal.tables import (
    ADJUSTMENT,
    DECISION,
    DENIAL,
    FILL,
    FLOW,
    ORDER,
    POSTING,
    SESSION,
    Sql,
    holders,
)

Row = tuple[Any, ...]

# table -> columns, columns that sort it, how many of the first name a row, exact amounts
_PAGED: dict[str, tuple[str, str, int, tuple[str, ...]]] = {
    "decisions": (DECISION, "seq", 1, ()),
    "denials": (DENIAL, "seq, line, failed", 3, ()),
    "fills": (FILL, "seq", 1, ("quantity", "price", "fee")),
    "flows": (FLOW, "seq", 1, ("amount",)),
    "adjustments": (ADJUSTMENT, "seq", 1, ()),
    "postings": (POSTING, "seq, line", 2, ("amount",)),
    "sessions": (SESSION, "seq", 2, ("cash", "equity")),
}
_AMOUNTS = ("quantity", "limit_price", "filled", "stop_price")
_STATE, _FILLED, _NOTE, _UPDATED, _QUANTITY = 15, 16, 17, 18, 10  # columns of an order
_SCENE, _BLOBS = "scene", 50  # what a blob holds; how many are read at once


class _Scene(msgspec.Struct, frozen=True):
    """The part of a scene that names another blob."""

    arrays: str = ""


class _Expected:
    """The rows that the entries read so far imply."""

    def __init__(self, restated: set[tuple[str, str]]) -> None:
        self.books: dict[str, Book] = {}
        self.histories = {key: SymbolHistory() for key in restated}  # by account and symbol
        self.orders: dict[str, list[Any]] = {}
        self.disputes: dict[tuple[str, str], wire.BreakWire] = {}  # by account and break
        self.rows: dict[str, list[Row]] = {name: [] for name in _PAGED}
        self.named = dict[str, str]()  # name of a blob -> what it holds, see `runtime.proof`

    def book(self, account: str) -> Book:
        return self.books.setdefault(account, Book())

    def take(self, row: Sequence[Any]) -> None:
        """Derive the rows of one entry; JournalBroken if its double entry does not hold."""
        seq, kind, _, at, payload, _ = row
        data = bytes(payload)
        match kind:
            case "fill":
                self._fill(seq, at, data)
            case "decision":
                self._decision(seq, data)
            case "order":
                self._order(at, data)
            case "flow":
                flow = wire.decode_flow(data)
                derived = wire.lines(self.book(flow.account).flow(Decimal(flow.amount)))
                self._postings(seq, flow.account, flow.postings, derived)
                self.rows["flows"].append((seq, flow.account, flow.flow_id, flow.amount))
            case "session":
                self.rows["sessions"].append(session_row(seq, wire.decode_session(data)))
            case "break":
                opened = wire.decode_break(data)
                self.disputes[opened.account, opened.break_id] = opened
                self._dispute(seq, kind, at, opened, opened, Decimal(opened.amount))
            case "resolution":
                closed = wire.decode_resolution(data)
                opened = self.disputes[closed.account, closed.break_id]
                self._dispute(seq, kind, at, closed, opened, -Decimal(opened.amount))
            case _ if kind in wire.ADJUSTMENTS:
                self._adjustment(seq, kind, at, data)
            case other:
                raise JournalBroken(f"journal: entry {seq} is of unknown kind {other}")

    def _decision(self, seq: int, data: bytes) -> None:
        record, account, orders = wire.decode_decision(data, {})
        self.rows["decisions"].append(decision_row(seq, record, account))
        self.named[record.inputs_hash] = "inputs"
        if record.scene_hash:
            self.named |= {record.scene_hash: _SCENE, record.policy_hash: "limits"}
        self.rows["denials"] += denial_rows(seq, record)
        for one in record.plan:
            if one.order_ids and one.denied:
                raise JournalBroken(
                    f"journal: entry {seq} sent an order in {one.order.symbol} though a check "
                    "refused it"
                )
        for line, order in enumerate(orders):
            row = list(order_row(seq, line, order, record.decision_id, account))
            row[_FILLED] = Decimal(0)
            self.orders[order.order_id] = row

    def _order(self, at: int, data: bytes) -> None:
        event = wire.decode_event(data, instant(at))
        row = self.orders[event.order_id]
        row[_STATE] = next_state(OrderState(row[_STATE]), event.state).value
        row[_NOTE], row[_UPDATED] = event.note, at

    def _fill(self, seq: int, at: int, data: bytes) -> None:
        kept = wire.decode_fill(data)
        fill, account = kept.fill, kept.account
        booking = self.book(account).apply(fill)
        if booking is None or (kept.realised, kept.realised_average) != booking.texts:
            raise JournalBroken(f"journal: entry {seq} realises what the fills do not give")
        self._postings(seq, account, kept.postings, booking.lines)
        self._booked(seq, account, fill)
        row = self.orders[fill.order_id]
        filled = row[_FILLED] + fill.quantity
        state = state_after_fill(OrderState(row[_STATE]), filled, Decimal(row[_QUANTITY]))
        if state is not kept.state:
            raise JournalBroken(f"journal: entry {seq} leaves its order {kept.state.value}")
        row[_STATE], row[_FILLED], row[_UPDATED] = state.value, filled, at

    def _booked(self, seq: int, account: str, fill: Fill) -> None:
        self.rows["fills"].append(fill_row(seq, fill, account))
        history = self.histories.get((account, fill.symbol))
        if history is not None:
            history.add(fill)

    def _adjustment(self, seq: int, kind: str, at: int, data: bytes) -> None:
        kept = wire.decode_adjustment(kind, data)
        event, account = kept.event, kept.account
        wrong: Fill | None = None
        if isinstance(event, Correction):
            key = (event.venue, event.execution_id)
            wrong = next(
                one.fills[key]
                for (owner, _), one in self.histories.items()
                if owner == account and key in one.fills
            )
            symbol, name = wrong.symbol, "/".join(key)
        else:
            symbol, name = event.symbol, event.action_id
        history = self.histories.get((account, symbol), SymbolHistory())
        if not isinstance(event, Charge):
            history.add(event)
        done = adjust(self.book(account), event, symbol, lambda: history)
        self._postings(seq, account, kept.postings, wire.lines(done.postings))
        if (kept.realised, kept.realised_average) != wire.realised(done):
            raise JournalBroken(f"journal: entry {seq} realises what the events do not give")
        row = adjustment_row(seq, account, kind, name, symbol, instant(at))
        self.rows["adjustments"].append(row)
        if isinstance(event, Correction) and wrong is not None:
            self._corrected(seq, at, account, wrong, event.replacement)

    def _corrected(self, seq: int, at: int, account: str, wrong: Fill, right: Fill | None) -> None:
        if right is not None:
            self.rows["fills"].append(fill_row(seq, right, account))
        row = self.orders[wrong.order_id]
        filled = row[_FILLED] - wrong.quantity + (right.quantity if right else 0)
        current, asked = OrderState(row[_STATE]), Decimal(row[_QUANTITY])
        row[_STATE] = state_after_correction(current, filled, asked).value
        row[_FILLED], row[_UPDATED] = filled, at

    def _dispute(
        self,
        seq: int,
        kind: str,
        at: int,
        kept: wire.BreakWire | wire.ResolutionWire,
        opened: wire.BreakWire,
        amount: Decimal,
    ) -> None:
        symbol = opened.found.symbol
        self._postings(seq, kept.account, kept.postings, wire.suspense(symbol, amount))
        row = adjustment_row(seq, kept.account, kind, kept.break_id, symbol, instant(at))
        self.rows["adjustments"].append(row)

    def _postings(
        self, seq: int, account: str, kept: Sequence[wire.Line], derived: Sequence[wire.Line]
    ) -> None:
        if tuple(kept) != tuple(derived):
            raise JournalBroken(f"journal: entry {seq} is not the balanced double entry")
        self.rows["postings"] += posting_rows(seq, account, derived)


def verify_rows(engine: Engine, log: ChainedLog, sql: Sql, anchors: Iterable[Head]) -> Head:
    """Prove the chain and compare every table with what it implies.

    Raises:
        JournalBroken: names the row that is missing, changed or explained by no entry.
    """
    head = log.head()
    with reading(engine) as connection:
        if engine.dialect.name == "postgresql":  # SQLite reads one state as it is
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        expected = _Expected(_restated(log, connection))
        last = 0
        for page in log.proved(anchors, connection):
            for row in page:
                expected.take(row)
            first, last = last, page[-1][0]
            head = Head(seq=last, hash=bytes(page[-1][5]).hex())
            for name in _PAGED:
                _compare_page(sql, connection, name, expected.rows[name], (first, last))
        for name in _PAGED:
            _compare_page(sql, connection, name, [], (last, 2**62))
        _compare_orders(sql, connection, expected.orders)
        _prove_blobs(sql, connection, expected.named)
    return head


def _restated(log: ChainedLog, connection: Connection) -> set[tuple[str, str]]:
    """Return the accounts and symbols whose book an entry may have to restate."""
    found: set[tuple[str, str]] = set()
    for kind in ("split", "dividend", "correction"):
        for entry in log.entries(kind, connection=connection):
            kept = wire.decode_adjustment(kind, entry.payload)
            if isinstance(kept.event, Correction):
                name = f"{kept.event.venue}/{kept.event.execution_id}"
                wrong = log.find("fill", name, connection)  # None: itself a replacement
                if wrong is not None:
                    symbol = wire.decode_fill(wrong.payload).fill.symbol
                    found.add((kept.account, symbol))
            elif not isinstance(kept.event, Charge):
                found.add((kept.account, kept.event.symbol))
    return found


def _compare_page(
    sql: Sql, connection: Connection, name: str, wanted: list[Row], between: tuple[int, int]
) -> None:
    """Compare a table's rows of some sequence numbers with those derived, and forget these."""
    columns, order, named, exact = _PAGED[name]
    found = sql.tuples(
        connection,
        f"SELECT {sql.texts(columns, exact)} FROM journal_{name} "
        f"WHERE seq > ? AND seq <= ? ORDER BY {order}",
        between,
    )
    if found != wanted:
        _differ(name, found, wanted, named)
    wanted.clear()


def _differ(name: str, found: list[Row], wanted: list[Row], named: int) -> None:
    """Name the first row that differs; rows are sorted by their names."""
    held = {row[:named]: row for row in found}
    for row in wanted:
        standing = held.pop(row[:named], None)
        if standing is None:
            raise JournalBroken(f"journal_{name} lacks the row of {_named(row, named)}")
        if standing != row:
            raise JournalBroken(
                f"journal_{name} row {_named(row, named)} is not what its entry says"
            )
    for row in held.values():
        raise JournalBroken(f"journal_{name} holds {_named(row, named)}, which no entry explains")
    raise JournalBroken(f"journal_{name} holds a row twice")


def _named(row: Row, named: int) -> object:
    return row[0] if named == 1 else row[:named]


def _compare_orders(sql: Sql, connection: Connection, expected: dict[str, list[Any]]) -> None:
    wanted = []
    for row in expected.values():
        row[_FILLED] = text(row[_FILLED])
        wanted.append(tuple(row))
    wanted.sort()
    query = f"SELECT {sql.texts(ORDER, _AMOUNTS)} FROM journal_orders"
    found = sorted(sql.tuples(connection, query))
    if found != wanted:
        _differ("orders", found, wanted, 1)


def _prove_blobs(sql: Sql, connection: Connection, named: Mapping[str, str]) -> None:
    """Prove what decisions name by its SHA-256: inputs, scenes, limits, and what scenes name."""
    beside = dict[str, str]()
    names = list(named)
    for first in range(0, len(names), _BLOBS):
        some = names[first : first + _BLOBS]
        query = f"SELECT name, data FROM journal_blobs WHERE name IN ({holders(len(some))})"
        found = dict(sql.rows(connection, query, some))
        for name in some:
            if name not in found:
                raise JournalBroken(f"stored {named[name]} {name} of a decision are missing")
            data = blobs.restore(name, bytes(found[name]), named[name])
            if named[name] == _SCENE and (reads := from_json(data, _Scene).arrays):
                beside[reads] = "reads"
    if beside:
        _prove_blobs(sql, connection, beside)
