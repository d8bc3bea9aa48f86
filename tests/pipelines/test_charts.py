"""Charts: values stand where their scale says, ticks are round, and a PNG holds the very pixels."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.charts import (
    Box,
    Canvas,
    Panel,
    Scale,
    boxes,
    colour_bar,
    days,
    evenly,
    percent,
    picture,
    steps,
    years,
)
from pipelines.pictures import png

RED, BLUE = "#ff0000", "#0000ff"
BOX = Box(left=40.0, top=30.0, right=240.0, bottom=130.0)


def seen(paint, size=(2.5, 1.5)):
    data = picture(paint, words="a chart", size=size).png
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def red(pixels):
    return (pixels[..., 0] > 200) & (pixels[..., 1] < 60)


def blue(pixels):
    return (pixels[..., 2] > 200) & (pixels[..., 1] < 60)


def panel(canvas, x=(0.0, 100.0), y=(0.0, 10.0), *, log=False):
    scales = Scale(low=x[0], high=x[1]), Scale(low=y[0], high=y[1], log=log)
    return Panel(canvas=canvas, box=BOX, x=scales[0], y=scales[1])


@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_a_png_holds_the_pixels_that_another_decoder_finds(height, width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.open(io.BytesIO(png(pixels)))
    image.load()
    assert (image.format, image.mode) == ("PNG", "RGB")
    np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize(("log", "value", "row"), [(False, 2.5, 105), (True, 10.0, 80)])
def test_a_line_runs_through_the_pixels_that_its_values_stand_for(log, value, row):
    span = (1.0, 100.0) if log else (0.0, 10.0)

    def paint(canvas):
        one = panel(canvas, y=span, log=log)
        one.line(np.array([0.0, 100.0]), np.array([value, value]), RED, width=3.0)

    rows, columns = np.nonzero(red(seen(paint)))
    assert row - 0.5 == pytest.approx(rows.mean(), abs=1.0)
    assert (columns.min(), columns.max()) == (40, 239)


def test_a_line_stops_at_the_box_and_where_a_value_is_missing():
    x = np.linspace(-50.0, 150.0, 201)
    y = np.where((x > 20.0) & (x < 60.0), np.nan, 5.0)
    pixels = red(seen(lambda canvas: panel(canvas).line(x, y, RED, width=3.0)))
    columns = np.flatnonzero(pixels.any(axis=0))
    assert (columns.min(), columns.max()) == (40, 239)
    assert not pixels[:, 40 + 2 * 25 : 40 + 2 * 55].any()


def test_bars_and_needles_reach_from_zero_to_their_value():
    def paint(canvas):
        one = panel(canvas, y=(-5.0, 5.0))
        one.bars(np.array([20.0, 40.0]), np.array([5.0, -2.5]), RED, width=10.0)
        one.needles(np.array([80.0]), np.array([-5.0]), BLUE)

    pixels = seen(paint)
    rows, columns = np.nonzero(red(pixels))
    above, below = rows[columns < 105], rows[columns > 105]
    assert (above.min(), above.max()) == (30, 79)
    assert (below.min(), below.max()) == (80, 104)
    rows, columns = np.nonzero(blue(pixels))
    assert set(columns) <= {199, 200}
    assert (rows.min(), rows.max()) == (pytest.approx(80, abs=1), 129)


def test_the_cells_of_a_map_fill_its_box_and_nothing_else():
    colours = np.array([[[255, 0, 0], [0, 0, 255]], [[0, 0, 255], [255, 0, 0]]], dtype=np.uint8)
    pixels = seen(lambda canvas: canvas.cells(colours, BOX))
    assert red(pixels)[30:80, 40:140].all()
    assert red(pixels)[80:130, 140:240].all()
    assert blue(pixels).sum() == red(pixels).sum() == 100 * 100
    outside = pixels.copy()
    outside[30:130, 40:240] = 255
    assert (outside == 255).all()


def test_the_colours_of_a_bar_grow_upwards():
    colours = np.array([[0, 0, 255], [255, 0, 0]], dtype=np.uint8)
    scale = Scale(low=0.0, high=1.0)

    def paint(canvas):
        colour_bar(canvas, BOX, evenly(scale, 4, percent), scale, colours)

    rows = np.nonzero(red(seen(paint, (3.5, 1.5))))[0]
    assert (rows.min(), rows.max()) == (30, 79)


def test_names_at_the_ends_of_close_lines_do_not_touch():
    def paint(canvas):
        panel(canvas).name_ends([(5.0, "lower", RED), (5.01, "upper", BLUE)])

    pixels = seen(paint, (3.5, 1.5))
    assert np.nonzero(blue(pixels))[0].max() < np.nonzero(red(pixels))[0].min()


def test_boxes_leave_room_around_and_between_and_keep_their_shares():
    canvas = Canvas((8.0, 4.0))
    first, second = boxes(canvas, across=(3, 1), left=0.5, right=0.5, between=1.0)
    assert (first.left, second.right) == (55.0, 825.0)
    assert second.left - first.right == 110.0
    assert first.width == pytest.approx(3 * second.width, abs=2)
    assert (first.top, first.bottom) == (33.0, 407.0)
    assert len(boxes(canvas, across=(1, 1), down=(1, 1, 1))) == 6


@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-6, 1e6), most=st.integers(2, 12))
def test_round_ticks_are_few_inside_and_evenly_spaced(low, width, most):
    scale = Scale(low=low, high=low + width)
    ticks = evenly(scale, most, "{:g}".format)
    assert ticks.at.size <= most + 1
    slack = 1e-6 * max(width, abs(low))
    assert ((ticks.at >= low - slack) & (ticks.at <= low + width + slack)).all()
    if ticks.at.size > 1:
        step = np.diff(ticks.at).mean()
        mantissa = step / 10.0 ** np.floor(np.log10(step) + 1e-6)
        assert min(abs(mantissa - m) for m in (1, 2, 5, 10)) < 1e-3


def test_percentages_are_written_without_digits_they_do_not_need():
    assert [percent(v) for v in (0.2, 0.125, -0.4, 0.0, -0.0, 1.0)] == [
        "20%",
        "12.5%",
        "-40%",
        "0%",
        "0%",
        "100%",
    ]


def test_a_scale_of_powers_is_marked_in_ones_twos_and_fives():
    assert list(steps(Scale(low=0.9, high=60.0, log=True)).labels) == [
        "1x",
        "2x",
        "5x",
        "10x",
        "20x",
        "50x",
    ]
    assert len(steps(Scale(low=1e-6, high=1e6, log=True)).at) == 13


@pytest.mark.parametrize(
    ("first", "last", "labels"),
    [
        ("1991-02-01", "2016-12-30", ["1992", "1996", "2000", "2004", "2008", "2012", "2016"]),
        ("2000-01-03", "2002-06-28", ["2000-07", "2001-01", "2001-07", "2002-01"]),
        ("2001-02-10", "2001-06-20", ["2001-03", "2001-04", "2001-05", "2001-06"]),
        ("1960-06-01", "1966-06-01", ["1961", "1962", "1963", "1964", "1965", "1966"]),
    ],
)
def test_a_calendar_is_marked_at_starts_of_years_or_months(first, last, labels):
    ends = days(np.array([first, last], dtype="datetime64[D]"))
    ticks = years(Scale(low=ends[0], high=ends[1]), 8)
    assert list(ticks.labels) == labels
    starts = ticks.at.astype("datetime64[D]")
    assert all(str(day).endswith("-01") for day in starts)
    assert all(str(day).startswith(words) for day, words in zip(starts, labels, strict=True))


def test_a_scale_leaves_room_and_survives_values_that_do_not_move():
    assert (Scale.of(np.array([0.0, 10.0])).low, Scale.of(np.array([0.0, 10.0])).high) == (
        -0.5,
        10.5,
    )
    log = Scale.of(np.array([1.0, 100.0]), log=True)
    assert log.fraction(10.0) == pytest.approx(0.5)
    for values in (np.zeros(3), np.full(3, 7.0), np.array([np.nan]), np.array([])):
        for kind in (False, True):
            scale = Scale.of(values, log=kind)
            assert scale.high > scale.low
            assert np.isfinite(scale.fraction(scale.high))
