"""Each bundle's own books within one account, folded from the account's journal.

Steps of the fold, in the order of the chain:
 1. before the first decision that several bundles take together, the champion owns everything;
 2. such a decision says what crosses inside and who waits for how much of each order;
 3. an execution is shared by what is waited for, its cash to the cent in proportion to the units;
 4. at the next close what was to cross has crossed, at that close; nobody pays a fee for it;
 5. where the capital is shared anew, cash moves at that close until each has its fraction;
 6. dividends, charges and corrections are shared by holdings; money paid in, and whatever is of no
    symbol that anybody holds, by fraction.

After each close the books of all add up to the account, in every symbol and to the cent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from runtime.errors import JournalBroken
from runtime.joint.identity import Joint, JointLog
from runtime.joint.member_books import CENTS, ZERO, MemberBook, absorb, complete, settle, share
from runtime.joint.splitting import share_fill, split
from runtime.journal import wire
from runtime.journal.actions import Action, Correction, Dividend, Reversal, Split
from runtime.journal.exact import quantity, units
from runtime.journal.queries import JournalQueries
from runtime.journal.records import DecisionRecord, SessionRecord
from runtime.registry import CHAMPION, RESERVE

CROSSED, LEFT = "crossed ", "left "  # names of arrays in a joint decision, followed by a role


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberDay:
    """One bundle's books at a session's close."""

    day: date
    role: str
    bundle: str  # hash; "" for the reserve
    equity: Decimal  # USD
    cash: Decimal  # USD
    given: Decimal  # USD since the start
    fees: Decimal  # USD since the start
    profit: Decimal  # USD of this session, capital given or taken left out
    returned: float | None  # fraction of its equity at the last close; None if there was none
    stopped: bool = False  # sells what it holds and decides nothing


@dataclass(slots=True)
class Shares:
    """The books of every bundle of one account, following the journal."""

    journal: JournalQueries
    joints: JointLog
    books: dict[str, MemberBook] = field(default_factory=dict)
    days: list[MemberDay] = field(default_factory=list)
    joint: Joint | None = None  # of the newest decision
    decided: str = ""  # tick of the newest decision
    _seq: int = 0
    _pending: Joint | None = None  # shares the capital anew at the next close
    _crosses: list[tuple[str, str, dict[str, Decimal]]] = field(default_factory=list)
    _waiting: dict[tuple[str, str], dict[str, Decimal]] = field(default_factory=dict)
    _orders: dict[str, tuple[str, str]] = field(default_factory=dict)  # id -> tick, symbol
    _late: list[wire.FillWire] = field(default_factory=list)  # came before the books began
    _last: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)  # equity, given
    # id of a split that stands -> role -> units that each book got by it
    _got: dict[str, dict[str, Decimal]] = field(default_factory=dict)

    def follow(self) -> "Shares":
        """Fold what the journal holds since the last call."""
        account = self.journal.account
        for entry in self.journal.log.entries(after=self._seq):
            self._seq = entry.seq
            if entry.kind == "fill":
                fill = wire.decode_fill(entry.payload)
                if fill.account == account:
                    self._filled(fill)
            elif entry.kind in wire.ADJUSTMENTS:
                adjustment = wire.decode_adjustment(entry.kind, entry.payload)
                if adjustment.account == account:
                    self._adjusted(adjustment)
            elif not entry.key.startswith(f"{account}/"):
                continue
            elif entry.kind == "decision":
                record, _, orders = wire.decode_decision(entry.payload, {})
                self._orders.update({one.order_id: (one.tick, one.symbol) for one in orders})
                self._decided(record)
            elif entry.kind == "session":
                self._closed(wire.decode_session(entry.payload))
        return self

    def _adjusted(self, one: wire.AdjustmentWire[Action | Correction]) -> None:
        """Split holdings, and share what an action or a correction paid by holdings.

        A dividend is per unit, so that who is short pays what who is long gets.
        """
        cash = sum((Decimal(n) for name, _, n in one.postings if name == "cash"), ZERO)
        symbol = next((name for _, name, _ in one.postings if name), "")
        if isinstance(one.event, Split):
            symbol = one.event.symbol
            self._split(one.event)
        if isinstance(one.event, Reversal) and one.event.split is not None:
            symbol = one.event.symbol
            self._undo(one.event.split)
        holders = {r: book.units[symbol] for r, book in self.books.items() if symbol in book.units}
        if not cash or not holders:
            return  # of no holding: shared by fraction at the close
        sizes = {role: abs(units(count, symbol)) for role, count in holders.items()}
        if isinstance(one.event, Dividend):
            parts = {r: (n * one.event.per_unit).quantize(CENTS) for r, n in holders.items()}
            most = max(sorted(sizes), key=sizes.__getitem__)
            parts[most] += cash - sum(parts.values())
        else:
            cents = split(int(cash.scaleb(2)), sizes)
            parts = {role: Decimal(amount).scaleb(-2) for role, amount in cents.items()}
        for role, amount in parts.items():
            self.books[role].cash += amount

    def _split(self, event: Split) -> None:
        """Split every holding, and remember what each book got by it."""
        got = {}
        for role, book in self.books.items():
            before = book.units.get(event.symbol, ZERO)
            book.split(event)
            got[role] = book.units.get(event.symbol, ZERO) - before
        self._got[event.action_id] = got

    def _undo(self, event: Split) -> None:
        """Take from each book what a split gave it; what was traded since stays as it is."""
        got = self._got.pop(event.action_id, {})
        for role, book in self.books.items():
            book.add(event.symbol, -got.get(role, ZERO))

    def at(
        self, joint: Joint, marks: Mapping[str, Decimal], held: Mapping[str, Decimal], cash: Decimal
    ) -> dict[str, MemberBook]:
        """Return the books as they stand at this close, before anything is decided at it.

        Args:
            joint: who shares the account from now on.
            marks: closes of this session, USD per unit.
            held: units of the account.
            cash: of the account, USD.

        Returns:
            One book per member and one for the reserve; they add up to the account.
        """
        books = {role: book.copy() for role, book in self.books.items()}
        crosses = list(self._crosses)
        settle(books, crosses, marks)
        if not books:
            books = {CHAMPION: MemberBook(cash=cash, given=cash, units=dict(held))}
        absorb(books, joint, held, cash)
        if self._pending is not None or self._shared_anew(joint) or not self.books:
            share(books, joint, marks)
        return complete(books, joint)

    def earning(
        self, joint: Joint, marks: Mapping[str, Decimal], held: Mapping[str, Decimal], cash: Decimal
    ) -> dict[str, float]:
        """Return role -> return of the session that ends at these marks; see `at`."""
        books = {role: book.copy() for role, book in self.books.items()}
        if not books:
            return {}
        settle(books, list(self._crosses), marks)
        absorb(books, joint, held, cash)
        found = {}
        for role, book in books.items():
            before, given = self._last.get(role, (ZERO, ZERO))
            if before > 0:
                found[role] = float((book.equity(marks) - before - (book.given - given)) / before)
        return found

    def working(self, leaves: Mapping[tuple[str, str], Decimal]) -> dict[str, dict[str, Decimal]]:
        """Return role -> symbol -> units that working orders may still bring it.

        Args:
            leaves: (tick, symbol) -> signed units that may still execute.
        """
        found: dict[str, dict[str, Decimal]] = {}
        for (tick, symbol), count in leaves.items():
            waiting = self._waiting.get((tick, symbol)) or {CHAMPION: count}
            known = sum(waiting.values(), ZERO)
            shared = share_fill(count, waiting if abs(known) >= abs(count) else {CHAMPION: count})
            for role, part in shared.items():
                of_role = found.setdefault(role, {})
                of_role[symbol] = of_role.get(symbol, ZERO) + part
        return found

    def _shared_anew(self, joint: Joint) -> bool:
        return self.joint is None or self.joint.fractions != joint.fractions

    def _decided(self, record: DecisionRecord) -> None:
        joint = self.joints.find(record.bundle)
        if joint is None:
            self._alone(record.tick)
            return
        if self._shared_anew(joint):
            self._pending = joint
        self.joint, self.decided = joint, record.tick
        if not record.symbols:
            return  # refused: nothing crosses and nothing is ordered
        full = self.journal.decision(record.decision_id)
        if full is None:
            raise JournalBroken(f"decision {record.decision_id} is chained but has no row")
        inputs = full.record.inputs
        for seat in (*[seat.role for seat in joint.seats], RESERVE):
            for prefix, into in ((CROSSED, "crossed"), (LEFT, "left")):
                values = inputs.get(prefix + seat)
                if values is None:
                    continue
                for symbol, value in zip(record.symbols, values.tolist(), strict=True):
                    if value and into == "left":
                        self._waiting.setdefault((record.tick, symbol), {})[seat] = exact(value)
                    elif value:
                        self._crosses.append((record.tick, symbol, {seat: exact(value)}))

    def _alone(self, tick: str) -> None:
        """Let one bundle have the whole account again."""
        if self.books:
            whole = MemberBook()
            for book in self.books.values():
                whole.cash += book.cash
                whole.given += book.given
                whole.fees += book.fees
                for symbol, count in book.units.items():
                    whole.add(symbol, count)
            self.books = {CHAMPION: whole}
        self.joint, self._pending, self.decided = None, None, tick
        self._crosses.clear()
        self._waiting.clear()

    def _filled(self, one: wire.FillWire) -> None:
        if not self.books:
            if self._pending is not None:
                self._late.append(one)
            return  # before several bundles shared the account
        fill = one.fill
        change = fill.quantity * fill.side.sign
        place = self._orders.get(fill.order_id, ("", fill.symbol))
        waiting = self._waiting.get(place, {})
        known = sum(waiting.values(), ZERO)
        if known * change <= 0 or abs(known) < abs(change):
            shared = {CHAMPION if CHAMPION in self.books else min(self.books): change}
        else:
            shared = share_fill(change, waiting)
            for role, part in shared.items():
                waiting[role] -= part
        weights = {role: abs(units(part, role)) for role, part in shared.items()}
        cash = sum((Decimal(n) for name, _, n in one.postings if name == "cash"), ZERO)
        fee = units(fill.fee, "fee") if fill.fee else 0
        cents = split(int(cash.scaleb(2)), weights)
        fees = split(fee, weights)
        for role, part in shared.items():
            book = self.books.setdefault(role, MemberBook())
            book.add(fill.symbol, part)
            book.cash += Decimal(cents[role]).scaleb(-2)
            book.fees += quantity(fees[role])

    def _closed(self, record: SessionRecord) -> None:
        if not self.books:
            if self._pending is None:
                return
            self.books = {
                CHAMPION: MemberBook(
                    cash=record.cash, given=record.equity, units=_held(record.positions)
                )
            }
        due = [one for one in self._crosses if one[0] < record.day.isoformat()]
        self._crosses = [one for one in self._crosses if one[0] >= record.day.isoformat()]
        settle(self.books, due, record.marks)
        joint = self._pending or self.joint
        if joint is not None:
            absorb(self.books, joint, record.positions, record.cash)
        earned = self._earned(record.marks)
        if self._pending is not None:
            share(self.books, self._pending, record.marks)
            self.books = complete(self.books, self._pending)
            self._pending = None
        self._mark(record, earned)
        late, self._late = self._late, []
        for one in late:
            self._filled(one)

    def _earned(self, marks: Mapping[str, Decimal]) -> dict[str, Decimal]:
        """Return what each bundle made since the last close, capital given or taken left out."""
        found = {}
        for role, book in self.books.items():
            before, given = self._last.get(role, (ZERO, ZERO))
            found[role] = book.equity(marks) - before - (book.given - given)
        return found

    def _mark(self, record: SessionRecord, earned: Mapping[str, Decimal]) -> None:
        """Write down what each bundle made and has at a close; whoever left has nothing."""
        for role in sorted({*self.books, *earned}):
            book = self.books.get(role) or MemberBook()
            before, _ = self._last.get(role, (ZERO, ZERO))
            profit = earned.get(role, ZERO)
            seat = self.joint.seat(role) if self.joint else None
            self.days.append(
                MemberDay(
                    day=record.day,
                    role=role,
                    bundle=seat.bundle if seat else "",
                    equity=book.equity(record.marks),
                    cash=book.cash,
                    given=book.given,
                    fees=book.fees,
                    profit=profit,
                    returned=float(profit / before) if before > 0 else None,
                    stopped=seat is not None and seat.stopped,
                )
            )
        self._last = {
            role: (book.equity(record.marks), book.given) for role, book in self.books.items()
        }


def exact(value: float) -> Decimal:
    """Return the decimal that a float was made of; at most 15 digits come back as they were."""
    number = Decimal(repr(value))
    return Decimal(int(number)) if number == number.to_integral_value() else number.normalize()


def _held(positions: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {symbol: count for symbol, count in positions.items() if count}
