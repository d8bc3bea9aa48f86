"""A paper venue's own record: one SQLite file, every call one transaction that survives a kill.

Beside its tables stands a chain of all that happened (`ledger`), written in the same transactions.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from threading import Lock
from typing import Any

from runtime.brokers import holdings, ledger, rows
from runtime.brokers.rows import EXECUTIONS, Outcome, Working, asked_of, fill_of
from runtime.brokers.terms import EXACT
from runtime.chain import Head, instant, micros
from runtime.domain import Bar, Fill, Order, OrderReport, OrderState
from runtime.errors import DatabaseUnavailable, OrderInvalid, Superseded
from runtime.journal.actions import Dividend, Reversal, Split
from runtime.kill.sequence import Resting
from runtime.ports import Statement

__all__ = ["Outcome", "VenueRecord", "Working"]

_SCHEMA = f"""
{rows.SCHEMA}{holdings.SCHEMA}{ledger.SCHEMA}
CREATE TABLE IF NOT EXISTS logons (epoch INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS terms (after INTEGER NOT NULL, hash TEXT NOT NULL, said TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS shown (
  symbol TEXT PRIMARY KEY, close TEXT NOT NULL, event_time INTEGER NOT NULL,
  known_at INTEGER NOT NULL);
"""


class VenueRecord:
    """Orders, executions and positions of one venue."""

    def __init__(self, path: Path, name: str) -> None:
        """Open the record, making it if it is not there; DatabaseUnavailable if that fails."""
        self.name = name
        self._lock = Lock()
        self._epoch: int | None = None  # of this process's session; None = it never logged on
        try:
            self._database = sqlite3.connect(
                path, isolation_level=None, timeout=30, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise DatabaseUnavailable(
                f"the record of venue {name} at {path} does not open: {error}; "
                "does the folder exist?"
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    @contextmanager
    def _transaction(self, how: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Yield the record inside one transaction; what fails has no effect."""
        with self._lock:
            try:
                self._database.execute(f"BEGIN {how}")
                yield self._database
                self._database.execute("COMMIT")
            except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
                raise
            except sqlite3.DatabaseError as error:  # locked, full, or a damaged file
                raise DatabaseUnavailable(
                    f"the record of venue {self.name}: {error}; the call had no effect"
                ) from error
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")

    def log_on(self, epoch: int) -> None:
        """End every earlier session; Superseded if a later one has begun."""
        self._epoch = epoch
        with self._transaction() as database:
            self._admitted(database)
            database.execute("INSERT OR IGNORE INTO logons VALUES (?)", (epoch,))

    def _admitted(self, database: sqlite3.Connection) -> None:
        """Refuse whoever is not the last that logged on, in the caller's transaction."""
        last = database.execute("SELECT max(epoch) FROM logons").fetchone()[0]
        if last is not None and last > (self._epoch or 0):
            raise Superseded(
                f"venue {self.name} serves epoch {last} now, not {self._epoch or 'an unnamed one'};"
                " nothing was taken"
            )

    def _rows(self, query: str, arguments: Sequence[Any] = ()) -> list[Any]:
        with self._transaction("DEFERRED") as database:
            return database.execute(query, arguments).fetchall()

    def traded_by(self, hash_: str, said: str) -> None:
        """Write down by which terms the executions from here on are made, if they are new."""
        with self._transaction() as database:
            self._admitted(database)
            last = database.execute("SELECT hash FROM terms ORDER BY rowid DESC LIMIT 1").fetchone()
            if last is None or last[0] != hash_:
                database.execute(
                    "INSERT INTO terms SELECT coalesce(max(number), 0), ?, ? FROM executions",
                    (hash_, said),
                )

    def terms(self) -> Sequence[tuple[int, str, str]]:
        """Return (number of the execution before, hash, text) of all terms traded by, in order."""
        return [tuple(row) for row in self._rows("SELECT * FROM terms ORDER BY rowid")]

    def show(self, bars: Sequence[Bar]) -> None:
        """Remember what is shown now, for a process that starts again."""
        with self._transaction() as database:
            self._admitted(database)
            database.executemany(
                "INSERT OR REPLACE INTO shown VALUES (?, ?, ?, ?)",
                [
                    (bar.symbol, str(bar.close), micros(bar.event_time), micros(bar.known_at))
                    for bar in bars
                ],
            )

    def shown(self, symbol: str) -> Bar | None:
        """Return the bar that is shown of a symbol, None if none ever was."""
        for close, event_time, known_at in self._rows(
            "SELECT close, event_time, known_at FROM shown WHERE symbol = ?", (symbol,)
        ):
            return Bar(
                symbol=symbol,
                close=Decimal(close),
                event_time=instant(event_time),
                known_at=instant(known_at),
            )
        return None

    def submit(self, order: Order) -> OrderState:
        """Take an order once; OrderInvalid if its id was used for another order."""
        said = asked_of(order)
        asked = json.dumps(said)
        with self._transaction() as database:
            self._admitted(database)
            known = database.execute(
                "SELECT state, asked FROM orders WHERE order_id = ?", (order.order_id,)
            ).fetchone()
            if known is None:
                rows.take(database, order, asked)
                at = micros(order.created_at)
                ledger.append(database, self.name, ledger.ORDER, order.order_id, said, at)
                return OrderState.WORKING
        if known[1] != asked:
            raise OrderInvalid(
                f"order id {order.order_id} was used for another order at {self.name}"
            )
        return OrderState(known[0])

    def find(self, order_id: str) -> OrderState | None:
        """Return where an order stands, None if it never arrived."""
        found = self._rows("SELECT state FROM orders WHERE order_id = ?", (order_id,))
        return OrderState(found[0][0]) if found else None

    def report(self, order_id: str) -> OrderReport | None:
        """Return an order's quantities by this record, None if it never arrived."""
        with self._transaction("DEFERRED") as database:
            row = database.execute(
                "SELECT state, quantity FROM orders WHERE order_id = ?", (order_id,)
            ).fetchone()
            filled = rows.filled(database, order_id)
        if row is None:
            return None
        return OrderReport.of(order_id, OrderState(row[0]), Decimal(row[1]), filled)

    def cancel(self, order_id: str) -> None:
        """Cancel an order if it is working."""
        with self._transaction() as database:
            self._end(database, "'cancelled'", "order_id = ?", (order_id,))

    def _end(
        self,
        database: sqlite3.Connection,
        state: str,
        which: str,
        arguments: Sequence[Any],
        at: int | None = None,
    ) -> None:
        """End some of what works, on the record and on its chain, in the caller's transaction."""
        ended = database.execute(
            f"UPDATE orders SET state = {state} WHERE state = 'working' AND {which} "
            "RETURNING number, order_id, state",
            arguments,
        ).fetchall()
        rows.end(database, self.name, [(row[1], row[2]) for row in sorted(ended)], at)

    def resting(self) -> Sequence[Resting]:
        """Return every order that is working, oldest first."""
        found = self._rows(
            "SELECT order_id, symbol FROM orders WHERE state = 'working' ORDER BY number"
        )
        return tuple(Resting(order_id, symbol) for order_id, symbol in found)

    def expire_before(self, opened: datetime) -> None:
        """End what works and was created before `opened`, unless it is good till cancelled."""
        at = micros(opened)
        with self._transaction() as database:
            self._admitted(database)
            self._end(
                database,
                "CASE WHEN tif IN ('ioc', 'fok') THEN 'cancelled' ELSE 'expired' END",
                "tif <> 'gtc' AND created_at < ?",
                (at,),
                at,
            )

    def act(self, actions: Sequence[Split | Dividend | Reversal]) -> int:
        """Take splits and dividends, each once; return how many were new.

        What worked in a symbol before its split is cancelled: an order in old units never executes
        in new ones.

        Raises:
            EntryConflict: an action of that id was taken with other content.
            OrderInvalid: it pays out fractions.
        """
        with self._transaction() as database:
            self._admitted(database)
            done = holdings.act(database, self.name, actions)
            for action in done:
                if isinstance(action, Split) or (
                    isinstance(action, Reversal) and action.split is not None
                ):
                    at = micros(action.at if isinstance(action, Reversal) else action.effective)
                    which = "symbol = ? AND created_at < ?"
                    self._end(database, "'cancelled'", which, (action.symbol, at), at)
        return len(done)

    def match(
        self,
        bars: Sequence[Bar],
        outcome: Callable[[Working, Bar | None], Outcome],
    ) -> int:
        """Put every order that was working before a close to `outcome`, in one transaction.

        Args:
            bars: of the close, one per symbol, at least one.
            outcome: told an order and its bar (None = there is none it has not met); says what
                executed, if anything, and where the order stands then.

        Returns:
            Executions made.
        """
        by_symbol = {bar.symbol: bar for bar in bars}
        closing = max(bar.event_time for bar in bars)
        made = 0
        with self._transaction() as database:
            self._admitted(database)
            for order in rows.working(database, closing):
                bar = by_symbol.get(order.symbol)
                if bar is not None and micros(bar.event_time) <= order.met:
                    bar = None
                result = outcome(order, bar)
                if result.matched is not None and bar is not None:
                    rows.execute(database, self.name, order, result.matched, bar)
                    made += 1
                if result.state not in (OrderState.WORKING, OrderState.FILLED):
                    ended = [(order.order_id, result.state.value)]
                    rows.end(database, self.name, ended, micros(closing))
                met = order.met if bar is None else micros(bar.event_time)
                database.execute(
                    "UPDATE orders SET state = ?, awake = max(awake, ?), met = ? "
                    "WHERE order_id = ?",
                    (result.state.value, int(result.awake), met, order.order_id),
                )
        return made

    def executions(self, after: int, limit: int = -1) -> Sequence[tuple[int, Fill]]:
        """Return (number, fill) of executions numbered above `after`, in order; -1 = all."""
        query = f"{EXECUTIONS} WHERE number > ? ORDER BY number LIMIT ?"
        return [(row[0], fill_of(self.name, row)) for row in self._rows(query, (after, limit))]

    def statement(self, day: date) -> Statement:
        """Return positions at the end of `day`, and its cash and executions."""
        with self._transaction("DEFERRED") as database:  # nothing executes between the reads
            query = f"{EXECUTIONS} WHERE day = ? ORDER BY number"
            found = database.execute(query, (day.isoformat(),)).fetchall()
            positions = holdings.positions(database, day)
            split = holdings.splits(database, day)
        cash = Decimal("0.00")
        for row in found:
            cash = EXACT.add(cash, Decimal(row[8]))
        return Statement(
            venue=self.name,
            day=day,
            positions=positions,
            cash_flow=cash,
            fills=tuple(fill_of(self.name, row) for row in found),
            split=split,
        )

    def head(self) -> Head:
        """Return where the record's chain stands."""
        with self._transaction("DEFERRED") as database:
            return ledger.head(database, self.name)

    def served(self) -> bool:
        """Return whether a process of its own has published bars into the record."""
        return bool(self._rows("SELECT EXISTS (SELECT 1 FROM shown)")[0][0])

    def prove(self, anchors: Iterable[Head] = ()) -> Head:
        """Recompute the chain and hold the tables against it; JournalBroken says what differs."""
        with self._transaction("DEFERRED") as database:
            return ledger.prove(database, self.name, anchors)
