"""Pictures and tables of risk: forecasts against losses, tails, drawdowns, exposure, stress."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.evaluate import Trial
from pipelines.holdings import held_weights
from pipelines.performance import drawdowns
from pipelines.pictures import ACCENT, BENCHMARK, INK, LOSS, MUTED, Picture, Table, draw
from pipelines.risk.coverage import independence_test, kupiec_test
from pipelines.risk.drawdown import drawdown_episodes
from pipelines.risk.exposure import effective_names, rolling_beta
from pipelines.risk.stress import stressed
from pipelines.risk.tail import TailForecast, expected_shortfall, value_at_risk
from runtime.bundles.inputs import Array

REJECTED = 0.05  # p-value below which a promise counts as broken


def tail_table(trial: Trial, levels: Sequence[float] = (0.95, 0.99)) -> Table:
    """Tabulate value at risk and expected shortfall of strategy, benchmark and excess."""
    result = trial.backtest
    series = (result.net, result.benchmark, result.excess)
    rows = []
    for level in levels:
        rows.append(
            (f"Value at risk, {level:.0%}", *(f"{value_at_risk(r, level):.2%}" for r in series))
        )
        rows.append(
            (
                f"Expected shortfall, {level:.0%}",
                *(f"{expected_shortfall(r, level):.2%}" for r in series),
            )
        )
    return Table(("Loss of a day, whole sample", "Strategy", "Benchmark", "Excess"), rows)


def tail(trial: Trial, level: float = 0.99) -> Picture:
    """Draw the distribution of daily returns beside the normal one, its worst part in colour."""
    returns = trial.backtest.net
    var, shortfall = value_at_risk(returns, level), expected_shortfall(returns, level)
    sigma, mean = float(returns.std(ddof=1)), float(returns.mean())
    edges = np.linspace(-8.0 * sigma, 8.0 * sigma, 121)
    counts, _ = np.histogram(np.clip(returns, edges[0], edges[-1]), edges)
    middle = (edges[1:] + edges[:-1]) / 2.0
    density = np.exp(-0.5 * ((middle - mean) / sigma) ** 2) / (sigma * np.sqrt(2.0 * np.pi))
    normal = density * returns.size * (edges[1] - edges[0])

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        colours = [LOSS if at < -var else ACCENT for at in middle]
        axes.bar(middle, np.maximum(counts, 0.5), width=edges[1] - edges[0], color=colours)
        axes.plot(middle, np.maximum(normal, 0.5), color=INK, linewidth=1.0, linestyle="--")
        axes.set_yscale("log")
        axes.set_ylim(0.7, counts.max() * 3)
        for value, name, height, side in (
            (var, "VaR", 0.9, "left"),
            (shortfall, "ES", 0.9, "right"),
        ):
            axes.axvline(-value, color=LOSS, linewidth=1.0)
            axes.annotate(
                f" {name} {value:.2%} ",
                (-value, height),
                xycoords=("data", "axes fraction"),
                ha=side,
                color=LOSS,
            )
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_title(f"Days by return, log scale (dashed: normal, same volatility); {level:.0%}")

    words = (
        f"Daily returns have a {level:.0%} value at risk of {var:.2%} and an expected shortfall of "
        f"{shortfall:.2%}; both tails are fatter than the normal distribution's."
    )
    return draw(paint, words=words, size=(8.6, 3.2))


def forecasts(trial: Trial, models: Sequence[TailForecast]) -> Picture:
    """Draw losses against forecasts, one panel per model, breaches as dots."""
    result = trial.backtest
    days = np.array(result.dates, dtype="datetime64[D]")

    def paint(figure: Any) -> None:
        panels = figure.subplots(len(models), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, model in zip(panels, models, strict=True):
            when, seen = days[model.start :], result.net[model.start :]
            broken = model.breaches(result.net)
            axes.vlines(when, np.minimum(seen, 0.0), 0.0, color=BENCHMARK, linewidth=0.5)
            axes.plot(when, -model.var, color=ACCENT, linewidth=1.0)
            axes.plot(when[broken], seen[broken], ".", color=LOSS, markersize=4)
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:.1%}")
            promised = (1.0 - model.level) * broken.size
            axes.set_title(
                f"{model.method}: {int(broken.sum())} breaches, {promised:.0f} promised",
                fontsize=9,
            )
            axes.set_ylim(top=0.0)

    counts = ", ".join(f"{m.method} {int(m.breaches(result.net).sum())}" for m in models)
    words = f"Losses against one-day forecasts at {models[0].level:.0%}; breaches: {counts}."
    return draw(paint, words=words, size=(8.6, 1.7 * len(models) + 0.4))


def coverage_table(trial: Trial, models: Sequence[TailForecast]) -> Table:
    """Tabulate Kupiec's and Christoffersen's tests of each model."""
    returns = trial.backtest.net
    rows = []
    for model in models:
        broken = model.breaches(returns)
        often = kupiec_test(broken.size, int(broken.sum()), level=model.level)
        apart = independence_test(broken)
        passed = often.p_value >= REJECTED and apart.p_value >= REJECTED
        losses = -returns[model.start :][broken]
        depth = losses.mean() / model.shortfall[broken].mean() if broken.any() else float("nan")
        rows.append(
            (
                f"{model.method}, {model.level:.0%}",
                f"{often.breaches} of {often.days}",
                f"{often.expected:.0f}",
                f"{often.p_value:.3f}",
                f"{apart.p_value:.3f}",
                f"{depth:.2f}",
                "holds" if passed else "broken",
            )
        )
    heads = ("Forecast", "Breaches", "Promised", "Kupiec p", "Clusters p", "Loss / ES", "Promise")
    return Table(heads, rows)


def drawdown_table(trial: Trial, count: int = 6) -> Table:
    """Tabulate the deepest drawdowns with their dates and lengths."""
    result = trial.backtest
    rows = []
    for one in drawdown_episodes(result.net)[:count]:
        start = result.dates[max(one.peak, 0)]
        back = "not yet" if one.recovered is None else str(result.dates[one.recovered])
        base = float(
            np.prod(1.0 + result.benchmark[one.peak + 1 : one.trough + 1], dtype=np.float64) - 1.0
        )
        length = "" if one.days is None else f"{one.days}"
        rows.append(
            (
                str(start),
                str(result.dates[one.trough]),
                back,
                length,
                f"{one.depth:.1%}",
                f"{base:.1%}",
            )
        )
    return Table(("Peak", "Trough", "Recovered", "Sessions", "Depth", "Benchmark"), rows)


def underwater(trial: Trial, count: int = 6) -> Picture:
    """Draw the fall from the peak through time, the deepest episodes numbered."""
    result = trial.backtest
    days = np.array(result.dates, dtype="datetime64[D]")
    ours, base = drawdowns(result.net), drawdowns(result.benchmark)
    episodes = drawdown_episodes(result.net)[:count]

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for one in episodes:
            end = len(days) - 1 if one.recovered is None else one.recovered
            axes.axvspan(days[max(one.peak, 0)], days[end], color=LOSS, alpha=0.07, linewidth=0)
        axes.fill_between(days, ours, 0.0, color=ACCENT, alpha=0.3, linewidth=0)
        axes.plot(days, base, color=BENCHMARK, linewidth=0.8)
        for number, one in enumerate(episodes, start=1):
            axes.annotate(
                f"{number}: {one.depth:.0%}",
                (days[one.trough], one.depth),
                xytext=(0, -10),
                textcoords="offset points",
                ha="right" if number % 2 == 0 else "left",
                color=LOSS,
                fontsize=8,
            )
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_ylim(min(ours.min(), base.min()) * 1.15, 0.0)
        axes.set_title("Fall from the peak (grey: benchmark), deepest episodes shaded")

    deepest = episodes[0] if episodes else None
    words = "The equity never falls below its peak."
    if deepest is not None:
        words = f"The deepest fall is {deepest.depth:.0%}, on {result.dates[deepest.trough]}."
    return draw(paint, words=words, size=(8.6, 3.0))


def exposures(trial: Trial, window: int = 252) -> Picture:
    """Draw effective names, the largest position, and beta to the benchmark through time."""
    result = trial.backtest
    days = np.array(result.dates, dtype="datetime64[D]")
    weights = held_weights(result)
    names, largest = effective_names(weights), weights.max(axis=1)
    beta = rolling_beta(result.net, result.benchmark, window=window)

    def paint(figure: Any) -> None:
        left, middle, right = figure.subplots(1, 3)
        left.plot(days, names, color=ACCENT, linewidth=0.8)
        left.set_ylim(bottom=0.0)
        left.set_title("Effective number of names")
        middle.plot(days, largest, color=ACCENT, linewidth=0.6)
        middle.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        middle.set_ylim(bottom=0.0)
        middle.set_title("Largest position, of equity")
        right.axhline(1.0, color=MUTED, linewidth=0.8)
        right.plot(days[window - 1 :], beta, color=ACCENT)
        right.set_title(f"Beta to the benchmark, {window} days")
        for axes in (left, middle, right):
            axes.xaxis.set_major_locator(_every_eight_years())
            axes.xaxis.set_major_formatter(_year())

    words = (
        f"On average {names.mean():.1f} effective names, the largest position up to "
        f"{largest.max():.0%} of equity; beta moves between {beta.min():.2f} and {beta.max():.2f}."
    )
    return draw(paint, words=words, size=(8.6, 2.6))


def stress(trial: Trial) -> Picture:
    """Draw strategy and benchmark in each stress window, worst benchmark first."""
    result = trial.backtest
    rows = sorted(
        stressed(result.dates, result.net, result.benchmark), key=lambda one: -one.benchmark
    )
    place: Array = np.arange(len(rows), dtype=np.float64)

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.barh(place - 0.2, [r.benchmark for r in rows], height=0.38, color=BENCHMARK)
        axes.barh(place + 0.2, [r.strategy for r in rows], height=0.38, color=ACCENT)
        for y, row in zip(place, rows, strict=True):
            for value, shift, colour in (
                (row.benchmark, -0.2, MUTED),
                (row.strategy, 0.2, ACCENT),
            ):
                side = "left" if value >= 0 else "right"
                text = f" {value:.0%} "
                axes.annotate(
                    text, (value, y + shift), ha=side, va="center", color=colour, fontsize=8
                )
        axes.axvline(0.0, color=MUTED, linewidth=0.8)
        axes.set_yticks(place, [f"{r.window.name}" for r in rows])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        low = min(min(r.strategy, r.benchmark) for r in rows)
        high = max(max(r.strategy, r.benchmark) for r in rows)
        axes.set_xlim(low * 1.2, max(high, 0.0) * 1.2 + 0.02)
        axes.grid(visible=False, axis="y")
        axes.set_title("Return over each window: strategy (blue), benchmark (grey)")

    worse = sum(1 for row in rows if row.strategy < row.benchmark)
    words = f"The strategy did worse than its benchmark in {worse} of {len(rows)} stress windows."
    return draw(paint, words=words, size=(8.6, 0.42 * len(rows) + 1.0))


def _every_eight_years() -> Any:
    from matplotlib import dates

    locator: Any = dates.YearLocator
    return locator(8)


def _year() -> Any:
    from matplotlib import dates

    formatter: Any = dates.DateFormatter
    return formatter("%Y")
