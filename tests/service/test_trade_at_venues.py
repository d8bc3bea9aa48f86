"""`sluice trade` beside `sluice venue serve`: two processes, as operators run them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from featurestore.calendars import Calendar, load_calendar
from featurestore.lake import Lake
from featurestore.store import FeatureStore
from featurestore.views import FeatureView, Field
from runtime.bundles.contract import DataSnapshot
from runtime.database import open_database
from runtime.domain import OrderState
from runtime.journal.store import Journal
from runtime.policies.policy import policy_text
from runtime.registry import Promoted
from service.books.accounts import LIVE
from service.cli import app
from service.records import open_registry
from service.settings import Settings, read_settings
from tests.fakes.graphs import SYMBOLS, tilt_bundle, tilt_files, tilt_manifest, tilt_signer

TOKEN = "a-token-of-the-tests"
PATIENCE = 120.0  # seconds; a busy machine may take long to start a process
AGES = r"(submit_after_close|max_\w+_age|max_data_age) = \d+"
VIEW = FeatureView(
    name="prices",
    entity="symbol",
    fields=(Field(name="close", unit="USD", low=0.0),),
    calendar="XNYS",
    freshness=timedelta(days=9),
    owner="tests",
    description="Seeded walks up to the newest session there was.",
    source="tests",
)


@pytest.fixture
def settings(tmp_path) -> Settings:
    """A bundle over prices up to the newest closed session, and limits that let it trade late."""
    policy = tmp_path / "policy.toml"
    policy.write_text(re.sub(AGES, r"\1 = 800000", policy_text(None)))
    environ = {
        "SLUICE_VENUE_URL": f"unix://{tmp_path}/venue.sock",
        "SLUICE_VENUE_TOKEN": TOKEN,
        "SLUICE_POLICY": str(policy),
    }
    made = read_settings(environ, workspace=tmp_path / "ws")
    store = FeatureStore(Lake(made.lake_url))
    now = datetime.now(UTC)
    calendar = closed(now)
    view = replace(VIEW, calendar=calendar.name)
    store.apply(view)
    store.ingest("prices", walks(calendar, now))
    plain, snapshot = tilt_manifest(SYMBOLS, schedule="daily"), store.snapshot()
    inputs = tuple(
        one if one.view_hash is None else msgspec.structs.replace(one, view_hash=view.version_hash)
        for one in plain.inputs
    )
    pinned = DataSnapshot(versions=snapshot.versions, hash=snapshot.hash)
    manifest = msgspec.structs.replace(
        plain, inputs=inputs, snapshot=pinned, calendar=view.calendar
    )
    signer = tilt_signer(made.workspace / "keys")
    bundle = tilt_bundle(made.bundles, signer, manifest=manifest, files=tilt_files(SYMBOLS))
    open_registry(made, open_database(made.database_url)).activate(
        Promoted(study="tilt", bundle=bundle.name, version=1, stage="staging"),
        by="alice",
        why="a test",
        at=datetime(2017, 1, 1, tzinfo=UTC),
    )
    return made


def closed(now: datetime) -> Calendar:
    """Return an exchange without a session now: what is for one that opened is not sent."""
    margin = timedelta(minutes=10)
    around = ((now - timedelta(days=2)).date(), (now + timedelta(days=2)).date())
    return next(
        calendar
        for calendar in map(load_calendar, ("XNYS", "XBOM"))
        if not any(
            one.open - margin < now < one.close + margin for one in calendar.sessions(*around)
        )
    )


def walks(calendar: Calendar, now: datetime) -> pl.DataFrame:
    """Closes of some forty sessions that are over."""
    days = ((now - timedelta(days=60)).date(), now.date())
    sessions = [one for one in calendar.sessions(*days) if one.close <= now]
    steps = np.random.default_rng(3).normal(0, 0.02, (len(sessions), len(SYMBOLS)))
    levels = 100 * np.exp(np.cumsum(steps, axis=0))
    rows = [
        (symbol, session.close, session.close, 0, float(levels[d, s]))
        for d, session in enumerate(sessions)
        for s, symbol in enumerate(SYMBOLS)
    ]
    names = ["entity", "event_time", "known_at", "revision", "close"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    return frame.with_columns(pl.col("event_time", "known_at").cast(pl.Datetime("us", "UTC")))


@contextmanager
def running(settings: Settings, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A `sluice` process of the workspace; it ends by itself once it is told to."""
    environ = {
        "SLUICE_VENUE_URL": settings.venue_url,
        "SLUICE_VENUE_TOKEN": TOKEN,
        "SLUICE_POLICY": str(settings.policy),
    }
    process = subprocess.Popen(
        [Path(sys.executable).with_name("sluice"), *words, "-w", settings.workspace],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
    )
    overdue = threading.Timer(PATIENCE, process.kill)
    overdue.start()
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        overdue.cancel()
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def until(process: subprocess.Popen[str], word: str) -> str:
    """Read what a process says until a line holds a word; return that line."""
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(line)
        if word in line:
            return line
    raise AssertionError("".join(told))


def sluice(settings: Settings, *words: str) -> Any:
    environ = {"SLUICE_VENUE_URL": settings.venue_url, "SLUICE_VENUE_TOKEN": TOKEN}
    done = CliRunner().invoke(app, [*words, "--json", "-w", str(settings.workspace)], env=environ)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_sluice_trade_sends_its_orders_to_the_venues_own_process_each_once(settings):
    journal = Journal(open_database(settings.database_url), LIVE)
    with running(settings, "venue", "serve") as venues:
        until(venues, "(Ctrl-C ends it)")
        with running(settings, "trade") as trader:
            closed = until(trader, "breaks")
        assert ", 0 breaks, equity 1,000,000.00 USD" in closed
        orders = journal.orders()
        assert f"{len(orders)} orders, 0 fills" in closed
        assert {one.state for one in orders} == {OrderState.WORKING}
        assert sum(one["working"] for one in sluice(settings, "venue", "status")) == len(orders) > 2
        assert sluice(settings, "venue", "reconcile")["differences"] == []
    with running(settings, "venue", "serve") as venues:  # it proves its record before it listens
        until(venues, "(Ctrl-C ends it)")
        assert sum(one["working"] for one in sluice(settings, "venue", "status")) == len(orders)
    names = {one["name"]: one for one in sluice(settings, "audit")["chains"]}
    assert names["venue live/primary"]["anchored"], "the venues' process keeps heads"
    assert names["policies"]["verified"]
    assert names["schedule"]["anchored"], "where the record of slots ends is remembered as well"
