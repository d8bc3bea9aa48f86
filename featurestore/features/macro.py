"""Formulas of published figures: spreads, growth, and surprises on the day of release."""

import numpy as np

from featurestore.features.declaration import Array, Windows, feature
from featurestore.features.windows import deviation, log_returns, mean


@feature("long_yield", "short_yield", bars=1, unit="unit of the yields")
def term_spread(x: Windows) -> Array:
    """Difference of two yields: the slope of the curve, or a credit spread.

    The embedded data hold no government yields; with Moody's Baa and Aaa it is the default spread.

    Formula: y_long[t] - y_short[t], each as known at t
    Source: Estrella & Hardouvelis (1991), The Term Structure as a Predictor of Real Economic
        Activity, Journal of Finance 46(2), 555-576.
    """
    long_yield, short_yield = x.values
    return long_yield[..., -1] - short_yield[..., -1]


@feature("level", bars=lambda bars: bars + 1, unit="fraction")
def growth(x: Windows, *, bars: int = 12) -> Array:
    """Growth of a published level over its last `bars` figures, as known now.

    Formula: X[t] / X[t-bars] - 1, in the revisions known at the instant asked about
    Source: Croushore & Stark (2001), A Real-time Data Set for Macroeconomists, Journal of
        Econometrics 105(1), 111-130.
    """
    level = x.values[0]
    return level[..., -1] / level[..., 0] - 1.0


@feature(
    "level", bars=lambda bars: bars + 2, unit="standard deviations", reads="release",
    least={"bars": 2},
)  # fmt: skip
def surprise(x: Windows, *, bars: int = 12) -> Array:
    """How far the newest figure came out from what its own past suggested on the day of release.

    Read from the vintage of the release: the newest figure as first printed, those before it in the
    revisions known that instant. What was revised later changes nothing. The forecast is the mean
    growth of the `bars` figures before; no survey of forecasters is embedded.

    Formula: (g[t] - mean(g[t-bars..t-1])) / sd(g[t-bars..t-1]), g = ln(X[j] / X[j-1])
    Source: Andersen, Bollerslev, Diebold & Vega (2003), Micro Effects of Macro Announcements,
        American Economic Review 93(1), 38-62, who divide a surprise by its standard deviation.
    """
    g = log_returns(x.values[0])
    before = np.ascontiguousarray(g[..., :-1])
    return (g[..., -1] - mean(before)) / deviation(before)
