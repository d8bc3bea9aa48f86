"""Questions to the journal, answered from its tables; nothing here writes."""

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Engine

from runtime.chain import ChainedLog, Head, instant
from runtime.database import reading
from runtime.domain import Fill, Order, OrderState, OrderType, Side, TimeInForce
from runtime.errors import JournalBroken
from runtime.journal import blobs, wire
from runtime.journal.actions import Action, Correction
from runtime.journal.records import (
    EquityPoint,
    FillRecord,
    JournalledDecision,
    OrderEvent,
    OrderRecord,
    Said,
    SessionRecord,
)
from runtime.journal.tables import FILL, ORDER, Sql, holders

OPEN = (OrderState.PENDING, OrderState.WORKING, OrderState.UNKNOWN)
_OPEN_SQL = ", ".join(f"'{state.value}'" for state in OPEN)  # literal, so the partial index serves


class JournalQueries:
    """The reading half of the journal."""

    def __init__(self, engine: Engine, account: str) -> None:
        """Read the records of one account; decisions and orders of all accounts are found by id."""
        self.engine, self.account = engine, account
        self.log = ChainedLog(engine, "journal")
        self.sql = Sql(engine.dialect.name)

    def _read(self, statement: str, arguments: Sequence[Any] = ()) -> Sequence[Any]:
        with reading(self.engine) as connection:
            return self.sql.rows(connection, statement, arguments)

    def _answer(self, statement: str, arguments: Sequence[Any]) -> Sequence[Any]:
        """Return what a tick asks: few rows, by an index, of one state."""
        with reading(self.engine) as connection:
            return self.sql.answer(connection, statement, arguments)

    def head(self) -> Head:
        """Return where the chain stands: a pure function of what was recorded, in order."""
        return self.log.head()

    def decision(self, decision_id: str) -> JournalledDecision | None:
        """Return one decision with its full inputs, or None if there is no such decision.

        Raises:
            JournalBroken: its stored inputs are missing or were changed.
        """
        rows = self._read(
            "SELECT d.seq, j.hash, d.inputs, j.payload, b.data FROM journal_decisions d "
            "JOIN journal j ON j.seq = d.seq LEFT JOIN journal_blobs b ON b.name = d.inputs "
            "WHERE d.decision_id = ?",
            (decision_id,),
        )
        if not rows:
            return None
        seq, value, name, payload, data = rows[0]
        if data is None:
            raise JournalBroken(f"stored inputs {name} of decision {decision_id} are missing")
        arrays = blobs.decode_arrays(blobs.restore(name, bytes(data)))
        return decision_of(seq, value, payload, arrays)

    def decisions(
        self, limit: int = 50, before: int | None = None, bundle: str | None = None
    ) -> tuple[JournalledDecision, ...]:
        """Return this account's decisions, newest first, without their inputs.

        Args:
            limit: how many at most.
            before: only those with a smaller sequence number: the last one of the previous page.
            bundle: only those of one bundle.
        """
        conditions = "d.account = ?"
        arguments: list[str | int] = [self.account]
        if before is not None:
            conditions, arguments = f"{conditions} AND d.seq < ?", [*arguments, before]
        if bundle is not None:
            conditions, arguments = f"{conditions} AND d.bundle = ?", [*arguments, bundle]
        rows = self._read(
            f"{_DECISIONS} WHERE {conditions} ORDER BY d.seq DESC LIMIT ?", [*arguments, limit]
        )
        return tuple(decision_of(seq, value, payload, {}) for seq, value, _, payload in rows)

    def decisions_after(self, seq: int, limit: int) -> tuple[JournalledDecision, ...]:
        """Return this account's decisions behind an entry, oldest first, without their inputs."""
        rows = self._read(
            f"{_DECISIONS} WHERE d.account = ? AND d.seq > ? ORDER BY d.seq LIMIT ?",
            (self.account, seq, limit),
        )
        return tuple(decision_of(seq, value, payload, {}) for seq, value, _, payload in rows)

    def said_after(self, seq: int, limit: int) -> tuple[tuple[int, Said], ...]:
        """Return what decisions behind an entry say, with their numbers, oldest first."""
        rows = self._answer(
            "SELECT d.seq, j.payload FROM journal_decisions d JOIN journal j ON j.seq = d.seq "
            "WHERE d.account = ? AND d.seq > ? ORDER BY d.seq LIMIT ?",
            (self.account, seq, limit),
        )
        return tuple((number, wire.decode_said(bytes(payload))) for number, payload in rows)

    def count_after(self, seq: int) -> int:
        """Return how many decisions of this account stand behind an entry."""
        rows = self._read(
            "SELECT count(*) FROM journal_decisions WHERE account = ? AND seq > ?",
            (self.account, seq),
        )
        return int(rows[0][0])

    def find_decision(self, bundle: str, tick: str) -> str | None:
        """Return the id of the decision a bundle took at a tick for this account, None if none."""
        rows = self._answer(
            "SELECT decision_id FROM journal_decisions "
            "WHERE account = ? AND bundle = ? AND tick = ?",
            (self.account, bundle, tick),
        )
        return rows[0][0] if rows else None

    def orders(
        self,
        decision_id: str | None = None,
        states: Iterable[OrderState] | None = None,
        limit: int | None = None,
    ) -> tuple[OrderRecord, ...]:
        """Return orders in the order they were committed; with `limit` the newest ones.

        Args:
            decision_id: those of one decision; otherwise all of this account.
            states: only those that stand in one of these states.
            limit: how many at most.
        """
        by = ("account", self.account) if decision_id is None else ("decision_id", decision_id)
        condition, arguments = f"{by[0]} = ?", [by[1]]
        if states is not None:
            wanted = [state.value for state in states]
            if not wanted:
                return ()
            condition += f" AND state IN ({holders(len(wanted))})"
            arguments += wanted
        query = f"SELECT {ORDER} FROM journal_orders WHERE {condition}"
        if limit is None:
            rows = self._read(f"{query} {_IN_ORDER}", arguments)
        else:
            newest = "ORDER BY seq DESC, line DESC LIMIT ?"
            rows = self._read(f"{query} {newest}", [*arguments, limit])[::-1]
        return tuple(order_record(row) for row in rows)

    def order(self, order_id: str) -> OrderRecord | None:
        """Return one order, or None if it was never journalled."""
        rows = self._read(f"SELECT {ORDER} FROM journal_orders WHERE order_id = ?", (order_id,))
        return order_record(rows[0]) if rows else None

    def open_orders(self) -> tuple[OrderRecord, ...]:
        """Return this account's orders that may still execute: pending, working or unknown."""
        rows = self._answer(
            f"SELECT {ORDER} FROM journal_orders WHERE account = ? "
            f"AND state IN ({_OPEN_SQL}) {_IN_ORDER}",
            (self.account,),
        )
        return tuple(order_record(row) for row in rows)

    def sent_at(self, tick: str) -> int:
        """Return how many planned orders of this account left at a tick, by whatever bundle."""
        planned = (
            "SELECT DISTINCT o.seq, o.symbol FROM journal_decisions d "
            "JOIN journal_orders o ON o.seq = d.seq WHERE d.account = ? AND d.tick = ?"
        )  # by the decisions of that tick: a book of years is not looked through
        rows = self._answer(f"SELECT count(*) FROM ({planned}) p", (self.account, tick))
        return int(rows[0][0])

    def order_events(self, order_id: str) -> tuple[OrderEvent, ...]:
        """Return the recorded changes of an order's state, oldest first; fills are apart."""
        found = (self.log.find("order", f"{order_id}/{state.value}") for state in OrderState)
        entries = sorted((one for one in found if one is not None), key=lambda one: one.seq)
        return tuple(wire.decode_event(one.payload, one.at) for one in entries)

    def fills(
        self, order_id: str | None = None, after: int = 0, limit: int | None = None
    ) -> tuple[FillRecord, ...]:
        """Return fills and their postings in the order they were booked.

        Args:
            order_id: those of one order; otherwise all of this account.
            after: only those with a greater sequence number.
            limit: how many at most, the newest ones.
        """
        by = ("f.account", self.account) if order_id is None else ("f.order_id", order_id)
        query = (
            "SELECT f.seq, j.kind, j.payload, a.seq FROM journal_fills f "
            "JOIN journal j ON j.seq = f.seq LEFT JOIN journal_adjustments a "
            "ON a.account = f.account AND a.kind = 'correction' "
            "AND a.name = f.venue || '/' || f.execution_id "
            f"WHERE {by[0]} = ? AND f.seq > ? ORDER BY f.seq"
        )
        if limit is None:
            rows = self._read(query, (by[1], after))
        else:
            rows = self._read(f"{query} DESC LIMIT ?", (by[1], after, limit))[::-1]
        return tuple(_fill_record(*row) for row in rows)

    def adjustments(self) -> tuple[Action | Correction, ...]:
        """Return this account's actions and corrections in the order they were booked."""
        kinds = ", ".join(f"'{kind}'" for kind in wire.ADJUSTMENTS)
        rows = self._read(
            "SELECT a.kind, j.payload FROM journal_adjustments a JOIN journal j ON j.seq = a.seq "
            f"WHERE a.account = ? AND a.kind IN ({kinds}) ORDER BY a.seq",
            (self.account,),
        )
        return tuple(wire.decode_adjustment(kind, bytes(data)).event for kind, data in rows)

    def sessions(
        self, limit: int | None = None, start: date | None = None, end: date | None = None
    ) -> tuple[SessionRecord, ...]:
        """Return closed sessions in order of day, both ends included; the newest `limit`."""
        condition, arguments = _days(self.account, start, end)
        rows = self._read(
            "SELECT j.payload FROM journal_sessions s JOIN journal j ON j.seq = s.seq "
            f"WHERE {condition} ORDER BY s.day DESC" + ("" if limit is None else " LIMIT ?"),
            arguments if limit is None else [*arguments, limit],
        )
        return tuple(wire.decode_session(bytes(row[0])) for row in rows[::-1])

    def session(self, day: date) -> SessionRecord | None:
        """Return one closed session, or None."""
        found = self.sessions(start=day, end=day)
        return found[0] if found else None

    def last_session(self) -> SessionRecord | None:
        """Return the session closed last, or None if none was."""
        found = self.sessions(limit=1)
        return found[0] if found else None

    def equity_curve(
        self, start: date | None = None, end: date | None = None
    ) -> tuple[EquityPoint, ...]:
        """Return equity and the benchmark's return per session, in order of day."""
        condition, arguments = _days(self.account, start, end)
        rows = self._read(
            "SELECT s.day, s.cash, s.equity, s.benchmark_return, s.breaks "
            f"FROM journal_sessions s WHERE {condition} ORDER BY s.day",
            arguments,
        )
        return tuple(
            EquityPoint(
                day=date.fromisoformat(day),
                cash=Decimal(cash),
                equity=Decimal(equity),
                benchmark_return=value,
                breaks=breaks,
            )
            for day, cash, equity, value, breaks in rows
        )

    def accounts(self) -> tuple[str, ...]:
        """Return every account that decided anything or closed a session, by name."""
        rows = self._read(
            "SELECT account FROM journal_decisions UNION SELECT account FROM journal_sessions "
            "ORDER BY account"
        )
        return tuple(row[0] for row in rows)

    def counts(self, start: date | None = None, end: date | None = None) -> dict[str, int]:
        """Return how many decisions, orders, fills, sessions and breaks this account has.

        Args:
            start: only from this day on: by tick, by day of execution, by session.
            end: only to this day, inclusive.
        """

        def number(what: str, table: str, day: str) -> int:
            condition, arguments = _days(self.account, start, end, day)
            query = f"SELECT {what} FROM {table} s WHERE {condition}"
            return int(self._read(query, arguments)[0][0])

        return {
            "decisions": number("count(*)", "journal_decisions", "tick"),
            "orders": number("count(*)", "journal_orders", "tick"),
            "fills": number("count(*)", "journal_fills", "day"),
            "sessions": number("count(*)", "journal_sessions", "day"),
            "breaks": number("coalesce(sum(breaks), 0)", "journal_sessions", "day"),
        }


