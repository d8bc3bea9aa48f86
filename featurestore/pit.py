"""Point-in-time joins in plain polars: one as-of join over the stored frontier is the exact answer.

    value at t = the row with the greatest event_time <= t among rows with known_at <= t,
                 in the latest revision known at t

A row is on the frontier if its event_time is at or above its entity's running maximum in order of
knowledge; rows off it never answer a question. (A join by known_at over all rows is wrong where an
old bar is revised late, a join by event_time wherever a value was not known yet.)
"""

import polars as pl

from featurestore.contract import IDENTITY


def frontier(rows: pl.DataFrame) -> pl.DataFrame:
    """Keep the rows that are the point-in-time answer at some instant.

    Args:
        rows: entity, event_time, known_at, revision and fields, in any order.

    Returns:
        The frontier sorted by known_at; one row per entity and instant of knowledge.
    """
    ordered = rows.sort("entity", "known_at", "event_time", "revision")
    running = pl.col("event_time").cum_max().over("entity")
    newest = pl.struct("entity", "known_at").is_last_distinct()
    kept = ordered.filter(pl.col("event_time") >= running).filter(newest)
    return kept.sort("known_at", maintain_order=True)


def join_as_of(spine: pl.DataFrame, rows: pl.DataFrame, at: str = "at") -> pl.DataFrame:
    """Attach to each spine row what was known then.

    Args:
        spine: columns entity and `at` (UTC), in any order, other columns kept.
        rows: observations in any order.
        at: name of the spine's time column.

    Returns:
        The spine in its own order with the observation's columns; null where nothing was known.
    """
    placed = spine.with_row_index("_spine").sort(at)
    joined = placed.join_asof(
        frontier(rows).drop("revision"),
        left_on=at,
        right_on="known_at",
        by="entity",
        strategy="backward",
        coalesce=False,
        check_sortedness=False,  # both sides were sorted by time just above
    )
    return joined.sort("_spine").drop("_spine")


def latest_revisions(rows: pl.DataFrame) -> pl.DataFrame:
    """Keep each observation's highest revision."""
    return rows.sort(IDENTITY).unique(["entity", "event_time"], keep="last", maintain_order=True)
