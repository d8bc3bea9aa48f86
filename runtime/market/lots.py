"""Round lots, by day."""

from datetime import date
from decimal import Decimal

from runtime.errors import MarketRuleUnknown
from runtime.market.rules import in_force, market_rules


def round_lot(average_close: Decimal, day: date) -> int:
    """Return the round lot in units.

    Args:
        average_close: mean close of the month that counts (March for May, September for
            November), USD.
        day: of the order.
    """
    rules = in_force(market_rules().round_lot, day)
    for row in rules.row:
        if row.at_most is None or average_close <= row.at_most:
            return row.lot
    raise MarketRuleUnknown(f"no round lot is known for an average close of {average_close}")