_DECISIONS = (
    "SELECT d.seq, j.hash, d.inputs, j.payload FROM journal_decisions d "
    "JOIN journal j ON j.seq = d.seq"
)
_IN_ORDER = "ORDER BY seq, line"


def _days(
    account: str, start: date | None, end: date | None, day: str = "day"
) -> tuple[str, list[Any]]:
    condition, arguments = "s.account = ?", [account]
    if start is not None:
        condition, arguments = f"{condition} AND s.{day} >= ?", [*arguments, start.isoformat()]
    if end is not None:
        condition, arguments = f"{condition} AND s.{day} <= ?", [*arguments, end.isoformat()]
    return condition, arguments


def decision_of(seq: int, value: Any, payload: Any, arrays: Any) -> JournalledDecision:
    """Return the decision of a stored payload."""
    record, account, orders = wire.decode_decision(bytes(payload), arrays)
    return JournalledDecision(
        seq=seq,
        hash=bytes(value).hex(),
        account=account,
        record=record,
        order_ids=tuple(order.order_id for order in orders),
    )


def _fill_record(seq: int, kind: str, payload: Any, corrected: int | None) -> FillRecord:
    kept: Any  # a fill, or a correction by another one
    if kind == "fill":
        kept = wire.decode_fill(bytes(payload))
        fill = kept.fill
    else:
        kept = wire.decode_adjustment(kind, bytes(payload))
        fill = kept.event.replacement
    return FillRecord(
        seq=seq,
        account=kept.account,
        fill=fill,
        stands=corrected is None,
        postings=wire.postings_of(kept.postings),
        realised=Decimal(kept.realised),
        realised_average=Decimal(kept.realised_average),
    )


