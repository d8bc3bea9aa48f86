"""vectorbt beside our books: the same orders must give the same equity; statistics and a plot.

vectorbt (Apache 2.0 with Commons Clause) is a research extra; its import takes seconds, so that
everything here imports it when it is called.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.backtest import Backtest
from pipelines.books import CAPITAL
from pipelines.charts import Canvas, Panel, Scale, boxes, days, picture, steps, years
from pipelines.errors import CrossCheckFailed
from pipelines.performance import as_days
from pipelines.pictures import ACCENT, BENCHMARK, Picture, Table
from runtime.bundles.inputs import Array

TOLERANCE = 1e-9  # relative, on equity at every close
_YEAR = "252D"
_STATISTICS = (  # heading, method of vectorbt's returns accessor, format
    ("Total return", "total", "{:.1%}"),
    ("Yearly return", "annualized", "{:.2%}"),
    ("Volatility, per year", "annualized_volatility", "{:.2%}"),
    ("Sharpe ratio", "sharpe_ratio", "{:.2f}"),
    ("Sortino ratio", "sortino_ratio", "{:.2f}"),
    ("Calmar ratio", "calmar_ratio", "{:.2f}"),
    ("Deepest drawdown", "max_drawdown", "{:.1%}"),
    ("Value at risk, 5 % daily", "value_at_risk", "{:.2%}"),
    ("Expected shortfall, 5 % daily", "cond_value_at_risk", "{:.2%}"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossCheck:
    """How far vectorbt's equity is from ours."""

    worst: float  # largest relative difference over all closes
    orders: int  # orders that vectorbt executed
    equity: Array  # (T,), vectorbt's, quote currency


def portfolio(result: Backtest, cost_rate: float) -> Any:
    """Return vectorbt's Portfolio over the very orders of a backtest.

    Args:
        result: with its orders in units and closes.
        cost_rate: fraction of traded notional.
    """
    import pandas as pd
    import vectorbt as vbt

    index = pd.DatetimeIndex(as_days(result.dates).astype("datetime64[ns]"))
    size = np.full(result.prices.shape, np.nan)
    size[result.fill_rows] = result.books.orders
    size[size == 0.0] = np.nan
    close = pd.DataFrame(result.prices, index=index, columns=list(result.symbols))
    return vbt.Portfolio.from_orders(
        close,
        size=pd.DataFrame(size, index=index, columns=close.columns),
        size_type="amount",
        price=close,
        fees=cost_rate,
        init_cash=CAPITAL + _idle_cash(result),
        cash_sharing=True,
        group_by=True,
        call_seq="auto",
        freq="1D",
    )


def _idle_cash(result: Backtest) -> float:
    """Return cash that is added to vectorbt's account and taken off its value again.

    vectorbt cuts an order that cash does not cover; ours may owe a little for a day when prices
    gap between decision and fill.
    """
    return CAPITAL + 2.0 * max(0.0, -float(result.books.cash.min()))


def cross_check(result: Backtest, cost_rate: float) -> CrossCheck:
    """Compare equity at every close with vectorbt's.

    Raises:
        CrossCheckFailed: the two differ by more than TOLERANCE anywhere.
    """
    book = portfolio(result, cost_rate)
    equity = np.asarray(book.value(), dtype=np.float64).ravel() - _idle_cash(result)
    ours = result.books.equity[1:]
    distance = np.abs(equity / ours - 1.0)
    worst = float(distance.max())
    if not worst <= TOLERANCE:
        at = int(np.argmax(distance))
        raise CrossCheckFailed(
            f"vectorbt's equity differs by {worst:.3g} on {result.dates[at]} (ours {ours[at]:.2f}, "
            f"vectorbt {equity[at]:.2f}); at most {TOLERANCE:g} is rounding"
        )
    return CrossCheck(worst=worst, orders=len(book.orders), equity=equity)


def statistics(result: Backtest, check: CrossCheck) -> Table:
    """Tabulate vectorbt's own statistics of its equity, strategy beside benchmark."""
    net, base = _series(result, result.net), _series(result, result.benchmark)
    ours, other = (_accessor(s, freq="1D", year_freq=_YEAR) for s in (net, base))
    rows = [
        (name, form.format(getattr(ours, method)()), form.format(getattr(other, method)()))
        for name, method, form in _STATISTICS
    ]
    rows += [
        (name, f"{getattr(ours, method)(base):.2f}", "")
        for name, method in (("Beta", "beta"), ("Information ratio, daily", "information_ratio"))
    ]
    rows.append(("Orders", f"{check.orders}", ""))
    rows.append(("Largest difference to our equity", f"{check.worst:.1e}", ""))
    return Table(("vectorbt", "Strategy", "Benchmark"), rows)


def comparison(result: Backtest) -> Picture:
    """Draw vectorbt's cumulative returns by month: plotly where it is shown, a PNG elsewhere."""
    months = [_monthly(_series(result, r)) for r in (result.net, result.benchmark)]
    plotly = _plotted(*months)
    ends = days(months[0].index.to_numpy())
    ours, base = (np.cumprod(1.0 + month.to_numpy()) for month in months)

    def paint(canvas: Canvas) -> None:
        (box,) = boxes(canvas, right=1.25)
        x, y = Scale.of(ends, margin=0.0), Scale.of(ours, base, log=True)
        panel = Panel(canvas=canvas, box=box, x=x, y=y)
        panel.frame("vectorbt: cumulative returns by month (log scale)", x=years(x, 8), y=steps(y))
        panel.line(ends, base, BENCHMARK)
        panel.line(ends, ours, ACCENT)
        panel.name_ends(
            [(float(base[-1]), "benchmark", BENCHMARK), (float(ours[-1]), "strategy", ACCENT)]
        )

    words = (
        f"vectorbt's cumulative returns by month end at {ours[-1]:.1f} for the strategy "
        f"and {base[-1]:.1f} for the benchmark."
    )
    return picture(
        paint, words=words, size=(8.6, 2.6), extra={"application/vnd.plotly.v1+json": plotly}
    )


def _plotted(ours: Any, base: Any) -> dict[str, Any]:
    """Return vectorbt's own figure as plotly's JSON.

    The template is put in at the end: inside, plotly would copy and check it again and again.
    """
    import plotly.graph_objects as go
    import plotly.io as pio
    import vectorbt as vbt

    layout = dict(vbt.settings.plotting["layout"])
    template = pio.templates[layout.pop("template")].to_plotly_json()
    layout |= {"title": "vectorbt: cumulative returns by month", "yaxis": {"type": "log"}}
    figure = go.Figure(layout=layout | {"template": "none"})
    _accessor(ours, freq="30D").plot_cumulative(benchmark_rets=base, start_value=1.0, fig=figure)
    plotly: dict[str, Any] = json.loads(figure.to_json())
    plotly["layout"]["template"] = template
    return plotly


def _accessor(returns: Any, **settings: str) -> Any:
    """Return `returns.vbt.returns(...)`, which would build three accessors on its way to it."""
    from vectorbt.returns.accessors import ReturnsSRAccessor

    return ReturnsSRAccessor(returns, **settings)


def _series(result: Backtest, returns: Array) -> Any:
    import pandas as pd
    import vectorbt  # noqa: F401  (registers the .vbt accessor)

    index = pd.DatetimeIndex(as_days(result.dates).astype("datetime64[ns]"))
    return pd.Series(returns, index=index)


def _monthly(returns: Any) -> Any:
    return (1.0 + returns).resample("ME").prod() - 1.0
