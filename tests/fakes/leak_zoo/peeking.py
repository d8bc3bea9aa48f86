"""Animals of the leak zoo that peek, each in its own way.

Every function takes observations (entity, event_time, known_at, revision, fields) and answers in
one of the forms that `featurestore.audit.audit_feature` takes.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import polars as pl

from tests.fakes.leak_zoo.land import CLOSE, RETURN, UTC_TIME, XNYS, answer, bars


def next_bar(frame):
    return answer(frame, CLOSE.shift(-1).over("entity"))


def next_return(frame):
    return answer(frame, (CLOSE.shift(-1) / CLOSE - 1).over("entity"))


def five_bars_ahead(frame):
    return answer(frame, CLOSE.shift(-5).over("entity"))


def one_bar_in_one_name(frame):
    peek = CLOSE.shift(-1).over("entity")
    return answer(frame, pl.when(pl.col("entity") == "BBB").then(peek).otherwise(CLOSE))


def centred_rolling_mean(frame):
    return answer(frame, CLOSE.rolling_mean(11, center=True).over("entity"))


def global_scaling(frame):
    return answer(frame, ((CLOSE - CLOSE.mean()) / CLOSE.std()).over("entity"))


def min_max_scaling(frame):
    return answer(frame, ((CLOSE - CLOSE.min()) / (CLOSE.max() - CLOSE.min())).over("entity"))


def full_sample_rank(frame):
    return answer(frame, CLOSE.rank().over("entity"))


def full_sample_quantile_bins(frame):
    return answer(frame, CLOSE.gt(CLOSE.quantile(0.8)).cast(pl.Float64).over("entity"))


def winsorised_by_full_sample(frame):
    return answer(frame, RETURN.clip(RETURN.quantile(0.01), RETURN.quantile(0.99)))


def back_filled_holes(frame):
    return answer(frame, pl.col("close_holed").backward_fill().over("entity"))


def interpolated_holes(frame):
    return answer(frame, pl.col("close_holed").interpolate().over("entity"))


def holes_filled_with_the_mean(frame):
    return answer(frame, pl.col("close_holed").fill_null(strategy="mean").over("entity"))


def full_sample_pca(frame):
    wide = frame.pivot("entity", index="known_at", values="close").sort("known_at")
    returns = wide.select(pl.exclude("known_at").log().diff().fill_null(0.0)).to_numpy()
    _, _, axes = np.linalg.svd(returns - returns.mean(axis=0), full_matrices=False)
    return pl.DataFrame({"at": wide["known_at"], "first_component": returns @ np.abs(axes[0])})


def full_sample_regression_residual(frame):
    market = CLOSE.log().mean().over("known_at")
    beta = pl.cov(CLOSE.log(), market) / market.var()
    return answer(frame, (CLOSE.log() - beta * market).over("entity"))


def todays_universe(frame):
    """Only the names that are still there at the end."""
    last = frame["known_at"].max()
    alive = frame.filter(pl.col("known_at") == last)["entity"]
    kept = frame.filter(pl.col("entity").is_in(alive.implode()))
    return kept.select("entity", pl.col("known_at").alias("at"), CLOSE.alias("price"))


def largest_at_the_end(frame):
    last = frame.sort("known_at").group_by("entity").agg(CLOSE.last())
    top = last.sort("close", descending=True)["entity"].head(2)
    kept = frame.filter(pl.col("entity").is_in(top.implode()))
    return kept.select("entity", pl.col("known_at").alias("at"), CLOSE.alias("price"))


def listed_long_enough_overall(frame):
    long = frame.filter(pl.len().over("entity") > 120)
    return long.select("entity", pl.col("known_at").alias("at"), CLOSE.alias("price"))


def time_zone_slip(frame):
    """New York wall clock, stamped as if it were UTC: five hours early."""
    local = pl.col("event_time").dt.convert_time_zone("America/New_York").dt.replace_time_zone(None)
    at = local.dt.replace_time_zone("UTC").alias("at")
    return frame.select("entity", at, CLOSE.alias("price"))


def stamped_by_the_day(frame):
    """Midnight of the day whose close it is."""
    at = pl.col("event_time").dt.truncate("1d").alias("at")
    return frame.select("entity", at, CLOSE.alias("price"))


def same_bar_range_at_the_open(frame):
    sessions = XNYS.sessions(date(2019, 1, 2), date(2019, 8, 30))
    opens = pl.DataFrame(
        {"event_time": [s.close for s in sessions], "at": [s.open for s in sessions]},
        schema={"event_time": UTC_TIME, "at": UTC_TIME},
    )
    value = ((CLOSE - pl.col("open")) / (pl.col("high") - pl.col("low"))).alias("range_place")
    return frame.join(opens, on="event_time").select("entity", "at", value)


def weekly_bar_joined_to_its_days(frame):
    week = pl.col("event_time").dt.truncate("1w").alias("week")
    weekly = frame.group_by("entity", week).agg(CLOSE.sort_by("event_time").last().alias("weekly"))
    joined = frame.with_columns(week).join(weekly, on=["entity", "week"], maintain_order="left")
    return joined["weekly"]


def monthly_mean_joined_to_its_days(frame):
    month = pl.col("event_time").dt.truncate("1mo")
    return answer(frame, CLOSE.mean().over("entity", month))


def resampled_with_the_left_label(frame):
    """The week's last close, labelled with the week's first day."""
    weekly = (
        frame.sort("event_time")
        .group_by_dynamic("event_time", every="1w", group_by="entity", label="left")
        .agg(CLOSE.last().alias("weekly"))
    )
    return weekly.rename({"event_time": "at"})


def split_adjusted_by_later_factors(frame):
    later = pl.col("split").reverse().cum_prod().reverse().shift(-1).fill_null(1.0)
    return answer(frame, (CLOSE / later).over("entity"))


def index_of_a_shorter_frame_reused(frame):
    """Rows dropped in between, values put back by position: everything moves up."""
    kept = frame.with_columns(pl.int_range(pl.len()).over("entity").alias("nth"))
    momentum = (CLOSE / CLOSE.shift(10) - 1).over("entity").alias("momentum")
    dropped = kept.with_columns(momentum).drop_nulls("momentum")
    moved = dropped.with_columns(pl.int_range(pl.len()).over("entity").alias("nth"))
    joined = kept.join(moved.select("entity", "nth", "momentum"), on=["entity", "nth"], how="left")
    return joined.select("entity", pl.col("known_at").alias("at"), "momentum")


def target_encoding(frame):
    target = (CLOSE.shift(-1) > CLOSE).cast(pl.Float64)
    weekday = pl.col("event_time").dt.weekday()
    return answer(frame, target.mean().over("entity", weekday))


def best_lag_of_the_sample(frame):
    """The look-back is chosen by what worked over the whole history."""
    scores = {}
    for lag in (1, 3, 5, 10, 20):
        momentum = (CLOSE / CLOSE.shift(lag) - 1).over("entity")
        forward = (CLOSE.shift(-1) / CLOSE - 1).over("entity")
        scores[lag] = frame.select(pl.corr(momentum, forward)).item() or 0.0
    best = max(scores, key=lambda lag: abs(scores[lag]))
    return answer(frame, scores[best] * (CLOSE / CLOSE.shift(best) - 1).over("entity"))


def label_known_too_early(frame):
    """A 10 bar forward return that says it is known after one bar."""
    forward = (CLOSE.shift(-10) / CLOSE - 1).over("entity").alias("forward")
    at = pl.col("known_at").shift(-1).over("entity").alias("at")
    return frame.select("entity", at, forward).drop_nulls()


def distance_to_the_next_low(frame):
    ahead = CLOSE.reverse().rolling_min(20, min_samples=1).reverse()
    return answer(frame, (CLOSE / ahead - 1).over("entity"))


def spectral_smoothing(frame):
    def low_pass(values: np.ndarray) -> np.ndarray:
        spectrum = np.fft.rfft(values)
        spectrum[5:] = 0
        return np.fft.irfft(spectrum, n=len(values))

    parts = []
    for (entity,), rows in frame.group_by("entity", maintain_order=True):
        smooth = low_pass(rows["close"].to_numpy())
        parts.append(pl.DataFrame({"entity": entity, "at": rows["known_at"], "smooth": smooth}))
    return pl.concat(parts)


def days_until_delisting(frame):
    last = pl.col("known_at").max().over("entity")
    return answer(frame, (last - pl.col("known_at")).dt.total_days().cast(pl.Float64))


def smoothed_forward_and_back(frame):
    forward = CLOSE.ewm_mean(half_life=5)
    return answer(frame, forward.reverse().ewm_mean(half_life=5).reverse().over("entity"))


def random_noise(frame):
    return CLOSE_NOISE.normal(size=frame.height)


CLOSE_NOISE = np.random.default_rng()
WHOLE = bars()


def captured_frame(frame):
    top = WHOLE["close"].max()
    return answer(frame, CLOSE / top)


def needs_the_last_session(frame):
    """It fails unless the sample ends where its author's sample ended."""
    frame.filter(pl.col("known_at") == datetime(2019, 8, 30, 20, tzinfo=UTC)).row(0)
    return answer(frame, CLOSE)


