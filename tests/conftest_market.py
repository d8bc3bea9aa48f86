"""The embedded market history, ingested once per test session; tests read it, none writes to it."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from featurestore.lake import Lake
from featurestore.reader import LakeReader
from featurestore.seals import seals
from featurestore.snapshots import Snapshot
from featurestore.sources.embedded import ingest_embedded
from featurestore.store import FeatureStore, IngestReport
from pipelines.workspace import Workspace
from runtime.clock import ReplayClock


@dataclass(frozen=True)
class MarketLake:
    """A lake with all embedded views and its snapshot."""

    path: Path
    store: FeatureStore
    snapshot: Snapshot
    reports: tuple[IngestReport, ...]

    def fresh_url(self) -> str:
        """Copy the lake and return the copy's address: research seals the lake it works on."""
        folder = Path(tempfile.mkdtemp(prefix="lake-", dir=self.path.parent))
        shutil.copytree(self.path, folder, dirs_exist_ok=True)
        return str(folder)

    def reader(self, **options: object) -> LakeReader:
        return self.store.reader(self.snapshot, **options)


@pytest.fixture(scope="session")
def market_lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarketLake]:
    path = tmp_path_factory.mktemp("market") / "lake"
    store = FeatureStore(Lake(str(path)))
    reports = tuple(ingest_embedded(store))
    yield MarketLake(path=path, store=store, snapshot=store.snapshot(), reports=reports)
    assert seals(store.lake) == {}, "a test sealed the lake that all tests share: use fresh_url()"


@pytest.fixture(scope="session")
def market(market_lake: MarketLake) -> LakeReader:
    """An open reader over everything, nothing sealed."""
    return market_lake.reader()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, market_lake: MarketLake) -> Workspace:
    """A workspace of this file's own over a copy of the history, at one moment of 2024."""
    place = Workspace(
        tmp_path_factory.mktemp("workspace"),
        lake_url=market_lake.fresh_url(),
        snapshot=market_lake.snapshot,
        clock=ReplayClock(datetime(2024, 5, 1, tzinfo=UTC)),
    )
    place.save()
    return place
