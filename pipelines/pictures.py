"""Pictures and tables as notebook outputs: the same data gives the same bytes."""

import html
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

INK, MUTED, GRID, PAPER = "#1f2933", "#7b8794", "#e4e7eb", "#ffffff"
ACCENT, BENCHMARK, LOSS = "#0b6e99", "#a0a8b1", "#c0392b"
_DPI = 110

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "svg.hashsalt": "sluice",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG with a sentence for who cannot see it."""

    png: bytes
    words: str
    extra: Mapping[str, Any] | None = None  # richer forms by MIME type, for interactive front ends

    def __repr__(self) -> str:
        return self.words

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        data = {"image/png": self.png, "text/plain": self.words} | dict(self.extra or {})
        return data, {"image/png": {"alt": self.words}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """Room around and between the axes of a figure, in inches.

    With margins nothing has to be measured, which is half the cost of a picture.
    """

    left: float = 0.5
    right: float = 0.15
    top: float = 0.3
    bottom: float = 0.3
    between: float = 0.5  # columns, or rows, of axes


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings; the first column names the row."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __repr__(self) -> str:
        lines = [self.headings, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.headings))]
        return "\n".join(
            "  ".join(
                text.ljust(width) if i == 0 else text.rjust(width)
                for i, (text, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    def _repr_html_(self) -> str:
        def cells(tag: str, line: Sequence[str]) -> str:
            return "".join(
                f'<{tag} style="text-align:{"left" if i == 0 else "right"}">{html.escape(text)}'
                f"</{tag}>"
                for i, text in enumerate(line)
            )

        body = "".join(f"<tr>{cells('td', row)}</tr>" for row in self.rows)
        head = f"<thead><tr>{cells('th', self.headings)}</tr></thead>"
        return f"<table>{head}<tbody>{body}</tbody></table>"


def draw(
    paint: Callable[[Any], None],
    *,
    words: str,
    size: tuple[float, float],
    extra: Mapping[str, Any] | None = None,
    margins: Margins | None = None,
) -> Picture:
    """Paint on a fresh figure and return it as a PNG.

    Args:
        paint: draws on the matplotlib Figure it is given.
        words: what the picture shows, in one sentence.
        size: width and height in inches.
        extra: richer forms by MIME type.
        margins: where the axes stand; None = found by measuring every label.
    """
    import matplotlib as mpl  # 0.4 s; only who draws pays for it
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    settings: Any = {name: mpl.rcParamsDefault[name] for name in mpl.rcParamsDefault}
    settings.pop("backend", None)
    placed = {} if margins is None else {"axes.titley": 1.0}  # else titles are measured as well
    with mpl.rc_context(settings | _STYLE | placed):
        figure = Figure(figsize=size, dpi=_DPI)
        if margins is None:
            figure.set_layout_engine("constrained")
        canvas: Any = FigureCanvasAgg(figure)  # its drawing calls carry no types
        paint(figure)
        if margins is not None:
            _place(figure, margins, size)
        canvas.draw()  # once; savefig would draw everything twice to lay it out
        buffer = io.BytesIO()
        Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(buffer, "png")
    return Picture(buffer.getvalue(), words, extra)


def _place(figure: Any, margins: Margins, size: tuple[float, float]) -> None:
    """Set the figure's axes into its margins."""
    width, height = size
    grid = figure.axes[0].get_subplotspec().get_topmost_subplotspec().get_gridspec()
    wide = (width - margins.left - margins.right - margins.between * (grid.ncols - 1)) / grid.ncols
    high = (height - margins.top - margins.bottom - margins.between * (grid.nrows - 1)) / grid.nrows
    figure.subplots_adjust(
        left=margins.left / width,
        right=1.0 - margins.right / width,
        bottom=margins.bottom / height,
        top=1.0 - margins.top / height,
        wspace=margins.between / wide,  # matplotlib wants fractions of the mean axes
        hspace=margins.between / high,
    )


def plain_log_axis(axes: Any, low: float, high: float) -> None:
    """Label a log axis with plain figures: 1, 2, 5, 10 ..."""
    steps = [m * 10.0**e for e in range(-3, 7) for m in (1, 2, 5)]
    ticks = [step for step in steps if low * 0.9 <= step <= high * 1.1]
    axes.set_yticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.minorticks_off()
