"""Splits and dividends as the lake knows them, made ready for the books."""

import math
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from featurestore.series import OwnTimes
from featurestore.times import instant
from runtime.errors import OrderInvalid
from runtime.journal.actions import CalledOff, Dividend, Split, Unclear

_LARGEST = 1000  # of the two numbers of a split
_MICRO = Decimal("0.000001")
_NEAR = 1e-9


def announced(
    table: OwnTimes, symbols: Iterable[str], *, at: int, first: datetime, last: datetime
) -> list[Split | Dividend | Unclear]:
    """Return the actions of some symbols that took effect in a time, as known at `at`.

    An action that was called off by then is not among them. Of one instant, the dividend comes
    before the split: it is paid on the units held at the close before. What cannot be booked, such
    as a split that is no ratio of small whole numbers, is `Unclear` and keeps no other one out.

    Args:
        table: observations of a view that `featurestore.actions.actions_view` declares.
        symbols: whose.
        at: microseconds since 1970; what became known later does not exist yet.
        first: earliest effective time, UTC.
        last: latest one, inclusive.
    """
    found: list[Split | Dividend | Unclear] = []
    for symbol in sorted({*symbols} & {*table.rows}):
        series = table.series[table.rows[symbol]]
        for row in series.visible(at).tolist():
            effective = instant(int(series.events[row]))
            if not first <= effective <= last:
                continue
            name = f"{table.view}/{symbol}/{effective.isoformat()}"
            dividend, ratio = series.values["dividend"][row], series.values["split"][row]
            if dividend > 0.0:
                found.append(
                    _made(_dividend, float(dividend), f"{name}/dividend", symbol, effective)
                )
            if ratio != 1.0:
                found.append(_made(_split, float(ratio), f"{name}/split", symbol, effective))
    return sorted(found, key=lambda one: one.effective)


def called_off(
    table: OwnTimes, symbols: Iterable[str], *, at: int, first: datetime, last: datetime
) -> list[CalledOff]:
    """Return the splits and dividends that what is known at `at` does not hold, or no more.

    Of each event only what it lacks is named, by the id that `announced` would give it: whoever has
    booked one of that id holds something that is not to be.

    Args:
        table: as in `announced`; so are the other arguments.
        symbols: whose.
        at: microseconds since 1970.
        first: earliest effective time, UTC.
        last: latest one, inclusive.
    """
    found = []
    for symbol in sorted({*symbols} & {*table.rows}):
        series = table.series[table.rows[symbol]]
        for row in series.visible(at).tolist():
            effective = instant(int(series.events[row]))
            if not first <= effective <= last:
                continue
            lacks = {
                "dividend": series.values["dividend"][row] == 0.0,
                "split": series.values["split"][row] == 1.0,
            }
            for kind in (kind for kind, missing in lacks.items() if missing):
                name = f"{table.view}/{symbol}/{effective.isoformat()}/{kind}"
                found.append(CalledOff(action_id=name, symbol=symbol, effective=effective))
    return found


def _made(
    make: Callable[[float, str, str, datetime], Split | Dividend],
    value: float,
    name: str,
    symbol: str,
    effective: datetime,
) -> Split | Dividend | Unclear:
    try:
        if not math.isfinite(value):
            raise OrderInvalid(f"{value} is no number")
        return make(value, name, symbol, effective)
    except OrderInvalid as error:
        return Unclear(
            kind=Split if make is _split else Dividend,
            action_id=name,
            symbol=symbol,
            effective=effective,
            words=f"{name}: {error}",
        )


def _dividend(value: float, name: str, symbol: str, effective: datetime) -> Dividend:
    paid = Decimal(repr(value)).quantize(_MICRO)
    return Dividend(action_id=name, symbol=symbol, effective=effective, per_unit=paid)


def _split(value: float, name: str, symbol: str, effective: datetime) -> Split:
    near = Fraction(value).limit_denominator(_LARGEST)
    if near.numerator < 1 or abs(float(near) / value - 1.0) > _NEAR:
        raise OrderInvalid(f"{value} is no ratio of whole numbers up to {_LARGEST}")
    return Split(
        action_id=name, symbol=symbol, effective=effective, new=near.numerator, old=near.denominator
    )
