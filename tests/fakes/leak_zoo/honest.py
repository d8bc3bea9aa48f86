"""Honest twins of what peeks in the leak zoo; they take and answer the same."""

from __future__ import annotations

import numpy as np
import polars as pl

from tests.fakes.leak_zoo.land import CLOSE, RETURN, answer


def momentum(frame):
    return answer(frame, (CLOSE.shift(1) / CLOSE.shift(20) - 1).over("entity"))


def trailing_volatility(frame):
    return answer(frame, RETURN.rolling_std(10).over("entity"))


def expanding_z_score(frame):
    count = pl.int_range(1, pl.len() + 1)
    mean = CLOSE.cum_sum() / count
    return answer(frame, ((CLOSE - mean) / mean).over("entity"))


def trailing_rank(frame):
    return answer(frame, CLOSE.rolling_rank(20).over("entity"))


def cross_sectional_rank(frame):
    return answer(frame, CLOSE.rank().over("known_at"))


def forward_filled_holes(frame):
    return answer(frame, pl.col("close_holed").forward_fill().over("entity"))


def exponential_average(frame):
    return answer(frame, CLOSE.ewm_mean(half_life=5).over("entity"))


def running_peak_drawdown(frame):
    return answer(frame, (CLOSE / CLOSE.cum_max() - 1).over("entity"))


def last_finished_week(frame):
    """The week's close, from the instant at which the next week's first bar is known."""
    week = pl.col("event_time").dt.truncate("1w")
    new = (week != week.shift(1)).over("entity")
    last = pl.when(new).then(CLOSE.shift(1).over("entity"))
    return answer(frame, last.forward_fill().over("entity"))


def members_so_far(frame):
    """Names by how long they have been listed at each instant."""
    nth = pl.int_range(pl.len()).over("entity")
    kept = frame.filter(nth >= 20)
    return kept.select("entity", pl.col("known_at").alias("at"), CLOSE.alias("price"))


def unadjusted_return_with_todays_split(frame):
    return answer(frame, (CLOSE * pl.col("split") / CLOSE.shift(1) - 1).over("entity"))


def label_known_when_it_ends(frame):
    forward = (CLOSE.shift(-10) / CLOSE - 1).over("entity").alias("forward")
    at = pl.col("known_at").shift(-10).over("entity").alias("at")
    return frame.select("entity", at, forward).drop_nulls()


def weekday(frame):
    return answer(frame, pl.col("event_time").dt.weekday().cast(pl.Float64))


def dates_in_new_york(frame):
    at = pl.col("event_time").dt.convert_time_zone("America/New_York").alias("at")
    return frame.select("entity", at, CLOSE.alias("price"))


def principal_component_of_the_past(frame):
    wide = frame.pivot("entity", index="known_at", values="close").sort("known_at")
    returns = wide.select(pl.exclude("known_at").log().diff().fill_null(0.0)).select("AAA", "BBB")
    values, out = returns.to_numpy(), []
    for i in range(len(values)):
        window = values[max(0, i - 29) : i + 1]
        out.append(float(np.linalg.svd(window, compute_uv=False)[0]))
    return pl.DataFrame({"at": wide["known_at"], "strength": out})


def share_of_a_constant(frame, top=1000.0):
    return answer(frame, CLOSE / top)


def two_features_at_once(frame):
    return frame.select(
        "entity",
        pl.col("known_at").alias("at"),
        CLOSE.rolling_mean(5).over("entity").alias("mean"),
        CLOSE.rolling_max(5).over("entity").alias("peak"),
    )


def first_print_of_macro(frame):
    first = frame.filter(pl.col("revision") == 0)
    return first.select("entity", pl.col("known_at").alias("at"), "value")


def macro_surprise_from_vintages(frame):
    return answer(frame, pl.col("value") - pl.col("value").shift(1))


BARS_HONEST = (
    momentum,
    trailing_volatility,
    expanding_z_score,
    trailing_rank,
    cross_sectional_rank,
    forward_filled_holes,
    exponential_average,
    running_peak_drawdown,
    last_finished_week,
    members_so_far,
    unadjusted_return_with_todays_split,
    label_known_when_it_ends,
    weekday,
    dates_in_new_york,
    principal_component_of_the_past,
    share_of_a_constant,
    two_features_at_once,
)
MACRO_HONEST = (first_print_of_macro, macro_surprise_from_vintages)
