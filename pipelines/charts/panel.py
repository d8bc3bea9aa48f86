"""A panel: a pair of axes on a canvas, with what charts of returns need."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.charts.canvas import LARGE, POINT, SIZE, Box, Canvas
from pipelines.charts.scales import Scale, Ticks
from pipelines.pictures import DPI, GRID, MUTED
from runtime.bundles.inputs import Array

_TICK = 3.5 * POINT  # length of a mark, and the room between it and its words
_LINE = 13.0  # pixels between two labels that would touch


def boxes(
    canvas: Canvas,
    *,
    across: Sequence[float] = (1.0,),
    down: Sequence[float] = (1.0,),
    left: float = 0.5,
    right: float = 0.15,
    top: float = 0.3,
    bottom: float = 0.3,
    between: float = 0.5,
) -> list[Box]:
    """Divide a canvas, row by row.

    Args:
        canvas: to divide.
        across: relative widths.
        down: relative heights.
        left: inches free beside the boxes, for what is written there; the others likewise.
        right: as left.
        top: as left.
        bottom: as left.
        between: inches free between two boxes.
    """
    columns = _edges(canvas.width, left, right, between, across)
    rows = _edges(canvas.height, top, bottom, between, down)
    return [
        Box(left=float(x[0]), top=float(y[0]), right=float(x[1]), bottom=float(y[1]))
        for y in rows
        for x in columns
    ]


def _edges(
    whole: int, before: float, after: float, between: float, shares: Sequence[float]
) -> list[Array]:
    """Return where each part begins and ends, in pixels."""
    free = whole - (before + after + between * (len(shares) - 1)) * DPI
    parts = np.array(shares) / sum(shares) * free
    starts = before * DPI + np.concatenate([[0.0], np.cumsum(parts[:-1] + between * DPI)])
    return [np.round([start, start + part]) for start, part in zip(starts, parts, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A box with a scale along its bottom and one along its left."""

    canvas: Canvas
    box: Box
    x: Scale
    y: Scale

    def across(self, values: Array | float) -> Array:
        """Return where x values stand, in pixels."""
        return self.box.left + self.x.fraction(values) * self.box.width

    def down(self, values: Array | float) -> Array:
        """Return where y values stand, in pixels."""
        return self.box.bottom - self.y.fraction(values) * self.box.height

    def frame(
        self,
        title: str,
        *,
        x: Ticks,
        y: Ticks,
        upright: bool = True,
        level: bool = True,
        dates: bool = True,
        size: float = SIZE,
    ) -> None:
        """Draw axes, marks and the title; call it before what is drawn on the grid.

        Args:
            title: above the box, at its left.
            x: marks along the bottom.
            y: marks along the left.
            upright: draw grid lines at the marks of x.
            level: draw grid lines at the marks of y.
            dates: write the labels of x; False above a panel that shares them.
            size: of the labels of y, points.
        """
        box, at_x, at_y = self.box, self.across(x.at), self.down(y.at)
        if upright:
            self._strokes(at_x, box.top, at_x, box.bottom, GRID)
        if level:
            self._strokes(box.left, at_y, box.right, at_y, GRID)
        self._strokes(box.left, box.top, box.left, box.bottom, GRID)
        self._strokes(box.left, box.bottom, box.right, box.bottom, GRID)
        self._strokes(at_x, box.bottom, at_x, box.bottom + _TICK, MUTED)
        self._strokes(box.left - _TICK, at_y, box.left, at_y, MUTED)
        self.canvas.write(box.left, box.top - 6 * POINT, title, size=LARGE, bold=True, level="base")
        for pixel, words in zip(at_x, x.labels if dates else (), strict=False):
            self.canvas.write(
                pixel, box.bottom + 2 * _TICK, words, colour=MUTED, side="middle", level="top"
            )
        for pixel, words in zip(at_y, y.labels, strict=True):
            self.canvas.write(
                box.left - 2 * _TICK, pixel, words, colour=MUTED, side="right", size=size
            )

    def line(self, x: Array, y: Array, colour: str, *, width: float = 1.4) -> None:
        """Draw a line through all points."""
        self.canvas.line(self.across(x), self.down(y), colour=colour, width=width, within=self.box)

    def area(self, x: Array, y: Array, colour: str, *, base: float = 0.0) -> None:
        """Fill between a line and a level, a quarter opaque."""
        self.canvas.area(
            self.across(np.concatenate([x[:1], x, x[-1:]])),
            self.down(np.concatenate([[base], y, [base]])),
            colour=colour,
            opacity=0.25,
            within=self.box,
        )

    def bars(self, x: Array, y: Array, colour: str, *, width: float) -> None:
        """Draw bars from zero, each as wide as `width` of the x scale."""
        left, right, tip = self.across(x - width / 2), self.across(x + width / 2), self.down(y)
        zero = float(self.down(0.0))
        blocks = [
            Box(left=float(a), top=min(float(t), zero), right=float(b), bottom=max(float(t), zero))
            for a, b, t in zip(left, right, tip, strict=True)
        ]
        self.canvas.blocks(blocks, colour=colour, within=self.box)

    def needles(self, x: Array, y: Array, colour: str) -> None:
        """Draw a stroke from zero to every value."""
        at = self.across(x)
        self._strokes(at, self.down(0.0), at, self.down(y), colour, within=self.box)

    def mark(self, y: float, colour: str, *, dashed: bool = False) -> None:
        """Draw a level line through the whole box."""
        at = self.down(y)
        dashes = (2.96, 1.28) if dashed else None
        self._strokes(self.box.left, at, self.box.right, at, colour, dashes=dashes)

    def name_ends(self, ends: Sequence[tuple[float, str, str]]) -> None:
        """Write words beside the ends of lines, apart from each other.

        Args:
            ends: value, words and colour of each line's end.
        """
        placed: list[tuple[float, str, str]] = []
        for value, words, colour in sorted(ends, key=lambda end: -end[0]):
            at = float(self.down(value))
            placed.append((max(at, placed[-1][0] + _LINE) if placed else at, words, colour))
        for at, words, colour in placed:
            self.canvas.write(self.box.right + 2 * POINT, at, words, colour=colour)

    def _strokes(
        self,
        x0: Array | float,
        y0: Array | float,
        x1: Array | float,
        y1: Array | float,
        colour: str,
        *,
        dashes: Sequence[float] | None = None,
        within: Box | None = None,
    ) -> None:
        """Draw from (x0, y0) to (x1, y1); single figures stand for all strokes."""
        left, top, right, bottom = np.broadcast_arrays(*map(np.atleast_1d, (x0, y0, x1, y1)))
        self.canvas.strokes(
            np.column_stack([left, top]),
            np.column_stack([right, bottom]),
            colour=colour,
            dashes=dashes,
            within=within,
        )


def colour_bar(
    canvas: Canvas, beside: Box, ticks: Ticks, scale: Scale, colours: NDArray[np.uint8]
) -> None:
    """Draw what the colours of a map mean, at its right, lowest at the bottom.

    Args:
        canvas: to draw on.
        beside: where the map stands.
        ticks: values to write.
        scale: from the map's values to the bar.
        colours: shape (N, 3), lowest first.
    """
    left = beside.right + 0.08 * DPI
    box = Box(left=left, top=beside.top, right=left + 0.11 * DPI, bottom=beside.bottom)
    canvas.cells(colours[::-1, None, :], box)
    panel = Panel(canvas=canvas, box=box, x=Scale(low=0.0, high=1.0), y=scale)
    at = panel.down(ticks.at)
    panel._strokes(box.right, at, box.right + _TICK, at, MUTED)
    for pixel, words in zip(at, ticks.labels, strict=True):
        canvas.write(box.right + 2 * _TICK, float(pixel), words, colour=MUTED)
