"""Seals and the end of the known world: what research may not read, by whichever way."""

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from featurestore.errors import ContractBroken, HistoryMissing, HoldoutSealed
from featurestore.horizon import world_ends
from featurestore.lake import Lake
from featurestore.reader import open_reader
from featurestore.seals import Opening, seals
from featurestore.snapshots import ReaderSource
from featurestore.store import FeatureStore

SEAL = datetime(2017, 1, 3, tzinfo=UTC)
BEFORE = datetime(2016, 12, 30, 21, tzinfo=UTC)
BEHIND = datetime(2019, 6, 28, 21, tzinfo=UTC)


@pytest.fixture
def store(market_lake, tmp_path) -> FeatureStore:
    shutil.copytree(market_lake.path, tmp_path / "lake")
    return FeatureStore(Lake(str(tmp_path / "lake")))


def _close(reader, at):
    return reader.window("us_equities.close", ["AAPL"], length=1, at=at)


def test_a_sealed_lake_answers_nobody_without_an_opening(store):
    store.seal("momentum", SEAL)
    reader = store.reader(store.snapshot())
    assert _close(reader, BEFORE).shape == (1, 1)
    with pytest.raises(HoldoutSealed, match="sealed from 2017-01-03"):
        _close(reader, BEHIND)


def test_asking_for_a_later_seal_does_not_lift_an_earlier_one(store):
    store.seal("momentum", SEAL)
    later = datetime(2021, 1, 4, tzinfo=UTC)
    with pytest.raises(HoldoutSealed):
        _close(store.reader(store.snapshot(), sealed_from=later), BEHIND)


def test_a_study_reads_up_to_its_own_seal_whatever_others_have_sealed(store):
    store.seal("momentum", SEAL)
    store.seal("sandbox", datetime(2003, 1, 2, tzinfo=UTC))
    own = store.reader(store.snapshot(), study="momentum")
    assert own.sealed_from == SEAL
    assert _close(own, BEFORE).shape == (1, 1)
    for reader in (store.reader(store.snapshot()), store.reader(store.snapshot(), study="new")):
        with pytest.raises(HoldoutSealed):
            _close(reader, BEFORE)


def test_historical_features_of_a_sealed_lake_stop_at_the_seal(store):
    store.seal("momentum", SEAL)
    with pytest.raises(HoldoutSealed):
        store.get_historical_features(
            ["us_equities.close"], symbols=["AAPL"], start=SEAL.date(), end=BEHIND.date()
        )


def test_an_opening_looks_behind_the_seal(store):
    store.seal("momentum", SEAL)
    opening = Opening(by="desk", purpose="holdout of momentum")
    assert _close(store.reader(store.snapshot(), opening=opening), BEHIND)[0, 0] > 0


def test_a_seal_moves_to_an_earlier_date_and_never_to_a_later_one(store):
    store.seal("momentum", SEAL)
    with pytest.raises(ContractBroken, match="never moves to a later date"):
        store.seal("momentum", datetime(2020, 1, 2, tzinfo=UTC))
    earlier = datetime(2015, 1, 2, tzinfo=UTC)
    store.seal("momentum", earlier)
    store.seal("momentum", earlier)
    assert seals(store.lake) == {"momentum": earlier}


def test_sealing_leaves_the_snapshot_as_it_was(store):
    before = store.snapshot()
    store.seal("momentum", SEAL)
    assert store.snapshot() == before


def test_readers_opened_in_an_ended_world_forget_what_came_later(store):
    end = datetime(2010, 6, 30, 20, tzinfo=UTC)
    with world_ends(end):
        reader = store.reader(store.snapshot())
    assert reader.truncated_at == end
    assert _close(reader, end).shape == (1, 1)
    with pytest.raises(HistoryMissing):
        _close(reader, datetime(2010, 7, 1, 20, tzinfo=UTC))
    assert store.reader(store.snapshot()).truncated_at is None


def test_a_thread_started_in_an_ended_world_sees_no_more_than_it(store):
    end = datetime(2010, 6, 30, 20, tzinfo=UTC)
    with world_ends(end), ThreadPoolExecutor(1) as pool:
        reader = pool.submit(store.reader, store.snapshot()).result()
    assert reader.truncated_at == end


def test_a_reader_opened_from_a_description_is_sealed_as_well(store):
    store.seal("momentum", SEAL)
    source = ReaderSource(lake=store.lake, snapshot=store.snapshot())
    with pytest.raises(HoldoutSealed):
        _close(open_reader(source), BEHIND)
    again = pickle.loads(pickle.dumps(store.reader(store.snapshot())))
    assert again.sealed_from == SEAL


def test_nested_worlds_end_at_the_earlier_instant(store):
    first, second = datetime(2010, 6, 30, tzinfo=UTC), datetime(2012, 6, 29, tzinfo=UTC)
    with world_ends(first), world_ends(second):
        assert store.reader(store.snapshot()).truncated_at == first
