"""What a paper venue holds for an account at the end of any day, splits and dividends included."""

import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import ROUND_DOWN, Decimal

from runtime.brokers import ledger
from runtime.brokers.matching import cents
from runtime.brokers.terms import EXACT
from runtime.chain import micros
from runtime.domain import Side
from runtime.errors import EntryConflict, OrderInvalid
from runtime.journal.actions import Dividend, Reversal, Split, check_newest

# ids of actions that were taken back
_UNDONE = "SELECT json_extract(said, '$[0]') FROM actions WHERE kind = 'reversal'"
SCHEMA = """
CREATE TABLE IF NOT EXISTS positions (symbol TEXT PRIMARY KEY, quantity TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS actions (
  number INTEGER PRIMARY KEY, action_id TEXT NOT NULL UNIQUE, symbol TEXT NOT NULL,
  kind TEXT NOT NULL, said TEXT NOT NULL, effective INTEGER NOT NULL, day TEXT NOT NULL,
  executed INTEGER NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL, cash TEXT NOT NULL);
"""
_ZERO, _UNIT = Decimal(0), Decimal("0.000001")  # what a position is counted in, after a split


def move(database: sqlite3.Connection, symbol: str, signed: Decimal) -> None:
    """Add units to a position, in the caller's transaction."""
    _set(database, symbol, EXACT.add(_held(database, symbol), signed))


def positions(database: sqlite3.Connection, day: date) -> dict[str, Decimal]:
    """Return what was held at the end of a day, zeros left out, in order of symbol.

    What is held now, less what executed later. Of a symbol with a later split: what was held just
    before the first of them, less what had executed by then and later than the day.
    """
    name, read = day.isoformat(), database.execute
    found = {symbol: Decimal(text) for symbol, text in read("SELECT * FROM positions")}
    until: dict[str, int] = {}  # symbol -> number of the last execution before its split
    later = "SELECT symbol, executed, before FROM actions WHERE day > ? AND kind <> 'dividend' "
    for symbol, executed, before in read(later + "ORDER BY number", (name,)).fetchall():
        if symbol not in until:
            until[symbol], found[symbol] = executed, Decimal(before)
    rows = read("SELECT number, symbol, side, quantity FROM executions WHERE day > ?", (name,))
    for number, symbol, side, quantity in rows.fetchall():
        if number <= until.get(symbol, number):
            undone = EXACT.multiply(Decimal(quantity), Decimal(-Side(side).sign))
            found[symbol] = EXACT.add(found[symbol], undone)
    # What was taken back later than that day had never been, as it is known now.
    given = (
        "SELECT symbol, before, after FROM actions WHERE kind = 'split' AND day <= ? "
        f"AND action_id IN ({_UNDONE} AND day > ?)"
    )
    for symbol, before, after in read(given, (name, name)).fetchall():
        units = EXACT.subtract(Decimal(before), Decimal(after))
        found[symbol] = EXACT.add(found[symbol], units)
    return {symbol: units for symbol, units in sorted(found.items()) if units}


def splits(database: sqlite3.Connection, day: date) -> frozenset[str]:
    """Return the symbols whose split took effect on a day and stands."""
    rows = database.execute(
        "SELECT symbol FROM actions WHERE day = ? AND kind = 'split' "
        f"AND action_id NOT IN ({_UNDONE})",
        (day.isoformat(),),
    )
    return frozenset(symbol for (symbol,) in rows.fetchall())


def act(
    database: sqlite3.Connection, venue: str, actions: Sequence[Split | Dividend | Reversal]
) -> list[Split | Dividend | Reversal]:
    """Take actions that a venue has not taken yet, in the caller's transaction; return those.

    To take back what was never taken here changes nothing.

    Raises:
        EntryConflict: an action of that id was taken with other content.
        OrderInvalid: it pays out fractions, or a split is taken back that another one followed.
    """
    done: list[Split | Dividend | Reversal] = []
    for action in actions:
        kind, said = _said(action)
        known = database.execute(
            "SELECT said FROM actions WHERE action_id = ?", (action.action_id,)
        ).fetchone()
        if known is not None:
            if known[0] != said:
                raise EntryConflict(
                    f"venue {venue} has taken {action.action_id} as {known[0]}, not as {said}"
                )
            continue
        if isinstance(action, Reversal):
            if not _take_back(database, venue, action, kind, said):
                continue
        else:
            _take(database, venue, action, kind, said)
        done.append(action)
    return done


