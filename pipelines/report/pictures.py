"""The report's pictures: pure functions from arrays to SVG text, the same bytes every time."""

import io
from collections.abc import Sequence
from datetime import date
from typing import Any

import matplotlib

matplotlib.use("svg")

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipelines.performance import SESSIONS_PER_YEAR

Array = NDArray[np.float64]

INK, MUTED, GRID = "#1c2430", "#7b8694", "#e4e8ed"
OURS, THEIRS, BAD, GOOD = "#1f5fbf", "#98a2af", "#b4332a", "#2c7a4b"

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sluice",
    "font.family": "DejaVu Sans",  # measured with it; the page sets its own
    "font.size": 10.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
}


def _axis(days: Sequence[date]) -> Any:
    """Return days as matplotlib takes them, datetime64."""
    return np.asarray(days, dtype="datetime64[D]")


def _canvas(height: float = 3.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8.4, height), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Figure) -> str:
    """Return the figure as an <svg> element, without date, version or document header."""
    target = io.StringIO()
    figure.savefig(target, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = target.getvalue()
    return text[text.index("<svg") :]


def equity(
    days: Sequence[date], net: Array, benchmark: Array, holdout_from: date | None = None
) -> str:
    """Draw growth of one dollar on a log scale, candidate against benchmark.

    Args:
        days: T session dates.
        net: daily net returns, shape (T,), fractions.
        benchmark: daily net returns of the benchmark, shape (T,), fractions.
        holdout_from: first day of the spent holdout, shaded from there on.
    """
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas(3.6)
        axes.plot(
            _axis(days),
            np.cumprod(1 + benchmark),
            color=THEIRS,
            lw=1.4,
            label="equal-weighted universe",
        )
        axes.plot(
            _axis(days), np.cumprod(1 + net), color=OURS, lw=1.6, label="candidate, net of costs"
        )
        if holdout_from is not None:
            axes.axvspan(*_axis([holdout_from, days[-1]]), color=OURS, alpha=0.07, lw=0)
            axes.annotate(
                "sealed until promotion",
                (_axis([holdout_from])[0], 0.03),
                xycoords=("data", "axes fraction"),
                xytext=(6, 0),
                textcoords="offset points",
                color=MUTED,
                fontsize=9,
            )
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylabel("growth of 1 USD (log)")
        axes.legend(loc="upper left")
        return _svg(figure)


def drawdown(days: Sequence[date], net: Array, benchmark: Array) -> str:
    """Draw how far below its peak each of the two stood; shapes (T,), daily fractions."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas(2.4)
        for returns, colour, label in (
            (benchmark, THEIRS, "equal-weighted universe"),
            (net, OURS, "candidate"),
        ):
            wealth = np.cumprod(1 + returns)
            below = 100 * (wealth / np.maximum.accumulate(wealth) - 1)
            axes.plot(_axis(days), below, color=colour, lw=1.2, label=label)
        axes.set_ylabel("below its peak, %")
        axes.legend(loc="lower left", ncols=2)
        return _svg(figure)


def excess(days: Sequence[date], excess_returns: Array) -> str:
    """Draw the running sum of daily returns in excess of the benchmark, shape (T,), in per cent."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas(2.4)
        axes.plot(_axis(days), 100 * np.cumsum(excess_returns), color=OURS, lw=1.4)
        axes.axhline(0, color=MUTED, lw=0.8)
        axes.set_ylabel("sum of excess returns, %")
        return _svg(figure)


def trials(sharpes: Array, candidate: float, hurdle: float | None) -> str:
    """Draw where every trial's Sharpe ratio lies, and how good luck alone may look.

    Args:
        sharpes: shape (N,), excess of the benchmark, per session; drawn annualised.
        candidate: the candidate's, per session.
        hurdle: expected best of N worthless trials, per session; None when it has no meaning.
    """
    root = np.sqrt(SESSIONS_PER_YEAR)
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas(2.6)
        axes.hist(sharpes * root, bins=min(24, max(4, sharpes.size // 2)), color=THEIRS, alpha=0.75)
        marks = [(candidate, "candidate", OURS, 0.97)]
        if hurdle is not None:
            marks.append((hurdle, "expected best of luck", BAD, 0.85))
        for sharpe, label, colour, height in marks:
            axes.axvline(sharpe * root, color=colour, lw=1.8)
            axes.annotate(
                label, (sharpe * root, height), xycoords=("data", "axes fraction"), color=colour,
                xytext=(-6, 0), textcoords="offset points", ha="right", va="top",
            )  # fmt: skip
        axes.set_xlabel("Sharpe ratio in excess of the benchmark, annualised")
        axes.set_ylabel("trials")
        return _svg(figure)


def logits(values: Array) -> str:
    """Draw the CSCV logits, shape (S,): mass left of zero is the probability of overfitting."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas(2.6)
        edges = np.linspace(-(reach := float(np.abs(values).max()) + 0.25), reach, 41)
        for side, colour in ((values[values < 0], BAD), (values[values >= 0], GOOD)):
            axes.hist(side, bins=list(edges), color=colour, alpha=0.8)
        axes.axvline(0, color=INK, lw=1)
        axes.set_xlabel("logit of the out-of-sample rank of the in-sample best")
        axes.set_ylabel("splits")
        return _svg(figure)
