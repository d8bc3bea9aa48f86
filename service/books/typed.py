"""Actions and corrections as an operator types them; every word is checked before any is booked."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from featurestore.calendars import load_calendar
from runtime.clock import WallClock
from runtime.domain import Fill
from runtime.journal.actions import Charge, ChargeKind, Dividend, Split
from service.faults import QueryInvalid

CALENDAR = "XNYS"  # whose open an action takes effect at


class Replacement(NamedTuple):
    """What takes the place of a busted execution; "" = as before."""

    execution_id: str
    quantity: str
    price: str
    fee: str

    @classmethod
    def typed(cls, execution_id: str, quantity: str, price: str, fee: str) -> "Replacement | None":
        """Return what was typed, None for a bust; QueryInvalid if it lacks the id."""
        name = execution_id.strip()
        if not name and (quantity or price or fee):
            raise QueryInvalid(
                "a quantity, price or fee belongs to the execution that takes the busted one's "
                "place",
                "name that one with --replaced-by, or leave them out for a bust",
            )
        return cls(name, quantity, price, fee) if name else None

    def of(self, wrong: Fill) -> Fill:
        """Return the execution that takes the place of a wrong one."""
        return Fill(
            venue=wrong.venue,
            execution_id=self.execution_id,
            order_id=wrong.order_id,
            symbol=wrong.symbol,
            side=wrong.side,
            quantity=_amount("--quantity", self.quantity) if self.quantity else wrong.quantity,
            price=_amount("--price", self.price) if self.price else wrong.price,
            fee=_amount("--fee", self.fee) if self.fee else wrong.fee,
            executed_at=wrong.executed_at,
        )


def split_of(name: str, symbol: str, day: date | None, ratio: str, in_lieu: str) -> Split:
    """Return a split as it was typed, effective at the open of a session."""
    new, _, old = ratio.partition(":")
    if not (new.isascii() and old.isascii() and new.isdigit() and old.isdigit()):
        raise QueryInvalid(f"{ratio!r} is not a ratio", "write new:old, for instance 4:1")
    return Split(
        action_id=_name(name),
        symbol=_symbol(symbol),
        effective=_opening(day),
        new=int(new),
        old=int(old),
        in_lieu=_amount("--in-lieu", in_lieu) if in_lieu else None,
    )


def dividend_of(name: str, symbol: str, day: date | None, per_unit: str) -> Dividend:
    """Return a dividend as it was typed, effective at the open of its ex-date."""
    return Dividend(
        action_id=_name(name),
        symbol=_symbol(symbol),
        effective=_opening(day),
        per_unit=_amount("the dividend", per_unit),
    )


def charge_of(name: str, kind: str, amount: str, symbol: str, day: date | None) -> Charge:
    """Return a charge as it was typed; its symbol may be empty, if it is of no one symbol."""
    if kind not in {one.value for one in ChargeKind}:
        raise QueryInvalid(f"{kind!r} is no charge", "write borrow, interest or tax")
    charged = _amount("the charge", amount)
    if not charged:
        raise QueryInvalid("a charge of nothing changes nothing", "write what was charged")
    return Charge(
        action_id=_name(name),
        kind=ChargeKind(kind),
        symbol=symbol.strip(),
        effective=_opening(day),
        amount=charged,
    )


def _name(typed: str) -> str:
    if not typed.strip():
        raise QueryInvalid("an action needs a name of its own", "give it one with --id")
    return typed.strip()


def _symbol(typed: str) -> str:
    if not typed.strip():
        raise QueryInvalid("an action needs a symbol", "name what it is of")
    return typed.strip()


def _opening(day: date | None) -> datetime:
    """Return the open of a session; QueryInvalid if there is none on that day, or not yet."""
    calendar = load_calendar(CALENDAR)
    found: Sequence[datetime] = (
        () if day is None else [session.open for session in calendar.sessions(day, day)]
    )
    if not found:
        raise QueryInvalid(f"{calendar.name} has no session on {day}", "name the first one after")
    opening = found[0].astimezone(UTC)
    if opening > WallClock().now():
        raise QueryInvalid(
            f"the session of {day} opens at {opening:%Y-%m-%d %H:%M} UTC and has not yet, so the "
            "books would change before what they are about",
            "book it once it has opened",
        )
    return opening


def _amount(name: str, text: str) -> Decimal:
    try:
        found = Decimal(text)
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite():
        raise QueryInvalid(f"{name}: {text!r} is not an amount", "write 0.24")
    return found
