"""Short sales: the price test of Rule 201, marking, and what is short about a sale."""

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from featurestore.calendars import Calendar, Session
from runtime.errors import FeedInvalid
from runtime.market.rules import ShortSale

ZERO = Decimal(0)


class Marking(StrEnum):
    """How a sale is marked (17 CFR 242.200(g))."""

    LONG = "long"
    SHORT = "short"
    SHORT_EXEMPT = "short exempt"


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleParts:
    """A sale, split into what is owned and free, and what is not."""

    long: Decimal  # units
    short: Decimal  # units

    @property
    def mixed(self) -> bool:
        """Say whether it must be split into two orders."""
        return self.long > 0 and self.short > 0


def sale_parts(quantity: Decimal, net_long: Decimal) -> SaleParts:
    """Split a sale.

    Args:
        quantity: units to be sold, positive.
        net_long: units owned less pending sales; below zero counts as nothing.
    """
    owned = min(quantity, max(net_long, ZERO))
    return SaleParts(long=owned, short=quantity - owned)


def marking(parts: SaleParts, *, exempt: bool = False) -> Marking | None:
    """Return the mark of a sale; None if it is mixed and has to be split first."""
    if parts.mixed:
        return None
    if parts.short == 0:
        return Marking.LONG
    return Marking.SHORT_EXEMPT if exempt else Marking.SHORT


def passes_price_test(
    limit_price: Decimal, *, bid: Decimal | None, offer: Decimal | None, exempt: bool = False
) -> bool:
    """Say whether a short sale may be priced so while the price test is in force.

    It must lie above the national best bid; equal is not enough. A missing bid has not passed.
    A crossed market is an exception (242.201(b)(1)(iii)), and so is a sale marked exempt.
    """
    if exempt:
        return True
    if bid is None:
        return False
    crossed = offer is not None and bid > offer
    return crossed or limit_price > bid


@dataclass(slots=True, kw_only=True)
class PriceTest:
    """Remembers which symbols triggered Rule 201, and until which day it holds."""

    rules: ShortSale
    calendar: Calendar
    _last_day: dict[str, date] = field(default_factory=dict)  # symbol -> last day in force

    def trade(
        self, symbol: str, price: Decimal, previous_close: Decimal, at: datetime, session: Session
    ) -> bool:
        """Take a trade; return whether it triggers, again or for the first time.

        Raises:
            FeedInvalid: the previous close is not a price.
        """
        if previous_close <= 0:
            raise FeedInvalid(f"{symbol} cannot have closed at {previous_close}")
        regular = session.open <= at < session.close
        if not regular or price > self.rules.trigger_at * previous_close:
            return False
        last = session.day
        for _ in range(self.rules.sessions_after):
            last = self.calendar.next(last).day
        self._last_day[symbol] = last
        return True

    def in_force(self, symbol: str, day: date) -> bool:
        """Say whether the price test holds on a day, extended hours included."""
        last = self._last_day.get(symbol)
        return last is not None and day <= last
