"""Every read equals a brute-force bitemporal oracle, whatever order rows and revisions came in."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore import frontier_files
from featurestore.calendars import load_calendar
from featurestore.errors import HistoryMissing
from featurestore.lake import Lake
from featurestore.store import FeatureStore
from featurestore.views import FeatureView, Field

LAG = timedelta(minutes=30)
SESSIONS = load_calendar("XNYS").sessions(date(2020, 2, 24), date(2020, 3, 20))
CLOSES = [session.close for session in SESSIONS]
SYMBOLS = ("AA", "BB", "CC")

GRID = FeatureView(
    name="bars",
    entity="symbol",
    fields=(Field(name="close", unit="USD"), Field(name="size", unit="shares", nullable=True)),
    calendar="XNYS",
    availability=LAG,
    freshness=timedelta(days=5),
    owner="tests",
    description="bars on a session grid",
    source="tests",
)
FREE = FeatureView(
    name="prints",
    entity="symbol",
    fields=GRID.fields,
    availability=LAG,
    freshness=timedelta(days=5),
    owner="tests",
    description="the same at times of their own",
    source="tests",
)


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, object]]:
    """Rows with holes, late arrivals and up to three revisions per bar, in any order."""
    rows = []
    cells = draw(st.sets(st.tuples(st.sampled_from(SYMBOLS), st.integers(0, 11)), min_size=1))
    for symbol, at in sorted(cells):
        known = CLOSES[at] + LAG
        revision = draw(st.integers(0, 1))
        for _ in range(draw(st.integers(1, 3))):
            known += draw(st.sampled_from([0, 0, 1, 26, 24 * 5])) * timedelta(hours=1)
            rows.append(
                {
                    "entity": symbol,
                    "event_time": CLOSES[at],
                    "known_at": known,
                    "revision": revision,
                    "close": draw(st.integers(1, 1000)) / 8,
                    "size": draw(st.none() | st.integers(0, 99).map(float)),
                }
            )
            revision += draw(st.integers(1, 2))
    return draw(st.permutations(rows))


def oracle(rows, symbol, at):
    """From the definition: bars known at `at`, by event time, each in its latest revision."""
    known = [row for row in rows if row["entity"] == symbol and row["known_at"] <= at]
    bars = {}
    for row in sorted(known, key=lambda row: row["revision"]):
        bars[row["event_time"]] = row
    return dict(sorted(bars.items()))


def instants(rows):
    """Return every instant at which an answer can change, and those a moment before."""
    times = sorted({row["known_at"] for row in rows} | {row["event_time"] for row in rows})
    return [t + shift for t in times for shift in (timedelta(microseconds=-1), timedelta(0))]


def stored(folder, view, rows, pieces=1):
    store = FeatureStore(Lake(str(folder)))
    store.apply(view)
    schema = {
        "event_time": pl.Datetime("us", "UTC"),
        "known_at": pl.Datetime("us", "UTC"),
        "size": pl.Float64,
    }
    for i in range(pieces):
        part = rows[i::pieces]
        if part:
            frame = pl.DataFrame(part, schema_overrides=schema, infer_schema_length=None)
            report = store.ingest(view.name, frame)
            assert report.accepted == report.rows, report
    return store


def attempt(read):
    try:
        return read()
    except HistoryMissing:
        return None


@given(rows=histories(), length=st.integers(1, 5))
def test_windows_on_the_session_grid_equal_the_oracle(tmp_path_factory, rows, length):
    reader = (lambda s: s.reader(s.snapshot()))(stored(tmp_path_factory.mktemp("l"), GRID, rows))
    held = sorted({row["entity"] for row in rows})
    for at in instants(rows):
        due = [close for close in CLOSES if close + LAG <= at][-length:]
        for field in ("close", "size"):
            bars = [oracle(rows, symbol, at) for symbol in held]
            cells = [[b[c][field] if c in b else None for c in due] for b in bars]
            whole = len(due) == length and all(v is not None for row in cells for v in row)
            expected = np.array(cells, dtype=float) if whole else None
            found = attempt(
                lambda f=field, t=at: reader.window(f"bars.{f}", held, length=length, at=t)
            )
            assert (found is None) == (expected is None), (at, field)
            if found is not None:
                np.testing.assert_array_equal(found, expected)
                assert found.flags.c_contiguous


@given(rows=histories(), length=st.integers(1, 5))
def test_windows_at_own_times_equal_the_oracle(tmp_path_factory, rows, length):
    reader = (lambda s: s.reader(s.snapshot()))(stored(tmp_path_factory.mktemp("l"), FREE, rows))
    held = sorted({row["entity"] for row in rows})
    for at in instants(rows):
        cells = [[b["close"] for b in oracle(rows, s, at).values()][-length:] for s in held]
        expected = np.array(cells) if all(len(row) == length for row in cells) else None
        found = attempt(lambda t=at: reader.window("prints.close", held, length=length, at=t))
        assert (found is None) == (expected is None)
        if found is not None:
            np.testing.assert_array_equal(found, expected)


@given(rows=histories(), view=st.sampled_from([GRID, FREE]))
def test_latest_values_and_the_join_equal_the_oracle(tmp_path_factory, rows, view):
    store = stored(tmp_path_factory.mktemp("l"), view, rows)
    reader = store.reader(store.snapshot())
    held = sorted({row["entity"] for row in rows})
    times = instants(rows)
    spine = pl.DataFrame(
        {"entity": [s for s in held for _ in times], "at": times * len(held)},
        schema_overrides={"at": pl.Datetime("us", "UTC")},
    )
    joined = reader.get_historical_features(
        [f"{view.name}.close", f"{view.name}.size"], spine=spine
    )
    assert joined.is_pit_validated
    with pytest.MonkeyPatch.context() as patch:  # the same from a file that an earlier reader kept
        patch.setattr(frontier_files, "LEAST_CELLS", 0)
        for _ in range(2):
            fresh = store.reader(store.snapshot())
            again = fresh.get_historical_features(list(joined.frame.columns[2:4]), spine=spine)
            assert again.frame.equals(joined.frame)
    assert list(Path(store.lake.url).rglob("*.frontier"))
    answers = joined.frame.to_dicts()
    assert joined.frame.select("entity", "at").equals(spine)
    for answer in answers:
        bars = list(oracle(rows, answer["entity"], answer["at"]).values())
        latest = attempt(
            lambda a=answer: reader.latest(f"{view.name}.close", [a["entity"]], at=a["at"])
        )
        if not bars:
            assert latest is None
            assert answer[f"{view.name}.close"] is None
            continue
        newest = bars[-1]
        assert latest.values[0] == answer[f"{view.name}.close"] == newest["close"]
        assert answer[f"{view.name}.size"] == newest["size"]
        assert latest.event_times == [newest["event_time"]] == [answer[f"{view.name}.event_time"]]
        assert latest.known_at == [newest["known_at"]] == [answer[f"{view.name}.known_at"]]


@settings(max_examples=15)
@given(rows=histories(), view=st.sampled_from([GRID, FREE]), length=st.integers(1, 4))
def test_cutting_the_future_off_changes_no_window(tmp_path_factory, rows, view, length):
    store = stored(tmp_path_factory.mktemp("l"), view, rows)
    reader = store.reader(store.snapshot())
    held = sorted({row["entity"] for row in rows})
    for at in instants(rows)[::3]:
        whole = attempt(lambda t=at: reader.window(f"{view.name}.close", held, length=length, at=t))
        for cut in (reader.truncated(at), store.reader(store.snapshot()).truncated(at)):
            seen = attempt(
                lambda r=cut, t=at: r.window(f"{view.name}.close", held, length=length, at=t)
            )
            assert (whole is None) == (seen is None)
            if whole is not None:
                np.testing.assert_array_equal(whole, seen)


@settings(max_examples=15)
@given(rows=histories(), view=st.sampled_from([GRID, FREE]))
def test_the_content_hash_knows_values_only_not_batches_order_or_folder(
    tmp_path_factory, rows, view
):
    ordered = sorted(rows, key=lambda row: (row["known_at"], row["revision"]))
    once = stored(tmp_path_factory.mktemp("l"), view, rows)
    in_pieces = stored(tmp_path_factory.mktemp("l"), view, ordered[: len(rows) // 2])
    schema = {"size": pl.Float64}
    rest = pl.DataFrame(
        ordered[len(rows) // 2 :], schema_overrides=schema, infer_schema_length=None
    ).with_columns(pl.col("event_time", "known_at").cast(pl.Datetime("us", "UTC")))
    in_pieces.ingest(view.name, rest)
    assert in_pieces.snapshot().hash == once.snapshot().hash
    changed = [dict(row) for row in rows]
    changed[0]["close"] = float(np.nextafter(changed[0]["close"], 2000))
    other = stored(tmp_path_factory.mktemp("l"), view, changed)
    assert other.snapshot().hash != once.snapshot().hash


def test_windows_in_bulk_are_bit_equal_to_one_by_one_on_real_history(market):
    sessions = load_calendar("XNYS").sessions(date(1991, 2, 1), date(2016, 12, 30))
    month_ends = [a.close for a, b in pairwise(sessions) if a.day.month != b.day.month]
    symbols = market.symbols("us_equities")
    bulk = market.windows("us_equities.close", symbols, length=253, at=month_ends)
    assert bulk.shape == (310, 20, 253)
    for i, at in enumerate(month_ends):
        single = market.window("us_equities.close", symbols, length=253, at=at)
        assert bulk[i].tobytes() == single.tobytes()


def test_windows_in_bulk_are_bit_equal_to_one_by_one_with_revisions(tmp_path):
    rows = [
        {
            "entity": symbol,
            "event_time": close,
            "known_at": close + LAG + revision * timedelta(days=2),
            "revision": revision,
            "close": 100.0 + i + 0.125 * revision,
            "size": None,
        }
        for symbol in SYMBOLS
        for i, close in enumerate(CLOSES)
        for revision in range(1 + (i % 3 == 0))
    ]
    store = stored(tmp_path, GRID, rows)
    reader = store.reader(store.snapshot())
    dates = [close + LAG for close in CLOSES[4:]]
    bulk = reader.windows("bars.close", SYMBOLS, length=5, at=dates)
    for i, at in enumerate(dates):
        np.testing.assert_array_equal(
            bulk[i], reader.window("bars.close", SYMBOLS, length=5, at=at)
        )
    assert bulk[2, 0, 3] != bulk[1, 0, 4] or len(np.unique(bulk)) > len(CLOSES)


def test_a_bar_is_seen_at_its_knowledge_time_and_not_a_microsecond_before(market):
    close = datetime(2016, 12, 30, 21, tzinfo=UTC)
    at_close = market.window("us_equities.close", ["AAPL"], length=1, at=close)[0, 0]
    before = market.window(
        "us_equities.close", ["AAPL"], length=1, at=close - timedelta(microseconds=1)
    )[0, 0]
    frame = market.history("us_equities.close", ["AAPL"], date(2016, 12, 29), date(2016, 12, 30))
    assert [before, at_close] == frame["close"].to_list()
