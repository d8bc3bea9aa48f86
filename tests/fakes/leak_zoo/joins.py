"""Joins of the leak zoo: a spine of entities and instants with observations, peeking and honest."""

from __future__ import annotations

import polars as pl


def spine_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Each entity at every knowledge time, an hour before and an hour after."""
    known = rows.select("entity", pl.col("known_at").alias("at")).unique()
    hour = pl.duration(hours=1)
    around = [
        known,
        known.with_columns(pl.col("at") - hour),
        known.with_columns(pl.col("at") + hour),
    ]
    return pl.concat(around).unique().sort("at", "entity")


def join_on_event_time(spine, rows):
    held = rows.sort("event_time", "revision")
    return spine.sort("at").join_asof(held, left_on="at", right_on="event_time", by="entity")


def join_final_versions_on_first_knowledge(spine, rows):
    first = (
        rows.sort("revision")
        .group_by("entity", "event_time")
        .agg(pl.col("known_at").first(), pl.col("value").last())
    )
    held = first.sort("known_at")
    return spine.sort("at").join_asof(held, left_on="at", right_on="known_at", by="entity")


def join_nearest(spine, rows):
    held = rows.sort("known_at")
    return spine.sort("at").join_asof(
        held, left_on="at", right_on="known_at", by="entity", strategy="nearest"
    )


def join_forward(spine, rows):
    held = rows.sort("known_at")
    return spine.sort("at").join_asof(
        held, left_on="at", right_on="known_at", by="entity", strategy="forward"
    )


def join_on_the_day(spine, rows):
    """By calendar day: a value known in the afternoon serves the morning."""
    held = rows.sort("known_at").with_columns(pl.col("known_at").dt.date().alias("day"))
    asked = spine.with_columns(pl.col("at").dt.date().alias("day"))
    return asked.sort("day").join_asof(held.sort("day"), on="day", by="entity")


def join_unsorted(spine, rows):
    """Polars only warns when rows are out of order within `by`, and answers anyway."""
    return spine.join_asof(
        rows, left_on="at", right_on="known_at", by="entity", check_sortedness=False
    )


def join_in_local_time(spine, rows):
    local = pl.col("known_at").dt.convert_time_zone("America/New_York")
    held = rows.with_columns(local.dt.replace_time_zone(None).dt.replace_time_zone("UTC"))
    held = held.sort("known_at")
    return spine.sort("at").join_asof(held, left_on="at", right_on="known_at", by="entity")


def join_sorted_by_knowledge(spine, rows):
    held = rows.sort("known_at", "event_time", "revision")
    return spine.sort("at").join_asof(held, left_on="at", right_on="known_at", by="entity")


def join_that_refuses_disorder(spine, rows):
    if not rows["known_at"].is_sorted() or not spine["at"].is_sorted():
        raise ValueError("sort first")
    return spine.join_asof(rows, left_on="at", right_on="known_at", by="entity")


def join_by_brute_force(spine, rows):
    asked = spine.join(rows, on="entity").filter(pl.col("known_at") <= pl.col("at"))
    newest = asked.sort("event_time", "revision").group_by("entity", "at").last()
    return spine.join(newest, on=["entity", "at"], how="left")


JOIN_LEAKS = {
    join_on_event_time: "canary",
    join_final_versions_on_first_knowledge: "canary",
    join_nearest: "canary",
    join_forward: "canary",
    join_on_the_day: "canary",
    join_in_local_time: "canary",
    join_unsorted: "order",
}
JOIN_HONEST = (join_sorted_by_knowledge, join_that_refuses_disorder, join_by_brute_force)
