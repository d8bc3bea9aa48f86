"""Value at risk and expected shortfall, of a sample and as one-day forecasts.

Losses are positive: a value at risk of 0.02 at 99 % says that 99 days of 100 lose less than 2 %.
A forecast for day t uses returns up to day t - 1 alone.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from pipelines.errors import RiskInvalid
from runtime.bundles.inputs import Array

DECAY = 0.94  # RiskMetrics, daily data


@dataclass(frozen=True, slots=True, kw_only=True)
class TailForecast:
    """One-day-ahead forecasts; the first `start` days only teach the model."""

    method: str
    level: float  # e.g. 0.99
    start: int  # row of the first forecast
    var: Array  # (T - start,), losses as positive fractions
    shortfall: Array  # (T - start,), expected loss when it is worse than `var`

    def breaches(self, returns: Array) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """Return on which forecast days the loss was worse than forecast, shape (T - start,)."""
        return np.asarray(-returns[self.start :] > self.var)


def value_at_risk(returns: Array, level: float) -> float:
    """Return the loss that the fraction `level` of the sample does not exceed.

    The order statistic number ceil(level * T) of the losses: no interpolation, so it is a loss
    that happened.

    Raises:
        RiskInvalid: level outside (0, 1), an empty sample, or a non-finite return.
    """
    losses = np.sort(-_checked(returns, level))
    return float(losses[_rank(losses.size, level)])


def expected_shortfall(returns: Array, level: float) -> float:
    """Return the mean of the worst 1 - level of the sample, the broken observation in part.

    Source: Acerbi & Tasche (2002), "On the coherence of expected shortfall", Journal of Banking &
        Finance 26(7), 1487-1503, definition 2.6.
    """
    losses = np.sort(-_checked(returns, level))[::-1]
    mass = (1.0 - level) * losses.size
    whole = min(int(np.floor(mass + 1e-9)), losses.size)
    part = max(mass - whole, 0.0)
    rest = part * losses[whole] if whole < losses.size else 0.0
    return float((losses[:whole].sum() + rest) / mass)


def historical_forecast(returns: Array, level: float, *, window: int = 500) -> TailForecast:
    """Forecast with the plain sample of the last `window` days."""
    _checked(returns, level)
    _long_enough(returns, window)
    past = np.sort(-np.lib.stride_tricks.sliding_window_view(returns, window)[:-1], axis=1)
    rank = _rank(window, level)
    return TailForecast(
        method=f"historical, {window} days",
        level=level,
        start=window,
        var=np.ascontiguousarray(past[:, rank]),
        shortfall=past[:, rank:].mean(axis=1),
    )


def normal_forecast(
    returns: Array, level: float, *, window: int = 500, decay: float = DECAY
) -> TailForecast:
    """Forecast with a normal distribution whose volatility is an exponential average, mean zero.

    Source: J.P. Morgan/Reuters (1996), "RiskMetrics Technical Document", 4th edition, chapter 5.
    """
    _checked(returns, level)
    _long_enough(returns, window)
    sigma = ewma_volatility(returns, decay=decay)[window:]
    z = float(norm.ppf(level))
    return TailForecast(
        method=f"normal, decay {decay:g}",
        level=level,
        start=window,
        var=sigma * z,
        shortfall=sigma * float(norm.pdf(z)) / (1.0 - level),
    )


def filtered_forecast(
    returns: Array, level: float, *, window: int = 500, decay: float = DECAY
) -> TailForecast:
    """Forecast with past returns divided by the volatility of their day, times today's.

    Source: Barone-Adesi, Giannopoulos & Vosper (1999), "VaR without correlations for portfolios
        of derivative securities", Journal of Futures Markets 19(5), 583-602.
    """
    _checked(returns, level)
    _long_enough(returns, window)
    sigma = ewma_volatility(returns, decay=decay)
    scaled = np.divide(returns, sigma, out=np.zeros_like(returns), where=sigma > 0.0)
    past = np.sort(-np.lib.stride_tricks.sliding_window_view(scaled, window)[:-1], axis=1)
    rank, today = _rank(window, level), sigma[window:]
    return TailForecast(
        method=f"filtered historical, {window} days",
        level=level,
        start=window,
        var=past[:, rank] * today,
        shortfall=past[:, rank:].mean(axis=1) * today,
    )


def ewma_volatility(returns: Array, *, decay: float = DECAY) -> Array:
    """Return the volatility forecast for each day from the days before it, shape (T,).

    The recursion starts at the mean square of the first 20 days, so those days see each other.
    """
    variance = np.empty(returns.size)
    now = float(np.mean(returns[:20] ** 2))
    for t, r in enumerate(returns.tolist()):
        variance[t] = now
        now = decay * now + (1.0 - decay) * r * r
    return np.sqrt(variance)


def _rank(size: int, level: float) -> int:
    """Return the 0-based position of the order statistic number ceil(level * size)."""
    return min(max(int(np.ceil(level * size - 1e-9)) - 1, 0), size - 1)


def _checked(returns: Array, level: float) -> Array:
    if not 0.0 < level < 1.0:
        raise RiskInvalid(f"the level of a value at risk lies between 0 and 1, was {level}")
    if returns.size == 0 or not np.isfinite(returns).all():
        raise RiskInvalid(f"need finite returns, was given {returns.size} with gaps or none")
    return returns


def _long_enough(returns: Array, window: int) -> None:
    if window < 20 or returns.size <= window:
        raise RiskInvalid(
            f"a window of {window} days needs more than as many returns and at least 20; "
            f"there are {returns.size}"
        )
