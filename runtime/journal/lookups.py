"""What the writer has to know of what stands before it writes: keys, executions, orders by name.

Names come in any number, so they are asked for in lists; what can be asked at once is.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import Connection

from runtime.domain import Fill, OrderState
from runtime.errors import EntryConflict, JournalBroken
from runtime.journal.book import Book
from runtime.journal.queries import fill_of
from runtime.journal.tables import FILL, Sql
from runtime.statements import Query, run_all

_IN_LIST = 500  # values per list, below SQLite's limit
_STATES = {state.value: state for state in OrderState}  # a tenth of what asking the enum takes
_STANDING = "order_id, account, symbol, side, venue, quantity, state, filled"


class Standing(NamedTuple):
    """Where an order stands that fills are to be booked to."""

    order_id: str
    account: str
    symbol: str
    side: str
    venue: str
    quantity: Decimal  # units that were asked for
    state: OrderState
    filled: Decimal  # units of them


def keys(sql: Sql, connection: Connection, kind: str, names: Sequence[str]) -> set[str]:
    """Return which keys of a kind the chain holds already."""
    asked = _listed(sql, "SELECT key FROM journal WHERE kind = ? AND key", names, (kind,))
    return {row[0] for rows in run_all(connection, asked) for row in rows}


def states(sql: Sql, connection: Connection, names: set[str]) -> dict[str, OrderState]:
    """Return where orders stand; JournalBroken if one was never journalled."""
    asked = _listed(sql, "SELECT order_id, state FROM journal_orders WHERE order_id", sorted(names))
    found = {row[0]: OrderState(row[1]) for rows in run_all(connection, asked) for row in rows}
    _all_there(names, found)
    return found


def unbooked(
    sql: Sql, connection: Connection, fills: Sequence[Fill], book: Book
) -> tuple[list[Fill], dict[str, Standing]]:
    """Return the fills that are new, once each, and where their orders stand.

    What the book of the account has not seen is not looked for: should it be another account's, its
    key is not free, and nothing of the call is booked.

    Args:
        sql: in which the database is asked.
        connection: locked by the writer.
        fills: of one account.
        book: of that account, level with the tables.

    Raises:
        EntryConflict: one contradicts the record.
        JournalBroken: an order was never journalled.
    """
    executed: list[Query] = []
    seen = [fill for fill in fills if book.has_seen(fill)]
    for venue in sorted({fill.venue for fill in seen}):
        names = sorted({fill.execution_id for fill in seen if fill.venue == venue})
        query = f"SELECT {FILL} FROM journal_fills WHERE venue = ? AND execution_id"
        executed += _listed(sql, query, names, (venue,))
    orders = sorted({fill.order_id for fill in fills})
    query = f"SELECT {_STANDING} FROM journal_orders WHERE order_id"
    answers = run_all(connection, [*executed, *_listed(sql, query, orders)])

    there: dict[tuple[str, str], Fill] = {}
    for rows in answers[: len(executed)]:
        for row in rows:
            there[row[2], row[3]] = fill_of(row)
    fresh = []
    for fill in fills:
        key = fill.venue, fill.execution_id
        standing = there.get(key)
        if standing is None:
            there[key] = fill
            fresh.append(fill)
        elif standing != fill:
            raise EntryConflict(
                f"execution {fill.execution_id} of {fill.venue} is booked with other content; "
                "entries are never changed, a correction is a new execution"
            )
    found = {
        row[0]: Standing._make((*row[:5], Decimal(row[5]), _STATES[row[6]], Decimal(row[7])))
        for rows in answers[len(executed) :]
        for row in rows
    }
    _all_there({fill.order_id for fill in fresh}, found)
    return fresh, found


def _all_there(names: set[str], found: Mapping[str, object]) -> None:
    missing = names - found.keys()
    if missing:
        raise JournalBroken(
            f"order {min(missing)} was never journalled, so nothing explains it; "
            "nothing was recorded, reconcile with the venue"
        )


def _listed(sql: Sql, query: str, names: Sequence[str], first: tuple[Any, ...] = ()) -> list[Query]:
    """Return a query for every few hundred names; PostgreSQL takes one text for any number."""
    if sql.postgres:
        return [(sql.marked(f"{query} = ANY(?)"), (*first, list(names)))]
    parts = [names[start : start + _IN_LIST] for start in range(0, len(names), _IN_LIST)]
    return [(f"{query} IN ({', '.join('?' * len(one))})", (*first, *one)) for one in parts]
