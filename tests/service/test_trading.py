"""Who may trade: the registry's bundle, or the last one before it that still verifies."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import pytest

from runtime.clock import ReplayClock
from runtime.database import open_database
from runtime.journal.store import Journal
from runtime.registry import Promoted, Registry
from runtime.signing import load_signer
from service.accounts import LIVE
from service.trading import active_bundle, open_desk
from tests.fakes.graphs import tilt_bundle, tilt_files, tilt_manifest
from tests.fakes.trading import (
    FEATURE,
    SYMBOLS,
    promote_over_lake,
    promoted_workspace,
    walk_reader,
)

NOON = datetime(2017, 2, 1, 12, tzinfo=UTC)


def _promote_second(settings) -> Path:
    """Activate a second bundle of the study and return its folder."""
    signer = load_signer(settings.workspace / "keys" / "signing.key")
    manifest = msgspec.structs.replace(
        tilt_manifest(SYMBOLS, schedule="week_end", feature=FEATURE), trials=73
    )
    folder = tilt_bundle(settings.bundles, signer, manifest=manifest, files=tilt_files(SYMBOLS))
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


def test_trading_under_the_wall_clock_closes_the_newest_session_and_ends_on_a_signal(demo_lake):
    """The embedded history ends in 2022, so nothing is decided today; the books still close."""
    settings = demo_lake
    child = subprocess.Popen(
        [Path(sys.executable).with_name("sluice"), "trade", "-w", str(settings.workspace)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
    )
    journal = Journal(open_database(settings.database_url), LIVE)
    deadline = time.monotonic() + 60
    while journal.last_session() is None and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    printed, _ = child.communicate(timeout=30)
    assert child.returncode == 0, printed
    closed = journal.last_session()
    assert closed is not None
    assert closed.equity == 1_000_000
    assert journal.counts()["orders"] == 0
    assert "0 breaks" in printed


@pytest.fixture
def demo_lake(tmp_path, market_lake):
    """A promoted bundle over the embedded lake's own prices."""
    settings = promoted_workspace(tmp_path)
    promote_over_lake(settings, market_lake, version=2, schedule="daily")
    return settings
