"""Pictures of a recorded sweep: the whole surface, and how much of its peak luck explains."""

import math
from typing import Any

import numpy as np

from pipelines.grid.record import RecordedGrid
from pipelines.lint.rules import luckiest_sharpe
from pipelines.performance import SESSIONS_PER_YEAR
from pipelines.pictures import ACCENT, INK, LOSS, Picture, draw


def surface(grid: RecordedGrid) -> Picture:
    """Draw the Sharpe ratio in excess of holding, one cell per pair of windows."""
    pairs = np.array(grid.sweep.pairs)
    fast, slow = np.unique(pairs[:, 0]), np.unique(pairs[:, 1])
    cells = np.full((len(fast), len(slow)), np.nan)
    cells[np.searchsorted(fast, pairs[:, 0]), np.searchsorted(slow, pairs[:, 1])] = (
        grid.excess_sharpe
    )
    best = int(grid.excess_sharpe.argmax())
    reach = float(np.nanmax(np.abs(cells)))

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        image = axes.pcolormesh(slow, fast, cells, cmap="RdBu", vmin=-reach, vmax=reach)
        axes.plot(pairs[best, 1], pairs[best, 0], "o", mfc="none", mec=INK, markersize=10)
        axes.annotate(
            f"best: {pairs[best, 0]}/{pairs[best, 1]} with {grid.excess_sharpe[best]:.2f}",
            (0.02, 0.93),
            xycoords="axes fraction",
            color=INK,
        )
        axes.set_xlabel("slow average, sessions")
        axes.set_ylabel("fast average, sessions")
        axes.grid(visible=False)
        axes.set_title("Sharpe ratio in excess of holding, after costs")
        bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=30)
        bar.outline.set_visible(False)

    ahead = int((grid.excess_sharpe > 0).sum())
    words = (
        f"Of {len(pairs)} pairs {ahead} beat holding after costs; the best, "
        f"{pairs[best, 0]}/{pairs[best, 1]}, with a Sharpe ratio of {grid.excess_sharpe[best]:.2f}."
    )
    return draw(paint, words=words, size=(8.6, 4.4))


def luck(grid: RecordedGrid) -> Picture:
    """Draw the distribution of all pairs' Sharpe ratios and the best that luck alone would show."""
    ratios = grid.excess_sharpe
    years = grid.benchmark.size / SESSIONS_PER_YEAR
    bar = luckiest_sharpe(len(ratios)) / math.sqrt(years)
    low, high = min(float(ratios.min()), -bar), max(float(ratios.max()), bar)
    edges = np.linspace(low, high, 60)

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.hist(ratios, edges, color=ACCENT)
        for value, name, colour in (
            (float(ratios.max()), "best pair", INK),
            (bar, f"luckiest of {len(ratios)} worthless ones", LOSS),
        ):
            axes.axvline(value, color=colour, linewidth=1.2)
            axes.annotate(
                f" {name}: {value:.2f} ",
                (value, 0.92 if colour is INK else 0.8),
                xycoords=("data", "axes fraction"),
                color=colour,
                ha="left" if value < low + 0.7 * (high - low) else "right",
            )
        axes.set_xlabel("annualised Sharpe ratio in excess of holding")
        axes.set_title("All pairs, and the hurdle their number sets")

    words = (
        f"The best of {len(ratios)} pairs shows {ratios.max():.2f}; the luckiest of as many "
        f"independent worthless ones would be expected to show {bar:.2f} in {years:.0f} years."
    )
    return draw(paint, words=words, size=(8.6, 2.8))
