"""Books what is no trade and what corrects one, and keeps breaks until a person resolves them.

The entry that was wrong is never edited: a correction is a new entry that posts the difference.
"""

from datetime import datetime

from sqlalchemy import Connection

from runtime.chain import Draft, micros
from runtime.domain import Fill
from runtime.errors import EntryConflict, JournalBroken, OrderInvalid
from runtime.journal import wire
from runtime.journal.actions import (
    Action,
    Correction,
    Dividend,
    Reversal,
    Split,
    check_newest,
)
from runtime.journal.exact import text, units
from runtime.journal.queries import order_record, stored_fills
from runtime.journal.rows import (
    adjustment_row,
    fill_row,
    posting_rows,
    state_after_correction,
)
from runtime.journal.store import Journal
from runtime.journal.tables import ADJUSTMENT, FILL, ORDER, POSTING


class Adjustments:
    """Writes actions and corrections into one account's journal."""

    def __init__(self, journal: Journal) -> None:
        """Write for the journal's account."""
        self.journal = journal

    def record_action(self, action: Action) -> bool:
        """Book a split, a dividend or a charge; False if that one is booked already.

        Raises:
            EntryConflict: its id is booked with other content, or was taken back.
            OrderInvalid: an amount is not exact, or a split is taken back from under another one.
        """
        kind, name = wire.kind_of(action), action.action_id
        with self.journal.writing() as connection:
            if self._stands(connection, kind, name, action):
                undone = f"{self.journal.account}/{name}/taken-back"
                if self.journal.log.find("reversal", undone, connection) is not None:
                    raise EntryConflict(f"{name} was taken back; book it under another id")
                return False
            if isinstance(action, Reversal):
                check_newest(
                    action.original, self.journal.level(connection).newest_split(action.symbol)
                )
            at = action.at if isinstance(action, Reversal) else action.effective
            self._write(connection, kind, name, action, action.symbol, at)
        self.journal.remember()
        return True

    def take_back(self, name: str, *, by: str, reason: str, at: datetime) -> bool:
        """Take a split or a dividend back by an entry of its own; False if that was done before.

        The book is put where it would stand without it; the first entry stays as it is.

        Args:
            name: the action's id.
            by: who does it.
            reason: why, in words.
            at: UTC, now.

        Raises:
            JournalBroken: no split or dividend of that id is booked for this account.
            OrderInvalid: a name or the reason is missing, or another split of the symbol that was
                booked later stands.
        """
        booked = self.journal.adjustments()
        found = [one for one in booked if isinstance(one, Split | Dividend)]
        original = next((one for one in found if one.action_id == name), None)
        if original is None:
            known = ", ".join(one.action_id for one in found[-5:])
            raise JournalBroken(
                f"account {self.journal.account} has booked no split or dividend named {name!r}; "
                + (f"its newest are {known}" if known else "it has booked none at all")
            )
        reversal = Reversal.of(original, at=at, by=by, reason=reason)
        if any(isinstance(one, Reversal) and one.original == original for one in booked):
            return False
        return self.record_action(reversal)

    def record_correction(self, correction: Correction) -> bool:
        """Take an execution back or replace it; False if just that was done before.

        Raises:
            EntryConflict: it was corrected otherwise, or the replacement's id is booked.
            JournalBroken: the execution was never booked here.
            OrderInvalid: the replacement does not fit the order.
        """
        name = f"{correction.venue}/{correction.execution_id}"
        if correction.replacement is not None:
            plain = wire.plain_fill(correction.replacement)
            correction = Correction(
                venue=correction.venue,
                execution_id=correction.execution_id,
                replacement=plain,
                at=correction.at,
                by=correction.by,
                reason=correction.reason,
            )
        with self.journal.writing() as connection:
            if self._stands(connection, "correction", name, correction):
                return False
            wrong = self._booked(connection, correction.venue, correction.execution_id)
            if wrong is None:
                raise JournalBroken(f"execution {name} was never booked for this account")
            right = correction.replacement
            if right and self._booked(connection, right.venue, right.execution_id) is not None:
                raise EntryConflict(f"execution {right.execution_id} is booked already")
            order = self._order_after(connection, wrong, right, correction)
            seq = self._write(
                connection, "correction", name, correction, wrong.symbol, correction.at
            )
            if right is not None:
                row = fill_row(seq, right, self.journal.account)
                self.journal.sql.insert(connection, "journal_fills", FILL, [row])
            self.journal.sql.run(
                connection,
                "UPDATE journal_orders SET state = ?, filled = ?, updated_at = ? "
                "WHERE order_id = ?",
                [order],
            )
        self.journal.remember()
        return True

    def _write(
        self,
        connection: Connection,
        kind: str,
        name: str,
        event: Action | Correction,
        symbol: str,
        at: datetime,
    ) -> int:
        """Book, chain and derive the rows; return the sequence number."""
        journal, account = self.journal, self.journal.account
        book = journal.level(connection)
        seq = journal.log.head(connection).seq + 1
        adjusted = book.adjust(connection, seq, event, symbol)
        payload = wire.encode_adjustment(account, event, adjusted)
        written = journal.log.extend(connection, [Draft(kind, f"{account}/{name}", at, payload)])
        if list(written) != [seq]:
            raise JournalBroken(f"entry {seq} was taken by another writer")
        row = adjustment_row(seq, account, kind, name, symbol, at)
        journal.sql.insert(connection, "journal_adjustments", ADJUSTMENT, [row])
        rows = posting_rows(seq, account, wire.lines(adjusted.postings))
        journal.sql.insert(connection, "journal_postings", POSTING, rows)
        return seq

    def _stands(
        self, connection: Connection, kind: str, name: str, event: Action | Correction
    ) -> bool:
        """Say whether just this is booked; EntryConflict if something else is, under its name."""
        found = self.journal.log.find(kind, f"{self.journal.account}/{name}", connection)
        if found is None:
            return False
        if wire.decode_adjustment(kind, found.payload).event != event:
            raise EntryConflict(
                f"{kind} {name} is booked with other content; entries are never changed"
            )
        return True

    def _booked(self, connection: Connection, venue: str, execution_id: str) -> Fill | None:
        found = stored_fills(
            self.journal.sql,
            connection,
            "account = ? AND venue = ? AND execution_id = ?",
            (self.journal.account, venue, execution_id),
        )
        return found[0] if found else None

    def _order_after(
        self, connection: Connection, wrong: Fill, right: Fill | None, correction: Correction
    ) -> tuple[object, ...]:
        """Return state, filled, time and id of the order once its execution is corrected."""
        query = f"SELECT {ORDER} FROM journal_orders WHERE order_id = ?"
        record = order_record(self.journal.sql.rows(connection, query, (wrong.order_id,))[0])
        filled = record.filled - wrong.quantity
        if right is not None:
            same = ("order_id", "symbol", "side")
            if any(getattr(right, name) != getattr(wrong, name) for name in same):
                raise OrderInvalid(
                    f"{right.execution_id} is of another order, symbol or side than "
                    f"{wrong.execution_id}; bust that one and book this one"
                )
            units(right.quantity, "replaced quantity")
            filled += right.quantity
        if filled > record.order.quantity:
            raise OrderInvalid(
                f"{filled} units would be more than the {record.order.quantity} that order "
                f"{record.order.order_id} asked for"
            )
        state = state_after_correction(record.state, filled, record.order.quantity)
        return (state.value, text(filled), micros(correction.at), wrong.order_id)