def order_record(row: Sequence[Any]) -> OrderRecord:
    """Return the order of a row of `journal_orders`, its columns in the order of `ORDER`."""
    return OrderRecord(
        order=Order(
            order_id=row[0],
            bundle=row[4],
            tick=row[5],
            symbol=row[6],
            leg=row[7],
            venue=row[8],
            side=Side(row[9]),
            quantity=Decimal(row[10]),
            order_type=OrderType(row[11]),
            limit_price=Decimal(row[12]),
            time_in_force=TimeInForce(row[13]),
            created_at=instant(row[14]),
            stop_price=None if row[20] is None else Decimal(row[20]),
        ),
        decision_id=row[3],
        account=row[2],
        state=OrderState(row[15]),
        filled=Decimal(row[16]),
        note=row[17],
        updated_at=instant(row[18]),
    )


def fill_of(row: Sequence[Any]) -> Fill:
    """Return the fill of a row of `journal_fills`, its columns in the order of `FILL`."""
    return Fill(
        venue=row[2],
        execution_id=row[3],
        order_id=row[4],
        symbol=row[5],
        side=Side(row[6]),
        quantity=Decimal(row[7]),
        price=Decimal(row[8]),
        fee=Decimal(row[9]),
        executed_at=instant(row[10]),
    )


def stored_fills(
    sql: Sql, connection: Connection, condition: str, arguments: Sequence[Any]
) -> list[Fill]:
    """Return the fills that meet a condition, in the order they were booked."""
    rows = sql.rows(
        connection, f"SELECT {FILL} FROM journal_fills WHERE {condition} ORDER BY seq", arguments
    )
    return [fill_of(row) for row in rows]
