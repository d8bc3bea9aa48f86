"""Splits and dividends as the lake knows them, made ready for the books."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from featurestore.series import OwnTimes
from featurestore.times import instant
from runtime.errors import OrderInvalid
from runtime.journal.actions import Dividend, Split

_LARGEST = 1000  # of the two numbers of a split
_MICRO = Decimal("0.000001")
_NEAR = 1e-9


def announced(
    table: OwnTimes, symbols: Iterable[str], *, at: int, first: datetime, last: datetime
) -> list[Split | Dividend]:
    """Return the actions of some symbols that took effect in a time, as known at `at`.

    An action that was called off by then is not among them. Of one instant, the dividend comes
    before the split: it is paid on the units held at the close before.

    Args:
        table: observations of a view that `featurestore.actions.actions_view` declares.
        symbols: whose.
        at: microseconds since 1970; what became known later does not exist yet.
        first: earliest effective time, UTC.
        last: latest one, inclusive.

    Raises:
        OrderInvalid: a split is no ratio of small whole numbers.
    """
    found: list[Split | Dividend] = []
    for symbol in sorted({*symbols} & {*table.rows}):
        series = table.series[table.rows[symbol]]
        for row in series.visible(at).tolist():
            effective = instant(int(series.events[row]))
            if not first <= effective <= last:
                continue
            name = f"{table.view}/{symbol}/{effective.isoformat()}"
            dividend, ratio = series.values["dividend"][row], series.values["split"][row]
            if dividend > 0.0:
                paid = Decimal(repr(float(dividend))).quantize(_MICRO)
                found.append(
                    Dividend(
                        action_id=f"{name}/dividend",
                        symbol=symbol,
                        effective=effective,
                        per_unit=paid,
                    )
                )
            if ratio != 1.0:
                new, old = _ratio(float(ratio), name)
                found.append(
                    Split(
                        action_id=f"{name}/split",
                        symbol=symbol,
                        effective=effective,
                        new=new,
                        old=old,
                    )
                )
    return sorted(found, key=lambda one: one.effective)


def _ratio(value: float, name: str) -> tuple[int, int]:
    near = Fraction(value).limit_denominator(_LARGEST)
    if near.numerator < 1 or abs(float(near) / value - 1.0) > _NEAR:
        raise OrderInvalid(f"{name}: {value} is no ratio of whole numbers up to {_LARGEST}")
    return near.numerator, near.denominator
