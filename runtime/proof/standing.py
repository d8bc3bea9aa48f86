"""An account as it stood before each entry of the journal, folded from the chain alone.

It takes entries in order, and holds what a decision asks of its account: book, open orders, what
was sent at a tick, closes and recent orders. How long the history is, in what pieces it came and
how often the process began anew cannot matter, for none of it is known here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import msgspec

from runtime.chain import Entry, micros
from runtime.domain import Fill, Order, OrderState
from runtime.errors import JournalBroken
from runtime.history import History
from runtime.journal import wire
from runtime.journal.actions import Action, Charge, Correction
from runtime.journal.adjust import SymbolHistory, adjust
from runtime.journal.book import Book
from runtime.journal.exact import text
from runtime.journal.queries import JournalQueries, order_record
from runtime.journal.records import JournalledDecision, OrderRecord
from runtime.journal.rows import next_state, order_row, state_after_correction, state_after_fill
from runtime.proof import past
from runtime.proof.past import Past

_STATE = 15  # where an order's row says how it stands: state, filled, note, last change


@dataclass(slots=True)
class _Open:
    """An order that may still execute."""

    order: Order
    place: tuple[int, int]  # its entry and its place in there
    decision_id: str
    account: str
    updated: datetime  # UTC
    state: OrderState = OrderState.PENDING
    filled: Decimal = Decimal(0)  # units
    note: str = ""

    def record(self) -> OrderRecord:
        """Return it as a journal returns it, amounts in their one form."""
        row = list(order_row(*self.place, self.order, self.decision_id, self.account))
        stands = (self.state.value, text(self.filled), self.note, micros(self.updated))
        row[_STATE : _STATE + len(stands)] = stands
        return order_record(row)


@dataclass(slots=True)
class Standing:
    """One account, as far as entries were taken; a decision asks it as it asks a journal."""

    journal: JournalQueries
    history: History  # empty at first
    trailing: bool = False  # keep entries for whoever folds the books of several bundles
    book: Book = field(default_factory=Book)
    _open: dict[str, _Open] = field(default_factory=dict)  # by id, in order of commitment
    _sent: dict[str, int] = field(default_factory=dict)  # tick -> orders planned and sent
    _trail: list[Entry] = field(default_factory=list)

    @property
    def account(self) -> str:
        """Return whose it is."""
        return self.journal.account

    @property
    def log(self) -> "Standing":
        """Return what gives the entries that were taken, as the chain does."""
        return self

    def entries(self, *, after: int) -> Iterator[Entry]:
        """Yield what was taken behind an entry; what lies before it is forgotten."""
        self._trail = [one for one in self._trail if one.seq > after]
        yield from self._trail

    def decision(self, decision_id: str) -> JournalledDecision | None:
        """Return a decision with its inputs."""
        return self.journal.decision(decision_id)

    def open_orders(self) -> tuple[OrderRecord, ...]:
        """Return the orders that may still execute, in the order they were committed."""
        return tuple([one.record() for one in self._open.values()])

    def sent_at(self, tick: str) -> int:
        """Return how many planned orders left at a tick, by whatever bundle."""
        return self._sent.get(tick, 0)

    def decided(self, entry: Entry, decision: Past) -> None:
        """Take a decision's entry that was read already."""
        if self.trailing:
            self._trail.append(entry)
        self._decided(entry, decision)

    def _decided(self, entry: Entry, decision: Past) -> None:
        name, account = decision.decision_id, decision.account
        for line, order in enumerate(decision.orders):
            place = entry.seq, line
            self._open[order.order_id] = _Open(order, place, name, account, order.created_at)
        symbols = {order.symbol for order in decision.orders}
        if symbols:
            self._sent[decision.tick] = self._sent.get(decision.tick, 0) + len(symbols)
        self.history.sent(decision.sent())

    def take(self, entry: Entry) -> None:
        """Take one entry of the chain, of whatever account; JournalBroken if it cannot be read."""
        if self.trailing:
            self._trail.append(entry)
        try:
            self._take(entry)
        except msgspec.DecodeError as error:
            raise past.unreadable(entry, error) from error

    def _take(self, entry: Entry) -> None:
        match entry.kind:
            case "fill":
                kept = wire.decode_fill(entry.payload)
                if kept.account == self.account:
                    self._filled(entry, kept.fill)
            case "order":
                self._changed(entry)
            case "decision" if self._own(entry):
                self._decided(entry, past.of(entry))
            case "session" if self._own(entry):
                self.history.close(wire.decode_session(entry.payload))
            case "flow" if self._own(entry):
                self.book.flow(Decimal(wire.decode_flow(entry.payload).amount))
            case kind if kind in wire.ADJUSTMENTS and self._own(entry):
                self._adjusted(entry, wire.decode_adjustment(kind, entry.payload).event)

    def _own(self, entry: Entry) -> bool:
        return entry.key.startswith(f"{self.account}/")

    def _filled(self, entry: Entry, fill: Fill) -> None:
        self.book.apply(fill)
        one = self._open.get(fill.order_id)
        if one is None:
            return  # it has ended
        one.filled, one.updated = one.filled + fill.quantity, fill.executed_at
        state = state_after_fill(one.state, one.filled, one.order.quantity)
        self._move(fill.order_id, state)

    def _changed(self, entry: Entry) -> None:
        name = entry.key.partition("/")[0]
        one = self._open.get(name)
        if one is None:
            return
        event = wire.decode_event(entry.payload, entry.at)
        one.note, one.updated = event.note, entry.at
        self._move(name, next_state(one.state, event.state))

    def _move(self, name: str, state: OrderState) -> None:
        """Put an order where it stands now; one that has ended executes no more."""
        self._open[name].state = state
        if state.terminal:
            del self._open[name]

    def _adjusted(self, entry: Entry, event: Action | Correction) -> None:
        wrong: Fill | None = None
        if isinstance(event, Correction):
            wrong = self._execution(event.venue, event.execution_id)
            symbol = wrong.symbol
        else:
            symbol = event.symbol
        adjust(self.book, event, symbol, lambda: self._history(symbol, entry.seq))
        one = None if wrong is None else self._open.get(wrong.order_id)
        if isinstance(event, Correction) and wrong is not None and one is not None:
            right = event.replacement.quantity if event.replacement else Decimal(0)
            one.filled += right - wrong.quantity
            state = state_after_correction(one.state, one.filled, one.order.quantity)
            self._move(wrong.order_id, state)

    def _execution(self, venue: str, name: str) -> Fill:
        """Return an execution as it was booked, or as a correction put it."""
        found = self.journal.log.find("fill", f"{venue}/{name}")
        if found is not None:
            return wire.decode_fill(found.payload).fill
        for entry in self.journal.log.entries("correction"):
            event = wire.decode_adjustment("correction", entry.payload).event
            right = event.replacement if isinstance(event, Correction) else None
            if right is not None and (right.venue, right.execution_id) == (venue, name):
                return right
        raise JournalBroken(f"execution {name} of {venue} was corrected and is booked nowhere")

    def _history(self, symbol: str, until: int) -> SymbolHistory:
        """Return every event of a symbol up to an entry; asked for where books are restated."""
        history = SymbolHistory()
        for entry in self.journal.log.entries():
            if entry.seq > until:
                break
            if entry.kind == "fill":
                kept = wire.decode_fill(entry.payload)
                if (kept.account, kept.fill.symbol) == (self.account, symbol):
                    history.add(kept.fill)
            elif entry.kind in wire.ADJUSTMENTS and self._own(entry):
                event = wire.decode_adjustment(entry.kind, entry.payload).event
                if isinstance(event, Charge):
                    continue
                if isinstance(event, Correction):
                    of = self._execution(event.venue, event.execution_id).symbol
                else:
                    of = event.symbol
                if of == symbol:
                    history.add(event)
        return history
