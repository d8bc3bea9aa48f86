"""Round lots, by day: what a quote must show to be protected."""

from datetime import date
from decimal import Decimal
from functools import lru_cache

from runtime.errors import MarketRuleUnknown
from runtime.market.rules import LotRow, in_force, market_rules


def round_lot(close: Decimal, day: date) -> int:
    """Return the round lot in units.

    Args:
        close: mean close of the month that counts (March for May, September for November), USD;
            where that is not known, the price of the order, which differs near a limit only.
        day: of the order.

    Raises:
        MarketRuleUnknown: no rule held on that day, or none says anything of such a price.
    """
    for row in _rows(day):
        if row.at_most is None or close <= row.at_most:
            return row.lot
    raise MarketRuleUnknown(f"no round lot is known for an average close of {close}")


@lru_cache(maxsize=64)
def _rows(day: date) -> tuple[LotRow, ...]:
    return in_force(market_rules().round_lot, day).row
