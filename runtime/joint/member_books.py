"""The book of one bundle within an account, and what moves between such books; exact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from runtime.joint.identity import Joint
from runtime.joint.splitting import split, split_money
from runtime.journal.actions import Split
from runtime.journal.exact import quantity, units
from runtime.registry import RESERVE

ZERO = Decimal(0)
CENTS = Decimal("0.01")


@dataclass(slots=True)
class MemberBook:
    """What one bundle owns of the account."""

    cash: Decimal = Decimal("0.00")  # USD, whole cents; negative = lent by the others
    given: Decimal = Decimal("0.00")  # USD of capital it was given, less what was taken
    fees: Decimal = Decimal("0.00")  # USD
    units: dict[str, Decimal] = field(default_factory=dict)  # symbol -> signed units, no zeros

    def add(self, symbol: str, change: Decimal) -> None:
        """Change a holding."""
        after = self.units.get(symbol, ZERO) + change
        if after:
            self.units[symbol] = after
        else:
            self.units.pop(symbol, None)

    def split(self, event: Split) -> None:
        """Give `new` units for every `old` ones; what is no whole 1e-6 is left to the close."""
        held = self.units.get(event.symbol)
        if held:
            count = units(held, event.symbol) * event.new
            whole = abs(count) // event.old
            self.units[event.symbol] = quantity(whole if count > 0 else -whole)

    def equity(self, marks: Mapping[str, Decimal]) -> Decimal:
        """Return cash and holdings at `marks`, USD, exact."""
        return self.cash + sum((n * marks[symbol] for symbol, n in self.units.items()), ZERO)

    def copy(self) -> "MemberBook":
        """Return an independent copy."""
        return MemberBook(self.cash, self.given, self.fees, dict(self.units))


def settle(
    books: dict[str, MemberBook],
    crosses: Sequence[tuple[str, str, Mapping[str, Decimal]]],
    marks: Mapping[str, Decimal],
) -> None:
    """Let what crosses inside, (tick, symbol, role -> units), change hands at the marks.

    Units and cents add up to zero; nobody pays a fee.
    """
    by_symbol: dict[tuple[str, str], dict[str, Decimal]] = {}
    for tick, symbol, part in crosses:
        by_symbol.setdefault((tick, symbol), {}).update(part)
    for (_, symbol), parts in by_symbol.items():
        value = sum((part for part in parts.values() if part > 0), ZERO) * marks[symbol]
        cents = int(value.quantize(CENTS).scaleb(2))
        for sign in (1, -1):
            side = {role: abs(units(p, role)) for role, p in parts.items() if p * sign > 0}
            for role, amount in split(-sign * cents, side).items():
                book = books.setdefault(role, MemberBook())
                book.cash += Decimal(amount).scaleb(-2)
                book.add(symbol, parts[role])


def absorb(
    books: dict[str, MemberBook], joint: Joint, held: Mapping[str, Decimal], cash: Decimal
) -> None:
    """Share what the account has and no book explains."""
    explained: dict[str, Decimal] = {}
    for book in books.values():
        for symbol, count in book.units.items():
            explained[symbol] = explained.get(symbol, ZERO) + count
    gaps = {
        symbol: gap
        for symbol in held.keys() | explained.keys()
        if (gap := held.get(symbol, ZERO) - explained.get(symbol, ZERO))
    }
    for symbol, gap in sorted(gaps.items()):
        holders = {
            role: abs(units(book.units[symbol], symbol))
            for role, book in books.items()
            if symbol in book.units
        } or {min(books): 1}
        for role, part in split(units(gap, symbol), holders).items():
            books[role].add(symbol, quantity(part))
    gap = cash - sum((book.cash for book in books.values()), ZERO)
    if gap:
        for role, amount in split_money(gap, _fractions(joint)).items():
            book = books.setdefault(role, MemberBook())
            book.cash += amount
            book.given += amount


def share(books: dict[str, MemberBook], joint: Joint, marks: Mapping[str, Decimal]) -> None:
    """Move cash until each has its fraction of all; whoever leaves hands over what it holds."""
    fractions = _fractions(joint)
    reserve = books.setdefault(RESERVE, MemberBook())
    for role in sorted(set(books) - set(fractions) - {RESERVE}):
        leaving = books.pop(role)
        for symbol, count in leaving.units.items():
            reserve.add(symbol, count)
        reserve.cash += leaving.cash
        reserve.given += leaving.equity(marks)
        reserve.fees += leaving.fees
    for role in fractions:
        books.setdefault(role, MemberBook())
    values = {role: book.equity(marks) for role, book in books.items()}
    whole = sum(values.values(), ZERO)
    cents = whole.quantize(CENTS)
    wanted = split_money(cents, fractions)
    moved = ZERO
    first = min(fractions)
    for role, book in sorted(books.items()):
        change = (wanted.get(role, ZERO) - values[role]).quantize(CENTS)
        book.cash += change
        book.given += change
        moved += change
    books[first].cash -= moved  # cents that rounding each to the cent left over
    books[first].given -= moved


def _fractions(joint: Joint) -> dict[str, Decimal]:
    """Return role -> fraction, what is given to nobody included."""
    fractions = joint.fractions
    rest = 1 - sum(fractions.values(), ZERO)
    return {**fractions, RESERVE: rest} if rest else fractions


def complete(books: dict[str, MemberBook], joint: Joint) -> dict[str, MemberBook]:
    """Return a book for every member; a reserve that has nothing is left out."""
    roles = [seat.role for seat in joint.seats]
    found = {role: books.get(role) or MemberBook() for role in roles}
    others = {role: book for role, book in books.items() if role not in found}
    return found | {
        role: book for role, book in others.items() if book.units or book.cash or role != RESERVE
    }
