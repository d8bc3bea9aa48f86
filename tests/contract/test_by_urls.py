"""Ingest, materialize, read online, decide, announce: the same to the bit wherever it is kept.

The whole way runs twice, on files of one folder and on PostgreSQL, Valkey and S3's API. Nothing
differs between the two but the values of four variables.
"""

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from litestar.testing import TestClient
from typer.testing import CliRunner

from featurestore.calendars import load_calendar
from featurestore.lake import Lake
from featurestore.store import FeatureStore
from featurestore.views import FeatureView, Field
from runtime.bundles.contract import DataSnapshot
from runtime.clock import ReplayClock
from runtime.database import open_database
from runtime.engine import Engine, fund
from runtime.journal.queries import JournalQueries
from runtime.journal.records import DecisionRecord
from runtime.registry import Promoted, Registry
from runtime.replay import CAPITAL
from runtime.streams import Consumer, open_stream
from runtime.streams.messages import observation, signals
from service.app import create_app
from service.books.accounts import LIVE
from service.cli import app
from service.settings import Settings, read_settings
from service.trading.engines import active_bundle, market_reader, open_desk
from service.trading.proof import prove_here
from service.trading.publishing import publishing
from service.wiring import open_live
from tests.fakes.graphs import tilt_bundle, tilt_files, tilt_manifest, tilt_signer

SYMBOLS = ("AAA", "BBB", "CCC")
SESSIONS = load_calendar("XNYS").sessions(date(2016, 12, 1), date(2017, 1, 31))
FRIDAY = date(2017, 1, 6)  # the bundle decides at week ends
VIEW = FeatureView(
    name="prices",
    entity="symbol",
    fields=(Field(name="close", unit="USD", low=0.0),),
    calendar="XNYS",
    freshness=timedelta(days=5),
    owner="tests",
    description="Seeded walks.",
    source="tests",
)
VARIABLES = ("SLUICE_DATABASE_URL", "SLUICE_LAKE_URL", "SLUICE_ONLINE_URL", "SLUICE_STREAMS_URL")


