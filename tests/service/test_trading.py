"""Who may trade: the registry's bundle, or the last one before it that still verifies."""

import os
import re
import signal
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest

from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.brokers.terms import load_venues
from runtime.bundles.signing import load_signer
from runtime.clock import ReplayClock
from runtime.database import open_database
from runtime.domain import Bar
from runtime.errors import VenuesInvalid
from runtime.execution.latency import MeasuredLatency, save_latency
from runtime.journal.store import Journal
from runtime.registry import Promoted, Registry
from service.books.accounts import LIVE
from service.commands.latency import show_latency
from service.console import OK, Output
from service.settings import read_settings
from service.trading.engines import active_bundle, open_desk
from service.trading.paper import latency_path, traded_by_others
from tests.fakes.graphs import tilt_bundle, tilt_files, tilt_manifest
from tests.fakes.trading import (
    FEATURE,
    SYMBOLS,
    promote_over_lake,
    promoted_workspace,
    walk_reader,
)
from tests.runtime.journal.trading import START, make_order
from tests.runtime.test_venues_file import acknowledged

NOON = datetime(2017, 2, 1, 12, tzinfo=UTC)


def _promote_second(settings) -> Path:
    """Activate a second bundle of the study and return its folder."""
    signer = load_signer(settings.workspace / "keys" / "signing.key")
    manifest = msgspec.structs.replace(
        tilt_manifest(SYMBOLS, schedule="week_end", feature=FEATURE), trials=73
    )
    folder = tilt_bundle(
        settings.bundles, signer, manifest=manifest, files=tilt_files(SYMBOLS), version=2
    )
    Registry(open_database(settings.database_url)).activate(
        Promoted(study="tilt", bundle=folder.name, version=2, stage="staging"),
        by="alice",
        why="newer",
        at=NOON,
    )
    return folder


def _desk(settings):
    reader = walk_reader(date(2017, 1, 3), date(2017, 3, 1))
    return open_desk(
        settings, active_bundle(settings), reader, account="live", clock=ReplayClock(NOON)
    )


def test_the_newest_promoted_bundle_decides_and_is_approved(tmp_path):
    settings = promoted_workspace(tmp_path)
    second = _promote_second(settings)
    desk = _desk(settings)
    assert desk.bundle.hash == second.name == desk.approved()


def test_a_desk_trades_at_the_venues_that_the_settings_name(tmp_path):
    settings = promoted_workspace(tmp_path)
    assert [(one.name, one.terms.model is None) for one in _desk(settings).brokers] == [
        ("primary", False),
        ("alternate", False),
    ]
    file = tmp_path / "venues.toml"
    file.write_text(
        '[[venue]]\nname = "plain"\nhalf_spread = 0\nfee_rate = 0\ndepth = 1\nfills = "close"\n'
    )
    named = read_settings({"SLUICE_VENUES": str(file)}, workspace=settings.workspace)
    (venue,) = _desk(named).brokers
    assert (venue.name, venue.terms.model) == ("plain", None)


def test_what_was_measured_is_what_venues_draw_their_latencies_from(tmp_path):
    settings = promoted_workspace(tmp_path)
    measured = MeasuredLatency(
        milliseconds=(3.0, 4.0, 9.0),
        orders=3,
        account=LIVE,
        first=NOON,
        last=NOON,
        journal_head="0",
        measured_at=NOON,
    )
    save_latency(latency_path(settings), measured)
    for venue in _desk(settings).brokers:
        assert venue.terms.model.latency.measured == (3.0, 4.0, 9.0)
    latency_path(settings).write_text("[]")
    with pytest.raises(VenuesInvalid, match="sluice latency --store"):
        _desk(settings)


@pytest.mark.parametrize("name", ["graph.onnx", "report.html"])
def test_the_previous_bundle_goes_on_trading_while_the_newer_one_is_tampered_with(tmp_path, name):
    settings = promoted_workspace(tmp_path)
    first = active_bundle(settings).hash
    file = _promote_second(settings) / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    desk = _desk(settings)
    assert desk.bundle.hash == first == desk.approved()


def test_under_the_wall_clock_no_session_is_closed_on_prices_of_other_years(demo_lake):
    """The embedded history ends in 2022: nothing is decided today, and no equity is made up."""
    settings = demo_lake
    policy = settings.workspace / "hasty.toml"  # in the hour after a close, bars are waited for
    usual = files("runtime.policies").joinpath("policy.toml").read_text("utf-8")
    policy.write_text(re.sub(r"submit_after_close = \d+", "submit_after_close = 1", usual))
    child = subprocess.Popen(
        [Path(sys.executable).with_name("sluice"), "trade", "-w", str(settings.workspace)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200", "SLUICE_POLICY": str(policy)},
    )
    assert child.stdout is not None
    told = ""
    while "breaks" not in told and child.poll() is None:
        told += child.stdout.readline()
    child.send_signal(signal.SIGINT)
    rest, _ = child.communicate(timeout=120)
    assert child.returncode == 0, told + rest
    assert "not closed" in told
    assert "no bar of that day for AAPL, MSFT, XOM" in " ".join((told + rest).split())
    journal = Journal(open_database(settings.database_url), LIVE)
    assert journal.last_session() is None
    assert journal.counts()["orders"] == 0
    assert journal.book().flows == 1_000_000


@pytest.fixture
def demo_lake(tmp_path, market_lake):
    """A promoted bundle over the embedded lake's own prices."""
    settings = promoted_workspace(tmp_path)
    promote_over_lake(settings, market_lake, version=2, schedule="daily")
    return settings


def test_what_sluice_latency_stores_is_drawn_from_at_the_venues(tmp_path, capsys):
    settings = promoted_workspace(tmp_path)
    acknowledged(Journal(open_database(settings.database_url), LIVE), list(range(100, 125)))
    assert show_latency(settings, Output(as_json=True), account="", store=False) == OK
    assert not latency_path(settings).exists()
    assert show_latency(settings, Output(as_json=True), account="", store=True) == OK
    told = capsys.readouterr().out
    assert '"median_ms": 112.0' in told
    (first, *_) = _desk(settings).brokers
    assert first.terms.model.latency.at(0.999) == 124.0


def test_a_venue_that_traded_by_other_terms_is_named(tmp_path):
    settings, market = read_settings({}, workspace=tmp_path), load_venues(None)
    folder = settings.venue_records("some")
    folder.mkdir(parents=True)
    for number, terms in enumerate((market.venues[0], PRIMARY)):
        venue = PaperVenue(folder / "primary.db", terms)
        assert traded_by_others(settings, market, "some") == ()
        start = START + timedelta(days=number)
        venue.submit(make_order(10, leg=number, created_at=start))
        close = start + timedelta(days=1)
        bar = Bar(symbol="AAA", close=Decimal(10), event_time=close, known_at=close)
        assert venue.on_bars([bar], close) == 1
        venue.close()
    assert traded_by_others(settings, market, "some") == ("primary",)
