"""Stop bands: what was fixed at promotion, against what happened since."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from runtime.bundles.contract import StopBands
from runtime.registry.bands import DayReturn, breached

START = date(2017, 1, 3)


def days(*returns: float, benchmark: float | None = 0.0) -> list[DayReturn]:
    return [
        DayReturn(day=START + timedelta(days=n), own=own, benchmark=benchmark)
        for n, own in enumerate(returns)
    ]


def test_each_band_stops_at_its_own_figure_and_says_so():
    drawdown = breached(StopBands(max_drawdown="0.05"), days(0.10, -0.03, -0.03))
    assert (drawdown.band, drawdown.day) == ("max_drawdown", START + timedelta(days=2))
    assert str(drawdown) == (
        "a drawdown of 5.91% on 2017-01-05 is beyond the 5.00% that were fixed at promotion"
    )
    loss = breached(StopBands(max_daily_loss="0.02"), days(0.10, -0.021))
    assert (loss.band, loss.limit) == ("max_daily_loss", Decimal("0.02"))
    behind = breached(StopBands(max_shortfall="0.03"), days(0.0, 0.0, benchmark=0.02))
    assert (behind.band, behind.day) == ("max_shortfall", START + timedelta(days=1))


def test_right_at_the_limit_is_still_within_it():
    assert breached(StopBands(max_daily_loss="0.02"), days(-0.02)) is None
    assert breached(StopBands(max_drawdown="0.1"), days(-0.1)) is None


def test_no_band_never_stops_and_no_day_never_breaches():
    assert breached(StopBands(), days(-0.9, -0.9)) is None
    assert breached(StopBands(max_drawdown="0.01"), []) is None
    assert breached(StopBands(max_shortfall="0.01"), days(0.0, 0.0, benchmark=None)) is None


@given(st.lists(st.floats(-0.2, 0.2), max_size=30), st.floats(0.01, 0.5))
def test_the_drawdown_is_that_of_the_curve(returns, limit):
    """Oracle: the curve written out, each close against the highest before it."""
    curve = [1.0]
    for one in returns:
        curve.append(curve[-1] * (1 + one))
    worst = [1 - close / max(curve[: n + 1]) for n, close in enumerate(curve)][1:]
    found = breached(StopBands(max_drawdown=repr(limit)), days(*returns))
    beyond = [n for n, fall in enumerate(worst) if fall > limit + 1e-12]
    assert (found and (found.day - START).days) == (beyond[0] if beyond else None)
