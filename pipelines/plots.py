"""The pictures of a trial: equity, drawdown, excess, turnover, weights."""

import numpy as np
from numpy.typing import NDArray

from pipelines.backtest import Backtest
from pipelines.charts import (
    Canvas,
    Panel,
    Scale,
    Ticks,
    boxes,
    colour_bar,
    days,
    evenly,
    percent,
    picture,
    steps,
    years,
)
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
from pipelines.pictures import ACCENT, BENCHMARK, INK, LOSS, MUTED, Picture, Table
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
    at, wide = _days(result)
    ours, base = growth(result.net), growth(result.benchmark)
    fall, base_fall = drawdowns(result.net), drawdowns(result.benchmark)

    def paint(canvas: Canvas) -> None:
        upper, lower = boxes(canvas, down=(3, 1.3), between=0.35, right=1.25)
        calendar = years(wide, 8)
        top = Panel(canvas=canvas, box=upper, x=wide, y=Scale.of(ours, base, log=True))
        top.frame("Growth of 1, after costs (log scale)", x=calendar, y=steps(top.y), dates=False)
        top.line(at, base, BENCHMARK)
        top.line(at, ours, ACCENT)
        lines = (("benchmark", base, BENCHMARK), ("strategy", ours, ACCENT))
        top.name_ends([(float(v[-1]), f"{name} {v[-1]:.1f}x", colour) for name, v, colour in lines])
        bottom = Panel(canvas=canvas, box=lower, x=wide, y=Scale.of(fall, base_fall))
        bottom.frame("Drawdown", x=calendar, y=evenly(bottom.y, 4, percent))
        bottom.area(at, fall, ACCENT)
        bottom.line(at, fall, ACCENT, width=0.8)
        bottom.line(at, base_fall, BENCHMARK, width=0.8)

    words = (
        f"Growth of 1 from {result.dates[0]} to {result.dates[-1]}: strategy {ours[-1]:.1f}, "
        f"benchmark {base[-1]:.1f}; deepest drawdown {fall.min():.0%}."
    )
    return picture(paint, words=words, size=(8.6, 5.2))


def excess(trial: Trial) -> Picture:
    """Draw strategy over benchmark, and the excess return of every calendar year."""
    result = trial.backtest
    at, wide = _days(result)
    relative = growth(result.net) / growth(result.benchmark)
    year_of = np.array([day.year for day in result.dates])
    labels = np.unique(year_of)
    yearly = np.array([_compound(result, year_of == year) for year in labels])

    def paint(canvas: Canvas) -> None:
        first, second = boxes(canvas, across=(1.25, 1))
        left = Panel(canvas=canvas, box=first, x=wide, y=Scale.of(relative, np.ones(1)))
        left.frame(
            "Strategy divided by benchmark", x=years(wide, 8), y=evenly(left.y, 7, "{:g}".format)
        )
        left.mark(1.0, MUTED)
        left.line(at, relative, ACCENT)
        beside = Scale.of(labels - 0.5, labels + 0.5)
        right = Panel(canvas=canvas, box=second, x=beside, y=Scale.of(yearly, np.zeros(1)))
        right.frame(
            "Excess return by calendar year",
            x=evenly(beside, 8, "{:.0f}".format),
            y=evenly(right.y, 6, percent),
            upright=False,
        )
        for ahead, colour in ((yearly >= 0, ACCENT), (yearly < 0, LOSS)):
            right.bars(labels[ahead], yearly[ahead], colour, width=0.75)
        right.mark(0.0, MUTED)

    words = (
        f"Strategy divided by benchmark ends at {relative[-1]:.2f}; it was ahead in "
        f"{int((yearly > 0).sum())} of {labels.size} calendar years."
    )
    return picture(paint, words=words, size=(8.6, 2.9))


def turnover(trial: Trial) -> Picture:
    """Draw what each rebalancing traded, and what it cost."""
    result = trial.backtest
    at, wide = _days(result)
    at = at[result.fill_rows]
    paid = np.cumsum(result.costs / result.books.equity[1:][result.fill_rows])

    def paint(canvas: Canvas) -> None:
        first, second = boxes(canvas, across=(1.25, 1))
        traded = Scale(low=0.0, high=Scale.of(result.turnover, np.zeros(1)).high)
        left = Panel(canvas=canvas, box=first, x=wide, y=traded)
        left.frame(
            "Traded notional per equity (dashed: median)",
            x=years(wide, 8),
            y=evenly(traded, 7, percent),
        )
        left.needles(at, result.turnover, ACCENT)
        left.mark(float(np.median(result.turnover)), INK, dashed=True)
        right = Panel(canvas=canvas, box=second, x=wide, y=Scale.of(paid, np.zeros(1)))
        right.frame(
            "Costs paid so far, per equity", x=years(wide, 8), y=evenly(right.y, 6, percent)
        )
        right.line(at, paid, LOSS)

    words = (
        f"The median rebalancing trades {np.median(result.turnover):.0%} of equity; "
        f"costs add up to {paid[-1]:.1%} of equity."
    )
    return picture(paint, words=words, size=(8.6, 2.6))


def weights(trial: Trial) -> Picture:
    """Draw the target weights as a heat map: one row per symbol, one column per decision."""
    result = trial.backtest
    order = np.argsort(-result.weights.mean(axis=0), kind="stable")
    held = result.weights[:, order].T
    rows, columns = held.shape
    year_of = np.array([at.year for at in result.decided_at])
    starts = np.flatnonzero(np.diff(year_of, prepend=year_of[0] - 1))[::4]

    def paint(canvas: Canvas) -> None:
        import matplotlib as mpl

        (box,) = boxes(canvas, right=0.75)
        colours = (mpl.colormaps["GnBu"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
        scale = Scale(low=0.0, high=max(float(held.max()), 1e-9))
        panel = Panel(
            canvas=canvas,
            box=box,
            x=Scale(low=-0.5, high=columns - 0.5),
            y=Scale(low=rows - 0.5, high=-0.5),
        )
        panel.frame(
            "Target weight by symbol, most held first",
            x=Ticks(starts.astype(np.float64), [str(year_of[start]) for start in starts]),
            y=Ticks(np.arange(float(rows)), [result.symbols[i] for i in order]),
            upright=False,
            level=False,
            size=7.0,
        )
        shades = np.clip(scale.fraction(held) * 255, 0, 255).round().astype(np.intp)
        canvas.cells(colours[shades], box)
        colour_bar(canvas, box, evenly(scale, 8, percent), scale, colours)

    most = result.symbols[order[0]]
    words = f"Target weights over time; {most} is held most, {held[0].mean():.0%} on average."
    return picture(paint, words=words, size=(8.6, 3.9))


def _days(result: Backtest) -> tuple[Array, Scale]:
    """Return the sessions as figures, and the scale they fit on."""
    at = days(as_days(result.dates))
    return at, Scale.of(at, margin=0.0)


def _compound(result: Backtest, mask: NDArray[np.bool_]) -> float:
    """Return net minus benchmark of the days in `mask`, each compounded."""
    return float(growth(result.net[mask])[-1] - growth(result.benchmark[mask])[-1])


def _costs_per_year(result: Backtest) -> float:
    share: Array = result.costs / result.books.equity[1:][result.fill_rows]
    return float(share.sum()) * 252 / len(result.dates)
