"""The look-up join equals the plain as-of join, whatever the spine and however times are spread."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.frontier import build_frontier
from featurestore.pit import join_as_of

START = datetime(2020, 1, 1, tzinfo=UTC)
UTC_TIME = pl.Datetime("us", "UTC")
# Spread evenly, in clumps, and so close that one bucket holds many.
GAPS = st.sampled_from([0, 1, 1_000_000, 86_400_000_000, 40 * 86_400_000_000])


@st.composite
def histories(draw):
    rows = []
    for entity in draw(st.sets(st.sampled_from(["A", "B", "C", "ZZ"]), min_size=1)):
        known = START
        for i in range(draw(st.integers(1, 25))):
            known += timedelta(microseconds=draw(GAPS))
            event = START + timedelta(days=draw(st.integers(-5, i)))
            rows.append((entity, event, known, i, float(len(rows))))
    return pl.DataFrame(
        draw(st.permutations(rows)),
        schema={
            "entity": pl.String,
            "event_time": UTC_TIME,
            "known_at": UTC_TIME,
            "revision": pl.Int64,
            "value": pl.Float64,
        },
        orient="row",
    )


@given(rows=histories(), seed=st.integers(0, 9))
def test_the_look_up_equals_the_as_of_join(rows, seed):
    edges = [at + timedelta(microseconds=d) for at in rows["known_at"] for d in (-1, 0, 1)]
    edges += [START - timedelta(days=999), START + timedelta(days=9999)]
    names = [*rows["entity"].unique().sort(), "stranger"]
    spine = pl.DataFrame(
        {"entity": names * len(edges), "at": [at for at in edges for _ in names]},
        schema_overrides={"at": UTC_TIME},
    ).sample(fraction=1.0, shuffle=True, seed=seed)
    expected = join_as_of(spine, rows).select("event_time", "known_at", "value")
    found = build_frontier(rows).join(spine, ["value"])
    assert found.equals(expected)


@pytest.mark.parametrize("entities", [1, 3000])
def test_many_entities_over_a_century_and_uneven_lengths(entities):
    random = np.random.default_rng(4)
    n = 20_000
    century = 100 * 365 * 86_400_000_000
    rows = pl.DataFrame(
        {
            "entity": [f"E{i}" for i in random.integers(0, entities, n)],
            "known_at": pl.Series(random.integers(0, century, n)).cast(UTC_TIME),
            "revision": np.arange(n),
            "value": random.normal(size=n),
        }
    ).with_columns(
        (pl.col("known_at") - pl.duration(days=pl.Series(random.integers(0, 400, n)))).alias(
            "event_time"
        )
    )
    spine = rows.select("entity", (pl.col("known_at") + pl.duration(hours=1)).alias("at"))
    spine = spine.sample(fraction=1.0, shuffle=True, seed=1)
    built = build_frontier(rows)
    assert built.starts.size < 8 * n + entities + 8
    expected = join_as_of(spine, rows).select("event_time", "known_at", "value")
    assert built.join(spine, ["value"]).equals(expected)


def test_an_empty_view_answers_nothing():
    rows = pl.DataFrame(
        schema={
            "entity": pl.String,
            "event_time": UTC_TIME,
            "known_at": UTC_TIME,
            "revision": pl.Int64,
            "value": pl.Float64,
        }
    )
    spine = pl.DataFrame({"entity": ["A"], "at": [START]}, schema_overrides={"at": UTC_TIME})
    found = build_frontier(rows).join(spine, ["value"])
    assert found.to_dicts() == [{"event_time": None, "known_at": None, "value": None}]