def revised_macro(frame):
    """Each month's final figure from the moment of its first print."""
    final = frame.sort("revision").group_by("entity", "event_time").agg(pl.col("value").last())
    first = frame.filter(pl.col("revision") == 0).select("entity", "event_time", "known_at")
    joined = first.join(final, on=["entity", "event_time"])
    return joined.select("entity", pl.col("known_at").alias("at"), "value")


def macro_by_its_own_month(frame):
    """First prints, but used from the month they are about."""
    first = frame.filter(pl.col("revision") == 0)
    return first.select("entity", pl.col("event_time").alias("at"), "value")


BARS_LEAKS = (
    next_bar,
    next_return,
    five_bars_ahead,
    one_bar_in_one_name,
    centred_rolling_mean,
    global_scaling,
    min_max_scaling,
    full_sample_rank,
    full_sample_quantile_bins,
    winsorised_by_full_sample,
    back_filled_holes,
    interpolated_holes,
    holes_filled_with_the_mean,
    full_sample_pca,
    full_sample_regression_residual,
    todays_universe,
    largest_at_the_end,
    listed_long_enough_overall,
    time_zone_slip,
    stamped_by_the_day,
    same_bar_range_at_the_open,
    weekly_bar_joined_to_its_days,
    monthly_mean_joined_to_its_days,
    resampled_with_the_left_label,
    split_adjusted_by_later_factors,
    index_of_a_shorter_frame_reused,
    target_encoding,
    best_lag_of_the_sample,
    label_known_too_early,
    distance_to_the_next_low,
    spectral_smoothing,
    days_until_delisting,
    smoothed_forward_and_back,
    random_noise,
    captured_frame,
    needs_the_last_session,
)
MACRO_LEAKS = (revised_macro, macro_by_its_own_month)
