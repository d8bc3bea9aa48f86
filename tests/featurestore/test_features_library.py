"""Every formula against an independent implementation, on the embedded market history."""

import math
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.tools.tools import add_constant

from featurestore.calendars import load_calendar
from featurestore.errors import FeatureUndefined
from featurestore.features import library as f
from featurestore.features.declaration import LIBRARY
from featurestore.universes import US_LARGE_CAPS

CLOSE = "us_equities.close"
INDEX = "us_index.close[SP500]"
WTI = "wti.price[WTI]"
VIX = "vix.close[VIX]"
SYMBOLS = ("AAPL", "JNJ", "XOM")
DAYS = (date(2008, 10, 31), date(2016, 12, 30), date(2018, 3, 29))
BARS = ("SP500", "NASDAQ")


def close_of(day):
    return load_calendar("XNYS").session(day).close


def computed(market, feature, symbols, day):
    return market.window(feature.name, symbols, length=1, at=close_of(day))[:, 0]


def frame_of(market, view, field, entities):
    """The whole history as a pandas frame by session day, read by another path: `history`."""
    long = market.history(f"{view}.{field}", entities, date(1986, 1, 1), date(2022, 12, 31))
    wide = long.pivot(on="symbol", index="event_time", values=field).sort("event_time")
    days = pd.DatetimeIndex([each.date() for each in wide["event_time"].to_list()])
    return pd.DataFrame({name: wide[name].to_numpy() for name in entities}, index=days)


@pytest.fixture(scope="module")
def prices(market):
    return frame_of(market, "us_equities", "close", SYMBOLS)


@pytest.fixture(scope="module")
def index(market):
    return frame_of(market, "us_index", "close", ["SP500"])["SP500"]


@pytest.fixture(scope="module")
def ohlcv(market):
    fields = ("open", "high", "low", "close", "volume")
    return {name: frame_of(market, "us_index_bars", name, BARS) for name in fields}


def ema_of(series, span):
    """pandas' own exponential average over a whole history."""
    return series.ewm(span=span, adjust=False).mean()


def wilder_of(values, period):
    """Wilder's average as his book has it: plain mean first, then one bar at a time, in Python."""
    average = sum(values[:period]) / period
    for value in values[period:]:
        average = (average * (period - 1) + value) / period
    return average


def rsi_of(series, period=14):
    changes = series.diff().dropna().tolist()
    up = wilder_of([max(c, 0.0) for c in changes], period)
    down = wilder_of([max(-c, 0.0) for c in changes], period)
    return 100 - 100 / (1 + up / down)


def seasonal_of(series, years, ahead):
    monthly = series.groupby(series.index.to_period("M")).last().pct_change()
    month = series.index[-1].to_period("M") + ahead
    return float(np.mean([monthly[month - 12 * y] for y in range(1, years + 1)]))


LOG = np.log
ROOT = math.sqrt(252)
ONE_SERIES = {
    "simple_return": (f.simple_return(CLOSE, bars=21), lambda p: p.iloc[-1] / p.iloc[-22] - 1),
    "log_return": (f.log_return(CLOSE, bars=5), lambda p: math.log(p.iloc[-1] / p.iloc[-6])),
    "momentum": (f.momentum(CLOSE), lambda p: p.pct_change(252).shift(21).iloc[-1]),
    "volatility": (
        f.volatility(CLOSE, bars=63),
        lambda p: LOG(p).diff().rolling(63).std().iloc[-1] * ROOT,
    ),
    "ewma_volatility": (
        f.ewma_volatility(CLOSE),
        lambda p: math.sqrt((LOG(p).diff() ** 2).ewm(halflife=21).mean().iloc[-1] * 252),
    ),
    "sma": (f.sma(CLOSE, bars=50), lambda p: p.rolling(50).mean().iloc[-1]),
    "ema": (f.ema(CLOSE, span=20), lambda p: ema_of(p, 20).iloc[-1]),
    "macd": (f.macd(CLOSE), lambda p: (ema_of(p, 12) - ema_of(p, 26)).iloc[-1]),
    "macd_histogram": (
        f.macd_histogram(CLOSE),
        lambda p: (ema_of(p, 12) - ema_of(p, 26) - ema_of(ema_of(p, 12) - ema_of(p, 26), 9)).iloc[
            -1
        ],
    ),
    "rsi": (f.rsi(CLOSE), rsi_of),
    "zscore": (
        f.zscore(CLOSE, bars=252),
        lambda p: ((p - p.rolling(252).mean()) / p.rolling(252).std()).iloc[-1],
    ),
    "drawdown": (f.drawdown(CLOSE), lambda p: p.iloc[-1] / p.iloc[-252:].max() - 1),
    "deepest_drawdown": (
        f.deepest_drawdown(CLOSE),
        lambda p: (p.iloc[-252:] / p.iloc[-252:].cummax() - 1).min(),
    ),
    "seasonality": (f.seasonality(CLOSE, years=5), lambda p: seasonal_of(p, 5, 1)),
}
# What is cut off an exponential average weighs a millionth; MACD is a small difference of two.
TOLERANCE = {
    "ema": 1e-5,
    "macd": 2e-3,
    "macd_histogram": 2e-2,
    "rsi": 1e-4,
    "ewma_volatility": 1e-5,
}


