"""A canvas: antialiased strokes and areas by matplotlib's Agg, text by Pillow, a PNG at the end.

matplotlib's figures make an object of every tick and measure every label several times, and its
text costs a millisecond a word. Neither happens here: whoever paints says where things stand.
All coordinates are pixels; y grows downwards.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.pictures import DPI, INK, Picture, png
from runtime.bundles.inputs import Array

POINT = DPI / 72  # pixels; strokes and letters are measured in points
SIZE, SMALL, LARGE = 9.0, 7.0, 10.0  # of letters, points

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle of the canvas, its edges in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Return how wide it is."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Return how high it is."""
        return self.bottom - self.top


@cache
def _font(size: float, bold: bool) -> Any:
    import matplotlib as mpl  # it brings the letters of all our pictures along
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(path, size * POINT, layout_engine=ImageFont.Layout.BASIC)


class Canvas:
    """White paper to paint on; words are set last, above everything else."""

    def __init__(self, size: tuple[float, float]) -> None:
        """Take a size in inches, width first."""
        from matplotlib.backends import backend_agg  # 0.4 s; only who draws pays

        self.width, self.height = (round(inches * DPI) for inches in size)
        renderer: Any = backend_agg.RendererAgg  # its calls carry no types
        self._agg = renderer(self.width, self.height, DPI)
        self._pixels: Pixels = np.asarray(self._agg.buffer_rgba())
        self._pixels.fill(255)
        self._words: list[tuple[tuple[float, float], str, str, str, Any]] = []

    def strokes(
        self,
        starts: Array,
        ends: Array,
        *,
        colour: str,
        width: float = 0.8,
        dashes: Sequence[float] | None = None,
        within: Box | None = None,
    ) -> None:
        """Draw separate straight strokes.

        Args:
            starts: shape (N, 2), x and y of each stroke's start.
            ends: shape (N, 2).
            colour: "#rrggbb".
            width: points.
            dashes: lengths of dash and gap in points; None = drawn through.
            within: nothing is drawn outside of it.
        """
        from matplotlib.path import Path as Outline

        vertices = np.stack([starts, ends], axis=1).reshape(-1, 2)
        codes = np.tile([Outline.MOVETO, Outline.LINETO], len(starts)).astype(np.uint8)
        self._stroke(vertices, codes, colour, width, dashes, within, snap=True)

    def line(
        self, x: Array, y: Array, *, colour: str, width: float = 1.4, within: Box | None = None
    ) -> None:
        """Draw one line through all points, interrupted where a value is not a number."""
        self._stroke(np.column_stack([x, y]), None, colour, width, None, within, snap=False)

    def area(
        self, x: Array, y: Array, *, colour: str, opacity: float = 1.0, within: Box | None = None
    ) -> None:
        """Fill a polygon given by its corners."""
        self._fill(np.column_stack([x, y]), None, colour, opacity, within)

    def blocks(self, boxes: Sequence[Box], *, colour: str, within: Box | None = None) -> None:
        """Fill rectangles."""
        from matplotlib.path import Path as Outline

        corners = [
            ((b.left, b.top), (b.right, b.top), (b.right, b.bottom), (b.left, b.bottom), (0, 0))
            for b in boxes
        ]
        way = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY]
        codes = np.tile(way, len(boxes)).astype(np.uint8)
        self._fill(np.array(corners, dtype=np.float64).reshape(-1, 2), codes, colour, 1.0, within)

    def cells(self, colours: Pixels, within: Box) -> None:
        """Fill a box with a grid of cells, shape (rows, columns, 3), sharp at their edges."""
        left, top, right, bottom = (
            round(edge) for edge in (within.left, within.top, within.right, within.bottom)
        )
        rows, columns = colours.shape[:2]
        down = np.arange(bottom - top) * rows // (bottom - top)
        across = np.arange(right - left) * columns // (right - left)
        self._pixels[top:bottom, left:right, :3] = colours[down[:, None], across]

    def write(
        self,
        x: float,
        y: float,
        words: str,
        *,
        colour: str = INK,
        size: float = SIZE,
        bold: bool = False,
        side: Literal["left", "middle", "right"] = "left",
        level: Literal["middle", "top", "base"] = "middle",
    ) -> None:
        """Write words; `side` and `level` say which part of them stands at x and y."""
        if level == "middle":  # of a figure's height, so that words beside each other stand level
            y, level = y + 0.36 * size * POINT, "base"
        anchor = {"left": "l", "middle": "m", "right": "r"}[side] + {"top": "a", "base": "s"}[level]
        self._words.append(((round(x), round(y)), words, colour, anchor, _font(size, bold)))

    def png(self) -> bytes:
        """Return the painting, the same bytes every time."""
        from PIL import Image, ImageDraw

        paper = Image.fromarray(self._pixels).convert("RGB")
        pen = ImageDraw.Draw(paper)
        for place, words, colour, anchor, font in self._words:
            pen.text(place, words, fill=colour, font=font, anchor=anchor)
        return png(np.asarray(paper))

    def _stroke(
        self,
        vertices: Array,
        codes: Pixels | None,
        colour: str,
        width: float,
        dashes: Sequence[float] | None,
        within: Box | None,
        *,
        snap: bool,
    ) -> None:
        pen = self._pen(colour, within)
        pen.set_linewidth(width)
        pen.set_snap(snap)
        pen.set_joinstyle("round")
        pen.set_capstyle("butt" if snap else "projecting")
        if dashes is not None:
            pen.set_dashes(0.0, list(dashes))
        self._draw(pen, vertices, codes, None)

    def _fill(
        self,
        vertices: Array,
        codes: Pixels | None,
        colour: str,
        opacity: float,
        within: Box | None,
    ) -> None:
        pen = self._pen(colour, within)
        pen.set_linewidth(0.0)
        pen.set_alpha(opacity)
        pen.set_snap(codes is not None)
        self._draw(pen, vertices, codes, (*(part / 255 for part in _rgb(colour)), opacity))

    def _draw(
        self, pen: Any, vertices: Array, codes: Pixels | None, face: tuple[float, ...] | None
    ) -> None:
        from matplotlib.path import Path as Outline
        from matplotlib.transforms import IdentityTransform

        outline = Outline(vertices * (1.0, -1.0) + (0.0, self.height), codes)  # Agg's y grows up
        outline.should_simplify = codes is None and face is None
        outline.simplify_threshold = 1 / 9  # of a pixel
        self._agg.draw_path(pen, outline, IdentityTransform(), face)

    def _pen(self, colour: str, within: Box | None) -> Any:
        from matplotlib.transforms import Bbox

        pen = self._agg.new_gc()
        pen.set_foreground(colour)
        if within is not None:
            bottom, top = self.height - within.bottom, self.height - within.top
            pen.set_clip_rectangle(Bbox([[within.left, bottom], [within.right, top]]))
        return pen


def picture(
    paint: Callable[[Canvas], None],
    *,
    words: str,
    size: tuple[float, float],
    extra: Mapping[str, Any] | None = None,
) -> Picture:
    """Paint on a fresh canvas and return the picture.

    Args:
        paint: draws on the canvas it is given.
        words: what the picture shows, in one sentence.
        size: width and height in inches.
        extra: richer forms by MIME type.
    """
    canvas = Canvas(size)
    paint(canvas)
    return Picture(canvas.png(), words, extra)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue
