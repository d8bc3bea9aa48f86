"""Formulas of one price series: returns, trend, risk, place in the range, season."""

import numpy as np

from featurestore.features.declaration import Array, Windows, feature
from featurestore.features.windows import (
    centred,
    deviation,
    ema_bars,
    ema_weights,
    halving,
    ln,
    log_returns,
    mean,
    memory,
    shrinking,
    total,
    weighted,
    wilder,
    wilder_bars,
)

DAY = 86_400_000_000  # microseconds
_YEAR, _MONTH = 254, 23  # most sessions a year and a month have had on any packaged calendar


@feature("prices", bars=lambda bars: bars + 1, unit="fraction")
def simple_return(x: Windows, *, bars: int = 1) -> Array:
    """Return over the last `bars` bars.

    Formula: P[t] / P[t-bars] - 1
    Source: Campbell, Lo & MacKinlay (1997), The Econometrics of Financial Markets, section 1.4.
    """
    p = x.values[0]
    return p[..., -1] / p[..., 0] - 1.0


@feature("prices", bars=lambda bars: bars + 1, unit="log fraction")
def log_return(x: Windows, *, bars: int = 1) -> Array:
    """Continuously compounded return over the last `bars` bars.

    Formula: ln(P[t] / P[t-bars])
    Source: Campbell, Lo & MacKinlay (1997), The Econometrics of Financial Markets, section 1.4.
    """
    p = x.values[0]
    return ln(p[..., -1] / p[..., 0])


@feature("prices", bars=lambda lookback, skip: lookback + skip + 1, unit="fraction")
def momentum(x: Windows, *, lookback: int = 252, skip: int = 21) -> Array:
    """Return over `lookback` bars that ended `skip` bars ago.

    Formula: P[t-skip] / P[t-skip-lookback] - 1
    Source: Jegadeesh & Titman (1993), Returns to Buying Winners and Selling Losers, Journal of
        Finance 48(1), 65-91.
    """
    p: Array = x.values[0]
    return np.asarray(p[..., -1 - int(skip)] / p[..., 0] - 1.0)


@feature(
    "prices", bars=lambda bars: bars + 1, unit="fraction per square-root year", least={"bars": 2}
)
def volatility(x: Windows, *, bars: int = 63, per_year: int = 252) -> Array:
    """Close-to-close volatility of the last `bars` returns, annualised.

    Formula: sqrt(per_year) * sd(ln(P[j] / P[j-1])), sd with bars - 1 degrees of freedom
    Source: Hull (2018), Options, Futures, and Other Derivatives, 10th edition, section 15.4.
    """
    return np.asarray(deviation(log_returns(x.values[0])) * np.sqrt(float(per_year)))


@feature("prices", bars=lambda bars: bars, unit="price units")
def sma(x: Windows, *, bars: int = 50) -> Array:
    """Plain moving average.

    Formula: (P[t-bars+1] + ... + P[t]) / bars
    Source: Brock, Lakonishok & LeBaron (1992), Simple Technical Trading Rules and the Stochastic
        Properties of Stock Returns, Journal of Finance 47(5), 1731-1764.
    """
    return mean(x.values[0])


@feature("prices", bars=ema_bars, unit="price units")
def ema(x: Windows, *, span: int = 20) -> Array:
    """Exponential moving average over a fixed window.

    The window is as long as its weights matter: what is left out weighs less than a millionth.

    Formula: sum w[k] P[t-k] / sum w[k], w[k] = (1 - 2/(span+1))^k
    Source: Brown (1963), Smoothing, Forecasting and Prediction of Discrete Time Series, ch. 7.
    """
    return weighted(x.values[0], ema_weights(int(span)))


@feature("prices", bars=lambda fast, slow: max(ema_bars(fast), ema_bars(slow)), unit="price units")
def macd(x: Windows, *, fast: int = 12, slow: int = 26) -> Array:
    """Distance between a fast and a slow exponential average.

    Formula: EMA(fast) - EMA(slow)
    Source: Appel (2005), Technical Analysis: Power Tools for Active Investors, ch. 8.
    """
    return weighted(x.values[0], _macd_weights(int(fast), int(slow)))


def _macd_weights(fast: int, slow: int) -> Array:
    """Return EMA(fast) - EMA(slow) as one set of weights, oldest first."""
    quick, calm = ema_weights(fast), ema_weights(slow)
    weights = np.zeros(max(quick.size, calm.size))
    weights[-quick.size :] += quick
    weights[-calm.size :] -= calm
    return weights


def _histogram_bars(fast: int, slow: int, signal: int) -> int:
    return max(ema_bars(fast), ema_bars(slow)) + ema_bars(signal) - 1


@feature("prices", bars=_histogram_bars, unit="price units")
def macd_histogram(x: Windows, *, fast: int = 12, slow: int = 26, signal: int = 9) -> Array:
    """MACD minus its own exponential average.

    Both are linear in the prices, so one set of weights over the window says it all.

    Formula: MACD[t] - EMA(signal) of MACD
    Source: Appel (2005), Technical Analysis: Power Tools for Active Investors, ch. 8.
    """
    line, smooth = _macd_weights(int(fast), int(slow)), ema_weights(int(signal))
    weights = np.zeros(line.size + smooth.size - 1)
    weights[smooth.size - 1 :] += line
    for j in range(smooth.size):
        weights[j : j + line.size] -= smooth[j] * line
    return weighted(x.values[0], weights)


