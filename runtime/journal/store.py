"""Writes the journal: each call one transaction, each fact once, each cent in double entry.

A record is chained first (`runtime.chain`), then its rows are derived from it in the same
transaction. The account's book is kept in memory and follows what is committed, by whomever.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from threading import RLock
from types import MappingProxyType
from typing import TypeAlias

from sqlalchemy import Connection, Engine

from runtime.chain import Draft, Head, HeadAnchor, micros
from runtime.database import reading, transaction
from runtime.domain import Fill, Order, OrderState
from runtime.errors import EntryConflict, JournalBroken, OrderInvalid
from runtime.journal import audit, blobs, lookups, wire
from runtime.journal.accounts import AccountBook
from runtime.journal.book import Book
from runtime.journal.exact import text
from runtime.journal.holding import Booking
from runtime.journal.queries import JournalQueries
from runtime.journal.records import (
    CashFlow,
    DecisionRecord,
    OrderEvent,
    SessionRecord,
)
from runtime.journal.rows import (
    check_fill,
    check_orders,
    check_session,
    decision_row,
    denial_rows,
    fill_row,
    next_state,
    order_row,
    posting_rows,
    session_row,
    state_after_fill,
)
from runtime.journal.tables import DECISION, DENIAL, FILL, FLOW, ORDER, POSTING, SESSION
from runtime.ports import Statement
from runtime.scheduling.fence import Fence
from runtime.statements import Insert, Update

# A fill that is new, how it was booked, its postings as written, and where it leaves its order: its
# state, and the units executed so far.
_Booked: TypeAlias = tuple[Fill, Booking, tuple[wire.Line, ...], OrderState, str]


class Journal(JournalQueries):
    """The record of one account; several accounts share one chain."""

    def __init__(
        self,
        engine: Engine,
        account: str = "paper",
        anchor: HeadAnchor | None = None,
        fence: Fence | None = None,
    ) -> None:
        """Open the journal, making its tables if they are not there.

        Args:
            engine: from `runtime.database.open_database`.
            account: whose book this journal keeps.
            anchor: a file outside the database that remembers the head at each session's close.
            fence: this process's right to write; None = it is the only one, as in a replay.
        """
        super().__init__(engine, account)
        self._anchor, self._fence = anchor, fence
        self._lock = RLock()
        with transaction(engine) as connection:
            self.log.lock(connection)
            self.sql.create(connection)
        self._account = AccountBook(self.sql, account)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield the writer's transaction; if it fails, the book in memory is read again."""
        with self._lock:
            try:
                with transaction(self.engine) as connection:
                    fence = self._fence
                    answers = self.log.lock(connection, fence.questions if fence else ())
                    if fence is not None:
                        fence.judge(answers[-1])
                    before = self.log.standing(connection)
                    yield connection
                    self._account.wrote(before, self.log.standing(connection))
            except BaseException:
                self._account = AccountBook(self.sql, self.account)
                raise

    def level(self, connection: Connection) -> AccountBook:
        """Return the account's book, level with the tables; to be used inside `writing`."""
        self._account.refresh(connection, self.log.standing(connection))
        return self._account

    def book(self) -> Book:
        """Return a copy of the account's book as of now."""
        with self._lock, reading(self.engine) as connection:
            self._account.refresh(connection)
            return self._account.book.copy()

    def statement(self, venue: str, day: date) -> Statement:
        """Return our own record of a day at one venue, to be compared with the venue's."""
        with self._lock, reading(self.engine) as connection:
            self._account.refresh(connection)
            return self._account.statement(connection, venue, day)

    def record_flow(self, flow: CashFlow) -> bool:
        """Book money paid in or out; False if that flow is there already.

        Raises:
            EntryConflict: it was booked with another amount.
            OrderInvalid: the amount is not a whole number of cents.
        """
        key = f"{self.account}/{flow.flow_id}"
        with self.writing() as connection:
            standing = self.log.find("flow", key, connection)
            if standing is not None:
                if wire.decode_flow(standing.payload).amount != text(flow.amount):
                    raise EntryConflict(
                        f"cash flow {flow.flow_id} was booked with another amount; book the "
                        "difference under a new id"
                    )
                return False
            self.level(connection)
            postings = self._account.book.flow(flow.amount)
            payload = wire.encode_flow(self.account, flow, postings)
            (seq,) = self.log.extend(connection, [Draft("flow", key, flow.at, payload)])
            row = (seq, self.account, flow.flow_id, text(flow.amount))
            self.sql.insert(connection, "journal_flows", FLOW, [row])
            rows = posting_rows(seq, self.account, wire.lines(postings))
            self.sql.insert(connection, "journal_postings", POSTING, rows)
            self._account.count_flow(seq)
        return True

    def record_decision(
        self,
        record: DecisionRecord,
        orders: Sequence[Order],
        beside: Mapping[str, bytes] = MappingProxyType({}),
    ) -> bool:
        """Commit a decision and all its order intents at once, before anything is sent.

        Args:
            record: the decision.
            orders: its children.
            beside: what else it takes to decide it again, by SHA-256; see `runtime.proof`.

        Returns:
            False, and nothing changes, if this bundle decided this tick for this account
            already: what stands is then the decision, to be read with `find_decision`.

        Raises:
            OrderInvalid: an amount is not exact, or an order is not of this decision.
            JournalBroken: an id belongs to another decision.
        """
        orders = tuple(orders)
        check_orders(orders, record)
        arrays = record.inputs_bytes
        if record.scene_hash and record.scene_hash not in beside:
            raise OrderInvalid(f"decision {record.decision_id}: its scene is not given with it")
        payload = wire.encode_decision(record, self.account, orders)
        key = f"{self.account}/{record.bundle}/{record.tick}"
        seen = {record.inputs_hash: arrays, **beside}
        kept = [(name, blobs.compress(data)) for name, data in seen.items()]
        with self.writing() as connection:
            if self.log.find("decision", key, connection) is not None:
                return False
            last = self.log.standing(connection)
            assert last is not None  # it is locked
            seq = last + 1
            rows = [
                order_row(seq, line, order, record.decision_id, self.account)
                for line, order in enumerate(orders)
            ]
            decision = decision_row(seq, record, self.account)
            rest = (
                Insert("journal_blobs", "name, data", kept, again=True),
                Insert("journal_decisions", DECISION, [decision]),
                Insert("journal_orders", ORDER, rows),
                Insert("journal_denials", DENIAL, denial_rows(seq, record)),
            )
            draft = Draft("decision", key, record.decided_at, payload)
            try:
                self.log.extend(connection, [draft], rest)
            except EntryConflict as error:  # not of the key, which was looked for
                raise JournalBroken(
                    f"decision {record.decision_id} of {key}: its id, or the id of one of its "
                    "orders, belongs to another decision; ids derive from account, bundle, tick"
                ) from error
        return True

    def record_order_states(self, events: Sequence[OrderEvent]) -> int:
        """Record changes of state in one commit, each (order, state) once: the first one stands.

        A change of an order that has ended is recorded, and the order stays as it ended.

        Returns:
            How many were new.

        Raises:
            JournalBroken: an order was never journalled.
        """
        if not events:
            return 0
        first: dict[str, OrderEvent] = {}
        for event in events:
            first.setdefault(f"{event.order_id}/{event.state.value}", event)
        with self.writing() as connection:
            there = lookups.keys(self.sql, connection, "order", list(first))
            fresh = {key: event for key, event in first.items() if key not in there}
            names = {event.order_id for event in first.values()}
            states = lookups.states(self.sql, connection, names)
            rows = {}
            for event in fresh.values():
                state = states[event.order_id] = next_state(states[event.order_id], event.state)
                name = event.order_id
                rows[name] = (state.value, event.note, micros(event.at), name)
            drafts = [
                Draft(kind="order", key=key, at=event.at, payload=wire.encode_event(event))
                for key, event in fresh.items()
            ]
            columns = "state, note, updated_at"
            changes = Update("journal_orders", columns, "order_id", list(rows.values()))
            self.log.extend(connection, drafts, [changes])
        return len(fresh)

    def record_fills(self, fills: Sequence[Fill]) -> int:
        """Book executions in one commit, each (venue, execution id) once, in the order given.

        Returns:
            How many were new.

        Raises:
            EntryConflict: an execution is booked already with other content.
            OrderInvalid: an amount is not exact, or a fill does not fit its order.
            JournalBroken: an order was never journalled; nothing of the call is booked.
        """
        if not fills:
            return 0
        plain = [wire.plain_fill(fill) for fill in fills]
        with self.writing() as connection:
            self.level(connection)
            fresh, orders = lookups.unbooked(self.sql, connection, plain, self._account.book)
            booked = self._booked(fresh, orders)
            drafts, rows, postings, changed = [], [], [], {}
            last, account = self.log.standing(connection), self.account
            assert last is not None  # it is locked
            for seq, (fill, booking, lines, state, filled) in enumerate(booked, last + 1):
                payload = wire.encode_fill(account, fill, booking, lines, state)
                key, name = f"{fill.venue}/{fill.execution_id}", fill.order_id
                drafts.append(Draft("fill", key, fill.executed_at, payload))
                row = fill_row(seq, fill, account)
                rows.append(row)
                at, day = row[-2:]
                postings += posting_rows(seq, account, lines)
                changed[name] = (str(state), filled, at, name)
                self._account.count_fill(fill, seq, day)
            columns = "state, filled, updated_at"
            beside = (
                Insert("journal_fills", FILL, rows),
                Insert("journal_postings", POSTING, postings),
                Update("journal_orders", columns, "order_id", list(changed.values())),
            )
            self.log.extend(connection, drafts, beside)
        return len(fresh)

    def _booked(
        self, fills: Sequence[Fill], orders: Mapping[str, lookups.Standing]
    ) -> Iterator[_Booked]:
        """Apply fills to the book, each as it is asked for, and say what each did."""
        filled = {name: record.filled for name, record in orders.items()}
        states = {name: record.state for name, record in orders.items()}
        for fill in fills:
            name = fill.order_id
            order, before = orders[name], filled[name]
            check_fill(fill, order, before, self.account)
            booking = self._account.book.apply(fill)
            if booking is None:
                raise JournalBroken(f"execution {fill.execution_id} is booked but has no row")
            total = filled[name] = before + fill.quantity
            state = states[name] = state_after_fill(states[name], total, order.quantity)
            yield fill, booking, booking.lines, state, text(total)

    def close_session(self, record: SessionRecord) -> bool:
        """Close a session; False if this account closed that day already.

        Raises:
            JournalBroken: cash, positions or equity contradict the book.
            OrderInvalid: the record is another account's, an amount is not exact, a mark missing.
        """
        payload = wire.encode_session(record)
        key = f"{record.account}/{record.day.isoformat()}"
        with self.writing() as connection:
            if self.log.find("session", key, connection) is not None:
                return False
            self.level(connection)
            check_session(record, self._account.book, self.account)
            draft = Draft("session", key, record.closed_at, payload)
            (seq,) = self.log.extend(connection, [draft])
            row = session_row(seq, record)
            self.sql.insert(connection, "journal_sessions", SESSION, [row])
            head = self.log.head(connection) if self._anchor is not None else None
        if self._anchor is not None and head is not None:
            self._anchor.record(head)
        return True

    def remember(self) -> None:
        """Remember outside where the log stands, for what is booked with no session to follow it.

        Raises:
            DatabaseUnavailable: it cannot be remembered; what was booked stands.
        """
        if self._anchor is not None:
            self._anchor.record(self.log.head())

    def verify(self, *, rows: bool = True) -> Head:
        """Recompute the chain, then derive every row and every book again from its entries.

        Args:
            rows: False leaves it at the chain, which is some times as fast.

        Raises:
            JournalBroken: names the first entry, or the row, that does not hold.
        """
        heads = self._anchor.heads() if self._anchor is not None else ()
        if rows:
            return audit.verify_rows(self.engine, self.log, self.sql, heads)
        return self.log.verify(heads)
