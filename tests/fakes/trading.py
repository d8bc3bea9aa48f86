"""A workspace that has traded: ledger, signed bundle, registry and a journal from a real replay."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np

from featurestore.calendars import Session, load_calendar
from featurestore.errors import HistoryMissing
from featurestore.reader import LatestValues
from pipelines.ledger import RunOpened, TrialOpened, open_ledger
from runtime.bundles.bundle import load_bundle
from runtime.bundles.contract import DataSnapshot, GateVerdict
from runtime.bundles.inputs import Array, MarketReader
from runtime.bundles.signing import load_signer, load_trusted
from runtime.clock import ReplayClock
from runtime.database import open_database
from runtime.engine import Engine
from runtime.registry import CHAMPION, Promoted, Registry
from runtime.replay import ReplayResult, replay
from service.books.accounts import replay_account
from service.records import open_registry
from service.settings import Settings, read_settings
from service.trading.engines import open_desk
from tests.conftest_market import MarketLake
from tests.fakes.graphs import tilt_bundle, tilt_files, tilt_manifest, tilt_signer

SYMBOLS = ("ADA", "BELL", "CURIE", "DARWIN", "EULER", "FERMI", "GAUSS", "HYPATIA")
FEATURE = "prices.close"
DECIDE = '''def decide(xp, inputs):
    """Tilt towards what rose."""
    prices = inputs["prices"]  # (n, 5), oldest first
    score = prices[:, -1] / prices[:, 0] - 1
    grown = xp.exp(8.0 * score)
    return score, 0.9 * grown / xp.sum(grown) + 0.1 * inputs["current"]
'''
NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Tilt\n", "\n", "A question."]},
        {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "window = 5"},
        {"cell_type": "markdown", "metadata": {}, "source": "## The decision"},
        {"cell_type": "code", "metadata": {"tags": ["strategy"]}, "source": DECIDE},
    ],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}


@dataclass(frozen=True)
class WalkReader(MarketReader):
    """Random walks known at each session's close; windows and newest values by bisection."""

    sessions: tuple[Session, ...]
    values: Array  # (sessions, symbols)

    def _known(self, at: datetime) -> int:
        return bisect_right([session.close for session in self.sessions], at)

    def window(self, feature: str, symbols: Sequence[str], *, length: int, at: datetime) -> Array:
        assert feature == FEATURE
        end = self._known(at)
        if end < length:
            raise HistoryMissing(f"{feature}: {length} bars are not known at {at.isoformat()}")
        columns = [SYMBOLS.index(symbol) for symbol in symbols]
        return np.ascontiguousarray(self.values[end - length : end, columns].T)

    def latest(self, feature: str, symbols: Sequence[str], *, at: datetime) -> LatestValues:
        close = self.sessions[self._known(at) - 1].close
        values = self.window(feature, symbols, length=1, at=at)[:, 0]
        times = [close] * len(symbols)
        return LatestValues(values=values, event_times=times, known_at=times)


def walk_reader(start: date, end: date, *, seed: int = 7) -> WalkReader:
    """Return walks that begin a month before `start`."""
    sessions = load_calendar("XNYS").sessions(start - timedelta(days=30), end)
    random = np.random.default_rng(seed)
    market = random.normal(0.0004, 0.008, (len(sessions), 1))
    own = random.normal(0.0, 0.011, (len(sessions), len(SYMBOLS)))
    level = random.uniform(30, 180, len(SYMBOLS))
    return WalkReader(sessions=sessions, values=level * np.exp(np.cumsum(market + own, axis=0)))


def promoted_workspace(
    folder: Path,
    *,
    schedule: str = "month_end",
    files: Mapping[str, bytes] | None = None,
    **said: object,
) -> Settings:
    """Return settings of a workspace with a ledger, a signed bundle and that bundle active.

    Args:
        folder: of the workspace.
        schedule: of the bundle.
        files: content of the bundle in place of the tilt's.
        said: more of the manifest.
    """
    settings = read_settings({}, workspace=folder)
    trial = _record_trial(folder)
    signer = tilt_signer(folder / "keys")
    manifest = msgspec.structs.replace(
        tilt_manifest(SYMBOLS, schedule=schedule, feature=FEATURE),
        trial=trial,
        verdicts=(
            _verdict("lookahead", True, 0.0),
            _verdict("spa", True, 0.008),
            _verdict("dsr", False, 0.73),
        ),
        **said,
    )
    notebook = {"notebook.ipynb": json.dumps(NOTEBOOK).encode()}
    content = tilt_files(SYMBOLS) | dict(files or {}) | notebook
    bundle = tilt_bundle(settings.bundles, signer, manifest=manifest, files=content)
    open_registry(settings, open_database(settings.database_url)).activate(
        Promoted(study="tilt", bundle=bundle.name, version=1, stage="staging"),
        by="alice",
        why="passed SPA",
        at=datetime(2017, 1, 1, tzinfo=UTC),
    )
    return settings


