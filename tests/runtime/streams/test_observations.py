"""What is announced of a view: everything that became known since, and nothing twice."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from featurestore.lake import Lake
from featurestore.store import FeatureStore
from featurestore.views import FeatureView, Field
from runtime.database import open_database
from runtime.streams import open_stream
from runtime.streams.messages import FEATURES, observation
from runtime.streams.observations import announce
from runtime.streams.places import Place, Places

DAY = timedelta(days=1)
START = datetime(2020, 1, 1, tzinfo=UTC)
VIEW = FeatureView(
    name="cpi",
    entity="series",
    fields=(Field(name="index", unit="points"),),
    freshness=timedelta(days=40),
    owner="tests",
    description="Prices.",
    source="tests",
)


def rows(*facts: tuple[str, int, int, int, float]) -> pl.DataFrame:
    """Rows of entity, day of the event, days until known, revision, value."""
    names = ["entity", "event_time", "known_at", "revision", "index"]
    full = [(e, START + d * DAY, START + (d + lag) * DAY, r, v) for e, d, lag, r, v in facts]
    times = pl.col("event_time", "known_at").cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame(full, schema=names, orient="row").with_columns(times)


class Bench:
    """A lake, a stream and the places between them."""

    def __init__(self, folder):
        self.store = FeatureStore(Lake(str(folder / "lake")))
        self.store.apply(VIEW)
        self.places = Places(open_database(f"sqlite:///{folder / 'runtime.db'}"))
        self.stream = open_stream(f"sqlite:///{folder / 'streams.db'}", FEATURES)
        self.stream.subscribe("test")

    def heard(self, day: int) -> list[tuple[str, int, float]]:
        """Announce as of a day; return entity, revision and value of what came."""
        reader = self.store.reader(self.store.snapshot())
        number = announce(self.stream, self.places, reader, "cpi", START + day * DAY)
        found = [observation(each) for each in self.stream.read("test", "a", count=1000)]
        assert len(found) == number
        return [(each.entity, each.revision, each.values["index"]) for each in found]


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    made.store.ingest("cpi", rows(("US", 0, 1, 0, 1.0), ("US", 1, 1, 0, 2.0), ("DE", 0, 1, 0, 5.0)))
    yield made
    made.stream.close()


def test_the_first_time_each_entity_is_announced_as_it_stands(bench):
    assert sorted(bench.heard(5)) == [("DE", 0, 5.0), ("US", 0, 2.0)]
    assert bench.heard(5) == []
    assert bench.heard(6) == []


def test_a_row_filed_late_and_a_revision_of_an_old_day_are_announced_however_old(bench):
    bench.heard(5)
    bench.store.ingest("cpi", rows(("FR", 0, 1, 0, 7.0), ("US", 0, 3, 1, 1.5)))
    assert bench.heard(6) == [("FR", 0, 7.0), ("US", 1, 1.5)]


def test_looking_back_announces_nothing_twice(bench):
    bench.store.ingest("cpi", rows(("US", 2, 3, 0, 4.0)))
    assert sorted(bench.heard(5)) == [("DE", 0, 5.0), ("US", 0, 4.0)]
    assert bench.heard(2) == []
    assert bench.heard(5) == []
    bench.store.ingest("cpi", rows(("FR", 0, 1, 0, 7.0)))
    assert bench.heard(4) == [("FR", 0, 7.0)]


def test_what_is_not_known_yet_is_announced_once_it_is(bench):
    bench.store.ingest("cpi", rows(("US", 3, 4, 0, 9.0)))
    assert sorted(bench.heard(5)) == [("DE", 0, 5.0), ("US", 0, 2.0)]
    assert bench.heard(7) == [("US", 0, 9.0)]
    assert bench.heard(8) == []


def test_a_version_that_is_gone_means_repeats_and_no_gap(bench):
    bench.heard(5)
    bench.places.move(FEATURES, "cpi", Place(seq=999, at=0))
    bench.store.ingest("cpi", rows(("FR", 0, 1, 0, 7.0)))
    assert {entity for entity, *_ in bench.heard(6)} == {"US", "DE", "FR"}
