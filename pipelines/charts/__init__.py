"""Charts of time series drawn without a matplotlib figure, at a tenth of its cost."""

from pipelines.charts.canvas import Box, Canvas, picture
from pipelines.charts.panel import Panel, boxes, colour_bar
from pipelines.charts.scales import Scale, Ticks, days, evenly, percent, steps, years

__all__ = [
    "Box",
    "Canvas",
    "Panel",
    "Scale",
    "Ticks",
    "boxes",
    "colour_bar",
    "days",
    "evenly",
    "percent",
    "picture",
    "steps",
    "years",
]
