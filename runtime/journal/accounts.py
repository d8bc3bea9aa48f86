"""An account's book in memory, kept level with the journal's tables, whoever wrote them."""

from datetime import date
from decimal import Decimal

from sqlalchemy import Connection

from runtime.domain import Fill
from runtime.journal.book import Book
from runtime.journal.queries import fill_of, stored_fills
from runtime.journal.rows import day_of
from runtime.journal.tables import FILL, Sql
from runtime.ports import Statement


class AccountBook:
    """The book of one account and the units it holds at each venue."""

    def __init__(self, sql: Sql, account: str) -> None:
        """Start empty; `refresh` reads what the tables hold."""
        self._sql, self._account = sql, account
        self.book = Book()
        self._flowed = self._booked = 0  # sequence numbers of the last flow and fill in the book
        self._held: dict[str, dict[str, Decimal]] = {}  # venue -> symbol -> units
        self._latest_day = ""
        self._read = 0  # the journal's head when the tables were read last

    def refresh(self, connection: Connection) -> None:
        """Apply flows and fills of this account that are not in the book yet."""
        head = self._sql.rows(connection, "SELECT max(seq) FROM journal")[0][0] or 0
        if head == self._read:
            return
        condition = "WHERE account = ? AND seq > ? ORDER BY seq"
        flows = self._sql.rows(
            connection,
            f"SELECT seq, amount FROM journal_flows {condition}",
            (self._account, self._flowed),
        )
        for seq, amount in flows:
            self.book.flow(Decimal(amount))
            self._flowed = seq
        fills = self._sql.rows(
            connection,
            f"SELECT {FILL} FROM journal_fills {condition}",
            (self._account, self._booked),
        )
        for row in fills:
            fill = fill_of(row)
            self.book.apply(fill)
            self.count_fill(fill, row[0])
        self._read = head

    def count_flow(self, seq: int) -> None:
        """Remember that the flow at `seq` is in the book."""
        self._flowed = seq

    def count_fill(self, fill: Fill, seq: int) -> None:
        """Remember that the fill at `seq` is in the book, and what is held at its venue."""
        held = self._held.setdefault(fill.venue, {})
        held[fill.symbol] = held.get(fill.symbol, Decimal(0)) + fill.side.sign * fill.quantity
        self._booked = seq
        self._latest_day = max(self._latest_day, day_of(fill))

    def statement(self, connection: Connection, venue: str, day: date) -> Statement:
        """Return our own record of a day at one venue."""
        name = day.isoformat()
        held = dict(self._held.get(venue, {}))
        key = (self._account, venue, self._booked, name)
        known = "account = ? AND venue = ? AND seq <= ?"
        fills: list[Fill] = []
        if name <= self._latest_day:
            fills = stored_fills(self._sql, connection, f"{known} AND day = ?", key)
        if name < self._latest_day:
            for fill in stored_fills(self._sql, connection, f"{known} AND day > ?", key):
                held[fill.symbol] -= fill.side.sign * fill.quantity
        cash = Book()
        for fill in fills:
            cash.apply(fill)
        return Statement(
            venue=venue,
            day=day,
            positions={symbol: units for symbol, units in sorted(held.items()) if units},
            cash_flow=cash.cash,
            fills=tuple(fills),
        )
