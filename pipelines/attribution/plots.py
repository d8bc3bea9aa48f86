"""Pictures and tables of attribution: the four parts, through time, and name by name."""

from typing import Any

import numpy as np

from pipelines.attribution.decompose import PARTS, Attribution
from pipelines.attribution.tilts import Tilts
from pipelines.pictures import ACCENT, BENCHMARK, INK, LOSS, MUTED, Picture, Table, draw

_COLOURS = {"market": BENCHMARK, "signal": ACCENT, "timing": "#d9a441", "costs": LOSS}


def parts_table(parts: Attribution) -> Table:
    """Tabulate the four linked parts of the compound return, and their arithmetic yearly means."""
    total, years = parts.total(), len(parts.days) / 252
    mean = parts.parts.sum(axis=0) / years
    rows = [
        (name, f"{total[name]:+.2f}x", f"{value:+.2%}")
        for name, value in zip(PARTS, mean.tolist(), strict=True)
    ]
    rows.append(("net", f"{sum(total.values()):+.2f}x", f"{mean.sum():+.2%}"))
    return Table(("Part", "Gain, times the capital", "Mean a year"), rows)


def waterfall(parts: Attribution) -> Picture:
    """Draw how market, signal, timing and costs lead to the mean net return of a year."""
    years = len(parts.days) / 252
    values = (parts.parts.sum(axis=0) / years).tolist()
    ends = np.cumsum(values)
    starts = np.concatenate([[0.0], ends[:-1]])

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for i, name in enumerate(PARTS):
            axes.bar(i, values[i], bottom=starts[i], color=_COLOURS[name], width=0.6)
            top = max(starts[i], ends[i])
            axes.annotate(
                f"{values[i]:+.2%}",
                (i, top),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
            )
            axes.plot([i - 0.3, i + 1.3], [ends[i], ends[i]], color=MUTED, linewidth=0.8)
        axes.bar(len(PARTS), ends[-1], color=INK, width=0.6)
        axes.annotate(
            f"{ends[-1]:.2%}",
            (len(PARTS), ends[-1]),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
        )
        axes.set_xticks(range(len(PARTS) + 1), [*PARTS, "net"])
        axes.set_ylim(min(0.0, float(ends.min())), float(max(ends.max(), values[0])) * 1.18)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.grid(visible=False, axis="x")
        axes.set_title("Mean return of a year, part by part")

    said = ", ".join(f"{name} {value:+.2%}" for name, value in zip(PARTS, values, strict=True))
    words = f"A mean net return of {ends[-1]:.2%} a year: {said}."
    return draw(paint, words=words, size=(8.6, 3.0))


def yearly(parts: Attribution) -> Picture:
    """Draw signal, timing and costs of every calendar year; the market is left out."""
    years, values = parts.yearly()

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        up, down = np.zeros(len(years)), np.zeros(len(years))
        for i, name in enumerate(PARTS):
            if name == "market":
                continue
            rise, fall = np.maximum(values[:, i], 0.0), np.minimum(values[:, i], 0.0)
            axes.bar(years, rise, bottom=up, color=_COLOURS[name], width=0.7, label=name)
            axes.bar(years, fall, bottom=down, color=_COLOURS[name], width=0.7)
            up, down = up + rise, down + fall
        axes.plot(years, values[:, 1:].sum(axis=1), ".", color=INK, label="excess")
        axes.axhline(0.0, color=MUTED, linewidth=0.8)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.grid(visible=False, axis="x")
        axes.legend(loc="upper right", ncols=4, fontsize=8)
        axes.set_title("Beyond the market, year by year")

    ahead = int((values[:, 1] > 0).sum())
    words = f"The signal earned more than the benchmark in {ahead} of {len(years)} calendar years."
    return draw(paint, words=words, size=(8.6, 3.1))


def through_time(parts: Attribution) -> Picture:
    """Draw the running sums of signal, timing and costs."""
    days = np.array(parts.days, dtype="datetime64[D]")
    running = np.cumsum(parts.parts, axis=0)

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.axhline(0.0, color=MUTED, linewidth=0.8)
        for i, name in enumerate(PARTS):
            if name == "market":
                continue
            axes.plot(days, running[:, i], color=_COLOURS[name])
            axes.annotate(
                f" {name} {running[-1, i]:+.0%}",
                (days[-1], running[-1, i]),
                color=_COLOURS[name],
                va="center",
            )
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_xlim(days[0], days[-1] + (days[-1] - days[0]) // 7)
        axes.set_title("Daily contributions, added up")

    said = ", ".join(f"{n} {running[-1, i]:+.0%}" for i, n in enumerate(PARTS) if n != "market")
    return draw(paint, words=f"Added up over all days: {said}.", size=(8.6, 2.8))


def names(parts: Attribution) -> Picture:
    """Draw what each name added to or took from the excess return before costs."""
    found = sorted(parts.names().items(), key=lambda pair: pair[1])
    labels, values = [name for name, _ in found], [value for _, value in found]

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.barh(labels, values, color=[ACCENT if v >= 0 else LOSS for v in values], height=0.7)
        axes.axvline(0.0, color=MUTED, linewidth=0.8)
        axes.tick_params(axis="y", labelsize=7)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
        axes.grid(visible=False, axis="y")
        axes.set_title("Gain beyond the market before costs, times the capital, by name")

    best = " and ".join(reversed(labels[-2:]))
    share = sum(values[-2:]) / sum(values) if sum(values) else 0.0
    words = f"{best} alone make {share:.0%} of the excess return before costs."
    return draw(paint, words=words, size=(8.6, 3.8))


def tilts_picture(found: Tilts) -> Picture:
    """Draw standing weights against movement, name by name."""
    order = np.argsort(found.passive + found.active)
    labels = [found.symbols[i] for i in order]
    passive, active = found.passive[order], found.active[order]

    def paint(figure: Any) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, values, title in (
            (left, passive, "Standing: mean weight x mean return"),
            (right, active, "Moving: covariance of weight and return"),
        ):
            axes.barh(labels, values, color=[ACCENT if v >= 0 else LOSS for v in values])
            axes.axvline(0.0, color=MUTED, linewidth=0.8)
            axes.tick_params(axis="y", labelsize=7)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:.1%}")
            axes.grid(visible=False, axis="y")
            axes.set_title(f"{title}: {values.sum():.2%} a year", fontsize=9)

    words = (
        f"Standing weights earn {passive.sum():.2%} a year, moving them at the right time "
        f"{active.sum():.2%}."
    )
    return draw(paint, words=words, size=(8.6, 3.6))
