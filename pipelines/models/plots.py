"""The pictures of a model: how it was split, what leaks, what matters, what came of its scores."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.importance import Importance, named
from pipelines.models.intervals import AdaptiveIntervals
from pipelines.models.reliability import Reliability
from pipelines.models.scoring import Splitter
from pipelines.pictures import ACCENT, BENCHMARK, INK, LOSS, MUTED, Picture, draw
from pipelines.splits import LabelSpans

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def split_map(splitter: Splitter, spans: LabelSpans, days: Sequence[date]) -> Picture:
    """Draw which rows train, test, or are purged in every split; time runs to the right.

    Args:
        splitter: over the rows of `spans`.
        spans: of the rows.
        days: of each distinct start, ascending.
    """
    starts, first = np.unique(spans.starts, return_index=True)
    bands = []
    for train, test in splitter.split():
        state = np.zeros(spans.size)
        state[train], state[test] = 1.0, 2.0
        bands.append(state[first])
    table = np.array(bands)
    purged = int((table == 0).sum())

    def paint(figure: Any) -> None:
        from matplotlib.colors import ListedColormap

        axes = figure.subplots()
        colours = ListedColormap([LOSS, "#dbe7ee", ACCENT])
        axes.imshow(
            table, aspect="auto", interpolation="nearest", cmap=colours, vmin=-0.5, vmax=2.5
        )
        ticks = np.linspace(0, len(starts) - 1, 6).astype(int)
        axes.set_xticks(ticks, [f"{days[i]:%Y}" for i in ticks])
        axes.set_yticks(range(len(table)), [f"{i + 1}" for i in range(len(table))])
        axes.set_ylabel("split")
        axes.grid(visible=False)
        axes.set_title("Trained on (light), tested on (dark), left out (red)")

    words = f"{len(table)} splits; {purged} dates are left out because their labels touch a test."
    return draw(paint, words=words, size=(8.6, 2.2))


def skill(scores: Mapping[str, Array], *, label: str = "rank correlation") -> Picture:
    """Draw the score of every fold, one row of dots per way of splitting, means as bars."""
    names = list(scores)

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.axvline(0.0, color=MUTED, linewidth=0.8)
        for row, name in enumerate(names):
            values = np.asarray(scores[name])
            colour = ACCENT if row == len(names) - 1 else BENCHMARK
            axes.plot(values, np.full(values.size, row), "o", color=colour, alpha=0.7)
            axes.plot([values.mean()] * 2, [row - 0.28, row + 0.28], color=INK, linewidth=2.0)
            axes.annotate(f" {values.mean():.3f}", (values.max(), row - 0.12), color=INK)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_title(f"Out-of-fold {label}: one dot per fold, the bar is their mean")

    means = ", ".join(f"{name} {np.mean(scores[name]):.3f}" for name in names)
    return draw(paint, words=f"Mean {label} by way of splitting: {means}.", size=(8.6, 2.4))


def importance(found: Importance, names: Sequence[str]) -> Picture:
    """Draw what the score loses when features are shuffled, with two standard errors."""
    rows = named(found, names)[::-1]

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        loss = np.array([row[1] for row in rows])
        colours = [ACCENT if value > 0 else LOSS for value in loss]
        axes.barh(range(len(rows)), loss, color=colours, height=0.6)
        axes.errorbar(
            loss,
            range(len(rows)),
            xerr=2 * np.array([row[2] for row in rows]),
            fmt="none",
            ecolor=INK,
            elinewidth=1.0,
            capsize=3,
        )
        axes.axvline(0.0, color=MUTED, linewidth=0.8)
        axes.set_yticks(range(len(rows)), [row[0] for row in rows])
        axes.grid(visible=False, axis="y")
        axes.set_title("Score lost when shuffled on test folds (lines: two standard errors)")

    words = f"Shuffling {rows[-1][0]} costs most, {rows[-1][1]:.3f} of {found.baseline:.3f}."
    return draw(paint, words=words, size=(8.6, 0.8 + 0.36 * len(rows)))


def buckets(scores: Array, returns: Array, *, count: int = 5) -> Picture:
    """Draw the mean excess return of each score bucket, date by date, with two standard errors.

    Args:
        scores, returns: shape (D, n): at each date, and over the following period.
        count: buckets per date.
    """
    ranks = np.argsort(np.argsort(scores, axis=1, kind="stable"), axis=1, kind="stable")
    bucket = ranks * count // scores.shape[1]
    excess = returns - returns.mean(axis=1, keepdims=True)
    by_date = np.array(
        [
            np.where(bucket == b, excess, 0.0).sum(axis=1) / (bucket == b).sum(axis=1)
            for b in range(count)
        ]
    )
    mean = by_date.mean(axis=1)
    error = by_date.std(axis=1, ddof=1) / np.sqrt(by_date.shape[1])

    def paint(figure: Any) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
        colours = [ACCENT if value >= 0 else LOSS for value in mean]
        left.bar(range(1, count + 1), mean, color=colours, width=0.7)
        left.errorbar(
            range(1, count + 1), mean, yerr=2 * error, fmt="none", ecolor=INK, elinewidth=1.0
        )
        left.axhline(0.0, color=MUTED, linewidth=0.8)
        left.yaxis.set_major_formatter(lambda value, _: f"{value:.1%}")
        left.grid(visible=False, axis="x")
        left.set_title("Excess return by score, lowest to highest")
        spread = np.cumsum(by_date[-1] - by_date[0])
        right.plot(spread, color=ACCENT)
        right.axhline(0.0, color=MUTED, linewidth=0.8)
        right.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        right.set_xlabel("decision")
        right.set_title("Highest minus lowest, added up")

    words = f"From lowest to highest score: {', '.join(f'{value:+.2%}' for value in mean)} excess."
    return draw(paint, words=words, size=(8.6, 2.8))


def coverage(found: AdaptiveIntervals, *, level: float, window: int = 240) -> Picture:
    """Draw how often intervals held, over a moving window, and how wide they were."""
    held = np.convolve(found.covered, np.ones(window) / window, mode="valid")
    width = found.upper - found.lower
    finite = np.where(np.isfinite(width), width, np.nan)

    def paint(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        left.plot(held, color=ACCENT)
        left.axhline(level, color=INK, linewidth=0.8, linestyle="--")
        left.set_ylim(min(0.6, held.min() - 0.02), 1.0)
        left.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        left.set_title(f"Held, of the last {window} (dashed: {level:.0%})")
        right.plot(finite, color=BENCHMARK, linewidth=0.6)
        right.set_ylim(bottom=0.0)
        right.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        right.set_title("Width of the interval")

    words = f"Intervals asked to hold {level:.0%} of the time held {found.covered.mean():.1%}."
    return draw(paint, words=words, size=(8.6, 2.5))


def reliability_curves(found: Mapping[str, Reliability]) -> Picture:
    """Draw what was said against what came about, one panel per set of rows."""

    def paint(figure: Any) -> None:
        panels = figure.subplots(1, len(found), squeeze=False)[0]
        for axes, (name, one) in zip(panels, found.items(), strict=True):
            ends = [min(0.0, *one.lower), max(1.0, *one.upper)]
            if np.ptp(one.said) < 0.2:  # said nearly the same of all: look closer
                ends = [one.lower.min() - 0.02, one.upper.max() + 0.02]
            axes.plot(ends, ends, color=INK, linewidth=0.8, linestyle="--")
            bars = np.stack((one.happened - one.lower, one.upper - one.happened))
            axes.errorbar(
                one.said, one.happened, yerr=bars, fmt="o", color=ACCENT, ecolor=ACCENT, capsize=3
            )
            axes.set_xlim(*ends)
            axes.set_ylim(*ends)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            axes.set_xlabel("said")
            axes.set_title(f"{name}: came about")

    words = "; ".join(
        f"{name}: {int(one.inside.sum())} of {one.said.size} bins came about as said, "
        f"from {one.said.min():.0%} to {one.said.max():.0%}"
        for name, one in found.items()
    )
    return draw(paint, words=f"{words}.", size=(8.6, 3.2))


def what_abstaining_does(
    sure: Mapping[str, Array], inside: Mapping[str, NDArray[np.bool_]], *, level: float
) -> Picture:
    """Draw who is left when the unsure abstain, and how often intervals held.

    Args:
        sure: confidences by name, any shape.
        inside: by the same names, whether each outcome lay in its interval.
        level: how often they were to hold.
    """
    floors = np.linspace(0.4, 0.8, 161)
    colours = dict(zip(sure, (BENCHMARK, ACCENT, LOSS), strict=False))

    def paint(figure: Any) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
        for name, values in sure.items():
            kept = [(values >= floor).mean() for floor in floors]
            left.plot(floors, kept, color=colours[name], label=name)
        left.axvline(0.5, color=MUTED, linewidth=0.8)
        left.set_ylim(0.0, 1.02)
        left.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        left.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        left.set_xlabel("abstain below")
        left.set_title("Share that still has an opinion")
        left.legend()
        held = {name: np.asarray(of).mean() for name, of in inside.items()}
        right.barh(list(held), list(held.values()), color=[colours[n] for n in held], height=0.5)
        right.axvline(level, color=INK, linewidth=0.8, linestyle="--")
        right.set_xlim(0.0, 1.0)
        right.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        right.grid(visible=False, axis="y")
        right.set_title(f"Intervals that held (dashed: {level:.0%})")

    words = "; ".join(
        f"{name}: {(values >= 0.55).mean():.0%} are at least 55% sure, intervals held "
        f"{np.asarray(inside[name]).mean():.1%}"
        for name, values in sure.items()
    )
    return draw(paint, words=f"{words}.", size=(8.6, 2.8))