@pytest.mark.parametrize("day", DAYS)
@pytest.mark.parametrize("name", ONE_SERIES)
def test_a_formula_of_one_series_agrees_with_pandas(market, prices, name, day):
    feature, oracle = ONE_SERIES[name]
    ours = computed(market, feature, SYMBOLS, day)
    known = prices.loc[: pd.Timestamp(day)]
    theirs = [oracle(known[symbol]) for symbol in SYMBOLS]
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE.get(name, 1e-9), atol=1e-12)


def test_exponential_averages_equal_pandas_on_their_own_window_to_rounding(market, prices):
    day = DAYS[1]
    window = prices.loc[: pd.Timestamp(day)].iloc[-f.ema(CLOSE, span=26).required :]
    theirs = window.ewm(span=26, adjust=True).mean().iloc[-1]
    np.testing.assert_allclose(
        computed(market, f.ema(CLOSE, span=26), SYMBOLS, day), theirs, rtol=1e-13
    )


def test_a_season_counts_the_month_asked_for(market, prices):
    for ahead in (0, 1, 3):
        ours = computed(market, f.seasonality(CLOSE, years=3, ahead=ahead), SYMBOLS, DAYS[1])
        known = prices.loc[: pd.Timestamp(DAYS[1])]
        theirs = [seasonal_of(known[s], 3, ahead) for s in SYMBOLS]
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def parkinson_of(b):
    return math.sqrt((LOG(b["high"] / b["low"]) ** 2).iloc[-63:].mean() / (4 * math.log(2)) * 252)


def garman_klass_of(b):
    span, body = LOG(b["high"] / b["low"]) ** 2, LOG(b["close"] / b["open"]) ** 2
    return math.sqrt((0.5 * span - (2 * math.log(2) - 1) * body).iloc[-63:].mean() * 252)


def atr_of(b):
    previous = b["close"].shift(1)
    ranges = pd.concat(
        [b["high"] - b["low"], (b["high"] - previous).abs(), (b["low"] - previous).abs()], axis=1
    )
    return wilder_of(ranges.max(axis=1).iloc[1:].tolist(), 14)


V = "us_index_bars"
OHLC = {
    "parkinson": (f.parkinson(f"{V}.high", f"{V}.low"), parkinson_of),
    "garman_klass": (
        f.garman_klass(f"{V}.open", f"{V}.high", f"{V}.low", f"{V}.close"),
        garman_klass_of,
    ),
    "atr": (f.atr(f"{V}.high", f"{V}.low", f"{V}.close"), atr_of),
    "amihud": (
        f.amihud(f"{V}.close", f"{V}.volume", bars=20),
        lambda b: (
            (b["close"].pct_change().abs() / (b["close"] * b["volume"])).iloc[-20:].mean() * 1e6
        ),
    ),
    "traded_value": (
        f.traded_value(f"{V}.close", f"{V}.volume"),
        lambda b: (b["close"] * b["volume"]).iloc[-21:].mean(),
    ),
    # No share counts are embedded: volume stands in for them, the formula is what is checked.
    "turnover": (
        f.turnover(f"{V}.volume", f"{V}.volume[SP500]", bars=10),
        lambda b: (b["volume"] / b["reference"]).iloc[-10:].mean(),
    ),
}


@pytest.mark.parametrize("day", DAYS)
@pytest.mark.parametrize("name", OHLC)
def test_a_formula_of_bars_agrees_with_pandas(market, ohlcv, name, day):
    feature, oracle = OHLC[name]
    ours = computed(market, feature, BARS, day)
    theirs = []
    for entity in BARS:
        bars = pd.DataFrame({key: frame[entity] for key, frame in ohlcv.items()})
        bars["reference"] = ohlcv["volume"]["SP500"]
        theirs.append(oracle(bars.loc[: pd.Timestamp(day)]))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5 if name == "atr" else 1e-10)


def test_a_bar_without_volume_has_no_illiquidity_and_says_so(market):
    # The embedded Nasdaq history holds a session with volume 0.
    feature = f.amihud(f"{V}.close", f"{V}.volume", bars=252)
    with pytest.raises(FeatureUndefined, match=r"amihud\(.* of NASDAQ at 2018-03-29T.* is inf"):
        computed(market, feature, BARS, DAYS[2])


