"""Cumulative abnormal returns around events, against a market model.

1. per event: fit r = a + b m on an estimation span that ends before the event span begins
2. abnormal returns are what the model does not explain over the event span
3. average them by day relative to the event; the sum over days is the mean CAR
4. standard errors by event (a stock's days depend on each other), by calendar day (events of
   one day do), or by both at once
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import EventStudyInvalid
from pipelines.events.clusters import Clustered, clustered_ols

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
By: TypeAlias = Literal["event", "day", "event and day"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Days relative to the event, both ends included; day 0 is the event's."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise EventStudyInvalid(f"a span runs from {self.first} to {self.last}")

    @property
    def days(self) -> int:
        """Return the number of days."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EventStudy:
    """Abnormal returns of E events over S days, and the market models behind them."""

    span: Span
    rows: Indices  # (E,), day of each event
    columns: Indices  # (E,), its symbol
    alpha: Array  # (E,), per day
    beta: Array  # (E,)
    residual_deviation: Array  # (E,), of the estimation span, ddof = 2
    forecast_deviation: Array  # (E, S), deviation of an abnormal return, estimation error included
    abnormal: Array  # (E, S), returns per day

    @property
    def cars(self) -> Array:
        """Return each event's abnormal return summed over the span, shape (E,)."""
        return np.asarray(self.abnormal.sum(axis=1))

    @property
    def mean_path(self) -> Array:
        """Return the mean abnormal return summed up to each day, shape (S,)."""
        return np.asarray(np.cumsum(self.abnormal.mean(axis=0)))

    def regression(self, by: By = "event") -> Clustered:
        """Regress abnormal returns on one dummy per relative day, with clustered covariance."""
        events, days = self.abnormal.shape
        design = np.tile(np.eye(days), (events, 1))
        event = np.repeat(np.arange(events), days)
        offsets = np.arange(self.span.first, self.span.last + 1)
        day = (self.rows[:, None] + offsets).ravel()
        groups = {"event": (event,), "day": (day,), "event and day": (event, day)}[by]
        return clustered_ols(self.abnormal.ravel(), design, *groups)

    def mean_car(
        self, by: By = "event", *, within: Span | None = None
    ) -> tuple[float, float, float]:
        """Test the mean cumulative abnormal return.

        Args:
            by: what may depend on what; calendar days shared by events call for "day".
            within: part of the span; None = all of it.

        Returns:
            (mean CAR, standard error, two-sided p-value) under the null of no abnormal return.
        """
        part = within or self.span
        if part.first < self.span.first or part.last > self.span.last:
            raise EventStudyInvalid(f"{part} lies outside the event span {self.span}")
        offsets = np.arange(self.span.first, self.span.last + 1)
        chosen = (offsets >= part.first) & (offsets <= part.last)
        return self.regression(by).linear(chosen.astype(np.float64))

    def standardised(self) -> tuple[float, float]:
        """Return the test of Boehmer, Musumeci and Poulsen: (t statistic, degrees of freedom).

        Each CAR is divided by its forecast deviation, their mean by its cross-sectional error, so
        that events may raise variance. Null: mean zero. Estimation error that the days of one
        event share is left out; it is small while the estimation span is long.

        Raises:
            EventStudyInvalid: one event, events that all moved alike, or a model without residuals.

        Source: Boehmer, Musumeci & Poulsen (1991), "Event-study methodology under conditions of
            event-induced variance", Journal of Financial Economics 30(2), 253-272.
        """
        deviation = np.sqrt((self.forecast_deviation**2).sum(axis=1))
        if self.cars.size < 2 or not (deviation > 0).all():
            raise EventStudyInvalid(
                f"the standardised test needs two or more events whose returns leave residuals, "
                f"had {self.cars.size} events of which {int((deviation <= 0).sum())} leave none"
            )
        scaled = self.cars / deviation
        error = scaled.std(ddof=1) / np.sqrt(scaled.size)
        if not error > 0:
            raise EventStudyInvalid("all events moved alike; there is no spread to test against")
        return float(scaled.mean() / error), float(scaled.size - 1)