def walks(last: date, *, revised: float = 0.0, revision: int = 0) -> pl.DataFrame:
    """Closes of every symbol up to a session; with `revised`, that session restated by so much."""
    days = [session for session in SESSIONS if session.day <= last]
    steps = np.random.default_rng(3).normal(0, 0.02, (len(SESSIONS), len(SYMBOLS)))
    levels = 100 * np.exp(np.cumsum(steps, axis=0))
    if revision:
        days, levels = days[-1:], levels[len(days) - 1 :] + revised
    late = timedelta(hours=revision)
    rows = [
        (symbol, session.close, session.close + late, revision, float(levels[d, s]))
        for d, session in enumerate(days)
        for s, symbol in enumerate(SYMBOLS)
    ]
    names = ["entity", "event_time", "known_at", "revision", "close"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    return frame.with_columns(pl.col("event_time", "known_at").cast(pl.Datetime("us", "UTC")))


@pytest.fixture(params=["files of one folder", "PostgreSQL, Valkey and S3"])
def environ(request, tmp_path, monkeypatch) -> Iterator[dict[str, str]]:
    """The environment, with every variable of where things lie set, or none."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    if request.param != "files of one folder":
        cache = request.getfixturevalue("valkey_url")
        monkeypatch.setenv("SLUICE_LAKE_URL", f"{request.getfixturevalue('s3_bucket')}/lake")
        monkeypatch.setenv("SLUICE_ONLINE_URL", cache)
        monkeypatch.setenv("SLUICE_STREAMS_URL", cache)
        with request.getfixturevalue("postgres_server").database() as database:
            monkeypatch.setenv("SLUICE_DATABASE_URL", database)
            yield dict(os.environ)
        return
    yield dict(os.environ)


@pytest.fixture
def settings(environ, tmp_path) -> Settings:
    return read_settings(environ, workspace=tmp_path)


def promoted(settings: Settings, store: FeatureStore) -> None:
    """Sign and activate a bundle over the lake as it stands."""
    plain, snapshot = tilt_manifest(SYMBOLS), store.snapshot()
    declared = tuple(
        one if one.view_hash is None else msgspec.structs.replace(one, view_hash=VIEW.version_hash)
        for one in plain.inputs
    )
    pinned = DataSnapshot(versions=snapshot.versions, hash=snapshot.hash)
    manifest = msgspec.structs.replace(plain, inputs=declared, snapshot=pinned)
    signer = tilt_signer(settings.workspace / "keys")
    folder = tilt_bundle(settings.bundles, signer, manifest=manifest, files=tilt_files(SYMBOLS))
    Registry(open_database(settings.database_url)).activate(
        Promoted(study="tilt", bundle=folder.name, version=1, stage="staging"),
        by="alice",
        why="a test",
        at=datetime(2017, 1, 1, tzinfo=UTC),
    )


def traded(settings: Settings, day: date) -> str:
    """Run one session as live trading does; return what was decided."""
    session = load_calendar("XNYS").session(day)
    clock = ReplayClock(session.close)
    bundle = active_bundle(settings)
    reader = market_reader(settings, bundle, newest=True)
    desk = open_desk(settings, bundle, reader, account=LIVE, clock=clock)
    fund(desk.journal, CAPITAL, session.open)
    with publishing(settings, LIVE) as told:
        outcome = Engine(told.beside(desk, reader)).run_session(session)
        told.session_closed()
    assert outcome.decision is not None
    assert outcome.refusal is None
    return outcome.decision.decision_id


def sluice(folder: Path, *arguments: str, status: int = 0, env: dict | None = None) -> dict:
    done = CliRunner().invoke(app, [*arguments, "-w", str(folder), "--json"], env=env)
    assert done.exit_code == status, done.output
    return json.loads(done.stdout)


def on_stream(settings: Settings, name: str, read) -> list:
    """Return everything on a stream, as a consumer group of its own handles it."""
    stream, found = open_stream(settings.streams_url, name), []
    stream.subscribe("test")
    Consumer(
        stream=stream, group="test", name="a", handler=lambda some: found.extend(map(read, some))
    ).drain()
    stream.close()
    return found


def announced(settings: Settings, decided: str) -> DecisionRecord:
    """1. Live trading decides and announces; return the decision's record."""
    (told,) = on_stream(settings, "signals.tilt", signals)
    record = JournalQueries(open_database(settings.database_url), LIVE).decision(decided).record
    assert told.decision_id == decided
    assert (told.symbols, told.weights) == (record.symbols, record.weights)
    return record


def brought_online(settings: Settings, truth: list[float], close: str) -> None:
    """2. What is online is what the lake says was known, with its age."""
    folder = settings.workspace
    online = sluice(folder, "features", "online", "--at", close)
    assert [row["value"] for row in online["values"]] == truth
    assert {row["age_seconds"] for row in online["values"]} == {0.0}
    observed = on_stream(settings, "features.pit", observation)
    assert {each.entity: each.values["close"] for each in observed} == dict(
        zip(SYMBOLS, truth, strict=True)
    )
    assert sluice(folder, "features", "skew", "--at", close)["confirmed"]


def too_old(folder: Path) -> None:
    """3. A value too old is an error that names it."""
    done = CliRunner().invoke(
        app, ["features", "online", "-w", str(folder), "--at", "2017-01-16T21:00Z"]
    )
    assert done.exit_code == 1
    assert "prices.close of AAA is 10 days, 0:00:00 old" in " ".join(done.stderr.split())


def skewed(folder: Path, later: str) -> None:
    """4. A restatement is skew, which is told and stops the study."""
    figures = folder / "skew.prom"
    told = ("--at", later, "--textfile", str(figures))
    found = sluice(folder, "features", "skew", "--stop", *told, status=1)
    assert (
        'sluice_skew_differences{cause="revision",feature="prices.close"} 3.0'
        in figures.read_text()
    )
    assert found["features"][0]["causes"] == {"revision": 3}
    assert found["alerts"][0]["rule"] == "FeatureSkew"
    assert found["stopped"] == ["drift.tilt"]
    (stop,) = sluice(folder, "kill", "show", status=1)["stops"]
    assert (stop["scope"], stop["by"]) == ("drift.tilt", "sluice features skew")
    assert "3 values of prices.close are not the lake's" in stop["reason"]


def materialized(settings: Settings, later: str) -> None:
    """5. It is none once it is materialized, and is announced then, once."""
    folder = settings.workspace
    brought = sluice(folder, "features", "materialize", "--at", later)
    assert (brought["announced"], brought["unannounced"]) == (3, "")
    assert sluice(folder, "features", "materialize", "--at", later)["announced"] == 0
    assert sluice(folder, "features", "skew", "--at", later)["confirmed"]
    assert {each.revision for each in on_stream(settings, "features.pit", observation)} == {2}


def followed(folder: Path, truth: list[float], later: str) -> None:
    """6. A host that only follows the stream comes to the same values."""
    elsewhere = {"SLUICE_ONLINE_URL": f"file://{folder / 'elsewhere.bin'}"}
    assert sluice(folder, "features", "follow", "--once", env=elsewhere)["handled"] == 6
    there = sluice(folder, "features", "online", "--at", later, env=elsewhere)
    here = sluice(folder, "features", "online", "--at", later)
    assert there["values"] == here["values"]
    assert {row["value"] for row in here["values"]}.isdisjoint(truth)


def scraped(settings: Settings) -> None:
    """7. The service tells lag and age."""
    live = open_live(settings, monotonic=time.monotonic, prove=prove_here)
    with TestClient(create_app(live)) as client:
        text = client.get("/metrics").text
    assert 'sluice_stream_waiting{group="test",stream="signals.tilt"} 0.0' in text
    assert "sluice_online_up 1.0" in text
    assert 'sluice_online_values{feature="prices.close"} 3.0' in text
    assert "sluice_decisions_unannounced" in text


SEEN: list[tuple] = []  # what each kind of storage came to


def test_the_whole_way_is_the_same_to_the_bit_on_files_and_on_servers(settings):
    store = FeatureStore(Lake(settings.lake_url))
    store.apply(VIEW)
    store.ingest("prices", walks(FRIDAY))
    promoted(settings, store)
    close = load_calendar("XNYS").session(FRIDAY).close

    decided = traded(settings, FRIDAY)
    record = announced(settings, decided)
    known = store.reader(store.snapshot()).latest("prices.close", SYMBOLS, at=record.decided_at)
    truth = known.values.tolist()
    brought_online(settings, truth, close.isoformat())
    too_old(settings.workspace)

    store.ingest("prices", walks(FRIDAY, revised=1.5, revision=2))
    later = (close + timedelta(hours=3)).isoformat()
    skewed(settings.workspace, later)
    materialized(settings, later)
    followed(settings.workspace, truth, later)
    scraped(settings)

    SEEN.append((record.weights, record.scores, truth, decided))
    assert all(each[:3] == SEEN[0][:3] for each in SEEN)
