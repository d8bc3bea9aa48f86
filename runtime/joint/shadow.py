"""Challengers: decided in shadow on the inputs of the champion, on record, never an order.

Steps of a session, after the champion's orders have left:
 1. every contender's paper book takes splits and dividends in effect, trades at this close what it
    wanted at the last, costs included, and is marked; the champion has such a book too, so that
    both are judged by one rule;
 2. challengers that are due decide, on the same reads, each on the weights of its own paper book;
 3. what each wants is noted; it trades at the next close.

Whatever goes wrong with a challenger is a note in its record and touches nobody else. The record
is a chained log apart from the journal, so a journal stays a function of what the account did.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

import msgspec
import numpy as np

from featurestore.calendars import Calendar
from featurestore.errors import PlatformError
from runtime.bundles.bundle import LoadedBundle
from runtime.bundles.contract import SizingPolicy
from runtime.bundles.inputs import Array, SharedReads
from runtime.errors import DecisionInvalid
from runtime.execution.entitlements import Actions, Known, in_between
from runtime.joint.proposal import propose
from runtime.joint.shadow_log import ShadowBook, ShadowDay, ShadowDecision, ShadowLog
from runtime.journal.actions import Dividend, Split
from runtime.journal.blobs import encode_arrays, hash_of
from runtime.plan import sized
from runtime.registry import Comparison
from runtime.scheduling.schedule import is_due

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenger:
    """A bundle that decides in shadow."""

    role: str
    bundle: LoadedBundle
    comparison: Comparison
    since: datetime  # UTC, when it was seated


def entitled(book: ShadowBook, actions: Iterable[Split | Dividend]) -> ShadowBook:
    """Take splits and dividends in effect since the last close, in their order; before `marked`."""
    units, cash = dict(book.units), book.cash
    wanted = None if book.wanted is None else dict(book.wanted)
    for one in actions:
        if isinstance(one, Split):
            for counts in (units, wanted):
                if counts is not None and one.symbol in counts:
                    counts[one.symbol] *= one.new / one.old
        else:
            cash += units.get(one.symbol, 0.0) * float(one.per_unit)
    return msgspec.structs.replace(book, units=units, wanted=wanted, cash=cash)


def marked(book: ShadowBook, marks: Mapping[str, Decimal], cost_rate: float) -> ShadowBook:
    """Trade what was wanted at these closes, then value the book.

    Args:
        book: as it stood at the last close.
        marks: closes, USD per unit.
        cost_rate: all-in cost per traded notional, fraction.

    Raises:
        DecisionInvalid: a symbol of the book has no mark.
    """
    wanted = book.units if book.wanted is None else book.wanted
    names = sorted(_named(book))
    missing = [name for name in names if name not in marks]
    if missing:
        raise DecisionInvalid(f"no close for {', '.join(missing)}")
    cash = book.cash
    for name in names:
        flow = (wanted.get(name, 0.0) - book.units.get(name, 0.0)) * float(marks[name])
        cash -= flow + cost_rate * abs(flow)
    held = {name: count for name, count in wanted.items() if count}
    value = sum(count * float(marks[name]) for name, count in held.items())
    return ShadowBook(equity=cash + value, cash=cash, units=held)


def wanting(
    book: ShadowBook,
    symbols: Sequence[str],
    weights: Array,
    sizing: SizingPolicy,
    marks: Mapping[str, Decimal],
) -> ShadowBook:
    """Note the units that target weights come to at these closes."""
    targets = sized(weights, sizing) * book.equity
    wanted = {
        name: value / float(marks[name])
        for name, value in zip(symbols, targets.tolist(), strict=True)
        if value
    }
    return msgspec.structs.replace(book, wanted=wanted)


def _named(book: ShadowBook) -> set[str]:
    return {*book.units, *(book.wanted or ())}


@dataclass(slots=True, kw_only=True)
class Shadows:
    """The contenders of one account."""

    record: ShadowLog
    account: str
    calendar: Calendar
    champion: LoadedBundle
    challengers: tuple[Challenger, ...]
    freshness: Mapping[str, timedelta] = field(default_factory=dict)
    actions: Actions | None = None  # splits and dividends; None = the prices carry them already

    def run(
        self,
        reads: SharedReads,
        *,
        at: datetime,
        day: date,
        marks: Mapping[str, Decimal],
        decided: Array | None,
    ) -> None:
        """Run one close of all contenders, once; nothing that goes wrong here is raised.

        Args:
            reads: the reads of the champion's tick.
            at: UTC, the tick.
            day: its session.
            marks: closes, USD per unit.
            decided: the champion's target weights, shape (n,); None if it decided nothing now.
        """
        try:
            if not self.record.holds(self.account, day):
                self._run(reads, at=at, day=day, marks=marks, decided=decided)
        except PlatformError as error:
            log.warning("the shadows of %s are not on record: %s", day, error)

    def _run(
        self,
        reads: SharedReads,
        *,
        at: datetime,
        day: date,
        marks: Mapping[str, Decimal],
        decided: Array | None,
    ) -> None:
        last = self.record.last(self.account, self.calendar, day)
        before = {} if last is None else last.books
        bundles = {self.champion.hash: self.champion}
        bundles |= {one.bundle.hash: one.bundle for one in self.challengers}

        # 1. trade and mark
        books: dict[str, ShadowBook] = {}
        returns: dict[str, float] = {}
        effective = self._effective(last, day)
        for name, bundle in bundles.items():
            book = entitled(before.get(name, ShadowBook()), effective)
            try:
                books[name] = marked(book, marks, bundle.manifest.sizing.cost_rate)
            except DecisionInvalid as error:
                log.warning("shadow %s is not marked on %s: %s", name[:12], day, error)
                books[name] = book
                continue
            if name in before and book.equity > 0:
                returns[name] = books[name].equity / book.equity - 1.0

        # 2. and 3. decide and note
        if decided is not None:
            manifest = self.champion.manifest
            book = books[self.champion.hash]
            books[self.champion.hash] = wanting(
                book, manifest.symbols, decided, manifest.sizing, marks
            )
        decisions = []
        for one in self.challengers:
            if not is_due(one.bundle.manifest.schedule, self.calendar, day):
                continue
            name = one.bundle.hash
            decision = self._decide(one.bundle, books[name], reads, at=at, day=day, marks=marks)
            decisions.append(decision)
            if not decision.refused:
                books[name] = wanting(
                    books[name],
                    decision.symbols,
                    np.array(decision.weights),
                    one.bundle.manifest.sizing,
                    marks,
                )
        self.record.record(
            ShadowDay(account=self.account, day=day.isoformat(), books=books, returns=returns),
            decisions,
            at,
        )

    def _effective(self, last: ShadowDay | None, day: date) -> Known:
        """Return what took effect since the last close on record, as known at this one."""
        if self.actions is None or last is None:
            return ()
        names = sorted({name for book in last.books.values() for name in _named(book)})
        since = date.fromisoformat(last.day)
        return in_between(self.actions, names, self.calendar, last=since, day=day)

    def _decide(
        self,
        bundle: LoadedBundle,
        book: ShadowBook,
        reads: SharedReads,
        *,
        at: datetime,
        day: date,
        marks: Mapping[str, Decimal],
    ) -> ShadowDecision:
        manifest = bundle.manifest
        decision = ShadowDecision(
            account=self.account,
            bundle=bundle.hash,
            study=manifest.study,
            version=bundle.version,
            tick=day.isoformat(),
            decided_at=at.isoformat(),
            symbols=(),
            inputs_hash="",
            current=(),
            scores=(),
            weights=(),
        )
        missing = [name for name in manifest.symbols if name not in marks]
        if missing or book.equity <= 0:
            why = f"no close for {', '.join(missing)}" if missing else "its paper book is lost"
            return msgspec.structs.replace(decision, refused=why)
        held = (book.units.get(name, 0.0) * float(marks[name]) for name in manifest.symbols)
        current = np.array(list(held)) / book.equity
        try:
            found = propose(bundle, reads, at=at, current=current, freshness=self.freshness)
        except PlatformError as error:
            return msgspec.structs.replace(decision, refused=str(error))
        sure = found.decided.confidence
        return msgspec.structs.replace(
            decision,
            symbols=manifest.symbols,
            inputs_hash=hash_of(encode_arrays(found.inputs)),
            current=tuple(current.tolist()),
            scores=tuple(found.decided.score.tolist()),
            weights=tuple(found.decided.weight.tolist()),
            confidences=msgspec.UNSET if sure is None else tuple(sure.tolist()),
        )
