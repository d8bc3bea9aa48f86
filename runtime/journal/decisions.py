"""The decision store: years of decisions by day, symbol, bundle and verdict, page by page."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, NamedTuple

from runtime.database import reading
from runtime.errors import OrderInvalid
from runtime.journal.blobs import encode_arrays, hash_of
from runtime.journal.queries import JournalQueries, decision_of
from runtime.journal.records import JournalledDecision
from runtime.journal.tables import Sql

ORDERED, DENIED, REFUSED = "ordered", "denied", "refused"
_PAGE = 200  # decisions read at a time, inputs included
_NO_INPUTS = hash_of(encode_arrays({}))  # what a tick that decided nothing has seen


class StoredDecision(NamedTuple):
    """A decision as it is stored."""

    seq: int
    inputs: str  # name of the inputs' bytes
    data: bytes  # these, compressed
    payload: bytes


class DecisionStore:
    """Questions about one account's decisions; every condition is answered by an index."""

    def __init__(self, journal: JournalQueries) -> None:
        """Ask about the decisions of the journal's account."""
        self.engine, self.account = journal.engine, journal.account
        self._sql = Sql(journal.engine.dialect.name)

    def find(
        self,
        *,
        start: date | None = None,
        end: date | None = None,
        symbol: str | None = None,
        bundle: str | None = None,
        verdict: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> tuple[JournalledDecision, ...]:
        """Return decisions without their inputs, newest first.

        Args:
            start: first day, by tick.
            end: last day, inclusive.
            symbol: only those that planned an order in it, sent or denied.
            bundle: only those of one bundle, by the beginning of its hash.
            verdict: "ordered" if an order left, "denied" if a check refused one, "refused" if the
                tick decided nothing, or a check's name such as "3 size" if that one refused.
            before: only those with a smaller sequence number: the last one of the page before.
            limit: how many at most.

        Raises:
            OrderInvalid: a limit below 1.
        """
        if limit < 1:
            raise OrderInvalid(f"a page holds at least one decision, was {limit}")
        condition, arguments = _within(self.account, start, end)
        if bundle is not None:
            condition += " AND d.bundle >= ? AND d.bundle < ?"
            arguments += [bundle, f"{bundle}g"]  # hashes are hex
        if before is not None:
            condition, arguments = f"{condition} AND d.seq < ?", [*arguments, before]
        more, values = self._judged(symbol, verdict)
        query = (
            "SELECT d.seq, j.hash, j.payload FROM journal_decisions d "
            f"JOIN journal j ON j.seq = d.seq WHERE {condition}{more} ORDER BY d.seq DESC LIMIT ?"
        )
        with reading(self.engine) as connection:
            rows = self._sql.rows(connection, query, [*arguments, *values, limit])
        return tuple(decision_of(seq, value, payload, {}) for seq, value, payload in rows)

    def stored(
        self, start: date | None = None, end: date | None = None
    ) -> Iterator[StoredDecision]:
        """Yield decisions between two days as they are stored, oldest first."""
        condition, arguments = _within(self.account, start, end)
        query = (
            "SELECT d.seq, d.inputs, b.data, j.payload FROM journal_decisions d "
            "JOIN journal j ON j.seq = d.seq JOIN journal_blobs b ON b.name = d.inputs "
            f"WHERE {condition} AND d.seq > ? ORDER BY d.seq LIMIT {_PAGE}"
        )
        after = 0
        while True:
            with reading(self.engine) as connection:
                rows = self._sql.rows(connection, query, [*arguments, after])
            for seq, name, data, payload in rows:
                yield StoredDecision(seq, name, bytes(data), bytes(payload))
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

    def _judged(self, symbol: str | None, verdict: str | None) -> tuple[str, list[Any]]:
        """Return the condition of symbol and verdict, and its arguments."""
        ordered, denied, values = "o.seq = d.seq", "n.seq = d.seq", list[Any]()
        if symbol is not None:
            ordered, denied = f"{ordered} AND o.symbol = ?", f"{denied} AND n.symbol = ?"
            values = [symbol]
        orders = f"EXISTS (SELECT 1 FROM journal_orders o WHERE {ordered})"
        denials = f"EXISTS (SELECT 1 FROM journal_denials n WHERE {denied})"
        match verdict:
            case None:
                return (f" AND ({orders} OR {denials})", values * 2) if symbol else ("", [])
            case "ordered":
                return f" AND {orders}", values
            case "denied":
                return f" AND {denials}", values
            case "refused":
                return " AND d.inputs = ?", [_NO_INPUTS]
            case check:
                named = f"EXISTS (SELECT 1 FROM journal_denials n WHERE {denied} AND n.failed = ?)"
                return f" AND {named}", [*values, check]


def _within(account: str, start: date | None, end: date | None) -> tuple[str, list[Any]]:
    condition, arguments = "d.account = ?", list[Any]([account])
    if start is not None:
        condition, arguments = f"{condition} AND d.tick >= ?", [*arguments, start.isoformat()]
    if end is not None:  # a tick's name begins with its day
        after = (end + timedelta(days=1)).isoformat()
        condition, arguments = f"{condition} AND d.tick < ?", [*arguments, after]
    return condition, arguments