def market_model_study(
    returns: ArrayLike,
    market: ArrayLike,
    rows: ArrayLike,
    *,
    span: Span,
    estimation: Span,
    columns: ArrayLike = 0,
) -> EventStudy:
    """Measure abnormal returns against a market model fitted before each event.

    Args:
        returns: simple daily returns, shape (T,) or (T, n).
        market: of the index, shape (T,).
        rows: day of each event, shape (E,).
        span: event days, relative.
        estimation: days the model is fitted on, relative; must end before `span` begins.
        columns: symbol of each event, scalar or (E,).

    Raises:
        EventStudyInvalid: a span reaches beyond the data, the spans overlap, or a value is missing;
            the text names the event.
    """
    values = np.asarray(returns, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    index, at = np.asarray(market, dtype=np.float64), np.asarray(rows, dtype=np.int64)
    where = np.broadcast_to(np.asarray(columns, dtype=np.int64), at.shape)
    _check_spans(at, len(values), span, estimation)
    _check_columns(where, values.shape[1])
    before = at[:, None] + np.arange(estimation.first, estimation.last + 1)
    during = at[:, None] + np.arange(span.first, span.last + 1)
    y, x = values[before, where[:, None]], index[before]
    actual, expected_market = values[during, where[:, None]], index[during]
    complete = np.isfinite(np.concatenate((y, x, actual, expected_market), axis=1)).all(axis=1)
    if not complete.all():
        event = int(np.argmin(complete))
        raise EventStudyInvalid(f"event {event} on row {at[event]}: a return is missing")
    centre = x.mean(axis=1, keepdims=True)
    spread = ((x - centre) ** 2).sum(axis=1)
    if not (spread > 0).all():
        raise EventStudyInvalid("the market does not move in an estimation span")
    beta = ((x - centre) * y).sum(axis=1) / spread
    alpha = y.mean(axis=1) - beta * centre[:, 0]
    residual = y - alpha[:, None] - beta[:, None] * x
    deviation = np.sqrt((residual**2).sum(axis=1) / (estimation.days - 2))
    leverage = 1 + 1 / estimation.days + (expected_market - centre) ** 2 / spread[:, None]
    return EventStudy(
        span=span,
        rows=at,
        columns=where,
        alpha=alpha,
        beta=beta,
        residual_deviation=deviation,
        forecast_deviation=deviation[:, None] * np.sqrt(leverage),
        abnormal=actual - alpha[:, None] - beta[:, None] * expected_market,
    )


def _check_columns(where: Indices, symbols: int) -> None:
    """Refuse a symbol that the returns do not have; the text names the event."""
    outside = (where < 0) | (where >= symbols)
    if outside.any():
        event = int(np.argmax(outside))
        raise EventStudyInvalid(
            f"event {event} is of column {where[event]}; the returns have 0 to {symbols - 1}"
        )


def _check_spans(at: Indices, periods: int, span: Span, estimation: Span) -> None:
    """Refuse spans that overlap or reach beyond the data; the text names the event."""
    if estimation.last >= span.first:
        raise EventStudyInvalid(
            f"the estimation span ends on day {estimation.last}, the event span begins on day "
            f"{span.first}; leave the event out of its own yardstick"
        )
    if estimation.days < 3 or at.ndim != 1 or not at.size:
        raise EventStudyInvalid("an event study needs an event and 3 or more estimation days")
    outside = (at + estimation.first < 0) | (at + span.last >= periods)
    if outside.any():
        event = int(np.argmax(outside))
        raise EventStudyInvalid(
            f"event {event} on row {at[event]} needs rows {at[event] + estimation.first} to "
            f"{at[event] + span.last}; the data have 0 to {periods - 1}"
        )
