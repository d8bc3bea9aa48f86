"""What regulators take of a sale of US equities, by day: Section 31, FINRA's trading activity fee.

Source: market-rules, section 8: SEC fee rate advisories, FINRA By-Laws, Schedule A, section 1. Both
are passed on to who sold, each rounded up to the cent per execution.
"""

from datetime import date
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal

from runtime.errors import MarketRuleUnknown
from runtime.market.rules import in_force, market_rules

EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_CENT, _MILLION = Decimal("0.01"), Decimal(1_000_000)


def sale_fees(units: Decimal, price: Decimal, day: date) -> Decimal:
    """Return what is due on one execution of a sale, USD, whole cents.

    Args:
        units: sold, positive.
        price: USD per unit.
        day: of the trade.

    Raises:
        MarketRuleUnknown: what was due on `day` is not in the table.
    """
    rules = market_rules()
    try:
        section_31 = in_force(rules.section_31, day)
        activity = in_force(rules.trading_activity, day)
    except MarketRuleUnknown as error:
        raise MarketRuleUnknown(
            f"what regulators took of a sale on {day} is not listed ({error}); "
            'trade later days, or say sale_fees = "none" in the file of venues'
        ) from error
    notional = EXACT.multiply(units, price)
    to_sec = EXACT.divide(EXACT.multiply(notional, section_31.per_million), _MILLION)
    to_finra = min(EXACT.multiply(units, activity.per_share), activity.at_most)
    return EXACT.add(_up(to_sec), _up(to_finra))


def _up(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, rounding=ROUND_CEILING, context=EXACT)