def regressions(prices, columns, day, bars, lag):
    """Ordinary least squares of statsmodels on the same sessions."""
    known = pd.concat([prices, *columns], axis=1).loc[: pd.Timestamp(day)]
    known = known.dropna(subset=[prices.columns[0]])
    end = len(known) - lag
    returns = LOG(known.iloc[end - bars - 1 : end]).diff().iloc[1:]
    exog = add_constant(returns[[c.name for c in columns]])
    return {s: OLS(returns[s], exog).fit() for s in prices.columns}


@pytest.mark.parametrize("day", DAYS)
def test_beta_and_residuals_agree_with_least_squares(market, prices, index, day):
    fits = regressions(prices, [index.rename("m")], day, 252, 0)
    wanted = {
        f.beta(CLOSE, INDEX): [fit.params["m"] for fit in fits.values()],
        f.residual(CLOSE, INDEX): [fit.resid.iloc[-1] for fit in fits.values()],
        f.residual_volatility(CLOSE, INDEX): [
            math.sqrt(fit.mse_resid * 252) for fit in fits.values()
        ],
        f.correlation(CLOSE, INDEX): [
            math.copysign(math.sqrt(fit.rsquared), fit.params["m"]) for fit in fits.values()
        ],
    }
    for feature, theirs in wanted.items():
        np.testing.assert_allclose(
            computed(market, feature, SYMBOLS, day), theirs, rtol=1e-9, atol=1e-14
        )


def test_exposures_to_volatility_and_oil_agree_with_least_squares(market, prices, index):
    day = date(2017, 6, 30)
    vix = frame_of(market, "vix", "close", ["VIX"])["VIX"].rename("g")
    fits = regressions(prices, [index.rename("m"), vix], day, 252, 1)
    ours = computed(market, f.exposure(CLOSE, INDEX, VIX, bars=252, lag=1), SYMBOLS, day)
    np.testing.assert_allclose(ours, [fit.params["g"] for fit in fits.values()], rtol=1e-8)
    # Oil has no price on some sessions: its newest one about that day stands in.
    raw = market.history("wti.price", ["WTI"], date(1986, 1, 1), date(2018, 12, 31))
    days = pd.DatetimeIndex([each.date() - timedelta(days=1) for each in raw["event_time"]])
    stamped = pd.Series(raw["price"].to_numpy(), index=days)
    oil = stamped.reindex(prices.index, method="ffill").rename("g")
    fits = regressions(prices, [index.rename("m"), oil], day, 252, 9)
    ours = computed(market, f.exposure(CLOSE, INDEX, WTI, bars=252, lag=9), SYMBOLS, day)
    np.testing.assert_allclose(ours, [fit.params["g"] for fit in fits.values()], rtol=1e-8)


def test_ranks_and_cross_sections_agree_with_scipy(market, prices):
    symbols = US_LARGE_CAPS.symbols
    inner = f.momentum(CLOSE, lookback=126, skip=5)
    values = computed(market, inner, symbols, DAYS[1])
    ours = computed(market, f.rank(inner), symbols, DAYS[1])
    np.testing.assert_allclose(ours, (stats.rankdata(values) - 1) / 19, rtol=1e-15)
    ours = computed(market, f.cross_zscore(inner), symbols, DAYS[1])
    np.testing.assert_allclose(ours, stats.zscore(values, ddof=1), rtol=1e-12)


def test_equal_values_share_the_middle_of_their_ranks(market):
    from featurestore.features.declaration import Windows

    row = np.array([[3.0, 1.0, 3.0, np.nan, 2.0]])[..., None]
    ranks = f.rank.formula(Windows(values=(row,), closes=np.zeros((1, 1), np.int64)))
    np.testing.assert_array_equal(ranks, [[2.5 / 3, 0.0, 2.5 / 3, np.nan, 1 / 3]])


def test_a_feature_of_a_feature_is_the_outer_formula_of_its_series(market, prices):
    day = DAYS[1]
    known = LOG(prices.loc[: pd.Timestamp(day)]).diff().rolling(21).std() * ROOT
    theirs = ((known - known.rolling(126).mean()) / known.rolling(126).std()).iloc[-1]
    feature = f.zscore(f.volatility(CLOSE, bars=21), bars=126)
    np.testing.assert_allclose(computed(market, feature, SYMBOLS, day), theirs, rtol=1e-9)
    assert feature.required == 126 + 22 - 1


def test_every_formula_of_the_library_is_checked_here():
    checked = {*ONE_SERIES, *OHLC}
    checked |= {"beta", "residual", "residual_volatility", "correlation", "exposure"}
    checked |= {"rank", "cross_zscore"}
    checked |= {"surprise", "growth", "term_spread"}  # in test_features_macro
    assert checked == set(LIBRARY)


def test_every_formula_tells_its_text_unit_formula_and_source():
    for kind in LIBRARY.values():
        assert kind.told("Formula"), kind.name
        assert any(year in kind.told("Source") for year in ("19", "20")), kind.name
        assert kind.unit, kind.name
