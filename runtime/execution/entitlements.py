"""Splits and dividends that the market data knows, taken as their session begins, each once.

Paper venues take them before they match the session's bars, and so hold what a custodian would; our
books take them as entries of their own, from our own arithmetic: the two are compared like any
other day. What became known late is booked late, as if it had been known in time.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Protocol, TypeAlias, runtime_checkable

from featurestore.calendars import Calendar
from runtime.chain import instant
from runtime.database import reading
from runtime.errors import EntryConflict, OrderInvalid
from runtime.journal.actions import (
    CalledOff,
    Charge,
    Dividend,
    Reversal,
    Split,
    Unclear,
    anew,
    taken_back,
)
from runtime.journal.adjustments import Adjustments
from runtime.journal.store import Journal
from runtime.ports import Broker

Key: TypeAlias = tuple[type, str, date]  # kind, symbol, day of effect
Known: TypeAlias = Sequence[Split | Dividend]
Told: TypeAlias = Sequence[Split | Dividend | Reversal]
_TRADED = "SELECT symbol, min(executed_at) FROM journal_fills WHERE account = ? GROUP BY symbol"
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Actions(Protocol):
    """Tells what is known of splits and dividends."""

    def __call__(
        self, since: Mapping[str, datetime], *, after: datetime, until: datetime, at: datetime
    ) -> Sequence[Split | Dividend | Unclear | CalledOff]:
        """Return the actions of some symbols, in order of effect, and those that were called off.

        Args:
            since: symbol -> what took effect by then is of no interest.
            after: what took effect and was known by then has been told before, and may be left out.
            until: UTC, latest instant of effect.
            at: UTC; what became known later does not exist yet.
        """
        ...


def in_between(
    actions: Actions, symbols: Iterable[str], calendar: Calendar, *, last: date, day: date
) -> Known:
    """Return what took effect after one session had opened and by the opening of another one.

    Args:
        actions: where from.
        symbols: whose.
        calendar: of the sessions.
        last: day of the earlier session.
        day: of the later one; what was not known by its close does not exist yet.
    """
    session = calendar.session(day)
    since = dict.fromkeys(symbols, calendar.session(last).open)
    found = actions(since, after=BEGINNING, until=session.open, at=session.close)
    return [one for one in found if isinstance(one, Split | Dividend)]


@runtime_checkable
class TakesActions(Protocol):
    """A paper venue, which has nobody else to tell it of splits and dividends."""

    def on_actions(self, actions: Told) -> int:
        """Take actions in effect or taken back, each once; return how many were new."""
        ...


@dataclass(slots=True)
class Entitlements:
    """What one account is entitled to by holding something."""

    journal: Journal
    brokers: Sequence[Broker]
    actions: Actions | None  # None = prices carry their actions already, nothing is booked
    _booked: dict[Key, list[Split | Dividend]] = field(default_factory=dict)
    _charged: dict[str, Charge] = field(default_factory=dict)  # by its id
    _taken_back: dict[str, Reversal] = field(default_factory=dict)  # by the id of what it undoes
    _undone: set[str] = field(default_factory=set)  # of these, what the venues were told of
    _doubted: bool = False  # somebody may have booked what settles it since
    _since: dict[str, datetime] = field(default_factory=dict)  # symbol -> when it was first traded
    _told: datetime = BEGINNING  # what was known then has been booked

    def __post_init__(self) -> None:
        if self.actions is not None:
            self._read()
            with reading(self.journal.engine) as connection:
                rows = self.journal.sql.rows(connection, _TRADED, (self.journal.account,))
            self._since = {symbol: instant(int(first)) for symbol, first in rows}

    def _read(self) -> None:
        """Learn what is booked, by hand or in another process too."""
        self._booked, self._charged = {}, {}
        adjustments = self.journal.adjustments()
        self._taken_back = taken_back(adjustments)
        for one in adjustments:
            if isinstance(one, Split | Dividend) and one.action_id not in self._taken_back:
                self._booked.setdefault(_key(one), []).append(one)
            elif isinstance(one, Charge):
                self._charged[one.action_id] = one

    def _seen(self, symbol: str, at: datetime) -> None:
        self._since[symbol] = min(at, self._since.get(symbol, at))

    def take(
        self, symbols: Sequence[str], *, before: datetime, opened: datetime, at: datetime
    ) -> tuple[str, ...]:
        """Tell paper venues and book what is in effect when a session opens.

        Args:
            symbols: the universe, and what is held: orders in them may be working at a venue.
            before: when the last session that was closed had opened.
            opened: when this one did.
            at: UTC; what became known later does not exist yet.

        Returns:
            In words, what contradicts what was booked before, or cannot be booked; nothing new is
            risked until somebody has looked.

        Raises:
            VenueUnknownOutcome: a venue gave no answer; the session has to be run again.
        """
        if self.actions is None:
            return ()
        for symbol in self.journal.book().quantities():
            self._seen(symbol, before)
        interest = dict.fromkeys(symbols, before) | self._since
        if self._doubted:
            self._read()
        found = self.actions(interest, after=self._told, until=opened, at=at)
        known = [anew(one, self._taken_back) for one in found if isinstance(one, Split | Dividend)]
        back = [one for name, one in self._taken_back.items() if name not in self._undone]
        for broker in self.brokers:
            if (known or back) and isinstance(broker, TakesActions):
                _tell(broker, [*back, *known])
        self._undone.update(one.original.action_id for one in back)
        said = [self._doubt(one) for one in found if isinstance(one, Unclear)]
        said += [self._contradicted(one) for one in found if isinstance(one, CalledOff)]
        said += [self._book(one) for one in known if one.symbol in self._since]
        wrong = tuple(filter(None, said))
        self._doubted = bool(wrong)
        if not wrong:
            self._told = min(at, opened)  # what takes effect after the opening was not asked for
        return wrong

    def _contradicted(self, one: CalledOff) -> str:
        """Return what to do about an action that is booked though it was called off, or ""."""
        again = f"{one.action_id}/again/"
        for kind in (Split, Dividend):
            for booked in self._booked.get((kind, one.symbol, one.effective.date()), ()):
                name = booked.action_id
                if name == one.action_id or name.startswith(again):
                    return f"{name} is booked and was called off; {_way_back(name)}"
        return ""

    def _doubt(self, one: Unclear) -> str:
        """Return why an action cannot be booked, "" once somebody booked its like of that day."""
        self._read()
        if self._booked.get((one.kind, one.symbol, one.effective.date())):
            return ""
        return f"corporate action {one.words}; book by hand what it was"

    def _stands(self, action: Split | Dividend) -> bool:
        """Return whether just this is booked: as one, in parts, or with a charge for the rest."""
        standing = self._booked.get(_key(action), [])
        if any(_terms(one) == _terms(action) for one in standing) or (
            standing and _together(standing) == _together([action])
        ):
            return True
        if isinstance(action, Split):
            return False
        back = self._charged.get(_back(action))
        return back is not None and (back.symbol, back.effective.date()) == _key(action)[1:]

    def _book(self, action: Split | Dividend) -> str:
        """Book an action unless it is booked, by us or by hand; return why it cannot be, or ""."""
        name = action.action_id
        if self._stands(action):
            return ""
        if self._booked.get(_key(action)):
            self._read()
            if self._stands(action):
                return ""
        standing = self._booked.setdefault(_key(action), [])
        if isinstance(action, Split) and standing:
            return (
                f"{name} is {action.new}:{action.old} now, but a split of that day is booked as "
                f"{standing[0].action_id}; enter the difference as an action of its own, or "
                f"{_way_back(standing[0].action_id)}"
            )
        if isinstance(action, Dividend) and any(one.action_id == name for one in standing):
            now = f"{name} is {action.per_unit} a unit now"
            if _together(standing) > _together([action]):
                return (
                    f"{now} and was booked as more; book what was too much in all as a charge of "
                    f"{action.symbol} on {action.effective.date()}, under the id {_back(action)}; "
                    f"or {_way_back(name)}"
                )
            return (
                f"{now} and was booked as another amount; enter the difference as an action of its "
                f"own, or {_way_back(name)}"
            )
        try:
            Adjustments(self.journal).record_action(action)
        except (OrderInvalid, EntryConflict) as error:
            return f"corporate action {name}: {error}"
        standing.append(action)
        return ""


def _way_back(name: str) -> str:
    """Return what a person runs; what stands in the lake then is booked by itself."""
    return f"take it back: sluice books reverse {name} --by NAME --reason WHY"


def _tell(venue: TakesActions, known: Told) -> None:
    """Tell a venue; what it has taken otherwise before must not keep the others from it.

    Where it stands otherwise than the books then, reconciliation finds.
    """
    try:
        venue.on_actions(known)
    except (OrderInvalid, EntryConflict):
        for one in known:
            with suppress(OrderInvalid, EntryConflict):
                venue.on_actions([one])


def _back(revised: Dividend) -> str:
    """Return under which id a charge takes back what a dividend paid before it was revised."""
    return f"{revised.action_id}/revised/{revised.per_unit}"


def _key(action: Split | Dividend) -> Key:
    return type(action), action.symbol, action.effective.date()


def _terms(action: Split | Dividend) -> tuple[Decimal, ...]:
    if isinstance(action, Split):
        return Decimal(action.new), Decimal(action.old)
    return (action.per_unit,)


def _together(actions: Known) -> Fraction:
    """Return what actions of one kind, symbol and day come to: new for old units, or USD a unit."""
    total, paid = Fraction(1), Fraction(0)
    for one in actions:
        if isinstance(one, Split):
            total *= Fraction(one.new, one.old)
        else:
            paid += Fraction(one.per_unit)
    return total + paid
