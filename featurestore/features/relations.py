"""Formulas of several series: market beta, residuals, exposure to other assets, ranks."""

import numpy as np

from featurestore.features.declaration import Array, Windows, feature
from featurestore.features.windows import centred, log_returns, total


@feature(
    "prices", "index", bars=lambda bars: bars + 1, unit="return per index return", least={"bars": 3}
)
def beta(x: Windows, *, bars: int = 252, lag: int = 0) -> Array:
    """Slope of returns on the index's returns.

    Formula: cov(r, m) / var(m) over `bars` log returns
    Source: Sharpe (1964), Capital Asset Prices, Journal of Finance 19(3), 425-442.
    """
    r, m = (centred(log_returns(p)) for p in x.values)
    return total(r * m) / total(m * m)


@feature("prices", "index", bars=lambda bars: bars + 1, unit="log fraction", least={"bars": 3})
def residual(x: Windows, *, bars: int = 252, lag: int = 0) -> Array:
    """Newest return that the index does not explain.

    Formula: r[t] - mean(r) - beta (m[t] - mean(m)) over `bars` log returns, t among them
    Source: Blitz, Huij & Martens (2011), Residual Momentum, Journal of Empirical Finance 18(3),
        506-521.
    """
    r, m = (centred(log_returns(p)) for p in x.values)
    slope = total(r * m) / total(m * m)
    return r[..., -1] - slope * m[..., -1]


@feature(
    "prices", "index", bars=lambda bars: bars + 1, unit="fraction per square-root year",
    least={"bars": 3},
)  # fmt: skip
def residual_volatility(x: Windows, *, bars: int = 252, per_year: int = 252, lag: int = 0) -> Array:
    """Volatility of what the index does not explain, annualised.

    Formula: sqrt(per_year * sum e^2 / (bars - 2)), e = residuals of `bars` log returns on the index
    Source: Ang, Hodrick, Xing & Zhang (2006), The Cross-Section of Volatility and Expected Returns,
        Journal of Finance 61(1), 259-299.
    """
    r, m = (centred(log_returns(p)) for p in x.values)
    left = r - (total(r * m) / total(m * m))[..., None] * m
    return np.asarray(np.sqrt(total(left * left) / (int(bars) - 2) * float(per_year)))


@feature(
    "prices", "index", "factor", bars=lambda bars: bars + 1, unit="return per factor return",
    least={"bars": 4},
)  # fmt: skip
def exposure(x: Windows, *, bars: int = 252, lag: int = 0) -> Array:
    """Slope of returns on another asset's returns with the index held fixed.

    The factor may be oil, a volatility index, another market. `lag` leaves out the newest bars for
    which it is not known yet: 1 for an index struck after the close, 8 for a price published ten
    days late.

    Formula: f of r = a + b m + f g + e by least squares, log returns
    Source: Chen, Roll & Ross (1986), Economic Forces and the Stock Market, Journal of Business
        59(3), 383-403.
    """
    r, m, g = (centred(log_returns(p)) for p in x.values)
    mm, gg, mg = total(m * m), total(g * g), total(m * g)
    return (total(r * g) * mm - total(r * m) * mg) / (mm * gg - mg * mg)


@feature("prices", "other", bars=lambda bars: bars + 1, unit="-1 to 1", least={"bars": 3})
def correlation(x: Windows, *, bars: int = 252, lag: int = 0) -> Array:
    """Correlation of returns with another series' returns.

    Formula: cov(r, g) / sqrt(var(r) var(g)) over `bars` log returns
    Source: Campbell, Lo & MacKinlay (1997), The Econometrics of Financial Markets, section 1.4.
    """
    r, g = (centred(log_returns(p)) for p in x.values)
    return total(r * g) / np.sqrt(total(r * r) * total(g * g))


@feature("values", bars=1, unit="0 (lowest) to 1 (highest)", crosses=True)
def rank(x: Windows) -> Array:
    """Place among the symbols asked for at the same instant; ties share the middle of their places.

    Formula: (number lower + (number equal - 1) / 2) / (number of values - 1)
    Source: Conover & Iman (1981), Rank Transformations as a Bridge Between Parametric and
        Nonparametric Statistics, American Statistician 35(3), 124-129.
    """
    values = x.values[0][..., 0]
    ordered = np.sort(values, axis=-1)  # absent values last
    out = np.empty_like(values)
    for row in range(len(values)):
        low = np.searchsorted(ordered[row], values[row], side="left")
        high = np.searchsorted(ordered[row], values[row], side="right")
        others = int(np.isfinite(values[row]).sum()) - 1
        out[row] = (low + (high - low - 1) / 2.0) / others if others > 0 else 0.5
    return np.where(np.isnan(values), np.nan, out)


@feature("values", bars=1, unit="standard deviations", crosses=True)
def cross_zscore(x: Windows) -> Array:
    """Distance from the mean of the symbols asked for at the same instant, in their deviations.

    Absent values take no part.

    Formula: (x[i] - mean over i) / sd over i, sd with n - 1
    Source: Asness, Frazzini & Pedersen (2019), Quality Minus Junk, Review of Accounting Studies
        24(1), 34-112, section 2.
    """
    values = x.values[0][..., 0]
    out = np.full(values.shape, np.nan)
    for row, here in enumerate(np.isfinite(values)):
        away = centred(values[row][here])
        if away.size > 1:
            out[row, here] = away / np.sqrt(total(away * away) / (away.size - 1))
    return out
