"""The pictures of a trial: equity, drawdown, excess, turnover, weights."""

from typing import Any

import numpy as np

from pipelines.backtest import Backtest
from pipelines.evaluate import Trial
from pipelines.performance import (
    annual_return,
    as_days,
    drawdowns,
    growth,
    lowest_cash,
    sharpe,
    turnover_per_year,
    volatility,
)
from pipelines.pictures import (
    ACCENT,
    BENCHMARK,
    INK,
    LOSS,
    MUTED,
    Margins,
    Picture,
    Table,
    draw,
    plain_log_axis,
)
from runtime.bundles.inputs import Array


def summary(trial: Trial) -> Table:
    """Compare the trial with its benchmark in one table; all figures after costs."""
    result = trial.backtest
    series = (result.net, result.benchmark, result.excess)
    rows = [
        ("Yearly return, compound", *(f"{annual_return(r):.2%}" for r in series)),
        ("Volatility, per year", *(f"{volatility(r):.2%}" for r in series)),
        ("Sharpe ratio, annualised", *(f"{sharpe(r):.2f}" for r in series)),
        ("Deepest drawdown", *(f"{drawdowns(r).min():.1%}" for r in series)),
        ("Best day", *(f"{r.max():.2%}" for r in series)),
        ("Worst day", *(f"{r.min():.2%}" for r in series)),
        ("Turnover, per year", f"{turnover_per_year(result):.1f}x", "", ""),
        ("Costs, per year", f"{_costs_per_year(result):.2%}", "", ""),
        ("Lowest cash after a fill, of equity", f"{lowest_cash(result):.1%}", "", ""),
    ]
    return Table(("", "Strategy", "Benchmark", "Excess"), rows)


def equity(trial: Trial) -> Picture:
    """Draw growth of 1 against the benchmark on a log scale, drawdowns below."""
    result = trial.backtest
    days = _days(result)
    ours, base = growth(result.net), growth(result.benchmark)

    def paint(figure: Any) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.3))
        top.set_yscale("log")
        for values, colour, name in ((base, BENCHMARK, "benchmark"), (ours, ACCENT, "strategy")):
            top.plot(days, values, color=colour)
            top.annotate(
                f" {name} {values[-1]:.1f}x", (days[-1], values[-1]), color=colour, va="center"
            )
        plain_log_axis(top, min(ours.min(), base.min()), max(ours.max(), base.max()))
        top.set_title("Growth of 1, after costs (log scale)")
        fall, base_fall = drawdowns(result.net), drawdowns(result.benchmark)
        bottom.fill_between(days, fall, 0.0, color=ACCENT, alpha=0.25, linewidth=0)
        bottom.plot(days, fall, color=ACCENT, linewidth=0.8)
        bottom.plot(days, base_fall, color=BENCHMARK, linewidth=0.8)
        bottom.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        bottom.set_title("Drawdown")
        top.set_xlim(days[0], days[-1] + (days[-1] - days[0]) // 6)

    words = (
        f"Growth of 1 from {result.dates[0]} to {result.dates[-1]}: strategy {ours[-1]:.1f}, "
        f"benchmark {base[-1]:.1f}; deepest drawdown {drawdowns(result.net).min():.0%}."
    )
    return draw(paint, words=words, size=(8.6, 5.2), margins=Margins(between=0.35))


def excess(trial: Trial) -> Picture:
    """Draw strategy over benchmark, and the excess return of every calendar year."""
    result = trial.backtest
    days = _days(result)
    relative = growth(result.net) / growth(result.benchmark)
    years = np.array([day.year for day in result.dates])
    labels = np.unique(years)
    yearly = np.array([_compound(result, years == year) for year in labels])

    def paint(figure: Any) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        left.axhline(1.0, color=MUTED, linewidth=0.8)
        left.plot(days, relative, color=ACCENT)
        left.set_title("Strategy divided by benchmark")
        colours = [ACCENT if value >= 0 else LOSS for value in yearly]
        right.bar(labels, yearly, color=colours, width=0.75)
        right.axhline(0.0, color=MUTED, linewidth=0.8)
        right.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        right.grid(visible=False, axis="x")
        right.set_title("Return in excess of the benchmark, by year")

    words = (
        f"Strategy divided by benchmark ends at {relative[-1]:.2f}; it was ahead in "
        f"{int((yearly > 0).sum())} of {labels.size} calendar years."
    )
    return draw(paint, words=words, size=(8.6, 2.9), margins=Margins())


def turnover(trial: Trial) -> Picture:
    """Draw what each rebalancing traded, and what it cost."""
    result = trial.backtest
    days = _days(result)[result.fill_rows]
    paid = np.cumsum(result.costs / result.books.equity[1:][result.fill_rows])

    def paint(figure: Any) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        left.vlines(days, 0.0, result.turnover, color=ACCENT, linewidth=0.8)
        left.axhline(float(np.median(result.turnover)), color=INK, linewidth=0.8, linestyle="--")
        left.set_ylim(bottom=0.0)
        left.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        left.set_title("Traded notional per equity (dashed: median)")
        right.plot(days, paid, color=LOSS)
        right.yaxis.set_major_formatter(lambda value, _: f"{value:.1%}")
        right.set_title("Costs paid so far, per equity")

    words = (
        f"The median rebalancing trades {np.median(result.turnover):.0%} of equity; "
        f"costs add up to {paid[-1]:.1%} of equity."
    )
    return draw(paint, words=words, size=(8.6, 2.6), margins=Margins())


def weights(trial: Trial) -> Picture:
    """Draw the target weights as a heat map: one row per symbol, one column per decision."""
    result = trial.backtest
    order = np.argsort(-result.weights.mean(axis=0), kind="stable")
    held = result.weights[:, order].T
    years = np.array([at.year for at in result.decided_at])
    starts = np.flatnonzero(np.diff(years, prepend=years[0] - 1))[::4]

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        image = axes.imshow(held, aspect="auto", cmap="GnBu", interpolation="nearest", vmin=0.0)
        axes.set_yticks(range(len(order)), [result.symbols[i] for i in order], fontsize=7)
        axes.set_xticks(starts, [str(years[start]) for start in starts])
        axes.grid(visible=False)
        axes.set_title("Target weight by symbol, most held first")
        bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=30, fraction=0.035)
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        bar.outline.set_visible(False)

    most = result.symbols[order[0]]
    words = f"Target weights over time; {most} is held most, {held[0].mean():.0%} on average."
    return draw(paint, words=words, size=(8.6, 3.9), margins=Margins(right=0.45))


def _days(result: Backtest) -> Any:
    return as_days(result.dates)


def _compound(result: Backtest, mask: Any) -> float:
    """Return net minus benchmark of the days in `mask`, each compounded."""
    return float(growth(result.net[mask])[-1] - growth(result.benchmark[mask])[-1])


def _costs_per_year(result: Backtest) -> float:
    share: Array = result.costs / result.books.equity[1:][result.fill_rows]
    return float(share.sum()) * 252 / len(result.dates)