def promote_over_lake(
    settings: Settings,
    lake: MarketLake,
    *,
    version: int,
    study: str = "tilt",
    schedule: str = "week_end",
    role: str = CHAMPION,
    at: datetime = datetime(2017, 2, 1, 12, tzinfo=UTC),
) -> str:
    """Activate a bundle that trades three names of the embedded history; return its hash."""
    symbols, view = ("AAPL", "MSFT", "XOM"), lake.store.view("us_equities")
    plain = tilt_manifest(symbols, schedule=schedule, feature="us_equities.close")
    inputs = tuple(
        entry
        if entry.view_hash is None
        else msgspec.structs.replace(entry, view_hash=view.version_hash)
        for entry in plain.inputs
    )
    snapshot = DataSnapshot(versions=lake.snapshot.versions, hash=lake.snapshot.hash)
    manifest = msgspec.structs.replace(plain, study=study, inputs=inputs, snapshot=snapshot)
    signer = load_signer(settings.workspace / "keys" / "signing.key")
    folder = tilt_bundle(
        settings.bundles, signer, manifest=manifest, files=tilt_files(symbols), version=version
    )
    open_registry(settings, open_database(settings.database_url)).activate(
        Promoted(study=study, bundle=folder.name, version=version, stage="staging"),
        role=role,
        by="alice",
        why="real prices",
        at=at,
    )
    own = settings.workspace / "lake"
    if not own.exists():
        own.symlink_to(lake.path)
    return folder.name


def traded_workspace(
    folder: Path,
    *,
    start: date = date(2017, 1, 3),
    end: date = date(2017, 6, 30),
    schedule: str = "month_end",
    files: Mapping[str, bytes] | None = None,
    **said: object,
) -> tuple[Settings, ReplayResult]:
    """Return a promoted workspace whose bundle has traded from `start` to `end`."""
    settings = promoted_workspace(folder, schedule=schedule, files=files, **said)
    return settings, trade(settings, start, end)


def trade(settings: Settings, start: date, end: date) -> ReplayResult:
    """Let the active bundle trade; goes on where the journal stands."""
    registry = Registry(open_database(settings.database_url))
    active = registry.active()
    assert active is not None
    bundle = load_bundle(settings.bundles / active.bundle, load_trusted(settings.trusted_keys))
    calendar = load_calendar("XNYS")
    clock = ReplayClock(calendar.sessions(start, end)[0].open)
    reader = walk_reader(date(2017, 1, 3), date(2022, 12, 30))
    desk = open_desk(settings, bundle, reader, account=replay_account(bundle.hash), clock=clock)
    return replay(Engine(desk), calendar, start, end)


def _record_trial(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    clock = ReplayClock(datetime(2016, 12, 31, 10, 15, tzinfo=UTC))
    ledger = open_ledger(
        f"sqlite:///{folder / 'research.db'}", clock=clock, anchor=folder / "ledger.head"
    )
    ledger.declare_study({"name": "tilt", "question": "Does what rose go on rising?"})
    notebook = "notebooks/strategies/tilt.ipynb"
    run = RunOpened(
        run="20161231T101500-tilt", notebook=notebook, notebook_hash="3" * 64, parameters={}
    )
    ledger.open_run(run)
    opened = TrialOpened(
        study="tilt",
        parameters={"window": 5, "tilt": 8.0},
        code_hash="4" * 64,
        snapshot_hash="2" * 64,
        notebook=notebook,
        run=run.run,
    )
    return ledger.open_trial(opened)


def _verdict(gate: str, passed: bool, statistic: float) -> GateVerdict:
    return GateVerdict(
        gate=gate,
        passed=passed,
        statistic=statistic,
        threshold=0.05,
        comparison="<=",
        reason="made by hand",
        would_change="nothing",
    )
