"""An account's book in memory, kept level with the journal's tables, whoever wrote them."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from runtime.domain import Fill
from runtime.journal import wire
from runtime.journal.actions import Action, Charge, Correction, Reversal, Split
from runtime.journal.adjust import Adjusted, Key, SymbolHistory, adjust, units_by_venue
from runtime.journal.book import Book
from runtime.journal.queries import fill_of, stored_fills
from runtime.journal.rows import day_of
from runtime.journal.tables import FILL, Sql
from runtime.ports import Statement

_ZERO = Decimal(0)
_KINDS = ", ".join(f"'{kind}'" for kind in wire.ADJUSTMENTS)


class AccountBook:
    """The book of one account and the units it holds at each venue."""

    def __init__(self, sql: Sql, account: str) -> None:
        """Start empty; `refresh` reads what the tables hold."""
        self._sql, self._account = sql, account
        self.book = Book()
        self._taken = 0  # sequence number of the last flow, fill or adjustment in the book
        self._held: dict[str, dict[str, Decimal]] = {}  # venue -> symbol -> units
        self._restated: dict[str, list[Split]] = {}  # symbols with actions or corrections
        self._corrected: set[Key] = set()
        self._latest_day = ""
        self._read = 0  # the journal's head when the tables were read last

    def refresh(self, connection: Connection, head: int | None = None) -> None:
        """Apply everything of this account that is not in the book yet.

        Args:
            connection: to read on.
            head: the journal's last sequence number, where the caller knows it.
        """
        if head is None:
            head = self._sql.answer(connection, "SELECT max(seq) FROM journal")[0][0] or 0
        if head == self._read:
            return
        # No further than the head: what is committed between these questions is for the next time.
        after = (self._account, self._taken, head)
        adjusted = {
            row[0]: row for row in self._adjustments(connection, "a.seq > ? AND a.seq <= ?", after)
        }
        condition = "WHERE account = ? AND seq > ? AND seq <= ? ORDER BY seq"
        flows = self._sql.rows(
            connection, f"SELECT seq, amount FROM journal_flows {condition}", after
        )
        fills = self._sql.rows(connection, f"SELECT {FILL} FROM journal_fills {condition}", after)
        events: list[tuple[int, Any]] = [(row[0], Decimal(row[1])) for row in flows]
        events += [(row[0], fill_of(row)) for row in fills if row[0] not in adjusted]
        events += adjusted.items()
        if flows or adjusted:
            events.sort(key=lambda one: one[0])
        for seq, event in events:
            if isinstance(event, Decimal):
                self.book.flow(event)
                self._taken = seq
            elif isinstance(event, Fill):
                self.book.apply(event)
                self.count_fill(event, seq, day_of(event))
            else:
                kept = wire.decode_adjustment(event[1], bytes(event[3]))
                self.adjust(connection, seq, kept.event, event[2])
        self._read = head

    def wrote(self, before: int | None, after: int | None) -> None:
        """Take note that what stands between two heads was written, and counted, here."""
        if before == self._read and after is not None:
            self._read = after

    def adjust(
        self, connection: Connection, seq: int, event: Action | Correction, symbol: str
    ) -> Adjusted:
        """Book an action or a correction whose entry is, or will be, at `seq`."""

        def history() -> SymbolHistory:
            known = self._history(connection, symbol, seq - 1)
            if not isinstance(event, Charge):
                known.add(event)
            return known

        adjusted = adjust(self.book, event, symbol, history)
        if not isinstance(event, Charge):
            splits = self._restated.setdefault(symbol, [])
            if isinstance(event, Split):
                splits.append(event)
            elif isinstance(event, Reversal) and event.split in splits:
                splits.remove(event.split)
        if isinstance(event, Correction):
            self._corrected.add((event.venue, event.execution_id))
            if event.replacement is not None:
                self._latest_day = max(self._latest_day, day_of(event.replacement))
        self._taken = seq
        return adjusted

    def newest_split(self, symbol: str) -> str | None:
        """Return the id of a symbol's split that was booked last and stands, None without one."""
        standing = self._restated.get(symbol)
        return standing[-1].action_id if standing else None

    def _adjustments(
        self, connection: Connection, condition: str, arguments: Sequence[Any]
    ) -> Sequence[Any]:
        """Return (seq, kind, symbol, payload) of actions and corrections, oldest first."""
        return self._sql.rows(
            connection,
            "SELECT a.seq, a.kind, a.symbol, j.payload FROM journal_adjustments a "
            "JOIN journal j ON j.seq = a.seq "
            f"WHERE a.account = ? AND {condition} AND a.kind IN ({_KINDS}) ORDER BY a.seq",
            arguments,
        )

    def _history(self, connection: Connection, symbol: str, until: int) -> SymbolHistory:
        """Return every event of a symbol that was booked up to a sequence number."""
        rows = self._adjustments(
            connection, "a.symbol = ? AND a.seq <= ?", (self._account, symbol, until)
        )
        entered = {row[0]: wire.decode_adjustment(row[1], bytes(row[3])).event for row in rows}
        fills = self._sql.rows(
            connection,
            f"SELECT {FILL} FROM journal_fills WHERE account = ? AND symbol = ? AND seq <= ?",
            (self._account, symbol, until),
        )
        booked: dict[int, Any] = {row[0]: fill_of(row) for row in fills} | entered
        history = SymbolHistory()
        for seq in sorted(booked):
            if not isinstance(booked[seq], Charge):
                history.add(booked[seq])
        return history

    def count_flow(self, seq: int) -> None:
        """Remember that the flow at `seq` is in the book."""
        self._taken = seq

    def count_fill(self, fill: Fill, seq: int, day: str) -> None:
        """Remember that the fill of a day at `seq` is in the book, and what its venue holds."""
        held, units = self._held.setdefault(fill.venue, {}), fill.quantity
        change = units if fill.side.sign > 0 else -units
        held[fill.symbol] = held.get(fill.symbol, _ZERO) + change
        self._taken = seq
        if day > self._latest_day:
            self._latest_day = day

    def statement(self, connection: Connection, venue: str, day: date) -> Statement:
        """Return our own record of a day at one venue, as it is known now."""
        name = day.isoformat()
        held = dict(self._held.get(venue, {}))
        key = (self._account, venue, self._taken, name)
        known = "account = ? AND venue = ? AND seq <= ?"
        fills: list[Fill] = []
        if name <= self._latest_day:
            found = stored_fills(self._sql, connection, f"{known} AND day = ?", key)
            fills = [one for one in found if (one.venue, one.execution_id) not in self._corrected]
        if name < self._latest_day:
            for fill in stored_fills(self._sql, connection, f"{known} AND day > ?", key):
                held[fill.symbol] = held.get(fill.symbol, Decimal(0))
                held[fill.symbol] -= fill.side.sign * fill.quantity
        end = datetime.combine(day + timedelta(days=1), time(), UTC) - timedelta(microseconds=1)
        for symbol in self._restated:
            events = self._history(connection, symbol, self._taken).events(until=end)
            held[symbol] = units_by_venue(events).get(venue, Decimal(0))
        cash = Book()
        for fill in fills:
            cash.apply(fill)
        acted = {
            symbol
            for symbol, splits in self._restated.items()
            for one in splits
            if one.effective.astimezone(UTC).date() == day
        }
        return Statement(
            venue=venue,
            day=day,
            positions={symbol: units for symbol, units in sorted(held.items()) if units},
            cash_flow=cash.cash,
            fills=tuple(fills),
            taken_back=frozenset(name for where, name in self._corrected if where == venue),
            split=frozenset(acted),
        )