@feature("prices", bars=lambda period: 1 + wilder_bars(period), unit="0 to 100")
def rsi(x: Windows, *, period: int = 14) -> Array:
    """Relative strength index with Wilder's averages over a fixed window.

    The averages are seeded with the plain mean of the window's oldest `period` changes; the window
    is so long that the seed weighs less than a millionth. Without any change it is 50.

    Formula: 100 U / (U + D), U and D Wilder averages of gains and of losses
    Source: Wilder (1978), New Concepts in Technical Trading Systems, section VI.
    """
    p = x.values[0]
    change = p[..., 1:] - p[..., :-1]
    gain = wilder(np.maximum(change, 0.0), int(period))
    loss = wilder(np.maximum(-change, 0.0), int(period))
    both = gain + loss
    return np.where(both == 0.0, 50.0, 100.0 * gain / np.where(both == 0.0, 1.0, both))


@feature("values", bars=lambda bars: bars, unit="standard deviations", least={"bars": 2})
def zscore(x: Windows, *, bars: int = 252) -> Array:
    """Distance of the newest value from the window's mean, in its standard deviations.

    Formula: (x[t] - mean) / sd, both over the last `bars` values, sd with bars - 1
    Source: Gatev, Goetzmann & Rouwenhorst (2006), Pairs Trading, Review of Financial Studies
        19(3), 797-827, who standardise spreads this way.
    """
    v = x.values[0]
    return centred(v)[..., -1] / deviation(v)


@feature("prices", bars=lambda bars: bars, unit="fraction, at most 0")
def drawdown(x: Windows, *, bars: int = 252) -> Array:
    """Distance from the highest value of the window.

    Formula: P[t] / max(P[t-bars+1..t]) - 1
    Source: Grossman & Zhou (1993), Optimal Investment Strategies for Controlling Drawdowns,
        Mathematical Finance 3(3), 241-276.
    """
    p = x.values[0]
    return np.asarray(p[..., -1] / p.max(axis=-1) - 1.0)


@feature("prices", bars=lambda bars: bars, unit="fraction, at most 0")
def deepest_drawdown(x: Windows, *, bars: int = 252) -> Array:
    """Deepest fall from an earlier high within the window.

    Formula: min over j of P[j] / max(P[..j]) - 1
    Source: Magdon-Ismail & Atiya (2004), Maximum Drawdown, Risk Magazine 17(10), 99-102.
    """
    p = x.values[0]
    return np.asarray((p / np.maximum.accumulate(p, axis=-1) - 1.0).min(axis=-1))


@feature(
    "prices",
    bars=lambda years, ahead: years * _YEAR + (2 + ahead) * _MONTH,
    unit="fraction",
    least={"ahead": 0},
)
def seasonality(x: Windows, *, years: int = 5, ahead: int = 1) -> Array:
    """Average return that the calendar month `ahead` months on had in the last `years` years.

    With 1, at the end of August: the mean return of past Septembers.

    Formula: mean over y = 1..years of E[m-12y] / E[m-12y-1] - 1, E[k] the last bar of month k,
        m the month of t plus `ahead`
    Source: Heston & Sadka (2008), Seasonality in the Cross-section of Stock Returns, Journal of
        Financial Economics 87(2), 418-445.
    """
    p, days = x.values[0], (x.closes // DAY).astype("datetime64[D]")
    months = days.astype("datetime64[M]").astype(np.int64)
    gains = np.empty((*p.shape[:2], int(years)))
    for year in range(1, int(years) + 1):
        wanted = months[:, -1:] + int(ahead) - 12 * year
        last = (months <= wanted).sum(axis=1) - 1
        before = (months < wanted).sum(axis=1) - 1
        ends = np.take_along_axis(p, last[:, None, None], axis=2)[..., 0]
        begins = np.take_along_axis(p, before[:, None, None], axis=2)[..., 0]
        gains[..., year - 1] = np.where(before[:, None] < 0, np.nan, ends / begins - 1.0)
    return mean(gains)


@feature(
    "prices",
    bars=lambda halflife: memory(halving(halflife)) + 1,
    unit="fraction per square-root year",
)
def ewma_volatility(x: Windows, *, halflife: int = 21, per_year: int = 252) -> Array:
    """Volatility whose weights halve every `halflife` bars, mean taken as zero.

    Formula: sqrt(per_year * sum w[k] r[t-k]^2 / sum w[k]), w[k] = 2^(-k/halflife)
    Source: J.P. Morgan/Reuters (1996), RiskMetrics Technical Document, 4th edition, section 5.2.
    """
    r = log_returns(x.values[0])
    w = shrinking(halving(int(halflife)), r.shape[-1])
    return np.asarray(np.sqrt(weighted(r * r, w) / total(w) * float(per_year)))
