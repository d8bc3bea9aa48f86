"""Where the leak zoo lies: bars of four names, a macro figure with revisions, how to answer."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from featurestore.calendars import load_calendar

XNYS = load_calendar("XNYS")
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
SESSIONS = XNYS.sessions(date(2019, 1, 2), date(2019, 8, 30))
CLOSES = [session.close for session in SESSIONS]
SPLIT_DAY = SESSIONS[80]
UTC_TIME = pl.Datetime("us", "UTC")


def bars() -> pl.DataFrame:
    """Daily bars of four names; DDD is delisted half way, CCC listed late, a few closes missing."""
    random = np.random.default_rng(3)
    frames = []
    for i, symbol in enumerate(SYMBOLS):
        first, last = (40 if symbol == "CCC" else 0), (90 if symbol == "DDD" else len(SESSIONS))
        n = len(SESSIONS)
        close = (20 + 30 * i) * np.exp(np.cumsum(random.normal(0.0003, 0.02, n)))
        frame = pl.DataFrame(
            {
                "entity": [symbol] * n,
                "event_time": CLOSES,
                "known_at": CLOSES,
                "open": close * np.exp(random.normal(0, 0.004, n)),
                "high": close * 1.01,
                "low": close * 0.99,
                "close": close,
                "volume": random.integers(1_000, 9_000, n).astype(float),
                "split": [2.0 if s is SPLIT_DAY and symbol == "BBB" else 1.0 for s in SESSIONS],
            }
        )
        frames.append(frame[first:last])
    frame = pl.concat(frames).with_columns(pl.col("event_time", "known_at").cast(UTC_TIME))
    holes = pl.Series(random.random(frame.height) < 0.02)
    return frame.with_columns(
        pl.when(holes).then(None).otherwise(pl.col("close")).alias("close_holed"),
        pl.lit(0, pl.Int64).alias("revision"),
    ).sort("known_at", "entity")


def macro() -> pl.DataFrame:
    """A monthly figure, first known 30 days after its month, revised 60 days later."""
    random = np.random.default_rng(5)
    rows = []
    for month in range(30):
        event = datetime(2017 + month // 12, 1 + month % 12, 1, tzinfo=UTC)
        value = 100 + month + random.normal()
        for revision, lag in enumerate((30, 90)):
            known = event + timedelta(days=lag, hours=13)
            rows.append(("CPI", event, known, revision, value + 0.3 * revision))
    return pl.DataFrame(
        rows,
        schema={
            "entity": pl.String,
            "event_time": UTC_TIME,
            "known_at": UTC_TIME,
            "revision": pl.Int64,
            "value": pl.Float64,
        },
        orient="row",
    ).sort("known_at")


CLOSE = pl.col("close")
RETURN = (CLOSE / CLOSE.shift(1) - 1).over("entity")


def answer(frame: pl.DataFrame, expression: pl.Expr) -> pl.Series:
    return frame.select(expression.alias("value"))["value"]
