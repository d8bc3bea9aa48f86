"""Formulas of bars and volume: range-based volatility, true range, trading and its cost."""

import numpy as np

from featurestore.features.declaration import Array, Windows, feature
from featurestore.features.windows import LN2, ln, mean, wilder, wilder_bars


@feature("high", "low", bars=lambda bars: bars, unit="fraction per square-root year")
def parkinson(x: Windows, *, bars: int = 63, per_year: int = 252) -> Array:
    """Volatility from each bar's high and low, annualised.

    Formula: sqrt(per_year / (4 ln 2) * mean(ln(H/L)^2))
    Source: Parkinson (1980), The Extreme Value Method for Estimating the Variance of the Rate of
        Return, Journal of Business 53(1), 61-65.
    """
    high, low = x.values
    span = ln(high / low)
    return np.asarray(np.sqrt(mean(span * span) / (4.0 * LN2) * float(per_year)))


@feature(
    "open", "high", "low", "close", bars=lambda bars: bars, unit="fraction per square-root year"
)
def garman_klass(x: Windows, *, bars: int = 63, per_year: int = 252) -> Array:
    """Volatility from open, high, low and close of each bar, annualised.

    Formula: sqrt(per_year * mean(ln(H/L)^2 / 2 - (2 ln 2 - 1) ln(C/O)^2))
    Source: Garman & Klass (1980), On the Estimation of Security Price Volatilities from Historical
        Data, Journal of Business 53(1), 67-78.
    """
    opens, high, low, close = x.values
    span, body = ln(high / low), ln(close / opens)
    variance = mean(0.5 * span * span - (2.0 * LN2 - 1.0) * body * body)
    return np.asarray(np.sqrt(variance * float(per_year)))


@feature("high", "low", "close", bars=lambda period: 1 + wilder_bars(period), unit="price units")
def atr(x: Windows, *, period: int = 14) -> Array:
    """Average true range with Wilder's average over a fixed window.

    Seeded with the plain mean of the window's oldest `period` true ranges; the window is so long
    that the seed weighs less than a millionth.

    Formula: Wilder average of max(H - L, |H - C[prev]|, |L - C[prev]|)
    Source: Wilder (1978), New Concepts in Technical Trading Systems, section III.
    """
    high, low, close = x.values
    before = close[..., :-1]
    high, low = high[..., 1:], low[..., 1:]
    reach = np.maximum(high - low, np.maximum(np.abs(high - before), np.abs(low - before)))
    return wilder(reach, int(period))


@feature("close", "volume", bars=lambda bars: bars, unit="price units times volume, per bar")
def traded_value(x: Windows, *, bars: int = 21) -> Array:
    """Average value traded per bar.

    Formula: mean(C * V) over the last `bars` bars
    Source: Brennan, Chordia & Subrahmanyam (1998), Alternative Factor Specifications, Security
        Characteristics, and the Cross-section of Expected Stock Returns, JFE 49(3), 345-373.
    """
    close, volume = x.values
    return mean(close * volume)


@feature("volume", "shares_outstanding", bars=lambda bars: bars, unit="fraction per bar")
def turnover(x: Windows, *, bars: int = 21) -> Array:
    """Share of all shares outstanding that changes hands per bar.

    Formula: mean(V / N) over the last `bars` bars
    Source: Lo & Wang (2000), Trading Volume: Definitions, Data Analysis, and Implications of
        Portfolio Theory, Review of Financial Studies 13(2), 257-300.
    """
    volume, shares = x.values
    return mean(volume / shares)


@feature("close", "volume", bars=lambda bars: bars + 1, unit="fraction per million traded")
def amihud(x: Windows, *, bars: int = 252) -> Array:
    """Illiquidity: how far a million traded moves the price.

    Formula: 10^6 * mean(|C[j] / C[j-1] - 1| / (C[j] V[j])) over the last `bars` bars
    Source: Amihud (2002), Illiquidity and Stock Returns, Journal of Financial Markets 5(1), 31-56.
    """
    close, volume = x.values
    moved = np.abs(close[..., 1:] / close[..., :-1] - 1.0)
    return mean(moved / (close[..., 1:] * volume[..., 1:])) * 1e6
