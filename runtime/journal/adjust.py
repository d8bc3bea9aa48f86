"""What an action or a correction does to a book; the same for who writes, reads and proves.

In order, an action is booked as it comes. One that took effect before what is booked already, and
every correction, restates its symbol: the book is put where it would stand had all been known in
time, and the entry posts the difference.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from runtime.domain import Fill
from runtime.errors import EntryConflict
from runtime.journal.actions import (
    Action,
    Charge,
    Correction,
    Dividend,
    Event,
    Reversal,
    Split,
    in_time,
    instant_of,
)
from runtime.journal.book import ZERO, Book
from runtime.journal.exact import UNIT, quantity, units
from runtime.journal.holding import Posting

Key = tuple[str, str]  # venue, execution id


class Adjusted(NamedTuple):
    """What an adjustment posts and realises, USD."""

    postings: tuple[Posting, ...]
    realised: Decimal  # FIFO
    realised_average: Decimal


@dataclass(slots=True)
class SymbolHistory:
    """Every event of one symbol of one account, as it is known now."""

    fills: dict[Key, Fill] = field(default_factory=dict)  # in the order they were booked
    actions: list[Split | Dividend] = field(default_factory=list)
    corrected: set[Key] = field(default_factory=set)
    taken_back: set[str] = field(default_factory=set)  # ids of actions

    def add(self, event: Event | Correction | Reversal) -> None:
        """Take in what was booked next."""
        match event:
            case Fill():
                self.fills[event.venue, event.execution_id] = event
            case Correction():
                self.corrected.add((event.venue, event.execution_id))
                if event.replacement is not None:
                    self.add(event.replacement)
            case Split() | Dividend():
                self.actions.append(event)
            case Reversal():
                self.taken_back.add(event.original.action_id)

    def events(self, until: datetime | None = None) -> list[Event]:
        """Return what stands, in the order it took place, up to an instant."""
        standing = [fill for key, fill in self.fills.items() if key not in self.corrected]
        acted = [one for one in self.actions if one.action_id not in self.taken_back]
        known = in_time([*standing, *acted])
        return [one for one in known if until is None or instant_of(one) <= until]


def adjust(
    book: Book, event: Action | Correction, symbol: str, history: Callable[[], SymbolHistory]
) -> Adjusted:
    """Book an action or a correction.

    Args:
        book: it is changed.
        event: what is booked.
        symbol: of the event.
        history: returns the symbol's events, this one included; asked only if it must be restated.

    Raises:
        EntryConflict: an action of that id is booked already.
    """
    if isinstance(event, Charge):
        return Adjusted(_fresh(book.charge(event), event.action_id), ZERO, ZERO)
    if isinstance(event, Correction | Reversal):
        booking = book.restate(symbol, history().events())
    else:
        late = not book.in_order(event)
        done = book.restate(symbol, history().events()) if late else book.take(event)
        if done is None:
            raise EntryConflict(f"an action called {event.action_id} is booked already")
        booking = done
    return Adjusted(booking.postings, booking.realised, booking.realised_average)


def _fresh(postings: tuple[Posting, ...], name: str) -> tuple[Posting, ...]:
    if not postings:
        raise EntryConflict(f"an action called {name} is booked already")
    return postings


def units_by_venue(events: Iterable[Event]) -> dict[str, Decimal]:
    """Return the units of one symbol that each venue holds after its events in time.

    A fraction that a split pays out is taken from the venues' own fractions, in order of name.
    """
    held: dict[str, int] = {}
    for event in events:
        match event:
            case Fill():
                size = units(event.quantity, "fill quantity") * event.side.sign
                held[event.venue] = held.get(event.venue, 0) + size
            case Split():
                _scale(held, event)
    return {venue: quantity(size) for venue, size in held.items() if size}


def _scale(held: dict[str, int], split: Split) -> None:
    before = sum(held.values())
    whole = abs(before) * split.new // split.old
    for venue, size in held.items():
        scaled = abs(size) * split.new // split.old
        held[venue] = scaled if size > 0 else -scaled
    sign = 1 if before > 0 else -1
    left = sum(held.values()) - sign * whole  # what flooring venue by venue has lost or gained
    paid = whole % UNIT if split.in_lieu is not None else 0
    for venue in sorted(held):
        if left:
            held[venue], left = held[venue] - left, 0
        own = sign * held[venue] % UNIT if sign * held[venue] > 0 else 0
        part = min(own, paid)
        held[venue] -= sign * part
        paid -= part
    if paid:
        most = max(held, key=lambda venue: sign * held[venue])
        held[most] -= sign * paid