def _take(
    database: sqlite3.Connection, venue: str, action: Split | Dividend, kind: str, said: str
) -> None:
    """Write one action and what it does."""
    before = _held(database, action.symbol)
    after, cash = before, Decimal("0.00")
    if isinstance(action, Split):
        scaled = EXACT.divide(EXACT.multiply(before, Decimal(action.new)), Decimal(action.old))
        after = _cut(scaled).normalize(EXACT)
    else:
        cash = cents(EXACT.multiply(before, action.per_unit))
    moved = (before, after, cash)
    _write(database, venue, action, kind, said, action.effective, moved)


def _take_back(
    database: sqlite3.Connection, venue: str, action: Reversal, kind: str, said: str
) -> bool:
    """Undo what one action did here; False if it was never taken.

    What was traded since stays: the units that a split made of those held then are taken away.
    """
    original = action.original
    taken = database.execute(
        "SELECT before, after, cash FROM actions WHERE action_id = ?",
        (original.action_id,),
    ).fetchone()
    if taken is None:
        return False
    was, became, paid = taken
    newest = database.execute(
        "SELECT action_id FROM actions WHERE symbol = ? AND kind = 'split' AND "
        f"action_id NOT IN ({_UNDONE}) ORDER BY number DESC LIMIT 1",
        (original.symbol,),
    ).fetchone()
    check_newest(original, None if newest is None else newest[0])
    before = _held(database, original.symbol)
    after = EXACT.subtract(before, EXACT.subtract(Decimal(became), Decimal(was)))
    moved = (before, after, EXACT.minus(Decimal(paid)))
    _write(database, venue, action, kind, said, action.at, moved)
    return True


def _write(
    database: sqlite3.Connection,
    venue: str,
    action: Split | Dividend | Reversal,
    kind: str,
    said: str,
    at: datetime,
    moved: tuple[Decimal, Decimal, Decimal],
) -> None:
    """Write an action with units before and after it and its cash, and change the position."""
    before, after, cash = moved
    day = at.astimezone(UTC).date().isoformat()
    last = database.execute("SELECT coalesce(max(number), 0) FROM executions").fetchone()[0]
    effective = micros(at)
    row = (action.symbol, kind, said, effective, format(before, "f"), format(after, "f"), str(cash))
    database.execute(
        "INSERT INTO actions (action_id, symbol, kind, said, effective, before, after, cash, day, "
        "executed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (action.action_id, *row, day, last),
    )
    ledger.append(database, venue, ledger.ACTION, action.action_id, row, effective)
    _set(database, action.symbol, after)


def _cut(units: Decimal) -> Decimal:
    """Return units without what lies beyond the sixth place: that is lost, as in the books."""
    return units.quantize(_UNIT, rounding=ROUND_DOWN, context=EXACT)


def _said(action: Split | Dividend | Reversal) -> tuple[str, str]:
    if isinstance(action, Reversal):
        return "reversal", json.dumps([action.original.action_id])
    if isinstance(action, Split):
        if action.in_lieu is not None:
            raise OrderInvalid(f"{action.action_id}: paper venues keep fractions, none is paid out")
        return "split", json.dumps([action.new, action.old])
    return "dividend", json.dumps([str(action.per_unit)])


def _held(database: sqlite3.Connection, symbol: str) -> Decimal:
    row = database.execute("SELECT quantity FROM positions WHERE symbol = ?", (symbol,)).fetchone()
    return _ZERO if row is None else Decimal(row[0])


def _set(database: sqlite3.Connection, symbol: str, units: Decimal) -> None:
    database.execute(
        "INSERT INTO positions VALUES (?, ?) "
        "ON CONFLICT (symbol) DO UPDATE SET quantity = excluded.quantity",
        (symbol, format(units, "f")),
    )
