"""Corporate actions: splits and dividends are observations, prices are adjusted by knowledge time.

Prices are kept as they were traded. A window read at t is adjusted for every action whose ex-date
lies inside it and that was known at t, so that its newest bar is in units of its own day. An action
learned later changes later windows only: what was decided at t is decided again, to the bit.
"""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from featurestore.errors import ContractBroken
from featurestore.grid import Array, Micros
from featurestore.series import OwnTimes
from featurestore.times import instant
from featurestore.views import FeatureView, Field

FOREVER = timedelta(days=36_500)  # an action does not grow stale


def actions_view(name: str, *, owner: str, description: str, source: str) -> FeatureView:
    """Declare a view of splits and dividends.

    Its event time is the opening of the ex-date: bars that closed before are adjusted. An action
    that is called off is a new revision with split 1 and dividend 0.
    """
    return FeatureView(
        name=name,
        entity="symbol",
        fields=(
            Field(
                name="split", unit="new shares per old share, 1 = none", low=0.0001, high=10_000.0
            ),
            Field(name="dividend", unit="cash per share held at the close before", low=0.0),
        ),
        freshness=FOREVER,
        owner=owner,
        description=description,
        source=source,
    )


def adjustment(
    actions: OwnTimes, symbols: Sequence[str], prices: Array, closes: Micros, at: int
) -> tuple[Array, Micros]:
    """Return what to multiply a window of traded prices by.

    Args:
        actions: observations of an `actions_view`.
        symbols: row order of `prices`.
        prices: as traded, shape (n, L), oldest bar first.
        closes: what the bars are about, (L,), microseconds.
        at: microseconds; actions known later do not exist yet.

    Returns:
        Factors (n, L): for bar j the product of (1 - dividend / close before) / split over all
        ex-dates after bar j and up to the newest bar; and when the newest of the actions used
        became known, (n, L), 0 for none.

    Raises:
        ContractBroken: a dividend is as large as the price it is paid from.

    Source: CRSP (2023), Data Descriptions Guide, "Factor to Adjust Price"; the dividend factor is
        that of total-return adjustment, 1 - D / P.
    """
    factors = np.ones(prices.shape)
    learned = np.zeros(prices.shape, dtype=np.int64)
    for i, symbol in enumerate(symbols):
        if symbol not in actions.rows:
            continue
        series = actions.series[actions.rows[symbol]]
        visible = series.visible(at)
        # Newest first: each factor is multiplied in a fixed order, oldest bars last.
        for r in visible[::-1]:
            before = int(np.searchsorted(closes, series.events[r], side="left"))
            if before == 0 or before == closes.size:
                continue
            price, paid = prices[i, before - 1], series.values["dividend"][r]
            if not (np.isnan(price) or paid < price):
                raise ContractBroken(
                    f"{actions.view}: dividend {paid} of {symbol}, ex "
                    f"{instant(int(series.events[r])).date()}, is not less than the close before, "
                    f"{price}; correct it with a new revision"
                )
            factor = (
                (1.0 - paid / price) / series.values["split"][r]
                if paid
                else (1.0 / series.values["split"][r])
            )
            factors[i, :before] *= factor
            learned[i, :before] = np.maximum(learned[i, :before], series.known[r])
    return factors, learned
